"""Comparison of two bundles: how their UARs and accuracies differ over the labels of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser_core.corpora import Corpus
from ser_core.errors import CorpusError
from ser_core.models.evaluation_plan import Plan
from ser_core.models.scores import (
    count_confusions,
    percentile_interval,
    resampled_accuracy,
    resampled_uar,
    unweighted_average_recall,
)


@dataclass(frozen=True)
class Difference:
    """The first bundle's UAR and accuracy minus the second's, over the labels that both have.

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
    accuracy, accuracy_against, accuracy_difference, accuracy_low, accuracy_high
    accuracy_told_apart
        The same for the accuracy.
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
    accuracy: float
    accuracy_against: float
    accuracy_difference: float
    accuracy_low: float | None
    accuracy_high: float | None
    accuracy_told_apart: bool | None


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
    truth, against_truth = (
        np.array([places.get(place, -1) for place in plan.truth.tolist()])
        for plan in plans
        for places in [{plan.labels.index(label): i for i, label in enumerate(labels)}]
    )
    # Calm speech may be neutral to one of them only.
    compared = (truth >= 0) & (truth == against_truth)
    confusions = []
    for plan, answers in zip(plans, both, strict=True):
        columns = [plan.labels.index(label) for label in labels]
        # Scaled to add up to 1 again, the likeliest of these labels would be the same.
        predicted = plan.grouped(answers[compared])[:, columns].argmax(axis=1)
        confusions.append(
            count_confusions(truth[compared], predicted, speakers[compared], len(labels))
        )
    totals = [confusion.sum(axis=0) for confusion in confusions]
    uar, against = map(unweighted_average_recall, totals)
    accuracy, accuracy_against = (float(total.trace() / total.sum()) for total in totals)
    low, high, p = resampled_difference(*confusions)
    accuracy_low, accuracy_high = _accuracy_interval(*confusions)
    return Difference(
        condition=condition,
        known=known,
        labels=labels,
        utterances=int(compared.sum()),
        speakers=len(confusions[0]),
        uar=uar,
        uar_against=against,
        difference=uar - against,
        low=low,
        high=high,
        p=p,
        told_apart=_excludes_zero(low, high),
        accuracy=accuracy,
        accuracy_against=accuracy_against,
        accuracy_difference=accuracy - accuracy_against,
        accuracy_low=accuracy_low,
        accuracy_high=accuracy_high,
        accuracy_told_apart=_excludes_zero(accuracy_low, accuracy_high),
    )


def resampled_difference(
    first: np.ndarray, second: np.ndarray
) -> tuple[float | None, float | None, float | None]:
    """95 % interval of the difference of two UARs by resampling speakers, and its p.

    Parameters
    ----------
    first, second : np.ndarray [shape=(speakers, labels, labels)]
        Confusions by speaker, of the same speakers.

    Returns
    -------
    low, high, p : float or None
        As in `Difference`; None for a single speaker.
    """
    if len(first) < 2:
        return None, None, None
    drawn = resampled_uar(first) - resampled_uar(second)
    low, high = percentile_interval(drawn)
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return low, high, min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))


def _accuracy_interval(first: np.ndarray, second: np.ndarray) -> tuple[float | None, float | None]:
    if len(first) < 2:
        return None, None
    return percentile_interval(resampled_accuracy(first) - resampled_accuracy(second))


def _excludes_zero(low: float | None, high: float | None) -> bool | None:
    return None if low is None or high is None else low > 0 or high < 0
