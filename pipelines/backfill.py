"""A backfill: one run for each of several nights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipelines import errors, nightly
from pipelines.errors import NothingMatchedError
from pipelines.job import Job
from pipelines.storage import attempts

# Exit statuses that do not end a backfill, the worst last, and what they say of a night.
_STATUSES = {
    errors.DONE: "done",
    errors.NOTHING_MATCHED: "without a match",
    errors.TOO_MANY_REJECTIONS: "with too many rejections",
}


def run(jobs: Sequence[Job]) -> int:
    """Do one job after another; returns the worst exit status.

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
    """
    if len(jobs) == 1:
        return nightly.run(jobs[0])
    statuses = []
    for i, job in enumerate(jobs):
        job.say(f"night {job.date} ({i + 1:,} of {len(jobs):,})")
        try:
            statuses.append(nightly.run(job))
        except NothingMatchedError as error:
            job.say(str(error))
            statuses.append(errors.NOTHING_MATCHED)
    counts = Counter(statuses)
    found = ", ".join(
        f"{counts[status]:,} {text}" for status, text in _STATUSES.items() if counts[status]
    )
    line = f"{len(jobs):,} nights: {found}"
    jobs[0].say(line)
    attempts.note_message(line)
    return max(statuses, key=list(_STATUSES).index)
