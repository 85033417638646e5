"""`ser report`: the page of a night, to open in the morning."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import add_output, current_name, day, not_negative_int

HELP = "write the page of a night, to open in the morning"
EXAMPLES = (
    "ser report --output /tables",
    "ser report --output /tables --date yesterday --save /srv/reports",
    "ser report --output s3://tables/ser --save s3://tables/reports",
    "ser report --output /tables --date 2026-03-01 --save night.html --calls 0",
    "ser report --output /tables --time-zone Europe/Berlin",
)
# Where pages go without --save.
FOLDER = "report"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser report` takes."""
    parser.description = (
        "Write one self-contained page of a night: what became of the recordings, the calls to\n"
        "listen to first, negativity by queue and hour against the last 28 nights, coverage,\n"
        "drift, cost, and the SQL under each number. It only reads the tables."
    )
    add_output(parser)
    parser.set_defaults(takes_beam_options=True)
    parser.add_argument(
        "--date", type=day, metavar="DATE",
        help="the night: YYYY-MM-DD, today or yesterday (default: the latest)",
    )  # fmt: skip
    parser.add_argument(
        "--save", metavar="DIR|F.html", default=FOLDER,
        help="folder for <night>.html, an index page over the nights and the pages of calls; or a "
        f"file for the night's page alone; local, gs:// or s3:// (default: {FOLDER})",
    )  # fmt: skip
    parser.add_argument(
        "--calls", type=not_negative_int, default=10, metavar="N",
        help="write the pages of the first N calls to listen to, in calls/ beside the page "
        "(default: 10)",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="BUNDLE",
        help="the bundle that labelled the night, for its licence and how often it is wrong "
        "(default: found by its id among the bundled ones, and where the run's command says)",
    )  # fmt: skip
    parser.add_argument(
        "--time-zone", default="UTC", metavar="ZONE",
        help="zone of the hours, and of today and yesterday, such as Europe/Berlin (default: UTC)",
    )  # fmt: skip


def run(options: Namespace) -> int:
    """Write the pages; returns the exit status."""
    from pipelines import nights
    from pipelines.call_times import zone_named
    from pipelines.report import saving
    from pipelines.terminal import say
    from ser_core.report import morning_words

    zone_named(options.time_zone)
    target = saving.Target.of(options.save)
    night = options.date and nights.resolve(options.date, options.time_zone)
    measured = saving.save(
        options.output,
        target,
        night,
        time_zone=options.time_zone,
        model=current_name(options.model, "--model"),
        calls=options.calls,
        say=say,
    )
    say(f"{measured.night}: {morning_words.sentence(measured)}")
    say(f"page: {target.path(target.name or f'{measured.night}.html')}")
    return errors.DONE
