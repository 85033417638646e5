"""`ser show`: draw one call as a picture."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import add_output

HELP = "draw one call: waves, segments, emotions over time"
EXAMPLES = (
    "ser show --output /tables --recording billing/20260301T091500_c0001.wav --save call.png",
    "ser show --output /tables --recording 3f2a91c0",
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
    parser.add_argument("--save", metavar="F.png", help="picture to write (default: call-<id>.png)")


def run(options: Namespace) -> int:
    """Draw a call, or print the newest rows; returns the exit status."""
    from pipelines import showing

    if options.recording is None:
        showing.print_newest_rows(options.output)
        return errors.DONE
    for line in showing.draw(options.output, options.recording, options.save):
        print(line)
    return errors.DONE
