"""Running a pipeline to its end.

The pipeline runs in a thread with SIGINT blocked (its processes inherit that) while the main
thread shows progress and receives Ctrl-C, which also cancels a job on a cluster.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType

import apache_beam as beam
import psutil
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipelines.errors import CommandError
from pipelines.logs import say
from pipelines.runners import dataflow, failures, jobs, local, progress

_LOOK_EVERY_S = 0.2
_GRACE_S = 15.0
_ASK_EVERY_S = 1.0
# A JobManager may be away for a while without losing its jobs.
_UNREACHABLE_S = 300.0
_SUBMIT_S = 60.0
# Beam's threads that read from the workers, by name.
_READERS = ("beam_control_read", "read_grpc_client_inputs")
_READERS_END_WITHIN_S = 2.0


class Execution:
    """A pipeline at work in a thread of its own.

    Parameters
    ----------
    pipeline : beam.Pipeline
    job : jobs.SubmittedJob or None
        The job on a cluster; None if the run ends with this process.
    only_submits : bool
        The run creates a template, whose job is started later.
    """

    def __init__(
        self, pipeline: beam.Pipeline, job: jobs.SubmittedJob | None, *, only_submits: bool
    ) -> None:
        self.error: BaseException | None = None
        self._pipeline, self._job, self._only_submits = pipeline, job, only_submits
        self._result: PipelineResult | None = None
        self._submitted = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self, result: PipelineResult | None = None) -> None:
        """Start the thread. `result` is given if the pipeline is running already."""
        self._result = result
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def goes_on(self, messages: Sequence[str]) -> bool:
        """Wait a moment, and return whether the pipeline is still running.

        Beam may wait for ever for a worker that died. This method does not.

        Raises
        ------
        CommandError
            A worker died, and the pipeline did not end.
        """
        self._thread.join(_LOOK_EVERY_S)
        if self._thread.is_alive() and failures.worker_death(messages):
            self._thread.join(_GRACE_S)
            if self._thread.is_alive():
                raise CommandError(failures.worker_death(messages))
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Cancel the job on a cluster, if there is one."""
        if self._job is None or self._only_submits or self._thread.ident is None:
            return
        self._submitted.wait(_SUBMIT_S)
        if self._job.runner in (jobs.FLINK, jobs.DATAFLOW):
            # Beam 2.77 asks Flink for it at a wrong address, and waits for Dataflow.
            message = jobs.cancel(self._job)
            if message and self._job.runner == jobs.DATAFLOW:  # it takes minutes
                say(message, stream=sys.stderr)
        elif self._result is not None:
            with suppress(Exception):  # the error that ended the run matters more
                self._result.cancel()
        self._thread.join(_GRACE_S)  # Beam removes its jar from the cluster

    def _work(self) -> None:
        try:
            try:
                self._result = self._result or self._pipeline.run()
            finally:
                self._submitted.set()
            if self._job is not None and self._job.runner == jobs.DATAFLOW:
                if not self._only_submits:
                    dataflow.wait(self._result)
            else:
                _wait_for(self._result, _UNREACHABLE_S if self._job else 0.0)
        except BaseException as error:
            self.error = error


def run_to_end(
    pipeline: beam.Pipeline,
    job: jobs.SubmittedJob | None,
    *,
    only_submits: bool,
    in_main_thread: bool,
    folder: str | None,
    total: int | None,
    debug: bool,
) -> None:
    """Run a pipeline, and show its progress meanwhile.

    Parameters
    ----------
    pipeline : beam.Pipeline
    job, only_submits
        Of `Execution`.
    in_main_thread : bool
        Start it from this thread.
    folder, total
        Of `progress.watch`.
    debug : bool
        Raise Beam's own errors.

    Raises
    ------
    CommandError
        The pipeline failed; message and exit status are the cause's.
    KeyboardInterrupt
        After the processes that the run started are gone, and the job was cancelled.
    """
    execution = Execution(pipeline, job, only_submits=only_submits)
    servers: list[psutil.Process] = []
    with beam_messages(debug) as messages:
        try:
            if in_main_thread:
                before = local.children()
                try:
                    result = pipeline.run()
                finally:  # Beam has started a job server
                    servers = [child for child in local.children() if child not in before]
                execution.start(result)
            else:
                execution.start()
            progress.watch(partial(execution.goes_on, messages), folder, total)
            if execution.error:
                raise execution.error
        except BaseException as error:
            execution.cancel()
            local.end([*local.workers(pipeline), *servers])
            interrupted = not isinstance(error, Exception) and error is not execution.error
            if debug or interrupted or isinstance(error, CommandError):
                raise
            if death := failures.worker_death(messages):
                raise CommandError(death) from None
            raise failures.cause(error) from None


@contextmanager
def beam_messages(debug: bool) -> Iterator[list[str]]:
    """Collect the errors of Beam's threads, instead of printing their traces.

    Errors of other threads go to the previous hook, which is restored at the end. After an error
    that is once the threads that read from the workers have ended: they fail when the workers go.

    Parameters
    ----------
    debug : bool
        Beam's errors go to the previous hook as well.
    """
    messages: list[str] = []
    before = threading.excepthook
    others = set(threading.enumerate())

    def hook(args: threading.ExceptHookArgs) -> None:
        of_beam = _is_beams(args.exc_traceback)
        if of_beam:
            messages.append(str(args.exc_value))
        if debug or not of_beam:
            before(args)

    threading.excepthook = hook
    try:
        yield messages
    except BaseException:
        end = time.monotonic() + _READERS_END_WITHIN_S
        for thread in set(threading.enumerate()) - others:
            if thread.name in _READERS:
                thread.join(max(0.0, end - time.monotonic()))
        raise
    finally:
        if threading.excepthook is hook:
            threading.excepthook = before


def _is_beams(trace: TracebackType | None) -> bool:
    """Whether a trace contains Beam's code."""
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").startswith("apache_beam."):
            return True
        trace = trace.tb_next
    return False


def _wait_for(result: PipelineResult, unreachable_s: float) -> None:
    """Wait for a job's end. Beam's own wait asks less and less often, and one failure ends it."""
    answered = time.monotonic()
    while True:
        try:
            if PipelineState.is_terminal(result.state):
                break
            answered = time.monotonic()
        except Exception:
            if time.monotonic() - answered >= unreachable_s:
                raise
        time.sleep(_ASK_EVERY_S)
    result.wait_until_finish()  # raises why it failed
