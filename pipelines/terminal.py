"""What the commands share at the terminal: lines, figures, progress, checks of files to write.

Nothing heavy is imported before it is used: `--help` answers at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ser_core.models import Card

# Results of a card that are printed; its CARD.md has all.
MAX_RESULTS = 4


def say(line: str) -> None:
    """Print a line at once."""
    print(f"ser: {line}", flush=True)


def plain(text: str) -> str:
    """Text without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def percent(value: float | None) -> str:
    """A share as percentage; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def interval(low: float | None, high: float | None) -> str:
    """An interval of shares in per cent; a dash where there is none."""
    return "-" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def check_target(option: str, path: str | None) -> None:
    """Check before the work that a file can be written after it.

    Raises
    ------
    UsageError
        A folder is in its place, or its folder cannot be written or made.
    """
    if path is None:
        return
    if Path(path).is_dir():
        raise UsageError(f"{option} {path}: a folder found, a file's name expected")
    folder = next(parent for parent in Path(path).absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise UsageError(f"{option} {path}: cannot be written in {folder}; name another place")


def check_folder(option: str, given: str | None, *, there: bool = False) -> Path | None:
    """The folder that an option gives; with `there` it must exist.

    Raises
    ------
    UsageError
        A file, or no such folder.
    """
    if given is None:
        return None
    folder = Path(given)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder}: a file found, a folder expected")
    if there and not folder.is_dir():
        raise UsageError(f"{option} {folder}: no such folder; give one with recorded noises")
    return folder


def print_results(card: Card) -> None:
    """Print how well a bundle did in its tests."""
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
    """A bar a stage on a terminal; a line a stage elsewhere."""
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
