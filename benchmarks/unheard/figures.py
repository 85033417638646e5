"""Figures of predictions, over the emotions that a bundle and a corpus share.

A corpus may have fewer or other emotions than a bundle. Clips of other emotions are left out, and
the bundle answers with the shared emotions only: its other probabilities are set to 0. Without
`calm` among the labels compared, calm counts as neutral, in the truth and in the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ser_core.corpora import Utterance
from ser_core.emotions import NEGATIVE, RAVDESS_EIGHT
from ser_core.models.calibration import calibration_error, reliability
from ser_core.models.scores import percentile_interval, score

SIX = ("neutral", "happy", "sad", "angry", "fearful", "disgust")
EIGHT = RAVDESS_EIGHT
FALSE_ALARMS = 0.05
_RESAMPLES = 500


@dataclass(frozen=True)
class Question:
    """The clips that a bundle is tested on, and the labels that it may answer with.

    Parameters
    ----------
    labels : tuple of str
        Emotions that bundle and clips share.
    rows : np.ndarray [shape=(n,)], int
        Places of the tested clips among all clips.
    truth : np.ndarray [shape=(n,)], int
        Index of their emotion in `labels`.
    speakers : np.ndarray [shape=(n,)], str
    merge : np.ndarray [shape=(labels of the bundle, len(labels))]
        1 where a label of the bundle counts as a label compared, else 0.
    """

    labels: tuple[str, ...]
    rows: np.ndarray
    truth: np.ndarray
    speakers: np.ndarray
    merge: np.ndarray

    def answers(self, probabilities: np.ndarray) -> np.ndarray:
        """A bundle's probabilities of all labels -> those of the labels compared; sums are 1."""
        merged = probabilities @ self.merge
        return merged / np.maximum(merged.sum(axis=1, keepdims=True), 1e-12)

    def only(self, kept: np.ndarray) -> Question:
        """The question for the clips that a mask [n] keeps."""
        rows, truth, speakers = self.rows[kept], self.truth[kept], self.speakers[kept]
        return replace(self, rows=rows, truth=truth, speakers=speakers)

    def called_negative(self, probabilities: np.ndarray) -> dict[str, float | None]:
        """Shares of clips that get a negative label: of the negative ones, and of the others.

        Parameters
        ----------
        probabilities : np.ndarray [shape=(n, labels of the bundle)]
            Of the tested clips.

        Returns
        -------
        dict
            `rightly` and `wrongly`; None where there are no such clips.
        """
        negative = np.array([label in NEGATIVE for label in self.labels])
        given = negative[self.answers(probabilities).argmax(axis=1)]
        shares = {"rightly": given[negative[self.truth]], "wrongly": given[~negative[self.truth]]}
        return {name: float(own.mean()) if len(own) else None for name, own in shares.items()}

    def figures(self, probabilities: np.ndarray, unsure_below: float) -> dict[str, Any]:
        """Figures of the bundle's probabilities [n, labels of the bundle] of the tested clips.

        Returns
        -------
        dict
            Those of `measure`; `sure`, the share of clips whose confidence is not below the
            bundle's threshold; and `right_if_sure`, None if there are none.
        """
        answers = self.answers(probabilities)
        sure = probabilities.max(axis=1) >= unsure_below
        right = answers.argmax(axis=1) == self.truth
        return {
            **measure(answers, self.truth, self.labels, self.speakers),
            "sure": float(sure.mean()),
            "right_if_sure": float(right[sure].mean()) if sure.any() else None,
        }


def ask(
    emotions: Sequence[str],
    speakers: Sequence[str],
    bundle_labels: Sequence[str],
    within: Sequence[str] = SIX,
) -> Question:
    """The question for clips of known emotions.

    Parameters
    ----------
    emotions, speakers : sequences of str
        Of all clips.
    bundle_labels : sequence of str
    within : sequence of str
        Compare no other emotions than these.

    Examples
    --------
    >>> question = ask(("calm", "bored"), ("a", "a"), ("neutral", "happy", "calm"))
    >>> question.labels, question.rows.tolist()
    (('neutral',), [0])
    >>> question.answers(np.array([[0.25, 0.5, 0.25]])).tolist()
    [[1.0]]
    """

    def compared(emotion: str) -> str:
        return "neutral" if emotion == "calm" and "calm" not in within else emotion

    own = [compared(label) for label in bundle_labels]
    true = [compared(emotion) for emotion in emotions]
    labels = tuple(label for label in within if label in own and label in true)
    rows = np.array([i for i, emotion in enumerate(true) if emotion in labels], dtype=int)
    return Question(
        labels=labels,
        rows=rows,
        truth=np.array([labels.index(true[i]) for i in rows], dtype=int),
        speakers=np.asarray(speakers)[rows],
        merge=np.array([[float(name == label) for label in labels] for name in own]),
    )


