"""`ser extract`: store the features of new recordings, without labels."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines.arguments import add_inputs
from pipelines.night_options import add_examination, add_work, examining_job, say_where

HELP = "store features only; `ser label` can label them later"
EXAMPLES = ("ser extract --input /calls --output /tables --channel-roles agent,customer",)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser extract` takes."""
    add_inputs(parser)
    parser.add_argument(
        "--feature-set",
        metavar="NAME",
        help="feature set to extract (default: that of the default model)",
    )
    add_examination(parser)
    add_work(parser)


def run(options: Namespace) -> int:
    """Store the features of the new recordings; returns the exit status."""
    from pipelines import nightly
    from ser_core import features, models, tables

    name = options.feature_set or models.read_card(models.default_name()).feature_set
    features.get(name)
    job = examining_job(options, tables.Labelling(None, (), name))
    return say_where(options, nightly.run(job))
