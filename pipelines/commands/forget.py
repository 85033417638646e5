"""`ser forget`: erase calls from all tables, so that no later run brings them back."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from pipelines import arguments, errors
from pipelines.arguments import add_output, add_records
from pipelines.terminal import say

if TYPE_CHECKING:
    from pipelines.forgetting import Request

HELP = "erase calls from all tables, for good"
EXAMPLES = (
    "ser forget --output /tables --uri /calls/2026/03/01/call_0815.wav --dry-run",
    "ser forget --output /tables --uri '/calls/closed-queue/**'",
    "ser forget --output /tables --uri @erase.txt",
    "ser forget --output /tables --where \"meta_customer = '4711'\"",
    "ser forget --output /tables --recording 3f2a91c0",
    "ser forget --output /tables --before 2026-01-01 --only features",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser forget` takes."""
    parser.description = (
        "Erase calls from all tables. All rows go: of each version of a file, each model, and of\n"
        "equal bytes under other names. The command asks no question: try it with --dry-run.\n"
        "Later runs leave these calls out, although the audio still lies there."
    )
    add_output(parser)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument(
        "--uri", nargs="+", metavar="PATTERN",
        help="URIs of recordings, patterns (quote them), folders, or @list.txt; what is the URI "
        "of a recording is not taken for a pattern",
    )  # fmt: skip
    chosen.add_argument(
        "--recording", metavar="ID", help="a recording_id, or its first characters (8 or more)"
    )
    chosen.add_argument(
        "--where", metavar="SQL",
        help="a condition over the columns of the view calls, such as \"meta_customer = '4711'\"",
    )  # fmt: skip
    chosen.add_argument(
        "--before", type=arguments.date, metavar="DATE",
        help="calls before this date (UTC): by call_time, or where it is null by the date of the "
        "first run that met the recording",
    )  # fmt: skip
    parser.add_argument(
        "--only", choices=("features",),
        help="erase the feature vectors and keep the labels; the calls stay done",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be erased, and change nothing"
    )
    add_records(parser)
    parser.set_defaults(takes_beam_options=True)


def run(options: Namespace) -> int:
    """Forget calls, or print what would be forgotten; returns the exit status."""
    from pipelines import forgetting
    from pipelines.storage import attempts

    request = _request(options)
    if options.dry_run:
        hits = forgetting.preview(options.output, request)
        say(f"would be erased: {forgetting.line(hits, options.only)}")
        say("nothing was changed; without --dry-run it is erased, and no question is asked")
        return errors.DONE
    hits = forgetting.forget(options.output, request, say)
    line = f"erased: {forgetting.line(hits, options.only)}"
    say(line)
    attempts.note_message(line)
    if options.only is None:
        say("later runs leave these calls out; the audio itself is not touched")
    return errors.DONE


def _request(options: Namespace) -> Request:
    from pipelines import forgetting

    # Messages are stored with attempts, so they name the option and not its value.
    if options.uri:
        kind, choice = "uri", forgetting.by_uri(options.uri)
    elif options.recording is not None:
        kind, choice = "recording", forgetting.by_recording(options.recording)
    elif options.where is not None:
        kind, choice = "where", forgetting.by_sql(options.where, options.output)
    else:
        kind, choice = "before", forgetting.by_age(options.before, only=options.only)
    return forgetting.Request(kind, choice, options.only)
