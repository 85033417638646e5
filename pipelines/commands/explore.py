"""`ser explore`: make a page of pictures and problems of labelled speech."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import positive
from pipelines.corpus_options import add_corpora, open_corpora
from pipelines.terminal import check_folder, check_target, progress_bars

HELP = "make a page of pictures and problems of labelled speech"
EXAMPLES = ("ser explore --corpus ravdess=RAVDESS emodb=EMODB --page explore.html",)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser explore` takes."""
    add_corpora(parser)
    parser.add_argument(
        "--page",
        default="explore.html",
        metavar="F.html",
        help="page to write (default: explore.html)",
    )
    parser.add_argument(
        "--examples", type=positive(int), default=1, metavar="N",
        help="utterances of each emotion to draw as wave and spectrogram (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--no-clips", action="store_true",
        help="leave the sound of these utterances out of the page (default: they can be played)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=positive(int), metavar="N", help="parallel processes (default: one per core)"
    )


def run(options: Namespace) -> int:
    """Write the page and print the serious problems; returns the exit status."""
    from ser_core.report import explore, pages

    check_target("--page", options.page)
    cache = check_folder("--cache", options.cache)
    with open_corpora(options) as opened, progress_bars() as progress:
        looks = [
            explore.look(
                corpus,
                examples=options.examples,
                jobs=options.jobs,
                cache=cache,
                progress=progress,
            )
            for corpus in opened
        ]
    path = pages.write(options.page, explore.page(looks, with_clips=not options.no_clips))
    for look in looks:
        corpus = look.corpus
        print(
            f"ser: {corpus.name}: {len(corpus.utterances):,} utterances, "
            f"{len(corpus.speakers):,} speakers, {len(look.emotions):,} emotions, "
            f"{look.hours:.1f} h"
        )
        serious = [problem for problem in look.problems if problem.serious]
        for problem in serious:
            if problem.warned:
                continue
            print(f"ser: problem: {corpus.name}: {problem.title.lower()}: {problem.found}")
        if not serious:
            print(f"ser: {corpus.name}: no problem found")
    print(f"ser: page: {path}")
    if not options.no_clips and (clips := sum(len(look.examples) for look in looks)):
        print(f"ser: the page holds {clips:,} clips of voices: keep it as you keep the recordings")
    return errors.DONE
