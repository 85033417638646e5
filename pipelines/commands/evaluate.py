"""`ser evaluate`: how well a model does, as tables on the terminal, as JSON and as a page."""

from __future__ import annotations

import argparse
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipelines import errors
from pipelines.arguments import add_model, current_name, positive, required_signature
from pipelines.corpus_options import add_corpora, open_corpora
from pipelines.errors import UsageError
from pipelines.terminal import (
    check_folder,
    check_target,
    interval,
    percent,
    plain,
    progress_bars,
    say,
    unmarked,
)
from ser_core.conditions import CONDITIONS
from ser_core.emotions import GROUPINGS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ser_core.corpora import Corpus
    from ser_core.models.bundle import Bundle
    from ser_core.models.evaluation import Evaluation, Result, Tested

HELP = "test a model on a labelled corpus"
EXAMPLES = (
    "ser evaluate --model my-bundle --corpus ravdess=RAVDESS --condition mulaw",
    "ser evaluate --corpus emovo=EMOVO --groups angry --page evaluation.html",
    "ser evaluate --model my-bundle --against calls --corpus emovo=EMOVO --json figures.json",
)
_WIDTH = 100
# With more conditions, recall by label is printed of the first only.
_FEW_CONDITIONS = 3
_SCHEMA = 1
_BETTER = "better"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser evaluate` takes."""
    add_corpora(parser)
    add_model(parser)
    parser.add_argument("--against", metavar="BUNDLE", help="another model to compare with")
    parser.add_argument(
        "--condition", nargs="+", choices=CONDITIONS, metavar="CONDITION",
        help="degradation of the audio before the test, one or more of " + ", ".join(CONDITIONS)
        + " (default: each in turn)",
    )  # fmt: skip
    parser.add_argument(
        "--codec", dest="condition", nargs="+", choices=CONDITIONS, action=_OldName,
        help=argparse.SUPPRESS,
    )  # fmt: skip
    parser.add_argument(
        "--groups", choices=GROUPINGS,
        help="compare groups of labels: "
        + "; ".join(f"{name}: {grouping.description}" for name, grouping in GROUPINGS.items())
        + " (default: the labels themselves)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-overlap", action="store_true",
        help="go on where the test has clips, recordings or speakers of the model's training; the "
        "figures then say nothing about other voices",
    )  # fmt: skip
    parser.add_argument("--json", metavar="F.json", help="write all figures to this file")
    parser.add_argument("--page", metavar="F.html", help="write a page with pictures to this file")
    parser.add_argument(
        "--jobs", type=positive(int), metavar="N", help="parallel processes (default: one per core)"
    )


class _OldName(argparse.Action):
    """Stores the values of --codec, the name that --condition had in version 0.1.0."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        print(f"ser: {option_string} is called --condition now", file=sys.stderr)
        setattr(namespace, self.dest, values)


def run(options: Namespace) -> int:
    """Test a bundle, or two side by side, on corpora under conditions; gives the exit status."""
    from rich.console import Console

    from pipelines.storage import bundles
    from ser_core import __version__, models
    from ser_core.models import evaluation
    from ser_core.report import pages

    cache = check_folder("--cache", options.cache)
    for option, path in (("--json", options.json), ("--page", options.page)):
        check_target(option, path)
    key = required_signature(options)
    model = current_name(options.model, "--model") or models.default_name()
    tested = [bundles.load(model, signed_by=key)]
    if against := current_name(options.against, "--against"):
        tested.append(bundles.load(against, "--against", signed_by=key))
    console = Console()
    console = Console(width=min(console.width, _WIDTH) if console.is_terminal else _WIDTH)
    found = []
    with open_corpora(options) as opened:
        if not options.allow_overlap:
            _refuse_overlap(tested, opened)
        for corpus in opened:
            with progress_bars() as progress:
                evaluated = evaluation.evaluate_conditions(
                    tested,
                    corpus,
                    options.condition,
                    grouping=options.groups,
                    jobs=options.jobs,
                    cache=cache,
                    progress=progress,
                )
            _print(console, evaluated, known_warnings=corpus.warnings)
            found.append(evaluated)
    if options.json:
        figures = {"schema": _SCHEMA, "version": __version__, "evaluations": [*map(asdict, found)]}
        text = json.dumps(figures, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        print(f"ser: figures: {pages.write(options.json, text)}")
    if options.page:
        from ser_core.report import evaluation_page

        print(f"ser: page: {pages.write(options.page, evaluation_page.page(found))}")
    return errors.DONE


def _refuse_overlap(tested: Sequence[Bundle], corpora: Sequence[Corpus]) -> None:
    """Raise a UsageError if a test has clips, recordings or speakers of a bundle's training."""
    from ser_core.models.overlap import find_overlap

    shared = [
        f"{corpus.name}: {overlap.sentence(f'the training of {bundle.id}')}"
        for corpus in corpora
        for bundle in tested
        if (overlap := find_overlap(bundle.provenance, corpus)) is not None and overlap.found
    ]
    if shared:
        raise UsageError(
            f"{'; '.join(shared)}: the figures would say nothing about other voices; test on other "
            "speakers, or add --allow-overlap"
        )


# ---------------------------------------------------------------- the terminal


def _print(console: Console, found: Evaluation, *, known_warnings: Sequence[str]) -> None:
    """The verdict, what is wrong with it, and the figures behind it."""
    from ser_core.models import verdict

    names = verdict.names(found)
    several = len(names) > 1
    say(plain(f"{found.corpus}: {' against '.join(names)}: {verdict.verdict(found)}"))
    for warning in found.serious:
        say(plain(f"serious: {unmarked(warning)}"))
    few = found.conditions if len(found.conditions) <= _FEW_CONDITIONS else found.conditions[:1]
    for bundle in found.bundles:
        console.print(_by_condition(bundle, found.corpus))
    for bundle in found.bundles:
        console.print(_by_label(bundle, few))
    if several:
        console.print(_by_difference(found))
        if words := verdict.labels_compared(found):
            say(plain(words))
    for bundle in found.bundles:
        say(plain(f"{bundle.id + ': ' if several else ''}{_summary(bundle)}"))
    for warning in found.warnings:
        if warning not in (*found.serious, *known_warnings):
            say(plain(f"warning: {unmarked(warning)}"))


def _by_condition(tested: Tested, corpus: str) -> Table:
    both = len(tested.known) > 1
    columns = ("UAR", "95 %", "accuracy", "sure", "right if sure", "ECE")
    table = _table(
        f"{tested.id} on {corpus}", ["condition", *(["channel"] if both else [])], columns
    )
    for result in tested.results:
        table.add_row(
            result.condition,
            *([_known(result.known)] if both else []),
            percent(result.scores.uar),
            interval(result.scores.uar_low, result.scores.uar_high),
            percent(result.scores.accuracy),
            percent(result.sure),
            percent(result.right_if_sure),
            percent(result.calibration_error),
            end_section=both and result.known == tested.known[-1],
        )
    return table


def _by_label(tested: Tested, conditions: Sequence[str]) -> Table:
    """Recall and precision, and where it is one condition and fits, what is taken for what."""
    results = [tested.of(condition) for condition in conditions]
    confusion = results[0].scores.confusion
    columns = [f"{name}, {kind}" for name in conditions for kind in ("recall", "precision")]
    arrows = [f"→ {label}" for label in tested.labels]
    text = max(len("true label"), *map(len, tested.labels))
    width = sum(len(column) + 3 for column in ["n" * 6, *columns, *arrows]) + text + 4
    if len(conditions) > 1 or width > _WIDTH:
        arrows = []
    suffix = "" if len(tested.known) < 2 else ", channel not known"
    table = _table(f"{tested.id}, by label{suffix}", ["true label"], ["n", *columns, *arrows])
    for i, label in enumerate(tested.labels):
        cells = [f"{sum(confusion[i]):,}"]
        for result in results:
            cells += [percent(result.scores.recall[label]), percent(result.scores.precision[label])]
        table.add_row(label, *cells, *(map(str, confusion[i]) if arrows else ()))
    return table


def _by_difference(found: Evaluation) -> Table:
    from ser_core.models import verdict

    both = len({difference.known for difference in found.differences}) > 1
    first, second = verdict.short_names(found)
    table = _table(
        f"{' less '.join(verdict.names(found))}: differences in points (95 %)",
        ["condition", *(["channel"] if both else [])],
        [first, second, "UAR", "accuracy", _BETTER],
    )
    for difference in found.differences:
        table.add_row(
            difference.condition,
            *([_known(difference.known)] if both else []),
            percent(difference.uar),
            percent(difference.uar_against),
            verdict.in_points(difference),
            verdict.accuracy_in_points(difference),
            plain(verdict.better(difference, first, second)),
        )
    return table


def _summary(tested: Tested) -> str:
    """The first figure as a sentence, and what was left out."""
    first = tested.results[0]
    scores = first.scores
    sentence = (
        f"{first.condition}: UAR {percent(scores.uar)} ({_by_speaker(first)}), "
        f"accuracy {percent(scores.accuracy)}, {scores.utterances:,} utterances of "
        f"{scores.speakers} speaker{'s' if scores.speakers != 1 else ''}"
    )
    if others := sum(tested.no_label.values()):
        sentence += f"; {others:,} of other emotions left out ({', '.join(tested.no_label)})"
    if tested.tied:
        sentence += f"; {tested.tied:,} left out whose annotators are divided"
    if tested.absent:
        sentence += f"; no test utterance is labelled {' or '.join(tested.absent)}"
    return sentence


def _by_speaker(result: Result) -> str:
    low, high = result.scores.uar_low, result.scores.uar_high
    if low is None:
        return "one speaker: no interval"
    return f"95 %: {percent(low)} to {percent(high)}, by speaker"


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    # As Text, and without markup: names are shown as they are, whatever they hold.
    table = Table(title=Text(plain(title)), title_justify="left")
    for name in words:
        table.add_column(Text(name))
    for name in numbers:
        table.add_column(Text(plain(name)), justify="left" if name == _BETTER else "right")
    return table


def _known(known: str) -> str:
    from ser_core.models.evaluation_plan import CHANNEL, NOTHING

    return {NOTHING: "not known", CHANNEL: "known"}[known]
