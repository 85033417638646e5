"""`ser explore`: a page of pictures and problems of labelled speech."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import positive
from pipelines.corpus_options import add_corpora, open_corpora
from pipelines.terminal import check_folder, check_target, progress_bars

HELP = "look at labelled speech: a page of pictures and problems"
EXAMPLES = ("ser explore --corpus ravdess=RAVDESS emodb=EMODB --page explore.html",)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser explore` takes."""
    add_corpora(parser)
    parser.add_argument(
        "--page", default="explore.html", metavar="FILE.html", help="default: explore.html"
    )
    parser.add_argument(
        "--examples", type=positive(int), default=1, metavar="N",
        help="utterances of each emotion to show as wave and spectrogram (default: 1)",
    )  # fmt: skip
    parser.add_argument("--jobs", type=positive(int), metavar="N", help="default: one a core")


def run(options: Namespace) -> int:
    """Write the page, and print what should be mended; gives the exit status."""
    from ser_core.report import explore, pages

    check_target("--page", options.page)
    cache = check_folder("--cache", options.cache)
    about = {"examples": options.examples, "jobs": options.jobs, "cache": cache}
    with open_corpora(options) as opened, progress_bars() as progress:
        looks = [explore.look(corpus, progress=progress, **about) for corpus in opened]
    path = pages.write(options.page, explore.page(looks))
    for one in looks:
        corpus = one.corpus
        print(
            f"ser: {corpus.name}: {len(corpus.utterances):,} utterances, "
            f"{len(corpus.speakers):,} speakers, {len(one.emotions):,} emotions, "
            f"{one.hours:.1f} h"
        )
        serious = [problem for problem in one.problems if problem.serious]
        for problem in (one for one in serious if not one.warned):
            print(f"ser: problem: {corpus.name}: {problem.title.lower()}: {problem.found}")
        if not serious:
            print(f"ser: {corpus.name}: no problem found")
    print(f"ser: page: {path}")
    return errors.DONE
