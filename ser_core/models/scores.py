"""Scores of predictions against the truth, and their intervals by resampling speakers.

UAR, the unweighted average recall, is the figure to compare by: accuracy favours whatever labels
the corpus has most of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

_RESAMPLES = 2_000
_INTERVAL_PERCENT = (2.5, 97.5)


@dataclass(frozen=True)
class Scores:
    """Figures of one test.

    Parameters
    ----------
    protocol : str
        What was tested, in words.
    labels : tuple of str
    utterances, speakers : int
        Counts in the test.
    accuracy, uar : float in [0, 1]
        UAR is the mean recall of the labels that occur in the test.
    uar_low, uar_high : float in [0, 1] or None
        95 % interval of the UAR by resampling speakers; None for a single speaker.
    recall, precision : mapping of label to float in [0, 1] or None
        None if the label never occurs (recall) or is never predicted (precision).
    confusion : tuple of rows of int
        True label by row, predicted label by column.
    left_out : int
        Utterances whose emotion is not a label of the model, or whose annotators are divided.
    """

    protocol: str
    labels: tuple[str, ...]
    utterances: int
    speakers: int
    accuracy: float
    uar: float
    uar_low: float | None
    uar_high: float | None
    recall: Mapping[str, float | None]
    precision: Mapping[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    left_out: int = 0

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of the interval, or None."""
        if self.uar_low is None or self.uar_high is None:
            return None
        return self.uar_low, self.uar_high


def score(
    truth: np.ndarray,
    probabilities: np.ndarray,
    *,
    labels: Sequence[str],
    speakers: Sequence[str] | np.ndarray,
    protocol: str,
    left_out: int = 0,
) -> Scores:
    """Score predictions against the truth.

    Parameters
    ----------
    truth : np.ndarray [shape=(n,)], int
        Index of the true label; n >= 1.
    probabilities : np.ndarray [shape=(n, len(labels))]
    labels : sequence of str
    speakers : sequence of n str
        The speakers, who are resampled for the interval.
    protocol : str
        What was tested, in words.
    left_out : int
        As in `Scores`.
    """
    from sklearn import metrics

    truth = np.asarray(truth)
    predicted = np.asarray(probabilities).argmax(axis=1)
    indices = np.arange(len(labels))
    recall, precision = (
        measure(truth, predicted, labels=indices, average=None, zero_division=np.nan)
        for measure in (metrics.recall_score, metrics.precision_score)
    )
    confusion = count_confusions(truth, predicted, speakers, len(labels))
    low, high = (
        percentile_interval(resampled_uar(confusion)) if len(confusion) > 1 else (None, None)
    )
    return Scores(
        protocol=protocol,
        labels=tuple(labels),
        utterances=len(truth),
        speakers=len(confusion),
        accuracy=float(metrics.accuracy_score(truth, predicted)),
        uar=float(np.nanmean(recall)),
        uar_low=low,
        uar_high=high,
        recall=_by_label(labels, recall),
        precision=_by_label(labels, precision),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion.sum(axis=0)),
        left_out=left_out,
    )


def _by_label(labels: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {
        label: None if math.isnan(value) else float(value)
        for label, value in zip(labels, values, strict=True)
    }


# ---------------------------------------------------------------- resampling


def count_confusions(
    truth: np.ndarray, predicted: np.ndarray, speakers: Sequence[str] | np.ndarray, labels: int
) -> np.ndarray:
    """Counts by [speaker, true, predicted]."""
    names, who = np.unique(np.asarray(speakers), return_inverse=True)
    confusion = np.zeros((len(names), labels, labels), dtype=int)
    np.add.at(confusion, (who, truth, predicted), 1)
    return confusion


@cache
def _draws(count: int) -> np.ndarray:
    """How often each speaker is in each resample; always the same, so that tests can be paired."""
    random = np.random.default_rng(0)
    return random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)


def unweighted_average_recall(confusion: np.ndarray) -> float:
    """UAR: mean recall of the labels that occur. The confusion is [true, predicted].

    Examples
    --------
    >>> unweighted_average_recall(np.array([[9, 1], [1, 1]]))
    0.7
    """
    seen = confusion.sum(axis=1)
    return float((confusion.diagonal()[seen > 0] / seen[seen > 0]).mean())


def resampled_uar(confusion: np.ndarray) -> np.ndarray:
    """UAR of each resample of the speakers. The confusion is [speaker, true, predicted]."""
    weights = _draws(len(confusion))
    hits = weights @ np.diagonal(confusion, axis1=1, axis2=2)
    seen = weights @ confusion.sum(axis=2)
    recall = np.divide(hits, seen, out=np.full(hits.shape, np.nan), where=seen > 0)
    return np.nanmean(recall, axis=1)


def resampled_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Accuracy of each resample of the speakers. The confusion is [speaker, true, predicted]."""
    weights = _draws(len(confusion))
    hits = weights @ np.trace(confusion, axis1=1, axis2=2)
    return hits / (weights @ confusion.sum(axis=(1, 2)))


def percentile_interval(drawn: np.ndarray) -> tuple[float, float]:
    """Interval of resampled values (percentile bootstrap)."""
    low, high = np.percentile(drawn, _INTERVAL_PERCENT)
    return float(low), float(high)
