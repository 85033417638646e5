"""`ser train` and `ser model show`: `ser_core.models` at the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn
from rich.table import Table

from pipelines import errors
from pipelines.errors import UsageError
from ser_core import corpora, models
from ser_core.corpora import manifest
from ser_core.corpora.agreement import Agreement
from ser_core.models.card import find

FOLDS = 6
_AT_RANDOM = (
    "split at random, as --split asks: one voice stands in training and test, so that figure tells "
    "how well voices are remembered; quote the one by speaker"
)
_SIMPLER = (
    "a simpler model learns more from few data: --from calls only teaches a model that is trained "
    "already, --architecture dnn is the smallest of its own"
)
_MOST_ROWS = 4
_MOST_DISPUTED = 20
_OF_BOTH = ("emotions", "folds", "seed")
_OF_CALLS = ("noise", "effort", "architecture", "start")
_OF_SEED = ("split", "scale", "layers", "dropout", "optimizer", "epochs", "batch_size")


def train(options) -> int:
    """Train a bundle, with progress, and print what it is worth."""
    from ser_core.models import calls_training, training, transfer

    _check_fit(options)
    about: dict[str, Any] = {"jobs": options.jobs, "cache": folder_of("--cache", options.cache)}
    noise = folder_of("--noise", options.noise, there=True)
    # Everything that can be wrong with settings is told before any audio is read.
    if options.start:
        models.read_card(options.start)
    recipe = _recipe(options, 2 if options.folds is None else options.folds)
    with open_corpora(options) as opened:
        for corpus in opened:
            print(f"ser: {corpus.name}: {len(corpus.utterances):,} utterances{_skipped(corpus)}")
        tested = opened if options.start else opened[:1] if options.recipe == "calls" else opened
        utterances, labels = training.select(tested, recipe.emotions)
        few = training.advice(utterances, labels)
        if few and not options.start:
            few.append(_SIMPLER)
        for line in few:
            print(f"ser: warning: {line}")
        if options.split == "random" and any(corpus.own for corpus in opened):
            print(f"ser: warning: {_AT_RANDOM}")
        if options.folds is None:
            speakers = len(training.testable(utterances))
            recipe = _recipe(options, min(FOLDS, max(speakers, 2)))
            if 2 <= speakers < FOLDS:
                print(f"ser: {recipe.folds} folds, as many as there are speakers")
        with progress_bars() as progress:
            about |= {"progress": progress, "say": _say}
            if isinstance(recipe, training.SeedRecipe):
                folder = training.train(opened, recipe, options.save, **about)
            elif isinstance(recipe, transfer.TransferRecipe):
                folder = transfer.train(opened, recipe, options.save, **about)
            else:
                folder = calls_training.train(opened, recipe, options.save, noise=noise, **about)
    card = models.read_card(folder)
    _print_results(card)
    print(f"ser: {card.id}: {card.licence}")
    print(f"ser: bundle: {folder}; its CARD.md tells the rest")
    return errors.DONE


def _check_fit(options) -> None:
    """Refuse what the recipe has no use for."""
    by_calls = options.recipe == "calls"
    for name in _OF_SEED if by_calls else _OF_CALLS:
        if getattr(options, name) is None:
            continue
        if name == "split" and options.split == "random":
            raise UsageError(
                "--split random is none of recipe calls, which is always split by speaker: one "
                "voice in training and test flatters the figures; --recipe seed has it"
            )
        raise UsageError(
            f"{_option(name)} is none of recipe {options.recipe}; "
            f"leave it out or take --recipe {'seed' if by_calls else 'calls'}"
        )
    for name in ("noise", "effort", "architecture") if options.start else ():
        if getattr(options, name) is not None:
            raise UsageError(
                f"{_option(name)} is of a training from the beginning; leave it or --from out"
            )


def _option(name: str) -> str:
    return "--from" if name == "start" else f"--{name.replace('_', '-')}"


def _recipe(options, folds: int):
    from ser_core.models import calls_training, training, transfer

    def given(*names: str) -> dict[str, Any]:
        said = {name: getattr(options, name) for name in (*_OF_BOTH, *names)}
        return {name: value for name, value in said.items() if value is not None} | {"folds": folds}

    if options.recipe == "seed":
        return training.SeedRecipe(**given(*_OF_SEED))
    if options.start:
        return transfer.TransferRecipe(**given("start"))
    return calls_training.CallsRecipe(**given("effort", "architecture"))


def _say(line: str) -> None:
    print(f"ser: {line}", flush=True)


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


@contextmanager
def open_corpora(options) -> Iterator[list[corpora.Corpus]]:
    """The corpora of `--corpus`; what is odd about them is said.

    Recordings that a CSV names on an object store are fetched, and kept as long as this is open.
    """
    table = manifest.read_label_map(options.label_map) if options.label_map else {}
    with ExitStack() as fetched:

        def locate(file: Path, uri: str) -> Path:
            from pipelines.storage import files, inputs

            if not files.is_remote(uri):
                return Path(inputs.local_path(str(file.parent / uri)))
            return Path(fetched.enter_context(files.local_copy(uri)))

        opened, unused = [], set(table)
        for name, folder in options.corpus:
            if name == "csv":
                file = Path(folder)
                with progress_bars() as progress:
                    corpus = manifest.read(
                        file, locate=partial(locate, file), label_map=table,
                        to_train=options.leaf == "train", progress=progress,
                    )  # fmt: skip
            else:
                corpus = corpora.open_corpus(name, folder)
                unused -= set(corpus.counts)
                corpus = corpora.relabelled(corpus, table)
            opened.append(corpus)
        if unused and not any(name == "csv" for name, _ in options.corpus):
            raise UsageError(
                f"--label-map {options.label_map}: names {', '.join(sorted(unused))}, which no "
                "corpus has"
            )
        for corpus in opened:
            for warning in corpus.warnings:
                print(f"ser: warning: {corpus.name}: {warning}")
            if corpus.agreement:
                _print_agreement(corpus.name, corpus.agreement)
        yield opened


def _print_agreement(name: str, found: Agreement) -> None:
    table = Table(title=f"{name}: Krippendorff's alpha over {found.shared:,} shared stretches")
    table.add_column("of")
    table.add_column("alpha", justify="right")
    table.add_column("stretches", justify="right")
    table.add_row("all emotions", _alpha(found.alpha), f"{found.shared:,}")
    for emotion, alpha in found.by_emotion.items():
        table.add_row(f"{emotion} or not", _alpha(alpha), "")
    for pair, (alpha, count) in found.by_pair.items():
        table.add_row(" and ".join(one or "(unnamed)" for one in pair), _alpha(alpha), f"{count:,}")
    Console().print(table)
    if found.disputed:
        print(
            f"ser: {name}: {len(found.disputed):,} stretches that nobody agrees on: trained on by "
            "shares, not tested on:"
        )
    for one in found.disputed[:_MOST_DISPUTED]:
        until = "the end" if one.end_s is None else f"{one.end_s:g} s"
        said = ", ".join(f"{who or '(unnamed)'} {label}" for who, label in one.votes.items())
        print(f"ser:   {one.uri}, {one.start_s:g} s to {until}: {said}")
    if (more := len(found.disputed) - _MOST_DISPUTED) > 0:
        print(f"ser:   and {more:,} more")


def _alpha(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


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
