"""How good a model is: the figures that a card holds, and their intervals.

UAR, the unweighted average recall, is the figure to compare by: accuracy favours whatever
labels the corpus has most of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser_core.emotions import GROUPINGS, group_names, group_probabilities
from ser_core.errors import CorpusError

if TYPE_CHECKING:
    from ser_core.corpora import Corpus, Utterance
    from ser_core.corpora.vectors import Progress
    from ser_core.models.bundle import Bundle

_RESAMPLES = 2_000
_INTERVAL_PERCENT = (2.5, 97.5)


@dataclass(frozen=True)
class Scores:
    """Figures of one test.

    Parameters
    ----------
    protocol : str
        What was tested on what, in words.
    labels : tuple of str
    utterances, speakers : int
        In the test.
    accuracy, uar : float in [0, 1]
        UAR is the mean recall of the labels that occur in the test.
    uar_low, uar_high : float in [0, 1]
        95 % interval of the UAR, by resampling the speakers.
    recall, precision : mapping of label to float in [0, 1] or None
        None where the label never occurs, or is never predicted.
    confusion : tuple of rows of int
        True label by row, predicted label by column.
    left_out : int
        Utterances whose emotion the model has no label for.
    """

    protocol: str
    labels: tuple[str, ...]
    utterances: int
    speakers: int
    accuracy: float
    uar: float
    uar_low: float
    uar_high: float
    recall: Mapping[str, float | None]
    precision: Mapping[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    left_out: int = 0


def score(
    truth: np.ndarray,
    probabilities: np.ndarray,
    *,
    labels: Sequence[str],
    speakers: Sequence[str],
    protocol: str,
    left_out: int = 0,
) -> Scores:
    """Compare predictions with the truth.

    Parameters
    ----------
    truth : np.ndarray [shape=(n,)], int
        Index of the true label; n >= 1.
    probabilities : np.ndarray [shape=(n, len(labels))]
    labels : sequence of str
    speakers : sequence of n str
        Who speaks; the units of the interval.
    protocol : str
        In words.
    left_out : int
        Passed on.
    """
    from sklearn import metrics

    truth = np.asarray(truth)
    predicted = np.asarray(probabilities).argmax(axis=1)
    every = np.arange(len(labels))
    recall, precision = (
        measure(truth, predicted, labels=every, average=None, zero_division=np.nan)
        for measure in (metrics.recall_score, metrics.precision_score)
    )
    names, who = np.unique(np.asarray(speakers), return_inverse=True)
    confusion = np.zeros((len(names), len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (who, truth, predicted), 1)
    low, high = _uar_interval(confusion)
    return Scores(
        protocol=protocol,
        labels=tuple(labels),
        utterances=len(truth),
        speakers=len(names),
        accuracy=float(metrics.accuracy_score(truth, predicted)),
        uar=float(np.nanmean(recall)),
        uar_low=low,
        uar_high=high,
        recall=_by_label(labels, recall),
        precision=_by_label(labels, precision),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion.sum(axis=0)),
        left_out=left_out,
    )


def evaluate(
    bundle: Bundle,
    corpus: Corpus,
    condition: str = "clean",
    *,
    grouping: str | None = None,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Test a bundle on a corpus, each utterance as one whole clip.

    On a corpus that the bundle was trained on this tells nothing about other voices: its
    card's figures by speaker do.

    Parameters
    ----------
    bundle : Bundle
    corpus : Corpus
        Emotions that the bundle has no label for are left out, and counted.
    condition : str
        One of `ser_core.corpora.conditions.CONDITIONS`, such as "mulaw" for a telephone line.
    grouping : str, optional
        One of `ser_core.emotions.GROUPINGS`: compare groups of labels. An emotion that the bundle
        has no label for counts where its group is one of the bundle's.
    jobs, cache, progress
        As in `ser_core.corpora.vectors.extract`.

    Raises
    ------
    CorpusError
        No utterance with a label of the bundle, or files that cannot be read.
    """
    from ser_core.corpora import vectors

    labels = bundle.labels if grouping is None else group_names(bundle.labels, grouping)
    group = GROUPINGS[grouping] if grouping else str
    known = [one for one in corpus.utterances if group(one.emotion) in labels]
    if not known:
        raise CorpusError(
            f"{corpus.name} has {', '.join(sorted(corpus.counts))}, and the model {bundle.id} "
            f"labels {', '.join(bundle.labels)}: nothing to compare; take another corpus"
        )
    matrix = vectors.extract(
        known,
        bundle.feature_set,
        condition=condition,
        jobs=jobs,
        cache=cache,
        progress=progress,
    )
    probabilities = bundle.predict(matrix)
    if grouping:
        probabilities = group_probabilities(probabilities, bundle.labels, grouping)
    return score(
        np.array([labels.index(group(one.emotion)) for one in known]),
        probabilities,
        labels=labels,
        speakers=[one.speaker for one in known],
        protocol=f"{corpus.name}, whole clips, {condition}",
        left_out=len(corpus.utterances) - len(known),
    )


def channels(utterances: Sequence[Utterance]) -> np.ndarray:
    """Ids for `Bundle.predict`: parts of one channel of a recording belong together, else a
    speaker's clips; int [n]."""
    keys = [
        (str(one.path), one.channel) if one.is_part else (one.speaker, None) for one in utterances
    ]
    ids = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([ids[key] for key in keys])


def truths(utterances: Sequence[Utterance], labels: Sequence[str]) -> np.ndarray:
    """Index of each utterance's emotion in `labels`."""
    index = {label: i for i, label in enumerate(labels)}
    return np.array([index[utterance.emotion] for utterance in utterances])


def shares(utterances: Sequence[Utterance], labels: Sequence[str]) -> np.ndarray:
    """Shares of the annotators by label, float32 [n, len(labels)]; rows add up to 1.

    An utterance without annotators' shares is all of its emotion. What annotators say beside
    `labels` does not count.
    """
    targets = np.zeros((len(utterances), len(labels)), dtype=np.float32)
    index = {label: i for i, label in enumerate(labels)}
    for row, one in zip(targets, utterances, strict=True):
        for label, share in one.shares or ((one.emotion, 1.0),):
            if label in index:
                row[index[label]] = share
    return targets / targets.sum(axis=1, keepdims=True)


def _by_label(labels: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {
        label: None if math.isnan(value) else float(value)
        for label, value in zip(labels, values, strict=True)
    }


def _uar_interval(confusion: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap over speakers; confusion is [speaker, true, predicted]."""
    count = len(confusion)
    random = np.random.default_rng(0)
    weights = random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    hits = weights @ np.diagonal(confusion, axis1=1, axis2=2)
    seen = weights @ confusion.sum(axis=2)
    recall = np.divide(hits, seen, out=np.full(hits.shape, np.nan), where=seen > 0)
    low, high = np.percentile(np.nanmean(recall, axis=1), _INTERVAL_PERCENT)
    return float(low), float(high)
