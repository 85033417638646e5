"""Where Beam works: on this machine in several processes, or on the runner that was asked for.

A local pipeline blocks, so it runs in a thread with SIGINT blocked (its processes inherit that)
while the main thread shows progress and hears Ctrl-C.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import dataflow
from pipelines.errors import CommandError

LOG_EVERY_S = 60.0
_LOOK_EVERY_S = 0.2
_GRACE_S = 15.0
_SUBMIT_S = 60.0
_ERROR_LINE = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Expired|Interrupt)): (.*)", re.M)
_WORKER = "pipelines.worker"
_WORKER_DIED = re.compile(r"Worker subprocess exited with return code -(\d+)")
_LOCAL = ("directrunner", "fnapirunner")


@dataclass(frozen=True)
class Runner:
    """Parameters
    ----------
    name : str or None
        Beam's name of a runner; None and DirectRunner are this machine.
    workers : int >= 1
        Processes on this machine.
    beam_options : sequence of str
        Handed to Beam as they are.
    debug : bool
        Show Beam's own messages and whole traces.
    """

    name: str | None = None
    workers: int = 1
    beam_options: Sequence[str] = ()
    debug: bool = False

    @property
    def local(self) -> bool:
        return self.name is None or self.name.lower() in _LOCAL

    def settled(self, say: Callable[[str], None]) -> Runner:
        """This runner with the options that it needs beyond the user's; tells what was chosen.

        Raises
        ------
        UsageError
            It cannot work with what was given.
        """
        if not dataflow.is_dataflow(self.name):
            return self
        options, line = dataflow.settings(self.beam_options, self.workers)
        say(line)
        return replace(self, beam_options=options)

    def job_name(self) -> str | None:
        """A name on Dataflow that no other job has, unless the user gives one."""
        if not dataflow.is_dataflow(self.name):
            return None
        return dataflow.job_name(self.beam_options, f"ser-{uuid.uuid4().hex[:12]}")

    def beam_runner(self):
        """The runner object or its name, as `beam.Pipeline` takes it."""
        if not self.local:
            return self.name
        # What DirectRunner comes down to once it has failed to download another runner.
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
        from apache_beam.transforms.environments import SubprocessSDKEnvironment

        worker = f"exec {shlex.quote(sys.executable)} -m {_WORKER} {os.getpid()}"
        if not self.debug:
            # What fails comes back as an exception; a log on a full disk would hang the worker.
            worker += " >/dev/null 2>&1"
        return FnApiRunner(SubprocessSDKEnvironment.from_command_string(worker))

    def options(self, job_name: str | None = None) -> PipelineOptions:
        options = list(self.beam_options)
        if job_name is not None:
            options.append(f"--job_name={job_name}")
        if self.local:
            options.append(f"--direct_num_workers={self.workers}")
        return PipelineOptions(options)

    def run(
        self, pipeline: beam.Pipeline, progress: Path, total: int, job_name: str | None = None
    ) -> bool:
        """Run to the end.

        Returns
        -------
        bool
            Whether the work was done: False where a template was made, which others start.

        Raises
        ------
        CommandError
            The pipeline failed; the message is the cause's.
        KeyboardInterrupt
            After everything that was started is gone, and a job on Dataflow was cancelled.
        """
        failed: list[BaseException] = []
        lost: list[str] = []  # what Beam's own threads end with
        submitted = threading.Event()
        only_submits = job_name is not None and dataflow.submits_only(self.beam_options)

        def hear(args) -> None:
            lost.append(str(args.exc_value))
            if self.debug:
                threading.__excepthook__(args)

        threading.excepthook = hear

        def work() -> None:
            try:
                try:
                    result = pipeline.run()
                finally:
                    submitted.set()
                if only_submits:
                    return
                if job_name is not None:
                    dataflow.wait(result)
                else:
                    result.wait_until_finish()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, daemon=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        thread.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            _watch(thread, progress, total, lost)
        except BaseException:
            if job_name is not None and not only_submits:
                submitted.wait(_SUBMIT_S)
                said = dataflow.cancel(dataflow.where(self.beam_options), job_name)
                print(f"ser: {said or 'nothing to cancel'}", file=sys.stderr, flush=True)
            _end_children()
            raise
        if failed:
            _end_children()
            if self.debug:
                raise failed[0]
            if isinstance(failed[0], CommandError):
                raise failed[0] from None
            raise CommandError(_lost_worker(lost) or _cause(failed[0])) from None
        return not only_submits


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    return time.process_time()


def peak_memory_mb() -> float:
    """The most that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _watch(thread: threading.Thread, progress: Path, total: int, lost: Sequence[str]) -> None:
    """Wait for the thread: a bar on a terminal, a line a minute elsewhere."""
    if not sys.stderr.isatty():
        started = said = time.monotonic()
        while _goes_on(thread, lost):
            if time.monotonic() - said >= LOG_EVERY_S:
                said = time.monotonic()
                done = _done(progress)
                left = f", about {_left(said - started, done, total)} left" if done else ""
                print(f"ser: {done:,} of {total:,} recordings{left}", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "recordings",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("recordings", total=total)
        while _goes_on(thread, lost):
            bar.update(task, completed=_done(progress))


def _goes_on(thread: threading.Thread, lost: Sequence[str]) -> bool:
    """Wait a little. Beam may wait for ever for a worker that died: we don't.

    Raises
    ------
    CommandError
        A worker died, and the run did not end of it.
    """
    thread.join(_LOOK_EVERY_S)
    if thread.is_alive() and _lost_worker(lost):
        thread.join(_GRACE_S)
        if thread.is_alive():
            raise CommandError(_lost_worker(lost))
    return thread.is_alive()


def _left(spent_s: float, done: int, total: int) -> str:
    minutes = spent_s / done * (total - done) / 60
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{max(1, round(minutes))} min"


def _done(progress: Path) -> int:
    """Each worker process adds a byte a recording to a file of its own."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(progress))
    except OSError:
        return 0


def _end_children() -> None:
    """End the workers and theirs."""
    family = psutil.Process().children(recursive=True)
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=5)


def _lost_worker(lost: Sequence[str]) -> str | None:
    for said in filter(None, map(_WORKER_DIED.search, lost)):
        name = signal.Signals(int(said[1])).name
        return (
            f"the run failed: a worker process was ended by {name}, perhaps for want of memory "
            "(fewer --workers need less); run again: what was published stays"
        )
    return None


def _cause(error: BaseException) -> str:
    """The innermost line of a trace that went through several processes."""
    lines = _ERROR_LINE.findall(str(error))
    if not lines:
        return f"the run failed: {type(error).__name__}: {error}"
    kind, text = lines[-1]
    text = re.sub(r" \[while running .*", "", text)
    known = kind in ("StoreError", "SerError", "BundleError", "FeatureError", "CommandError")
    return text if known else f"the run failed: {kind}: {text} (--debug shows the whole trace)"
