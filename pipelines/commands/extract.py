"""`ser extract`: store the features of new recordings, without labels."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines.arguments import add_inputs, add_signature
from pipelines.night_options import (
    add_examination,
    add_nights,
    add_redo,
    add_work,
    examining_jobs,
    say_where,
)
from pipelines.terminal import say

HELP = "store features only; `ser label` can label them later"
EXAMPLES = ("ser extract --input /calls --output /tables --channel-roles agent,customer",)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser extract` takes."""
    add_inputs(parser)
    parser.add_argument(
        "--feature-set",
        metavar="NAME",
        help="feature set to extract (default: the one that OUT holds, else the default model's)",
    )
    add_signature(parser)  # loads no model, and shares a config file with `ser run`
    add_examination(parser)
    add_nights(parser)
    add_redo(parser)
    add_work(parser)


def run(options: Namespace) -> int:
    """Store the features of the new recordings; returns the exit status."""
    from pipelines import backfill
    from ser_core import features, tables

    name = options.feature_set or _default_feature_set(options.output)
    features.get(name)
    jobs = examining_jobs(options, tables.Labelling(None, (), name))
    return say_where(options, backfill.worst(backfill.run(jobs).values()))


def _default_feature_set(output: str) -> str:
    """The feature set that the output holds, else the default model's."""
    from pipelines.storage import published
    from ser_core import models

    default = models.read_card(models.default_name()).feature_set
    stored = published.stored_feature_set(output)
    if stored is None or stored[0] == default:
        return default
    say(
        f"--output {output} holds features of {stored[0]!r} and goes on with these; to change to "
        f"{default!r}, give a new --output"
    )
    return stored[0]
