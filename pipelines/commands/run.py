"""`ser run`: label the new recordings of an archive."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines import errors
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
    uri_fields,
)
from pipelines.terminal import say

if TYPE_CHECKING:
    from datetime import date

    from pipelines.expectations import Verdict
    from pipelines.job import Job
    from ser_core.models import Card

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
    "ser run --config nightly.toml --date yesterday --expect 'labelled > 0.9 * matched' \\",
    "    --expect 'queue=billing: unsure_rate < 0.6'",
    "ser run --input /calls --output /tables --date yesterday --report /srv/reports",
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
    parser.add_argument(
        "--expect", action="append", default=[], metavar="SQL",
        help="exit with status 3 if the night, which is published all the same, does not meet a "
        "condition over its row of the view nights; 'queue=billing: SQL' is about the calls whose "
        "meta_queue is billing; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--report", metavar="DIR",
        help="write the page of each night into a folder, as `ser report --save DIR` does, with an "
        "index page over the nights; local, gs:// or s3://",
    )  # fmt: skip
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

    from pipelines import backfill, expectations, nightly
    from pipelines.storage.store import new_run_id

    expected = expectations.read(options.expect, uri_fields(options).names)
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
    _check_report(options, jobs[0])
    if expected and jobs[0].runner.only_submits:
        raise errors.UsageError(
            "--expect: a night is judged when it is published, and a template only starts it; "
            "leave the option out"
        )
    statuses = backfill.run(jobs)
    nights = [night for night, found in statuses.items() if found != errors.NOTHING_MATCHED]
    verdicts = expectations.judge(options.output, expected, nights)
    status = _conclude(verdicts, backfill.worst(statuses.values()))
    _advise(options.output, model, started)
    _say_drift(options.output, nights)
    if options.report is not None:
        status = _report(options, card, nights, status)
    return say_where(options, status)


def _check_report(options: Namespace, job: Job) -> None:
    """Check before the work that pages can be written where --report says.

    Raises
    ------
    UsageError
        It is no folder, or cannot be written, or this command publishes nothing.
    """
    if options.report is None:
        return
    from pipelines.report.saving import Target

    if Target.of(options.report, "--report").name is not None:
        raise errors.UsageError(f"--report {options.report}: a file found, a folder expected")
    if job.runner.only_submits:
        raise errors.UsageError(
            "--report: a template publishes nothing; `ser report` writes the page later"
        )


def _report(options: Namespace, card: Card, nights: Sequence[date], status: int) -> int:
    """Write the page of each night; returns the exit status."""
    from pipelines.report import saving

    target = saving.Target.of(options.report, "--report")
    try:
        for night in nights:
            saving.save(
                options.output,
                target,
                night,
                time_zone=options.time_zone or "UTC",
                card=card,
                say=say,
            )
            say(f"page: {target.path(f'{night}.html')}")
    except errors.CommandError as error:
        say(f"warning: no page was written: {error}; the tables are published")
        return status or errors.FAILED
    return status


def _conclude(verdicts: Sequence[Verdict], status: int) -> int:
    """Print which expectations are met, and return the exit status."""
    from dataclasses import asdict

    from pipelines.storage import attempts

    for verdict in verdicts:
        say(verdict.line() if verdict.met else f"warning: {verdict.line()}")
        attempts.note_expectation(asdict(verdict))
    unmet = [verdict.line() for verdict in verdicts if not verdict.met]
    if not unmet:
        return status
    attempts.note_message("; ".join(unmet))
    return errors.TOO_MANY_REJECTIONS


def _say_drift(output: str, nights: Sequence[date]) -> None:
    """Print what moved in the nights, and note it for --summary. A run never fails by it."""
    import logging

    from pipelines import drift
    from pipelines.storage import attempts

    try:
        measured = drift.measure_nights(output, nights)
    except Exception as error:
        logging.getLogger(__name__).warning("drift is not known: %s", error)
        return
    for found in measured:
        attempts.note_drift(found.summary())
        for alarm in found.alarms:
            say(f"warning: drift on {found.night}: {alarm}")


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
