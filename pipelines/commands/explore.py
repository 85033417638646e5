"""`ser explore`: `ser_core.report.explore` at the command line."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines import errors
from pipelines.commands.train import folder_of, open_corpora, progress_bars
from pipelines.errors import UsageError
from ser_core.report import explore, pages


def run(options) -> int:
    """Write the page, and print what should be mended."""
    _check_page(Path(options.page))
    cache = folder_of("--cache", options.cache)
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


def _check_page(page: Path) -> None:
    """Before minutes of work: that the page can be written afterwards."""
    if page.is_dir():
        raise UsageError(f"--page {page}: a folder found, a file to write expected")
    above = next(folder for folder in page.absolute().parents if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise UsageError(f"--page {page}: {above} cannot be written; name another place")
