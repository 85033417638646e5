"""Where Beam works: on this machine in several processes, or on the runner that was asked for.

A pipeline runs in a thread with SIGINT blocked (its processes inherit that) while the main
thread shows progress and hears Ctrl-C, which also cancels a job on a cluster.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipelines.errors import CommandError
from pipelines.runners import dataflow, flink, jobs

LOG_EVERY_S = 60.0
_LOOK_EVERY_S = 0.2
_GRACE_S = 15.0
_ASK_EVERY_S = 1.0
# A JobManager may be away for a while without losing its jobs.
_UNREACHABLE_S = 300.0
_SUBMIT_S = 60.0
_ERROR_LINE = re.compile(
    r"^(?:Caused by: )?(?:[\w.$]+[.$])?(\w*(?:Error|Exception|Expired|Interrupt)): (.*)", re.M
)
_TRACE = "Traceback (most recent call last)"
_WORKER = "pipelines.runners.worker"
_WORKER_DIED = re.compile(r"Worker subprocess exited with return code -(\d+)")
_LOCAL = ("directrunner", "fnapirunner")


class Outcome(Enum):
    """How a pipeline ended that did not fail."""

    FINISHED = "its work is done"
    SUBMITTED = "a template was made, whose job somebody else starts"


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

    def beam_runner(self):
        """The runner object or its name, as `beam.Pipeline` takes it."""
        if not self.local:
            return self.name
        # What DirectRunner comes down to once it has failed to download another runner.
        from apache_beam.portability.api import beam_provision_api_pb2
        from apache_beam.runners.job.utils import dict_to_struct
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
        from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
        from apache_beam.transforms.environments import SubprocessSDKEnvironment

        worker = f"exec {shlex.quote(sys.executable)} -m {_WORKER} {os.getpid()}"
        if not self.debug:
            # What fails comes back as an exception; a log on a full disk would hang the worker.
            worker += " >/dev/null 2>&1"
        # Beam tells such workers no options; they need those of file systems.
        said = PipelineOptions(list(self.beam_options)).get_all_options(drop_default=True)
        about = beam_provision_api_pb2.ProvisionInfo(pipeline_options=dict_to_struct(said))
        return FnApiRunner(
            SubprocessSDKEnvironment.from_command_string(worker),
            provision_info=ExtendedProvisionInfo(about),
        )

    @property
    def only_submits(self) -> bool:
        """Whether a template is made, whose job somebody else starts."""
        return dataflow.is_dataflow(self.name) and dataflow.submits_only(self.beam_options)

    def job(self, run_id: str) -> jobs.SubmittedJob | None:
        """What a run's job is called on a cluster; None where all of it ends with this process."""
        if self.name is None or self.local:
            return None
        name = f"ser-{run_id.lower()}"  # lower case is what Dataflow wants
        if dataflow.is_dataflow(self.name):
            where = dataflow.where(self.beam_options)
            return jobs.SubmittedJob(
                jobs.DATAFLOW, where, dataflow.job_name(self.beam_options, name)
            )
        said = PipelineOptions(list(self.beam_options)).get_all_options(drop_default=True)
        kind, where = self.name, said.get("job_endpoint", "")
        if not where and flink.is_flink(self.name):
            kind, where = jobs.FLINK, said.get("flink_master", "[")
        if not where or where.startswith("["):
            return None  # Beam starts a job server of its own, a child of this process
        return jobs.SubmittedJob(kind, where, name)

    def pipeline(self, job: jobs.SubmittedJob | None = None) -> beam.Pipeline:
        """An empty pipeline that this runner will run."""
        return beam.Pipeline(runner=self.beam_runner(), options=self.options(job))

    def options(self, job: jobs.SubmittedJob | None = None) -> PipelineOptions:
        options = list(self.beam_options)
        if self.local:
            options.append(f"--direct_num_workers={self.workers}")
        if job is not None:
            options.append(f"--job_name={job.name}")
        return PipelineOptions(options)

    def run(
        self,
        pipeline: beam.Pipeline,
        progress: str | None,
        total: int | None,
        job: jobs.SubmittedJob | None = None,
    ) -> Outcome:
        """Run to the end.

        Parameters
        ----------
        pipeline : beam.Pipeline
        progress : str, optional
            A folder in which workers on this machine count what they did.
        total : int, optional
            Recordings, where it is known.
        job : jobs.SubmittedJob, optional
            From `job`.

        Returns
        -------
        Outcome

        Raises
        ------
        CommandError
            The pipeline failed; the message is the cause's.
        KeyboardInterrupt
            After everything that was started is gone, and the job was cancelled.
        """
        failed: list[BaseException] = []
        lost: list[str] = []  # what Beam's own threads end with
        submitted = threading.Event()
        results: list[PipelineResult] = []
        only_submits = self.only_submits

        def hear(args) -> None:
            lost.append(str(args.exc_value))
            if self.debug:
                threading.__excepthook__(args)

        threading.excepthook = hear

        def work(result) -> None:
            try:
                try:
                    results.append(result or pipeline.run())
                finally:
                    submitted.set()
                if job and job.runner == jobs.DATAFLOW:
                    if not only_submits:
                        dataflow.wait(results[0])
                    return
                _wait_for(results[0], _UNREACHABLE_S if job else 0.0)
            except BaseException as error:
                failed.append(error)

        try:
            # A job server that Beam starts wants to hear SIGINT, and only this thread can.
            result = None if self.local or job else pipeline.run()
            thread = threading.Thread(target=work, args=(result,), daemon=True)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            thread.start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            _watch(thread, progress, total, lost)
            if failed:
                raise failed[0]
            return Outcome.SUBMITTED if only_submits else Outcome.FINISHED
        except BaseException as error:
            if job is not None and not only_submits:
                submitted.wait(_SUBMIT_S)
                _cancel(job, results)
                thread.join(_GRACE_S)  # Beam takes its jar away from the cluster
            _end_children()
            interrupted = not isinstance(error, Exception) and error not in failed
            if self.debug or interrupted or isinstance(error, CommandError):
                raise
            raise CommandError(_lost_worker(lost) or _cause(error)) from None


