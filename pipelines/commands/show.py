"""`ser show`: one call as a picture, with its waves where the audio is still there."""

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
        help="its id or URI, or a beginning of the id or an end of the URI that fits only one; "
        "without it, the first rows of the tables are printed",
    )  # fmt: skip
    parser.add_argument("--save", metavar="F.png", help="default: call-<id>.png in this folder")


def run(options: Namespace) -> int:
    """Draw a call, or print the first rows; gives the exit status."""
    from pipelines import showing

    if options.recording is None:
        showing.print_first_rows(options.output)
        return errors.DONE
    for line in showing.draw(options.output, options.recording, options.save):
        print(line)
    return errors.DONE
