"""Problems of labelled speech to know about before training, each with advice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ser_core.corpora.corpus import Corpus
from ser_core.corpora.problems import labelling, recordings
from ser_core.corpora.problems.labelling import confused_labels
from ser_core.corpora.problems.problem import (
    Pairs,
    Problem,
    describe_utterance,
    group_identical,
)
from ser_core.corpora.sounds import Sound

__all__ = ["Problem", "confused_labels", "describe_utterance", "find", "group_identical"]

# A check is added here. It takes a corpus, and its utterances with their sounds.
CHECKS: tuple[Callable[[Corpus, Pairs], Iterable[Problem]], ...] = (
    recordings.check_copy,
    recordings.check_lengths,
    recordings.check_rates,
    recordings.check_readable,
    recordings.check_samples,
    recordings.check_cuts,
    recordings.check_duplicates,
    labelling.check_emotions,
    labelling.check_balance,
    labelling.check_speakers,
    labelling.check_sexes,
    labelling.check_annotators,
    labelling.check_skipped,
)


def find(corpus: Corpus, sounds: Sequence[Sound]) -> tuple[Problem, ...]:
    """Find the problems of a corpus, serious ones first.

    Parameters
    ----------
    corpus : Corpus
    sounds : sequence of Sound
        Properties of its utterances, in the same order.
    """
    pairs = list(zip(corpus.utterances, sounds, strict=True))
    problems = [problem for check in CHECKS for problem in check(corpus, pairs)]
    return tuple(sorted(problems, key=lambda problem: not problem.serious))