def settled(
    name: str | None, workers: int | None, beam_options: Sequence[str], debug: bool
) -> tuple[Runner, str | None]:
    """The runner that was asked for, and a line that says what was chosen for it, if anything.

    Raises
    ------
    UsageError, CommandError
        As `flink.settle`.
    """
    runner = Runner(name, workers or len(os.sched_getaffinity(0)), tuple(beam_options), debug)
    if name is None or runner.local:
        return runner, None
    options, line = flink.settle(name, workers, beam_options)
    return replace(runner, beam_options=tuple(options)), line


def _cancel(job: jobs.SubmittedJob, results: Sequence[PipelineResult]) -> None:
    if job.runner in (jobs.FLINK, jobs.DATAFLOW):
        # Beam 2.77 asks Flink for it at an address that is none, and waits for Dataflow.
        said = jobs.cancel(job)
        if said and job.runner == jobs.DATAFLOW:  # which takes minutes to end it
            print(f"ser: {said}", file=sys.stderr, flush=True)
        return
    for result in results:
        with suppress(Exception):  # what ended the run is what counts
            result.cancel()


def _wait_for(result: PipelineResult, unreachable_s: float) -> None:
    """Wait for a job's end. Beam's own waiting asks ever more seldom, and gives up at once."""
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
    result.wait_until_finish()  # says why it failed


def _watch(
    thread: threading.Thread, progress: str | None, total: int | None, lost: Sequence[str]
) -> None:
    """Wait for the thread: a bar on a terminal, a line a minute elsewhere."""
    if not sys.stderr.isatty():
        started = said = time.monotonic()
        while _goes_on(thread, lost):
            if time.monotonic() - said >= LOG_EVERY_S:
                said = time.monotonic()
                done = _done(progress)
                line = f"{done:,} of {total:,} recordings" if total else f"{done:,} recordings"
                if done and total:
                    line += f", about {_left(said - started, done, total)} left"
                else:  # or the workers are on machines that do not share this folder
                    line += f" in {round((said - started) / 60)} min"
                print(f"ser: {line}", file=sys.stderr, flush=True)
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


def _done(progress: str | None) -> int:
    """Each worker process adds a byte a recording to a file of its own."""
    if progress is None:
        return 0
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
    """The innermost line of a trace that went through several processes and languages."""
    _, trace, python = str(error).rpartition(_TRACE)
    lines = _ERROR_LINE.findall(python)
    if not lines:
        first = next(iter(str(error).splitlines()), "")
        return f"the run failed: {type(error).__name__}: {first}"
    # After Python's line there may follow what Java made of it.
    kind, text = lines[0] if trace else lines[-1]
    text = re.sub(r" \[while running .*", "", text)
    known = kind in ("StoreError", "SerError", "BundleError", "FeatureError", "CommandError")
    return text if known else f"the run failed: {kind}: {text} (--debug shows the whole trace)"
