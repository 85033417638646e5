"""Beam's servers on this machine, for the workers of this run alone.

To talk to its workers Beam opens ports on all addresses, without a password: whoever reaches one
could read files, or send results, in the name of the run's user. Here they listen on 127.0.0.1
only, and refuse each call that does not bring the run's password, which workers get through their
environment.
"""

from __future__ import annotations

import os
import secrets
from types import SimpleNamespace
from typing import Any

import grpc

# Not shown by `ps`, unlike a word of the command line.
PASSWORD = "SER_WORKER_PASSWORD"
_HEADER = "ser-password"
_ADDRESS = "127.0.0.1"


def serve_privately() -> None:
    """Make the servers that Beam starts in this process private, from now on."""
    from apache_beam.runners.portability import local_job_service
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    if not os.environ.get(PASSWORD):
        os.environ[PASSWORD] = secrets.token_hex(16)
    private = SimpleNamespace(**{**vars(grpc), "server": _server})
    modules: tuple[Any, ...] = (worker_handlers, local_job_service)
    for module in modules:
        module.grpc = private


def connect_privately() -> None:
    """Bring the password with each call to Beam's servers from this process, from now on."""
    from apache_beam.runners.worker import channel_factory

    factory: Any = channel_factory.GRPCChannelFactory
    plain = factory.insecure_channel
    bringing = _Bringing(os.environ[PASSWORD])

    def insecure_channel(target: str, options: list | None = None) -> grpc.Channel:
        # Not "localhost", as Beam says: that may be ::1, where somebody else may listen.
        address = f"{_ADDRESS}:{target.rpartition(':')[2]}"
        return grpc.intercept_channel(plain(address, options), bringing)

    factory.insecure_channel = staticmethod(insecure_channel)


def _server(*args: Any, **more: Any) -> grpc.Server:
    server = grpc.server(*args, **more, interceptors=(_Asking(os.environ[PASSWORD]),))
    add_port = server.add_insecure_port
    server.add_insecure_port = lambda address: add_port(f"{_ADDRESS}:{address.rpartition(':')[2]}")
    return server


class _Asking(grpc.ServerInterceptor):
    def __init__(self, password: str) -> None:
        self._password = password

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        given = dict(details.invocation_metadata or ()).get(_HEADER, "")
        handler = continuation(details)
        if handler is None or secrets.compare_digest(str(given).encode(), self._password.encode()):
            return handler
        # As for a stream, whatever it is: then nothing of the request is read.
        return grpc.stream_unary_rpc_method_handler(_refuse)


def _refuse(_: Any, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "only workers of this run may call")


class _Details(grpc.ClientCallDetails):
    def __init__(self, details: Any, metadata: list[tuple[str, str]]) -> None:
        self.method, self.timeout, self.credentials = (
            details.method, details.timeout, details.credentials,
        )  # fmt: skip
        self.metadata = metadata


class _Bringing(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    def __init__(self, password: str) -> None:
        self._password = password

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), (_HEADER, self._password)]
        return continuation(_Details(details, metadata), request)

    intercept_stream_stream = intercept_unary_unary
