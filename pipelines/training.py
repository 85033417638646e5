"""`ser train` and `ser model show`: `ser_core.models` at the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn
from rich.table import Table

from pipelines import errors
from pipelines.errors import UsageError
from ser_core import corpora, models
from ser_core.models.bundle import find

_MOST_ROWS = 4
_OF_BOTH = ("emotions", "folds", "seed")
_OF_CALLS = ("noise", "effort")
_OF_SEED = ("split", "scale", "layers", "dropout", "optimizer", "epochs", "batch_size")


def train(options) -> int:
    """Train a bundle, with progress, and print what it is worth."""
    from ser_core.models import calls_training, training

    by_calls = options.recipe == "calls"
    for name in _OF_SEED if by_calls else _OF_CALLS:
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is none of recipe {options.recipe}; "
                f"leave it out or take --recipe {'seed' if by_calls else 'calls'}"
            )
    names = [*_OF_BOTH, *(("effort",) if by_calls else _OF_SEED)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    about: dict[str, Any] = {"jobs": options.jobs, "cache": folder_of("--cache", options.cache)}
    noise = folder_of("--noise", options.noise, there=True)
    recipe = calls_training.CallsRecipe(**given) if by_calls else training.SeedRecipe(**given)
    opened = open_corpora(options)
    for corpus in opened:
        print(f"ser: {corpus.name}: {len(corpus.utterances):,} utterances{_skipped(corpus)}")
    with progress_bars() as progress:
        about["progress"] = progress
        if isinstance(recipe, training.SeedRecipe):
            folder = training.train(opened, recipe, options.save, **about)
        else:
            folder = calls_training.train(opened, recipe, options.save, noise=noise, **about)
    card = models.read_card(folder)
    _print_results(card)
    print(f"ser: {card.id}: {card.licence}")
    print(f"ser: bundle: {folder}; its CARD.md tells the rest")
    return errors.DONE


def show_model(name: str | None) -> int:
    """Print a bundle's card."""
    folder = find(name or models.default_name())
    card = models.read_card(folder)
    print(f"{card.id}: {card.licence}")
    text = folder / "CARD.md"
    if text.exists():
        Console().print(Markdown(text.read_text(encoding="utf-8")))
    else:
        _print_results(card)
    return errors.DONE


def open_corpora(options) -> list[corpora.Corpus]:
    """The corpora of `--corpus`; what is odd about them is said."""
    opened = [corpora.open_corpus(name, folder) for name, folder in options.corpus]
    for corpus in opened:
        for warning in corpus.warnings:
            print(f"ser: warning: {corpus.name}: {warning}")
    return opened


def folder_of(option: str, given: str | None, *, there: bool = False) -> Path | None:
    """A folder that an option gives."""
    if given is None:
        return None
    folder = Path(given)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder}: a file found, a folder expected")
    if there and not folder.is_dir():
        raise UsageError(f"{option} {folder}: no such folder; give one with recorded noises")
    return folder


def _skipped(corpus: corpora.Corpus) -> str:
    said = ", ".join(f"{count:,} {reason}" for reason, count in corpus.skipped.items() if count)
    return f"; left out: {said}" if said else ""


def _print_results(card: models.Card) -> None:
    table = Table(title=f"{card.id}: {len(card.labels)} emotions")
    for column in ("tested", "UAR", "95 % by speaker", "accuracy"):
        table.add_column(column)
    for result in list(card.results.values())[:_MOST_ROWS]:
        table.add_row(
            result["protocol"],
            _percent(result["uar"]),
            f"{_percent(result['uar_low'])} to {_percent(result['uar_high'])}"
            if result["uar_low"] is not None
            else "-",
            _percent(result["accuracy"]),
        )
    Console().print(table)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar a stage on a terminal; a line a stage elsewhere."""
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
