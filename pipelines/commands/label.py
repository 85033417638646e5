"""`ser label`: label stored features with another model, without the audio."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines.arguments import add_lawful_basis, add_model, add_output
from pipelines.night_options import (
    add_date,
    add_work,
    checked_model,
    job,
    lawful_basis,
    model_line,
    say_where,
)
from pipelines.terminal import say

HELP = "label stored features with another model, without the audio"
EXAMPLES = ("ser label --output /tables --model my-bundle",)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser label` takes."""
    add_output(parser)
    add_model(parser, required=True)
    add_date(parser)
    add_lawful_basis(parser)
    add_work(parser)


def run(options: Namespace) -> int:
    """Label the stored features; returns the exit status."""
    from pipelines import nightly, nights

    model, card = checked_model(options)
    say(model_line(model, card))
    labelling = nightly.labelling_of(card)
    date = nights.resolve(options.date, options.time_zone)
    night = nights.Night(date, (date,))
    stored = job(
        options,
        labelling,
        night,
        **lawful_basis(options, _analysed(options.output)),
        bundle=model,
        model_licence=card.licence,
    )
    return say_where(options, nightly.label(stored))


def _analysed(output: str) -> tuple[str, ...]:
    """Whose features the runs so far have stored, in the words of the column `analysed`."""
    from pipelines.storage import files, published

    reader = published.open_reader(files.absolute(output))
    tables = reader.rows(reader.paths("runs"), ["analysed"])
    lines = [
        line for table in tables for row in table["analysed"].to_pylist() for line in row or ()
    ]
    return tuple(dict.fromkeys(lines))
