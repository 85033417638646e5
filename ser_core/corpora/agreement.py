"""Inter-annotator agreement: Krippendorff's alpha, and the stretches on which annotators disagree.

K. Krippendorff (2011), "Computing Krippendorff's alpha-reliability", University of Pennsylvania,
for nominal data. 1 is perfect agreement, 0 is chance. He advises against conclusions below 0.67,
which emotions in natural speech rarely reach. The tests compare it with the package `krippendorff`,
whose licence (GPL) does not allow it to be a part of this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

# URI, channel, start and end in seconds.
Stretch = tuple[str, int | None, float, float | None]


@dataclass(frozen=True)
class Disputed:
    """A stretch without a majority: two or more emotions share the most votes."""

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
        Number of stretches with two or more annotators. All alphas are over these.
    alpha : float or None
        Over all emotions; None if all annotators used the same single emotion.
    by_emotion : mapping of emotion to float or None
        Alpha of this emotion against the rest.
    by_pair : mapping of two annotators to alpha and the number of stretches that both labelled
        Pairs without a common stretch are missing.
    disputed : tuple of Disputed
    """

    annotators: tuple[str, ...]
    shared: int
    alpha: float | None
    by_emotion: Mapping[str, float | None]
    by_pair: Mapping[tuple[str, str], tuple[float | None, int]]
    disputed: tuple[Disputed, ...]

    def as_json(self) -> dict[str, Any]:
        """The figures for a card, and the number of disputed stretches; no names of recordings."""
        return {
            "annotators": list(self.annotators),
            "shared": self.shared,
            "alpha": self.alpha,
            "by_emotion": dict(self.by_emotion),
            "by_pair": [[*pair, alpha, count] for pair, (alpha, count) in self.by_pair.items()],
            "disputed": len(self.disputed),
        }


def agreement(votes: Sequence[Mapping[str, str]], stretches: Sequence[Stretch]) -> Agreement | None:
    """Measure how far annotators agree.

    Parameters
    ----------
    votes : sequence of n mappings of annotator to emotion
    stretches : sequence of n stretches
        The stretches voted on, for the list of disputed ones.

    Returns
    -------
    Agreement, or None if no stretch has two annotators

    Examples
    --------
    >>> votes = [{"ann": "calm", "bob": "calm"}, {"ann": "angry", "bob": "calm"}]
    >>> stretches = [("a.wav", 0, 0.0, 2.0), ("a.wav", 0, 2.0, 4.0)]
    >>> [disputed.start_s for disputed in agreement(votes, stretches).disputed]
    [2.0]
    """
    annotators = tuple(sorted({annotator for by_annotator in votes for annotator in by_annotator}))
    emotions = sorted({emotion for by_annotator in votes for emotion in by_annotator.values()})
    codes = np.full((len(annotators), len(votes)), np.nan)
    for unit, by_annotator in enumerate(votes):
        for annotator, emotion in by_annotator.items():
            codes[annotators.index(annotator), unit] = emotions.index(emotion)
    voted = ~np.isnan(codes)
    shared = int((voted.sum(axis=0) > 1).sum())
    if not shared:
        return None
    pairs = {}
    for a, b in combinations(range(len(annotators)), 2):
        both = voted[a] & voted[b]
        if both.any():
            alpha = _alpha(codes[[a, b]][:, both])
            pairs[annotators[a], annotators[b]] = alpha, int(both.sum())
    return Agreement(
        annotators=annotators,
        shared=shared,
        alpha=_alpha(codes),
        by_emotion={
            emotion: _alpha(np.where(voted, codes == code, np.nan))
            for code, emotion in enumerate(emotions)
        },
        by_pair=pairs,
        disputed=tuple(
            Disputed(*stretch, dict(by_annotator))
            for stretch, by_annotator in zip(stretches, votes, strict=True)
            if _is_tied(by_annotator)
        ),
    )


def _is_tied(votes: Mapping[str, str]) -> bool:
    counts = [count for _, count in Counter(votes.values()).most_common(2)]
    return len(counts) > 1 and counts[0] == counts[1]


def _alpha(codes: np.ndarray) -> float | None:
    """Alpha of codes [annotators, units], NaN where an annotator gave no label."""
    codes = codes[:, (~np.isnan(codes)).sum(axis=0) > 1]
    values = np.unique(codes[~np.isnan(codes)])
    if len(values) < 2:
        return None
    counts = np.array([(codes == value).sum(axis=0) for value in values])  # [values, units]
    per_unit, totals = counts.sum(axis=0), counts.sum(axis=1)
    n = totals.sum()
    # Pairs of different labels: within units, and among all labels.
    observed = ((per_unit**2 - (counts**2).sum(axis=0)) / (per_unit - 1)).sum() / n
    expected = (n**2 - (totals**2).sum()) / (n * (n - 1))
    return float(1 - observed / expected)