def ask_corpus(
    utterances: Sequence[Utterance], bundle_labels: Sequence[str], within: Sequence[str] = SIX
) -> Question:
    """The question for a corpus; utterances on which the annotators are divided are left out."""
    emotions = [utterance.emotion if utterance.agreed else "" for utterance in utterances]
    speakers = [utterance.speaker for utterance in utterances]
    return ask(emotions, speakers, bundle_labels, within)


def measure(
    probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str], speakers: np.ndarray
) -> dict[str, Any]:
    """Figures of one test, as JSON holds them.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, len(labels))]
    truth : np.ndarray [shape=(n,)], int
        Index in `labels`.
    labels : sequence of str
    speakers : np.ndarray [shape=(n,)], str
        They are resampled for the intervals.

    Returns
    -------
    dict
        `scores` (see `Scores`), `calibration_error`, and for `angry` and `negative` against the
        rest those of `detect`; None where no clip, or each clip, is of that kind.
    """
    scores = score(truth, probabilities, labels=labels, speakers=speakers, protocol="")
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    groups = {"angry": {"angry"}, "negative": NEGATIVE}
    members = {
        name: np.array([label in group for label in labels]) for name, group in groups.items()
    }
    return {
        "scores": asdict(scores),
        "calibration_error": calibration_error(reliability(confidence, right)),
        **{
            name: detect(probabilities[:, own].sum(axis=1), own[truth], speakers)
            for name, own in members.items()
        },
    }


def detect(value: np.ndarray, positive: np.ndarray, speakers: np.ndarray) -> dict | None:
    """How well a value tells positive clips from the others.

    Parameters
    ----------
    value : np.ndarray [shape=(n,)]
        Higher for positive clips.
    positive : np.ndarray [shape=(n,)], bool
    speakers : np.ndarray [shape=(n,)], str

    Returns
    -------
    dict or None
        `auc` with its interval `auc_low`, `auc_high`; and `found`, the share of positive clips
        above the threshold that 5 % of the others exceed. None with one kind of clips only.
    """
    if positive.all() or not positive.any():
        return None
    names, who = np.unique(speakers, return_inverse=True)
    random = np.random.default_rng(0)
    times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_RESAMPLES)
    drawn = weighted_auc(value, positive, times[:, who]) if len(names) > 1 else np.array([])
    drawn = drawn[np.isfinite(drawn)]
    low, high = percentile_interval(drawn) if len(drawn) else (None, None)
    threshold = np.quantile(value[~positive], 1 - FALSE_ALARMS)
    return {
        "auc": float(weighted_auc(value, positive, np.ones((1, len(value))))[0]),
        "auc_low": low,
        "auc_high": high,
        "found": float(np.mean(value[positive] > threshold)),
    }


def weighted_auc(value: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for many weightings of the same clips.

    It is the probability that a positive clip has the higher value; ties count one half.

    Parameters
    ----------
    value : np.ndarray [shape=(n,)]
    positive : np.ndarray [shape=(n,)], bool
    weights : np.ndarray [shape=(k, n)]

    Returns
    -------
    np.ndarray [shape=(k,)]
        NaN where all weight is on one kind of clips.
    """
    order = np.argsort(value, kind="stable")
    starts = np.flatnonzero(np.diff(value[order], prepend=-np.inf))
    own, other = (
        np.add.reduceat(weights[:, order] * kind[order], starts, axis=1).astype(float)
        for kind in (positive, ~positive)
    )
    below = np.cumsum(other, axis=1) - 0.5 * other
    pairs = own.sum(axis=1) * other.sum(axis=1)
    return np.divide(
        (own * below).sum(axis=1), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0
    )
