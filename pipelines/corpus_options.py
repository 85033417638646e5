"""The options --corpus, --label-map and --cache of `ser train`, `evaluate` and `explore`."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UsageError
from pipelines.terminal import progress_bars

if TYPE_CHECKING:
    from ser_core.corpora import Corpus
    from ser_core.corpora.agreement import Agreement

_MOST_DISPUTED = 20


def add_corpora(parser: ArgumentParser, more: str = "") -> None:
    """Add --corpus, --label-map and --cache; `more` extends the help of the first."""
    from ser_core.corpora import corpus_names

    parser.add_argument(
        "--corpus", required=True, nargs="+", type=_corpus_path, metavar="NAME=PATH",
        help=f"name and folder of a corpus ({', '.join(corpus_names())}), such as "
        "ravdess=FOLDER, or csv=FILE with labels of your own recordings" + more,
    )  # fmt: skip
    parser.add_argument(
        "--label-map", metavar="CSV",
        help="table label,emotion that renames labels; an empty emotion leaves a label out",
    )  # fmt: skip
    parser.add_argument(
        "--cache", metavar="DIR", help="folder to keep features in (default: the user's cache)"
    )


def _corpus_path(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} found, NAME=DIR such as ravdess=data expected")
    return name, folder


@contextmanager
def open_corpora(options: Namespace, *, to_train: bool = False) -> Iterator[list[Corpus]]:
    """Open the corpora of --corpus and print their warnings.

    Recordings of a CSV that lie in an object store are fetched, and kept while the context lasts.
    """
    from ser_core import corpora
    from ser_core.corpora import manifest

    table = manifest.read_label_map(options.label_map) if options.label_map else {}
    with ExitStack() as fetched:

        def locate(file: Path, uri: str) -> Path:
            from pipelines.storage import files
            from ser_core.names import path_of

            if not files.is_remote(uri):
                return file.parent / path_of(uri)
            return Path(fetched.enter_context(files.local_copy(uri)))

        opened, unused = [], set(table)
        for name, folder in options.corpus:
            if name == "csv":
                file = Path(folder)
                with progress_bars() as progress:
                    corpus = manifest.read(
                        file, locate=partial(locate, file), label_map=table,
                        to_train=to_train, progress=progress,
                    )  # fmt: skip
            else:
                corpus = corpora.open_corpus(name, folder)
                unused -= set(corpus.counts)
                corpus = corpora.relabel(corpus, table)
            opened.append(corpus)
        if unused and not any(name == "csv" for name, _ in options.corpus):
            raise UsageError(
                f"--label-map {options.label_map}: no corpus has the label "
                f"{', '.join(sorted(unused))}"
            )
        for corpus in opened:
            for warning in corpus.warnings:
                print(f"ser: warning: {corpus.name}: {warning}")
            if corpus.agreement:
                _print_agreement(corpus.name, corpus.agreement)
        yield opened


def _print_agreement(name: str, found: Agreement) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}: Krippendorff's alpha over {found.shared:,} shared stretches")
    table.add_column("of")
    table.add_column("alpha", justify="right")
    table.add_column("stretches", justify="right")
    table.add_row("all emotions", _alpha(found.alpha), f"{found.shared:,}")
    for emotion, alpha in found.by_emotion.items():
        table.add_row(f"{emotion} or not", _alpha(alpha), "")
    for pair, (alpha, count) in found.by_pair.items():
        table.add_row(
            " and ".join(annotator or "(unnamed)" for annotator in pair),
            _alpha(alpha),
            f"{count:,}",
        )
    Console().print(table)
    if found.disputed:
        print(
            f"ser: {name}: {len(found.disputed):,} stretches without agreement: used for training "
            "by shares, not for testing:"
        )
    for stretch in found.disputed[:_MOST_DISPUTED]:
        until = "the end" if stretch.end_s is None else f"{stretch.end_s:g} s"
        votes = ", ".join(f"{who or '(unnamed)'} {label}" for who, label in stretch.votes.items())
        print(f"ser:   {stretch.uri}, {stretch.start_s:g} s to {until}: {votes}")
    if (more := len(found.disputed) - _MOST_DISPUTED) > 0:
        print(f"ser:   and {more:,} more")


def _alpha(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
