"""Options of runners, causes of failed jobs, jobs of killed commands, runs in another process."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import apache_beam as beam
import pytest
import soundfile

from pipelines import errors, nightly
from pipelines.errors import CommandError, UsageError
from pipelines.runners import flink, jobs, local, running
from pipelines.runners.failures import cause
from pipelines.runners.runner import Runner, complete_options
from pipelines.storage import store
from ser_core import models

HERE = "--flink_master=127.0.0.1:8081"
THERE = "--flink_master=http://flink.example:8081"
OTHER = ("--environment_type=EXTERNAL", "--environment_config=localhost:50000")


def settle(*given, workers=None, slots=6):
    return flink.complete_options(given, workers, lambda master: slots)


def test_a_cluster_here_needs_no_more_than_its_address():
    options, line = settle(HERE)
    assert options[-1] == HERE
    assert {"--parallelism=6", "--sdk_worker_parallelism=1", "--flink_submit_uber_jar"} < {*options}
    (config,) = [option for option in options if option.startswith("--environment_config=")]
    command = json.loads(config.partition("=")[2])["command"]
    assert Path(command) == Path(sys.executable).with_name("ser-worker")
    assert "127.0.0.1:8081: parallelism 6 (its slots: 6)" in line


def test_workers_are_the_parallelism():
    assert "--parallelism=8" in settle(HERE, workers=8)[0]
    assert "--parallelism=8" in settle(HERE, workers=8, slots=0)[0]  # slots come as needed
    with pytest.raises(UsageError, match="--workers 8"):
        settle(HERE, slots=0)


def test_what_the_user_said_stays():
    given = (HERE, "--parallelism=3", *OTHER, "--flink_submit_uber_jar")
    options, line = settle(*given, workers=8)
    assert options == ["--sdk_worker_parallelism=1", *given]
    assert line == "Flink at 127.0.0.1:8081"
    given = ("--job_endpoint=localhost:8099", "--parallelism=3")
    assert settle(*given) == (list(given), None)


def test_what_cannot_be_guessed_is_asked_for():
    with pytest.raises(UsageError, match="--flink_master: none given"):
        settle()
    with pytest.raises(UsageError, match="--environment_type: none given, and http://flink"):
        settle(THERE)
    assert [*OTHER] == settle(THERE, *OTHER)[0][-2:]


def test_a_cluster_that_is_not_there(ser_here, tmp_path, level_model):
    words = ("run", "--input", tmp_path, "--output", tmp_path / "out", "--model", level_model)
    done = ser_here(*words, "--runner=FlinkRunner", "--flink_master=127.0.0.1:9")
    assert done.returncode == 1
    assert "--flink_master 127.0.0.1:9: cannot be asked" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_another_runner_is_left_alone():
    assert complete_options("SparkRunner", 8, ["--parallelism=3"]) == (["--parallelism=3"], None)


def test_only_a_job_that_outlives_its_command_has_a_name():
    assert Runner().job("rX") is None
    assert Runner("PrismRunner").job("rX") is None
    assert Runner("FlinkRunner", 1, ["--flink_master=[local]"]).job("rX") is None
    job = Runner("FlinkRunner", 1, [HERE]).job("r20260301T010203-abc")
    assert job == jobs.SubmittedJob("flink", "127.0.0.1:8081", "ser-r20260301t010203-abc")


PYTHON = """Pipeline job failed in state FAILED: java.util.concurrent.ExecutionException: Traceback (most recent call last):
  File "a.py", line 9, in f
OSError: [Errno 28] No space left on device

Traceback (most recent call last):
  File "b.py", line 1602, in g
{} [while running 'Write']

\tat java.base/java.util.concurrent.CompletableFuture.get(CompletableFuture.java:2073)
Caused by: java.lang.RuntimeException: Error received from SDK harness for instruction 1: Traceback (most recent call last):
  File "b.py", line 1602, in g
{} [while running 'Write']

