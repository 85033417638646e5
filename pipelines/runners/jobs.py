"""Jobs on a cluster, which go on when the command that submitted them is killed.

A run's job has a name that nobody else's has. It is noted in the run's staging folder before the
job is submitted, so the next command that opens the output can cancel it before it clears that
folder away. Where the cluster cannot be reached, that is said and no more: what a job writes then
is published by nobody.
"""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass

from pipelines.runners import dataflow
from pipelines.storage import files

NOTE = "job.json"
FLINK, DATAFLOW = "flink", "dataflow"
_ANSWER_S = 10.0
_END_S = 60.0
_LOOK_EVERY_S = 0.5
_ENDED = ("FINISHED", "FAILED", "CANCELED")


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
    if job.runner != FLINK:
        return (
            f"job {job.name} of an earlier run may still go on ({job.runner} {job.master}): "
            "cancel it there. It can publish nothing"
        )
    try:
        running = [one["jid"] for one in _flink_jobs(job.master) if _is(one, job.name)]
        for jid in running:
            _ask(job.master, f"/v1/jobs/{jid}?mode=cancel", method="PATCH")
        ended = _wait_for_end(job)
    except (OSError, ValueError, KeyError) as error:
        return (
            f"job {job.name} of an earlier run may still go on: {job.master} cannot be asked "
            f"({error}). It can publish nothing"
        )
    if not running:
        return None
    return f"job {job.name} of a run that was cut off: " + (
        "cancelled" if ended else f"cancelled, but it has not ended after {_END_S:g} s"
    )


def flink_slots(master: str) -> int:
    """How many tasks a Flink cluster can run at once.

    Raises
    ------
    OSError, ValueError, KeyError
        It does not answer, or not as Flink does.
    """
    return int(_ask(master, "/v1/overview")["slots-total"])


def flink_url(master: str) -> str:
    """The address of a JobManager's REST interface, as Beam reads `--flink_master`."""
    return master if master.startswith(("http://", "https://")) else f"http://{master}"


def _wait_for_end(job: SubmittedJob) -> bool:
    end = time.monotonic() + _END_S
    while any(_is(one, job.name) for one in _flink_jobs(job.master)):
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def _flink_jobs(master: str) -> list[dict]:
    return _ask(master, "/v1/jobs/overview")["jobs"]


def _is(job: dict, name: str) -> bool:
    return job["name"] == name and job["state"] not in _ENDED


def _ask(master: str, path: str, method: str = "GET") -> dict:
    request = urllib.request.Request(flink_url(master) + path, method=method)
    with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
        text = answer.read()
    with suppress(ValueError):
        return json.loads(text)
    raise ValueError("this is not the REST interface of a Flink JobManager")
