"""The runner of a job: which of Beam's runners works, and what it is told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.runners import dataflow, flink, jobs, local, running


class Outcome(Enum):
    """How a pipeline ended that did not fail."""

    FINISHED = "its work is done"
    SUBMITTED = "a template was made, whose job somebody else starts"


@dataclass(frozen=True)
class Runner:
    """Where Beam works, and how.

    Parameters
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
        """Whether it is this machine."""
        return local.is_local(self.name)

    @property
    def only_submits(self) -> bool:
        """Whether a template is made, whose job somebody else starts."""
        return dataflow.is_dataflow(self.name) and dataflow.submits_only(self.beam_options)

    def job(self, run_id: str) -> jobs.SubmittedJob | None:
        """A run's job on a cluster; None where all of it ends with this process."""
        if self.name is None or self.local:
            return None
        return jobs.job_of(self.name, self.beam_options, run_id)

    def pipeline(self, job: jobs.SubmittedJob | None = None) -> beam.Pipeline:
        """An empty pipeline for this runner; `job` is from the method of that name."""
        return beam.Pipeline(runner=self._beam_runner(), options=self._options(job))

    def run(
        self,
        pipeline: beam.Pipeline,
        progress: str | None,
        total: int | None,
        job: jobs.SubmittedJob | None = None,
    ) -> Outcome:
        """Run a pipeline to its end.

        Parameters
        ----------
        pipeline : beam.Pipeline
            From `pipeline`.
        progress : str or None
            A folder in which workers on this machine count what they did.
        total : int or None
            Recordings, where it is known.
        job : jobs.SubmittedJob, optional
            From `job`.

        Raises
        ------
        CommandError
            The pipeline failed; the message is the cause's.
        KeyboardInterrupt
            After the processes that the run started are gone, and the job was cancelled.
        """
        running.run_to_end(
            pipeline,
            job,
            only_submits=self.only_submits,
            # A job server that Beam starts wants to receive SIGINT, and only this thread can.
            in_main_thread=not self.local and job is None,
            folder=progress,
            total=total,
            debug=self.debug,
        )
        return Outcome.SUBMITTED if self.only_submits else Outcome.FINISHED

    def _beam_runner(self) -> Any:
        """The runner object or its name, as `beam.Pipeline` takes it."""
        return local.beam_runner(self.beam_options, debug=self.debug) if self.local else self.name

    def _options(self, job: jobs.SubmittedJob | None) -> PipelineOptions:
        options = list(self.beam_options)
        if self.local:
            options.append(f"--direct_num_workers={self.workers}")
        if job is not None:
            options.append(f"--job_name={job.name}")
        return PipelineOptions(options)


def choose(
    name: str | None, workers: int | None, beam_options: Sequence[str], debug: bool
) -> tuple[Runner, str | None]:
    """The runner that was asked for, and a line that says what was chosen for it, if anything.

    Parameters
    ----------
    name : str or None
        `--runner`.
    workers : int or None
        `--workers`; None is one per core, or as many as fit on a cluster.
    beam_options : sequence of str
        The user's options for Beam; none of them is changed.
    debug : bool

    Raises
    ------
    UsageError, CommandError
        As `flink.complete_options` and `dataflow.complete_options`.
    """
    runner = Runner(name, workers or len(os.sched_getaffinity(0)), tuple(beam_options), debug)
    if name is None or runner.local:
        return runner, None
    options, line = complete_options(name, workers, beam_options)
    return replace(runner, beam_options=tuple(options)), line


def complete_options(
    name: str, workers: int | None, given: Sequence[str]
) -> tuple[list[str], str | None]:
    """Add to the user's options for a cluster what follows from ours; and a line that says so."""
    if dataflow.is_dataflow(name):
        return dataflow.complete_options(given, workers)
    if flink.is_flink(name):
        return flink.complete_options(given, workers)
    return list(given), None