\tat org.apache.beam.runners.SomeError: not this
"""  # noqa: E501
JAVA = """Pipeline job failed in state FAILED: org.apache.flink.JobException: Recovery is suppressed
\tat org.apache.flink.runtime.executiongraph.ExecutionFailureHandler.handle(ExecutionFailure.java:7)
Caused by: java.util.concurrent.CompletionException: java.util.concurrent.TimeoutException
Caused by: org.apache.flink.NoResourceAvailableException: Could not acquire the minimum resources.
\tat java.base/java.lang.Thread.run(Thread.java:840)
"""


def said(text: str) -> str:
    return str(cause(RuntimeError(text)))


def test_a_failed_job_says_its_cause_in_one_line():
    ours = "pipelines.errors.StoreError: --output: it cannot be written"
    assert said(PYTHON.format(ours, ours)) == "--output: it cannot be written"
    text = said(PYTHON.format("KeyError: 'x'", "KeyError: 'x'"))
    assert text == "the run failed: KeyError: 'x' (--debug shows the full traceback)"
    text = said(JAVA)
    assert "NoResourceAvailableException: Could not acquire the minimum resources. (" in text
    ours = "pipelines.errors.RecordingError: recording /a.wav: ValueError: no"
    text = said(PYTHON.format(ours, ours))
    assert text.startswith("the run failed at recording /a.wav: ValueError: no (--debug")
    assert said("unknown\nerror") == "the run failed: RuntimeError: unknown"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("pipelines.errors.NothingMatchedError", errors.NOTHING_MATCHED),
        ("pipelines.errors.UsageError", errors.USAGE),
        ("pipelines.errors.StoreError", errors.FAILED),
        ("ser_core.errors.TableError", errors.FAILED),
        ("pipelines.errors.RecordingError", errors.FAILED),
        ("ValueError", errors.FAILED),
    ],
)
def test_an_error_of_a_worker_has_the_status_that_it_has_here(name, status):
    """A worker of a cluster looks for the recordings, and may find that --redo names nothing."""
    ours = f"{name}: --redo run=r9: nothing of it in the tables"
    error = cause(RuntimeError(PYTHON.format(ours, ours)))
    assert error.status == status
    explained = name.startswith(("pipelines", "ser_core")) and "Recording" not in name
    assert str(error).startswith("--redo run=r9: nothing") is explained


@pytest.mark.parametrize(
    ("note", "says"),
    [
        (
            {"runner": "flink", "master": "127.0.0.1:9", "name": "ser-rX"},
            "ser-rX of an earlier run may still go on: 127.0.0.1:9 cannot be asked",
        ),
        ({"runner": "SparkRunner", "master": "", "name": "ser-rX"}, "cancel it there"),
    ],
)
def test_a_job_that_cannot_be_cancelled_stops_nobody(tmp_path, note, says):
    staged = tmp_path / "_staging" / "rX"
    staged.mkdir(parents=True)
    store.note_job(str(staged), jobs.SubmittedJob(**note))
    with store.Output(tmp_path) as output:
        assert not staged.exists()
        assert [says in line for line in output.remarks] == [True]


def test_a_master_that_is_no_flink(tmp_path):
    import http.server
    import threading

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    master = f"127.0.0.1:{server.server_port}"
    try:
        with pytest.raises(CommandError, match="cannot be asked"):
            flink.complete_options([f"--flink_master={master}"])
    finally:
        server.shutdown()


# ---------------------------------------------------------------- within somebody else's process


def run_failing(out, level_model, inputs) -> None:
    """A night in this process whose examination fails: its decoder cannot be started."""
    card = models.read_card(str(level_model))
    job = nightly.Job(
        output=str(out),
        date=dt.date(2026, 3, 1),
        command="ser run",
        labelling=nightly.labelling_of(card),
        runner=Runner(workers=1),
        bundle=str(level_model),
        inputs=(str(inputs),),
        say=lambda line: None,
    )
    nightly.run(job)


def test_a_failed_run_ends_its_own_processes_only(tmp_path, level_model, monkeypatch):
    from tests.speechlike import call

    soundfile.write(tmp_path / "a.wav", call([(1, 4, -20)], 5), 8_000)
    before, hook = set(local.children()), threading.excepthook
    ours = subprocess.Popen(["sleep", "600"])
    # What the decoder imports and the worker does not.
    broken = tmp_path / "broken" / "soxr"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('planted')")
    monkeypatch.setenv("PYTHONPATH", f"{broken.parent}{os.pathsep}{os.environ['PYTHONPATH']}")
    try:
        with pytest.raises(CommandError, match=r"recording .*a\.wav: .*cannot be started.*planted"):
            run_failing(tmp_path / "out", level_model, tmp_path / "a.wav")
        assert ours.poll() is None
        assert {child.pid for child in set(local.children()) - before} == {ours.pid}
        assert threading.excepthook is hook
    finally:
        ours.kill()
        ours.wait()


def test_beams_readers_that_fail_after_the_run_print_no_trace():
    seen: list[str] = []
    before = threading.excepthook
    threading.excepthook = lambda args: seen.append(str(args.exc_value))

    def fail_later() -> None:
        time.sleep(0.3)
        beam.Create(3)  # not iterable

    try:
        reader = threading.Thread(target=fail_later, name="beam_control_read")
        with contextlib.suppress(KeyboardInterrupt), running.beam_messages(debug=False) as messages:
            reader.start()
            raise KeyboardInterrupt
        reader.join()
        (message,) = messages
        assert "iterable" in message
        assert not seen
    finally:
        threading.excepthook = before


def test_only_failures_of_beams_threads_are_kept(capsys):
    seen: list[str] = []
    before = threading.excepthook
    threading.excepthook = lambda args: seen.append(str(args.exc_value))

    def fail() -> None:
        raise ValueError("of another thread")

    def fail_in_beam() -> None:
        beam.Create(3)  # not iterable

    try:
        with running.beam_messages(debug=False) as messages:
            for target in (fail, fail_in_beam):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()
        (message,) = messages
        assert "iterable" in message
        assert seen == ["of another thread"]
    finally:
        threading.excepthook = before
