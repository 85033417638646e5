"""`ser adapt`: fit a model to an archive by its stored features, without labels."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from pipelines import errors
from pipelines.arguments import (
    DEFAULT_FOR_OUTPUT,
    add_model,
    add_output,
    positive,
    required_signature,
)
from pipelines.night_options import choose_model
from pipelines.terminal import percent, say

if TYPE_CHECKING:
    from pipelines.archives import ArchiveSample
    from ser_core.models import Card
    from ser_core.models.card import Adaptation

HELP = "fit a model to the calls of an archive, without labels"
EXAMPLES = (
    "ser adapt --output /tables --save calls-here",
    "ser adapt --output /tables --model ours --nights 30 --save ours-here",
    "ser run --input /calls --output /tables --model calls-here",
)
# The least that an archive must hold; `pipelines.archives` has the numbers.
_LEAST = "50 calls and 1 hour of callers' speech"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser adapt` takes."""
    parser.description = (
        "Fit a model to the calls of an archive, without labels: the mean and spread of its\n"
        "stored features are brought to those of the training. An archive needs at least\n"
        f"{_LEAST}; some hundred calls are better."
    )
    add_output(parser)
    add_model(parser, default=DEFAULT_FOR_OUTPUT)
    parser.add_argument(
        "--nights", type=positive(int), metavar="N",
        help="use the last N nights (default: all; of very many calls, a sample)",
    )  # fmt: skip
    parser.add_argument("--save", required=True, metavar="BUNDLE", help="folder to write")
    parser.set_defaults(takes_beam_options=True)


def run(options: Namespace) -> int:
    """Write the adapted bundle and print what changed; returns the exit status."""
    from pipelines import archives
    from pipelines.storage import bundles

    _check_save(options.save)
    model = choose_model(options.model, options.output)
    bundle = bundles.load(model, signed_by=required_signature(options))
    bundle.check_adaptable()
    if bundle.card.adapted is not None:
        say(f"{bundle.id} is adapted itself: this starts from its base, {bundle.card.base.id}")
    sample = archives.read_sample(options.output, bundle.card.base, options.nights)
    say(_describe(sample))
    card = bundle.adapted(sample.matrix, sample.recording, hours=sample.speech_h).save(options.save)
    assert card.adapted is not None
    _print_changes(card, card.adapted)
    folder, output = shlex.quote(options.save), shlex.quote(options.output)
    say(f"model {card.id}: {options.save}; its CARD.md keeps these figures")
    say(f"next: ser run --input … --output {output} --model {folder}    (new recordings)")
    say(f"      ser label --output {output} --model {folder}    (those that are stored)")
    return errors.DONE


def _check_save(folder: str) -> None:
    """Refuse a place where an adapted bundle would be lost, or would replace something else."""
    from pathlib import Path

    from pipelines.errors import UsageError
    from pipelines.storage import files
    from ser_core import models
    from ser_core.models.card import CARD
    from ser_core.models.folder import check_target

    if files.is_remote(folder):
        raise UsageError(f"--save {folder}: a local folder expected; copy it from there")
    check_target(folder)
    if (Path(folder) / CARD).is_file() and models.read_card(folder).adapted is None:
        raise UsageError(
            f"--save {folder}: a model found that is not adapted; give another folder, so that it "
            "is not lost"
        )


def _describe(sample: ArchiveSample) -> str:
    nights = sample.nights[0]
    if len(sample.nights) > 1:
        nights = f"{len(sample.nights):,} nights, {nights} to {sample.nights[-1]}"
    line = (
        f"{sample.recordings:,} calls with {sample.speech_h:,.1f} hours of speech in "
        f"{sample.segments:,} segments ({nights})"
    )
    if len(sample.matrix) < sample.segments:
        line += f"; {len(sample.matrix):,} segments are drawn from them"
    return line


def _print_changes(card: Card, adapted: Adaptation) -> None:
    from rich.console import Console
    from rich.table import Table

    say("shares of the emotions, by the same segments:")
    table = Table()
    table.add_column("emotion")
    for column in ("before", "after"):
        table.add_column(column, justify="right")
    for label in card.labels:
        before, after = adapted.shares_before[label], adapted.shares_after[label]
        table.add_row(label, percent(before), percent(after))
    Console().print(table)
    say(
        f"{adapted.moved:,} of {adapted.segments:,} labels changed "
        f"({percent(adapted.moved / adapted.segments)}); {adapted.left_out:,} segments far from "
        "the archive's speech did not count"
    )
