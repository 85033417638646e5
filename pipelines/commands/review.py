"""`ser review`: pick segments to listen to, with a page for labelling them."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import (
    add_output,
    add_signature,
    current_name,
    date,
    names,
    positive,
    required_signature,
)
from pipelines.review import DISAGREEMENT, KINDS
from pipelines.terminal import progress_bars, say

HELP = "pick segments to listen to, with a page for labelling them"
EXAMPLES = (
    "ser review --output /tables --save monday.csv --labelled lists/*.csv",
    "ser review --output /tables --date 2026-03-01 --n 60 --clips clips --labels calm,angry",
    "ser review --output /tables --against my-bundle --by disagreement=0.7,random=0.3",
    "ser train --corpus csv=review-ana.csv --save my-bundle",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser review` takes."""
    add_output(parser)
    parser.set_defaults(takes_beam_options=True)
    _add_choice(parser)
    _add_listening(parser)


def _add_choice(parser: ArgumentParser) -> None:
    """Declare which segments are picked."""
    night = parser.add_mutually_exclusive_group()
    night.add_argument(
        "--date", type=date, metavar="YYYY-MM-DD", help="night to pick from (default: the latest)"
    )
    night.add_argument("--run-id", metavar="R", help="run to pick from")
    parser.add_argument(
        "--n",
        type=positive(int),
        default=200,
        metavar="N",
        help="number of segments (default: 200)",
    )
    parser.add_argument(
        "--by", type=_shares, metavar="KIND=SHARE,…",
        help="kinds of segments with their shares: least-sure, disagreement, random. Random ones "
        "are drawn from all segments and so show how common something is (default: equal shares "
        "of least-sure and random, and of disagreement with --against)",
    )  # fmt: skip
    parser.add_argument(
        "--against",
        metavar="BUNDLE",
        help="another bundle to compare with, applied to the stored features",
    )
    add_signature(parser)
    parser.add_argument(
        "--per-recording", type=positive(int), default=3, metavar="N",
        help="most segments of one recording, not counting random ones (default: 3)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    parser.add_argument(
        "--speaker-field", metavar="NAME", help="the column meta_NAME names the speaker"
    )
    parser.add_argument(
        "--labelled", nargs="+", default=(), metavar="F.csv",
        help="lists with labels: what they have is left out (always with those beside --save)",
    )  # fmt: skip


def _add_listening(parser: ArgumentParser) -> None:
    """Declare what the list, the page and the clips are."""
    parser.add_argument(
        "--save", metavar="F.csv",
        help="list to write; `ser train` reads it once it has labels (default: "
        "review-<night>.csv, with a number where that is taken)",
    )  # fmt: skip
    parser.add_argument(
        "--page",
        metavar="F.html",
        help="page that plays and labels the segments (default: beside the list)",
    )
    parser.add_argument(
        "--clips", metavar="DIR",
        help="copy the audio of each segment's channel to DIR; without it the page plays the "
        "recordings, if a browser can reach them",
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=names, default=(), metavar="A,B,…",
        help="labels on the buttons of the page (default: the eight usual emotions; or the "
        "bundle's labels, if it has others)",
    )  # fmt: skip
    parser.add_argument("--annotator", default="", metavar="NAME", help="name of the listener")
    parser.add_argument(
        "--show-guess", action="store_true",
        help="include the model's label in the list, and show it on the page after an answer",
    )  # fmt: skip


def _shares(text: str) -> tuple[tuple[str, float], ...]:
    """Kinds of segments with their shares, such as disagreement=0.7,random=0.3."""
    found: dict[str, float] = {}
    for part in names(text):
        name, equals, share = part.partition("=")
        kind = name.strip().replace("-", "_")
        if kind not in KINDS or kind in found:
            known = ", ".join(known_kind.replace("_", "-") for known_kind in KINDS)
            raise argparse.ArgumentTypeError(f"{name!r} found; {known} expected, each once")
        found[kind] = positive(float)(share) if equals else 1.0
    if not found:
        raise argparse.ArgumentTypeError("nothing found, one or more kinds expected")
    return tuple(found.items())


def run(options: Namespace) -> int:
    """Write the list, the page and the clips; returns the exit status."""
    from pipelines.review.listing import review
    from pipelines.review.selection import Request

    kinds = [kind for kind in KINDS if options.against or kind != DISAGREEMENT]
    request = Request(
        output=options.output,
        date=options.date and options.date.isoformat(),
        run_id=options.run_id,
        n=options.n,
        by=options.by or tuple((kind, 1.0) for kind in kinds),
        against=current_name(options.against, "--against"),
        signed_by=required_signature(options),
        seed=options.seed,
        per_recording=options.per_recording,
        speaker_field=options.speaker_field,
    )
    with progress_bars() as progress:
        review(
            request,
            save=options.save,
            page=options.page,
            clips=options.clips,
            labels=options.labels,
            annotator=options.annotator,
            labelled=options.labelled,
            show_guess=options.show_guess,
            say=say,
            progress=progress,
        )
    return errors.DONE
