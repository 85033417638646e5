"""How far annotators agree: Krippendorff's alpha, and the stretches that they differ about.

K. Krippendorff (2011), "Computing Krippendorff's alpha-reliability", University of Pennsylvania;
by the package `krippendorff`, on nominal data. 1 is perfect, 0 is chance; below 0.67 he advises to
conclude nothing, and emotions in natural speech seldom reach it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

Stretch = tuple[str, int | None, float, float | None]


@dataclass(frozen=True)
class Disputed:
    """A stretch of which no emotion has more annotators than any other."""

    uri: str
    channel: int | None
    start_s: float
    end_s: float | None
    votes: Mapping[str, str]


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree.

    Parameters
    ----------
    annotators : tuple of str
    shared : int
        Stretches with two annotators or more; alphas are of these.
    alpha : float or None
        Over all emotions; None where all say the same one of everything.
    by_emotion : mapping of emotion to float or None
        This emotion against the rest.
    by_pair : mapping of two annotators to alpha and the number of stretches that both labelled
        Such pairs only.
    disputed : tuple of Disputed
    """

    annotators: tuple[str, ...]
    shared: int
    alpha: float | None
    by_emotion: Mapping[str, float | None]
    by_pair: Mapping[tuple[str, str], tuple[float | None, int]]
    disputed: tuple[Disputed, ...]

    def as_json(self) -> dict[str, Any]:
        """For a card: figures, and how many stretches are disputed; no names of recordings."""
        return {
            "annotators": list(self.annotators),
            "shared": self.shared,
            "alpha": self.alpha,
            "by_emotion": dict(self.by_emotion),
            "by_pair": [[*pair, alpha, count] for pair, (alpha, count) in self.by_pair.items()],
            "disputed": len(self.disputed),
        }


def agreement(votes: Sequence[Mapping[str, str]], stretches: Sequence[Stretch]) -> Agreement | None:
    """Of what annotators say about stretches.

    Parameters
    ----------
    votes : sequence of n mappings of annotator to emotion
    stretches : sequence of n stretches
        For the list of those that nobody agrees on.

    Returns
    -------
    Agreement, or None where no stretch has two annotators
    """
    annotators = tuple(sorted({annotator for one in votes for annotator in one}))
    emotions = sorted({emotion for one in votes for emotion in one.values()})
    said = np.full((len(annotators), len(votes)), np.nan)
    for unit, one in enumerate(votes):
        for annotator, emotion in one.items():
            said[annotators.index(annotator), unit] = emotions.index(emotion)
    there = ~np.isnan(said)
    shared = int((there.sum(axis=0) > 1).sum())
    if not shared:
        return None
    pairs = {}
    for a, b in combinations(range(len(annotators)), 2):
        both = there[a] & there[b]
        if both.any():
            alpha = _alpha(said[[a, b]][:, both])
            pairs[annotators[a], annotators[b]] = alpha, int(both.sum())
    return Agreement(
        annotators=annotators,
        shared=shared,
        alpha=_alpha(said),
        by_emotion={
            emotion: _alpha(np.where(there, said == i, np.nan))
            for i, emotion in enumerate(emotions)
        },
        by_pair=pairs,
        disputed=tuple(
            Disputed(*stretch, dict(one))
            for stretch, one in zip(stretches, votes, strict=True)
            if _tied(one)
        ),
    )


def _tied(votes: Mapping[str, str]) -> bool:
    counts = [count for _, count in Counter(votes.values()).most_common(2)]
    return len(counts) > 1 and counts[0] == counts[1]


def _alpha(said: np.ndarray) -> float | None:
    """Of values [annotators, units], NaN where an annotator said nothing."""
    import krippendorff

    said = said[:, (~np.isnan(said)).sum(axis=0) > 1]
    if len(np.unique(said[~np.isnan(said)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=said, level_of_measurement="nominal"))
