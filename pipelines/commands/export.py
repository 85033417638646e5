"""`ser export`: calls for other programs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import arguments, errors
from pipelines.arguments import add_output
from pipelines.terminal import say

HELP = "export calls to Audacity, ELAN, audformat or a spreadsheet"
FORMATS = ("audacity", "csv", "audformat", "elan")
EXAMPLES = (
    "ser export --output /tables --format csv --save last-night.csv",
    "ser export --output /tables --recording 3f2a91c0 --format audacity --save labels",
    "ser export --output /tables --date 2026-03-01 --format audformat --save night",
    "ser export --output s3://tables/ser --uri '/calls/billing/**' --format elan --save elan",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser export` takes."""
    parser.description = (
        "Export the segments of labelled calls. By default those of the latest night."
    )
    add_output(parser)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--date", type=arguments.date, metavar="YYYY-MM-DD", help="calls of a night"
    )
    chosen.add_argument(
        "--recording", metavar="ID|URI",
        help="a call: its id or URI, or a beginning of the id or an end of the URI that only one "
        "has",
    )  # fmt: skip
    chosen.add_argument(
        "--uri", nargs="+", metavar="PATTERN",
        help="URIs of recordings, patterns (quote them), folders, or @list.txt",
    )  # fmt: skip
    parser.add_argument(
        "--format", required=True, choices=FORMATS,
        help="audacity: a label track for each call and channel; elan: tab-delimited text for "
        "ELAN's import, one file a call; audformat: a folder for that library; csv: one row a "
        "segment, in which a spreadsheet finds no formulas",
    )  # fmt: skip
    parser.add_argument(
        "--save", required=True, metavar="F.csv|DIR", help="file for csv, folder for the others"
    )
    parser.set_defaults(takes_beam_options=True)


def run(options: Namespace) -> int:
    """Export calls; returns the exit status."""
    from pipelines.export.choice import Request
    from pipelines.export.exporting import export

    request = Request(
        options.output,
        tuple(options.uri or ()),
        options.recording,
        options.date and options.date.isoformat(),
    )
    export(request, options.format, options.save, say)
    return errors.DONE
