"""A backfill: one run for each of several nights."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pipelines import errors, logs, nightly
from pipelines.errors import NothingMatchedError, UsageError
from pipelines.job import Job
from pipelines.storage import attempts, files, inputs

# Exit statuses that do not end a backfill, the worst last, and what they say of a night.
_STATUSES = {
    errors.DONE: "done",
    errors.NOTHING_MATCHED: "without a match",
    errors.TOO_MANY_REJECTIONS: "with too many rejections",
}


def run(jobs: Sequence[Job]) -> dict[dt.date, int]:
    """Do one job after another; returns the exit status of each night.

    A night that matches nothing does not end a backfill. Any other error does, since the next
    night would meet it, too; the same command goes on from there.

    Parameters
    ----------
    jobs : sequence of Job
        One for each night.

    Raises
    ------
    NothingMatchedError
        The only night matches nothing.
    UsageError
        Several nights, and each would only make a template.
    """
    if len(jobs) == 1:
        return {jobs[0].date: nightly.run(jobs[0])}
    if jobs[0].runner.only_submits:
        raise UsageError(
            "--from: a template starts one job, and a backfill has one for each night; give --date "
            "and --days"
        )
    if jobs[0].redo:
        jobs = _with_nights_left(jobs)
    statuses = {}
    for i, job in enumerate(jobs):
        logs.set_run(None)  # the one before has ended
        job.say(f"night {job.date} ({i + 1:,} of {len(jobs):,})")
        try:
            statuses[job.date] = nightly.run(job)
        except NothingMatchedError as error:
            job.say(str(error))
            statuses[job.date] = errors.NOTHING_MATCHED
    counts = Counter(statuses.values())
    found = ", ".join(
        f"{counts[status]:,} {text}" for status, text in _STATUSES.items() if counts[status]
    )
    line = f"{len(jobs):,} nights: {found}"
    logs.set_run(None)
    jobs[0].say(line)
    attempts.note_message(line)
    return statuses


def worst(statuses: Iterable[int]) -> int:
    """The worst exit status of some nights."""
    return max(statuses, key=list(_STATUSES).index)


def _with_nights_left(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, each with the number of later nights that match something."""
    found, left = [], 0
    for job in reversed(jobs):
        found.append(replace(job, nights_left=left))
        matched = inputs.match(job.inputs, dates=job.dates, output=files.absolute(job.output))
        left += next(matched, None) is not None
    return found[::-1]
