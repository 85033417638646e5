"""`ser show`: one call as a picture or a page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import add_output

HELP = "one call as a picture or a page: waves, segments, emotions over time"
EXAMPLES = (
    "ser show --output /tables --recording billing/20260301T091500_c0001.wav --save call.png",
    "ser show --output /tables --recording 3f2a91c0 --html",
    "ser show --output s3://tables/ser --recording 3f2a91c0 --html --clips --save call.html",
    "ser show --output /tables",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser show` takes."""
    add_output(parser)
    parser.set_defaults(takes_beam_options=True)
    parser.add_argument(
        "--recording", metavar="ID|URI",
        help="id or URI of a recording, or a beginning of the id or an end of the URI that only "
        "one recording has; without this option, the newest rows of the tables are printed",
    )  # fmt: skip
    parser.add_argument(
        "--html", action="store_true",
        help="write a page on which the call is played and looked at",
    )  # fmt: skip
    parser.add_argument(
        "--clips", action="store_true",
        help="put a compressed copy of the recording into the page; without it the page plays the "
        "recording from where it lies, if a browser can reach it and knows its format",
    )  # fmt: skip
    parser.add_argument(
        "--save", metavar="F.png|F.html",
        help="picture or page to write (default: call-<id>.png, or .html)",
    )  # fmt: skip


def run(options: Namespace) -> int:
    """Draw a call, or print the newest rows; returns the exit status."""
    from pipelines import showing

    if options.clips and not options.html:
        raise errors.UsageError("--clips: it is for the page; add --html")
    if options.html and options.recording is None:
        raise errors.UsageError("--html: --recording names the call; ser report is for a night")
    if options.recording is None:
        showing.print_newest_rows(options.output)
        return errors.DONE
    if options.html:
        lines = showing.show_page(
            options.output, options.recording, options.save, clips=options.clips
        )
    else:
        lines = showing.draw(options.output, options.recording, options.save)
    for line in lines:
        print(line)
    return errors.DONE
