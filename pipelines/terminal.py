"""What the commands share at the terminal: lines, figures, progress bars, checks of paths.

Nothing heavy is imported before it is used, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UsageError
from pipelines.logs import say as say

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ser_core.models import Card

# How many results of a card are printed; its CARD.md has them all.
MAX_RESULTS = 4


def plain(text: str) -> str:
    """Replace characters that could control a terminal by question marks."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def defuse(value: str) -> str:
    """A text that a spreadsheet takes as text: one that begins like a formula gets a quote mark.

    Examples
    --------
    >>> [defuse(value) for value in ("=1+1", "@sum", "-0.5", "/calls/a.wav")]
    ["'=1+1", "'@sum", '-0.5', '/calls/a.wav']
    """
    is_number = re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", value, re.I)
    return f"'{value}" if value.startswith(tuple("=+-@\t\r")) and not is_number else value


def unmarked(text: str) -> str:
    """A message whose `words` between backticks, as pages show them as code, are in quote marks.

    Examples
    --------
    >>> unmarked("see `ser model show`")
    'see “ser model show”'
    """
    return re.sub(r"`([^`]+)`", r"“\1”", text)


def percent(value: float | None) -> str:
    """A share as a percentage; a dash for None."""
    return "-" if value is None else f"{100 * value:.1f} %"


def interval(low: float | None, high: float | None) -> str:
    """An interval of shares in percent; a dash for None."""
    return "-" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def check_target(option: str, path: str | None) -> None:
    """Check before the work that its result can be written to a file.

    Raises
    ------
    UsageError
        The path is a folder, or its folder cannot be written or created.
    """
    if path is None:
        return
    if Path(path).is_dir():
        raise UsageError(f"{option} {path}: a folder found, a file name expected")
    folder = next(parent for parent in Path(path).absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise UsageError(f"{option} {path}: {folder} is not writable; give another path")


def check_folder(option: str, given: str | None, *, must_exist: bool = False) -> Path | None:
    """Check the folder that an option gives; with `must_exist` it has to exist.

    Raises
    ------
    UsageError
        The path is a file, or there is no such folder.
    """
    if given is None:
        return None
    folder = Path(given)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder}: a file found, a folder expected")
    if must_exist and not folder.is_dir():
        raise UsageError(f"{option} {folder}: no such folder; give one with recorded noises")
    return folder


def print_results(card: Card) -> None:
    """Print the test results of a bundle."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{card.id}: {len(card.labels)} emotions")
    for column in ("tested", "UAR", "95 % by speaker", "accuracy"):
        table.add_column(column)
    for result in list(card.results.values())[:MAX_RESULTS]:
        table.add_row(
            result["protocol"],
            percent(result["uar"]),
            f"{percent(result['uar_low'])} to {percent(result['uar_high'])}"
            if result["uar_low"] is not None
            else "-",
            percent(result["accuracy"]),
        )
    Console().print(table)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Report progress: one bar per stage on a terminal, one line per stage elsewhere.

    Yields
    ------
    callable
        Takes the stage, the items done and the items in total.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
                if not console.is_terminal:
                    console.print(f"ser: {stage} ({total:,})", highlight=False)
            bar.update(tasks[stage], completed=done, total=total)

        yield report
