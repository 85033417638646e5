"""Jobs on a cluster, which go on when the command that submitted them is killed.

A run's job has a name that nobody else's has. It is noted in the run's staging folder before the
job is submitted, so the next command that opens the output can cancel it before it clears that
folder away. Where the cluster cannot be reached, that is said and no more: what a job writes then
is published by nobody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.runners import dataflow, flink
from pipelines.storage import files

NOTE = "job.json"
FLINK, DATAFLOW = "flink", "dataflow"


@dataclass(frozen=True)
class SubmittedJob:
    """Where a job runs, and what it is called there.

    Parameters
    ----------
    runner : str
        `flink`, `dataflow`, or the name of another one, whose jobs cannot be cancelled from here.
    master : str
        What the runner was told of its cluster.
    name : str
        Of this job alone.
    """

    runner: str
    master: str
    name: str


def job_of(runner: str, beam_options: Sequence[str], run_id: str) -> SubmittedJob | None:
    """A run's job on a cluster; None where all of it ends with this process.

    Parameters
    ----------
    runner : str
        Beam's name of a runner that is not this machine.
    beam_options : sequence of str
    run_id : str
    """
    name = f"ser-{run_id.lower()}"  # lower case is what Dataflow wants
    if dataflow.is_dataflow(runner):
        where = dataflow.where(beam_options)
        return SubmittedJob(DATAFLOW, where, dataflow.job_name(beam_options, name))
    given = PipelineOptions(list(beam_options)).get_all_options(drop_default=True)
    kind, where = runner, given.get("job_endpoint", "")
    if not where and flink.is_flink(runner):
        kind, where = FLINK, given.get("flink_master", "[")
    if not where or where.startswith("["):
        return None  # Beam starts a job server of its own, a child of this process
    return SubmittedJob(kind, where, name)


def note_job(staged: str, job: SubmittedJob) -> None:
    """Write a job down in a run's staging folder; before it is submitted."""
    files.write_whole(files.join(staged, NOTE), json.dumps(asdict(job)))


def cancel_noted(text: str) -> str | None:
    """Cancel the job of a run that was cut off, if it goes on.

    Parameters
    ----------
    text : str
        What `note_job` wrote.

    Returns
    -------
    str or None
        A line for the person or log that watches; None where there was nothing to cancel.
    """
    return cancel(SubmittedJob(**json.loads(text)))


def cancel(job: SubmittedJob) -> str | None:
    """Cancel a job and wait for its end. Returns a line to say, None where it did not go on."""
    if job.runner == DATAFLOW:
        return dataflow.cancel(job.master, job.name)
    if job.runner == FLINK:
        return flink.cancel(job.master, job.name)
    return (
        f"job {job.name} of an earlier run may still go on ({job.runner} {job.master}): "
        "cancel it there. It can publish nothing"
    )
