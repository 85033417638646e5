"""Beam's servers of a run on this machine: nobody else may call them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import grpc
import psutil
import pytest
from apache_beam.portability.api import (
    beam_artifact_api_pb2,
    beam_artifact_api_pb2_grpc,
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
)
from apache_beam.runners.worker.channel_factory import GRPCChannelFactory

from pipelines.runners.private import PASSWORD, connect_privately
from tests.pipelines.faults import make_archive


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A night that works, and the ports on which it listens."""
    folder = tmp_path_factory.mktemp("night")
    words = ["extract", "--input", make_archive(folder / "calls", 2), "--output", folder / "out"]
    words += ["--feature-set", "test_simple", "--workers", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        end, found = time.monotonic() + 60, []
        while len(found) < 4 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
            found = [
                item.laddr
                for item in psutil.Process(process.pid).net_connections()
                if item.status == psutil.CONN_LISTEN
            ]
        for child in psutil.Process(process.pid).children():
            os.kill(child.pid, signal.SIGSTOP)  # it stays as it is until the tests are done
        yield found
        for child in psutil.Process(process.pid).children():
            os.kill(child.pid, signal.SIGCONT)
        text = process.communicate()[0]
        assert process.returncode == 0, text
        assert "2 matched = 2 extracted" in text


def test_only_this_machine_is_listened_to(night):
    assert len(night) >= 4, "Beam's servers are no longer seen by this test"
    assert {address.ip.removeprefix("::ffff:") for address in night} == {"127.0.0.1"}
    with socket.socket(socket.AF_INET6) as other, pytest.raises(OSError, match="refused"):
        other.connect(("::1", night[0].port))


@pytest.mark.parametrize("given", [[], [("ser-password", "wrong")]])
def test_calls_without_the_password_are_refused(night, given):
    get = beam_artifact_api_pb2.GetArtifactRequest()
    get.artifact.type_urn = "beam:artifact:type:file:v1"
    answers = set()
    for address in night:
        with grpc.insecure_channel(f"127.0.0.1:{address.port}") as channel:
            calls = [
                beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(channel).GetArtifact(
                    get, metadata=given, timeout=20
                ),
                beam_fn_api_pb2_grpc.BeamFnControlStub(channel).Control(
                    iter([beam_fn_api_pb2.InstructionResponse()]),
                    metadata=[("worker_id", "worker_0"), *given],
                    timeout=20,
                ),
                beam_fn_api_pb2_grpc.BeamFnDataStub(channel).Data(
                    iter([]), metadata=[("worker_id", "worker_0"), *given], timeout=20
                ),
                beam_fn_api_pb2_grpc.BeamFnStateStub(channel).State(
                    iter([]), metadata=given, timeout=20
                ),
                beam_fn_api_pb2_grpc.BeamFnLoggingStub(channel).Logging(
                    iter([]), metadata=given, timeout=20
                ),
            ]
            for number, call in enumerate(calls):
                with pytest.raises(grpc.RpcError) as refused:
                    list(call)
                answers.add((number, refused.value.code()))
    # A server that has the service refuses; the others do not know it.
    assert {number for number, code in answers if code == grpc.StatusCode.UNAUTHENTICATED} == set(
        range(5)
    )
    known = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED}
    assert {code for _, code in answers} == known


def test_the_password_is_not_on_a_command_line(night):
    port = night[0].port
    [launcher] = [
        process
        for process in psutil.Process().children()
        if any(item.laddr and item.laddr.port == port for item in process.net_connections())
    ]
    [worker] = [child for child in launcher.children() if PASSWORD in child.environ()]
    password = worker.environ()[PASSWORD]
    assert len(password) == 32
    for process in (launcher, worker):
        assert password not in " ".join(process.cmdline())


def test_workers_call_the_address_where_the_launcher_listens(monkeypatch):
    """`localhost` may be ::1, where another user may have taken the same port."""
    called = []

    def plain(target, options=None):
        called.append(target)
        return grpc.insecure_channel(target)

    monkeypatch.setenv(PASSWORD, "p")
    monkeypatch.setattr(GRPCChannelFactory, "insecure_channel", staticmethod(plain))
    connect_privately()
    GRPCChannelFactory.insecure_channel("localhost:12345").close()
    assert called == ["127.0.0.1:12345"]
