"""Progress of a run: a bar on a terminal, a line per minute elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from pipelines.logs import say

LOG_EVERY_S = 60.0


def watch(goes_on: Callable[[], bool], folder: str | None, total: int | None) -> None:
    """Show progress until the work has ended.

    Parameters
    ----------
    goes_on : callable
        Waits a little, and tells whether the work goes on.
    folder : str or None
        Where each worker of this machine adds a byte for a recording to a file of its own.
    total : int or None
        Recordings, where it is known.
    """
    if sys.stderr.isatty():
        _show_bar(goes_on, folder, total)
    else:
        _log_lines(goes_on, folder, total)


def _log_lines(goes_on: Callable[[], bool], folder: str | None, total: int | None) -> None:
    started = logged = time.monotonic()
    while goes_on():
        if time.monotonic() - logged >= LOG_EVERY_S:
            logged = time.monotonic()
            say(_line(_done(folder), total, logged - started), stream=sys.stderr)


def _line(done: int, total: int | None, spent_s: float) -> str:
    line = f"{done:,} of {total:,} recordings" if total else f"{done:,} recordings"
    if done and total:
        return f"{line}, about {_left(spent_s, done, total)} left"
    # Or the workers are on machines that do not share this folder.
    return f"{line} in {round(spent_s / 60)} min"


def _show_bar(goes_on: Callable[[], bool], folder: str | None, total: int | None) -> None:
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
        while goes_on():
            bar.update(task, completed=_done(folder))


def _left(spent_s: float, done: int, total: int) -> str:
    minutes = spent_s / done * (total - done) / 60
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{max(1, round(minutes))} min"


def _done(folder: str | None) -> int:
    if folder is None:
        return 0
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder))
    except OSError:
        return 0
