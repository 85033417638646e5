"""Jobs on a cluster. They keep running when the command that submitted them is killed.

Each run's job has a unique name. It is noted in the run's staging folder before the job is
submitted. The next command that opens the output cancels the job and then removes the folder. If
the cluster does not answer, the command prints a message and goes on: nothing that such a job
writes is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.runners import dataflow, flink

FLINK, DATAFLOW = "flink", "dataflow"


@dataclass(frozen=True)
class SubmittedJob:
    """A job, and the cluster that runs it.

    Parameters
    ----------
    runner : str
        `flink`, `dataflow`, or another runner's name, whose jobs cannot be cancelled from here.
    master : str
        Address of the cluster, or the options with which the job is found.
    name : str
        Unique name of the job.
    """

    runner: str
    master: str
    name: str


def job_of(runner: str, beam_options: Sequence[str], run_id: str) -> SubmittedJob | None:
    """A run's job on a cluster; None if the run ends with this process.

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
        return None  # Beam starts a job server as a child of this process
    return SubmittedJob(kind, where, name)


def cancel(job: SubmittedJob) -> str | None:
    """Cancel a job, and wait for its end. Returns a message, or None if it was not running."""
    if job.runner == DATAFLOW:
        return dataflow.cancel(job.master, job.name)
    if job.runner == FLINK:
        return flink.cancel(job.master, job.name)
    return (
        f"job {job.name} of an earlier run may still go on ({job.runner} {job.master}): "
        "cancel it there. It can publish nothing"
    )
