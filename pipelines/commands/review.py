"""`ser review`: pick segments worth a listen, with a page that takes labels."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import add_output, date, names, positive
from pipelines.review import DISAGREEMENT, KINDS
from pipelines.terminal import progress_bars, say

HELP = "pick segments worth a listen, with a page that takes labels"
EXAMPLES = (
    "ser review --output /tables --save monday.csv",
    "ser review --output /tables --date 2026-03-01 --n 60 --clips clips --labels calm,angry",
    "ser review --output /tables --against my-bundle --by disagreement=0.7,random=0.3",
    "ser train --corpus csv=review-ana.csv --save my-bundle",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser review` takes."""
    add_output(parser)
    parser.set_defaults(takes_beam_options=True)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--date", type=date, metavar="YYYY-MM-DD", help="the night (default: the latest there)"
    )
    which.add_argument("--run-id", metavar="R", help="one run alone")
    parser.add_argument(
        "--n", type=positive(int), default=200, metavar="N", help="segments (default: 200)"
    )
    parser.add_argument(
        "--by", type=_shares, metavar="KIND=SHARE,…",
        help="least-sure, disagreement, random, with shares in proportion; random ones are drawn "
        "from all segments, so that they tell how often something is so (default: least-sure, "
        "random; with --against also disagreement; equal shares)",
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="BUNDLE", help="another bundle, asked over the stored features"
    )
    parser.add_argument(
        "--per-recording", type=positive(int), default=3, metavar="N",
        help="the most of one recording, random ones apart (default: 3)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--save", default="review.csv", metavar="F.csv",
        help="the list that `ser train` reads once it has labels (default: review.csv)",
    )  # fmt: skip
    parser.add_argument(
        "--page", metavar="F.html", help="plays and labels them (default: beside the list)"
    )
    parser.add_argument(
        "--clips", metavar="DIR",
        help="copy each segment's audio there, its channel alone; without it the page plays the "
        "recordings, where a browser can reach them",
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=names, default=(), metavar="A,B,…",
        help="buttons of the page (default: the labels in the tables)",
    )  # fmt: skip
    parser.add_argument("--annotator", default="", metavar="NAME", help="who is going to listen")
    parser.add_argument(
        "--speaker-field", metavar="NAME", help="the column meta_NAME says who speaks"
    )
    parser.add_argument(
        "--show-guess", action="store_true",
        help="give the model's label in the list, and in the page after an answer",
    )  # fmt: skip


def _shares(text: str) -> tuple[tuple[str, float], ...]:
    found: dict[str, float] = {}
    for part in names(text):
        name, equals, share = part.partition("=")
        kind = name.strip().replace("-", "_")
        if kind not in KINDS or kind in found:
            known = ", ".join(one.replace("_", "-") for one in KINDS)
            raise argparse.ArgumentTypeError(f"{name!r} found; {known} expected, each once")
        found[kind] = positive(float)(share) if equals else 1.0
    if not found:
        raise argparse.ArgumentTypeError("nothing found, one kind or more expected")
    return tuple(found.items())


def run(options: Namespace) -> int:
    """Write the list, the page and the clips; gives the exit status."""
    from pipelines.review.listing import review
    from pipelines.review.selection import Wanted

    kinds = [kind for kind in KINDS if options.against or kind != DISAGREEMENT]
    wanted = Wanted(
        output=options.output,
        date=options.date and options.date.isoformat(),
        run_id=options.run_id,
        n=options.n,
        by=options.by or tuple((kind, 1.0) for kind in kinds),
        against=options.against,
        seed=options.seed,
        per_recording=options.per_recording,
        speaker_field=options.speaker_field,
    )
    with progress_bars() as progress:
        review(
            wanted,
            save=options.save,
            page=options.page,
            clips=options.clips,
            labels=options.labels,
            annotator=options.annotator,
            show_guess=options.show_guess,
            say=say,
            progress=progress,
        )
    return errors.DONE
