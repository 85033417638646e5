"""`ser run`: label the new recordings of an archive."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines.arguments import DEFAULT_FOR_OUTPUT, add_inputs, add_model, positive
from pipelines.night_options import (
    add_examination,
    add_nights,
    add_redo,
    add_work,
    checked_model,
    examining_jobs,
    model_line,
    say_where,
)
from pipelines.terminal import say

HELP = "label the new recordings of an archive"
EXAMPLES = (
    "ser run --input /calls --output /tables --channel-roles agent,customer",
    "ser run --input '/calls/{date:%Y/%m/%d}/**/*.wav' --output /tables \\",
    "    --uri-fields '(?P<queue>[^/]+)/(?P<time>[^/_]+)_(?P<call_id>[^/]+)\\.wav$' \\",
    "    --date yesterday --days 3",
    "ser run --input '/calls/{date:%Y/%m/%d}/**/*.wav' --output /tables \\",
    "    --from 2026-01-01 --to yesterday",
    "ser run --input /calls --output /tables --channel-roles customer,agent --redo date=2026-03-05",
    "ser run --input @list.txt --output /tables --model my-bundle --workers 8",
    "ser run --input /calls --output /tables --keep-days 365 --keep-features-days 90",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser run` takes."""
    add_inputs(parser)
    add_model(parser, default=DEFAULT_FOR_OUTPUT)
    add_examination(parser)
    add_nights(parser)
    add_redo(parser)
    add_work(parser)
    group = parser.add_argument_group("retention")
    group.add_argument(
        "--keep-days", type=positive(int), metavar="N",
        help="at the end, erase recordings of calls that are more than N days older than the "
        "night, as `ser forget --before` does; they are not labelled again",
    )  # fmt: skip
    group.add_argument(
        "--keep-features-days", type=positive(int), metavar="N",
        help="the same for feature vectors alone; labels stay",
    )  # fmt: skip


def run(options: Namespace) -> int:
    """Label the new recordings; returns the exit status."""
    import datetime as dt

    from pipelines import backfill, nightly
    from pipelines.storage.store import new_run_id

    model, card = checked_model(options)
    say(model_line(model, card))
    labelling = nightly.labelling_of(card)
    jobs = examining_jobs(
        options,
        labelling,
        bundle=model,
        model_licence=card.licence,
        keep_days=options.keep_days,
        keep_features_days=options.keep_features_days,
    )
    started = new_run_id(dt.datetime.now(dt.UTC)).partition("-")[0]
    status = backfill.run(jobs)
    _advise(options.output, model, started)
    return say_where(options, status)


def _advise(output: str, model: str, started: str) -> None:
    """Print a line if the model should be fitted to the archive. A run never fails by it."""
    import logging

    from pipelines import archives

    try:
        line = archives.advice(output, model, started)
    except Exception as error:
        logging.getLogger(__name__).warning("no advice on the archive: %s", error)
        return
    if line is not None:
        say(line)
