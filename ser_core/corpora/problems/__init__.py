"""What is wrong with labelled speech before a model learns from it, and what to do about each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ser_core.corpora.corpus import Corpus
from ser_core.corpora.problems import labelling, recordings
from ser_core.corpora.problems.labelling import disagreements
from ser_core.corpora.problems.problem import Pairs, Problem, identical, named
from ser_core.corpora.sounds import Sound

__all__ = ["Problem", "disagreements", "find", "identical", "named"]

# A check is added here: from a corpus, and its utterances with their sounds, to problems.
CHECKS: tuple[Callable[[Corpus, Pairs], Iterable[Problem]], ...] = (
    recordings.copies,
    recordings.samples,
    recordings.cut,
    recordings.twice,
    labelling.labels,
    labelling.speakers,
    labelling.annotators,
    labelling.skipped,
)


def find(corpus: Corpus, sounds: Sequence[Sound]) -> tuple[Problem, ...]:
    """All that is odd about a corpus, serious things first.

    Parameters
    ----------
    corpus : Corpus
    sounds : sequence of Sound
        Of its utterances, in their order.
    """
    pairs = list(zip(corpus.utterances, sounds, strict=True))
    found = [problem for check in CHECKS for problem in check(corpus, pairs)]
    return tuple(sorted(found, key=lambda problem: not problem.serious))
