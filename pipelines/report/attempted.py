"""Starts of commands since the night before that did not end well."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pipelines.report import statements
from pipelines.storage import attempts
from ser_core.report.morning import Failure

# Attempts that are read at most.
NEWEST = 100


def failures(db: Any, root: str, night: dt.date) -> tuple[Failure, ...]:
    """Failed, killed, refused and interrupted attempts, newest first.

    From the end of the runs of the night before up to the end of this night's, or up to now if it
    is the last one.
    """
    day = statements.date(night)
    since, until = db.execute(
        f"SELECT max(ended) FILTER (night < {day}), CASE WHEN max(night) > {day} "
        f"THEN max(ended) FILTER (night = {day}) END FROM runs"
    ).fetchone()
    # The tables are read before this run's own attempt ends.
    own = attempts.current()
    found = []
    for attempt in attempts.read(root, newest=NEWEST):
        started = dt.datetime.fromisoformat(attempt.started)
        if (since and started <= since) or (until and started > until):
            continue
        if own is not None and attempt.id == own.attempt.id:
            continue
        alive = attempt.status == attempts.RUNNING and attempt.is_alive
        if attempt.exit_code == 0 or alive:
            continue
        status = "killed" if attempt.status == attempts.RUNNING else attempt.status
        if attempt.exit_code is not None:
            status = f"{status}, exit status {attempt.exit_code}"
        found.append(
            Failure(f"{started:%Y-%m-%d %H:%M} UTC", attempt.command, status, attempt.message or "")
        )
    return tuple(found)
