"""Comparison of two bundles: the difference of their UARs over the labels that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ser_core.corpora import Corpus
from ser_core.errors import CorpusError
from ser_core.models.evaluation_plan import Plan
from ser_core.models.scores import (
    count_confusions,
    percentile_interval,
    resampled_uar,
    unweighted_average_recall,
)


@dataclass(frozen=True)
class Difference:
    """The first bundle's UAR minus the second's, over the labels that both have.

    Parameters
    ----------
    condition, known : str
        As in `Result`. A bundle that takes no history is tested without one in both cases.
    labels : tuple of str
        The labels in common.
    utterances, speakers : int
    uar, uar_against : float in [0, 1]
        UAR of the first bundle and of the second.
    difference : float in [-1, 1]
    low, high : float in [-1, 1] or None
        95 % interval by resampling speakers, the same ones for both; None for a single speaker.
    p : float in (0, 1] or None
        Two-sided bootstrap p: twice the share of resamples on the rarer side of 0.
    told_apart : bool or None
        Whether the interval excludes 0.
    """

    condition: str
    known: str
    labels: tuple[str, ...]
    utterances: int
    speakers: int
    uar: float
    uar_against: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    told_apart: bool | None


def common_labels(plans: Sequence[Plan], corpus: Corpus) -> tuple[str, ...]:
    """The labels that two bundles have in common.

    Raises
    ------
    CorpusError
        Fewer than two, or no utterance of any of them.
    """
    first, second = plans
    labels = tuple(label for label in first.labels if label in second.labels)
    advice = "take other groups" if first.grouping else "take --groups angry, negative or four"
    if len(labels) < 2:
        raise CorpusError(
            f"{first.bundle.id} labels {', '.join(first.labels)}, and {second.bundle.id} "
            f"{', '.join(second.labels)}: {len(labels)} in common, two or more expected to "
            f"compare them; {advice}"
        )
    if not any(first.labels[i] in labels for i in first.truth[first.truth >= 0]):
        raise CorpusError(
            f"{corpus.name}: no utterance of {', '.join(labels)}, the labels that both "
            f"{first.bundle.id} and {second.bundle.id} have: nothing to compare them by; "
            f"{advice}, or another corpus"
        )
    return labels


def compare(
    plans: Sequence[Plan],
    both: Sequence[np.ndarray],
    labels: tuple[str, ...],
    speakers: np.ndarray,
    condition: str,
    known: str,
) -> Difference:
    """Compare two bundles' predictions over the labels that they have in common.

    Parameters
    ----------
    plans : sequence of two Plan
    both : sequence of two np.ndarray [shape=(utterances, labels of the bundle)]
    labels : tuple of str
        Those in common.
    speakers : np.ndarray [shape=(utterances,)]
    condition, known : str
    """
    # The truth is the same for both.
    places = {plans[0].labels.index(label): i for i, label in enumerate(labels)}
    truth = np.array([places.get(place, -1) for place in plans[0].truth.tolist()])
    compared = truth >= 0
    confusions = []
    for plan, answers in zip(plans, both, strict=True):
        columns = [plan.labels.index(label) for label in labels]
        # Scaled to add up to 1 again, the likeliest of these labels would be the same.
        predicted = plan.grouped(answers[compared])[:, columns].argmax(axis=1)
        confusions.append(
            count_confusions(truth[compared], predicted, speakers[compared], len(labels))
        )
    uar, against = (unweighted_average_recall(confusion.sum(axis=0)) for confusion in confusions)
    found = Difference(
        condition=condition,
        known=known,
        labels=labels,
        utterances=int(compared.sum()),
        speakers=len(confusions[0]),
        uar=uar,
        uar_against=against,
        difference=uar - against,
        low=None,
        high=None,
        p=None,
        told_apart=None,
    )
    if found.speakers < 2:
        return found
    drawn = resampled_uar(confusions[0]) - resampled_uar(confusions[1])
    low, high = percentile_interval(drawn)
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))
    return replace(found, low=low, high=high, p=p, told_apart=low > 0 or high < 0)
