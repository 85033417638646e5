"""Out-of-fold answers by row, and their temperatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ser_core.conditions import CONDITIONS
from ser_core.models.calibration import calibrate, unsure_below
from ser_core.models.history import history_weight
from ser_core.models.recipes.calls.data import KNOWN, LINES
from ser_core.models.recipes.calls.held_out import HeldOut


@dataclass(frozen=True)
class Temperatures:
    """Temperatures without a history, and with a long one."""

    without: float
    with_history: float

    def __call__(self, probabilities: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Calibrated probabilities [n, labels].

        Parameters
        ----------
        probabilities : np.ndarray [shape=(n, labels)]
        weight : np.ndarray [shape=(n,)]
            How far each row's history was used.
        """
        change = self.with_history - self.without
        return calibrate(probabilities, self.without + change * weight)


@dataclass(frozen=True)
class Answers:
    """Out-of-fold answers by row.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, labels)]
    truth : np.ndarray [shape=(n,)], int
        True label.
    fold : np.ndarray [shape=(n,)], int
        The fold that was left out of the training.
    weight : np.ndarray [shape=(n,)]
        How far the history was used: `history_weight` times `history_belief`.
    """

    probabilities: np.ndarray
    truth: np.ndarray
    fold: np.ndarray
    weight: np.ndarray

    def of(self, which: np.ndarray) -> Answers:
        """Answers of some rows."""
        return Answers(*(getattr(self, item.name)[which] for item in fields(self)))

    @classmethod
    def joined(cls, several: Sequence[Answers]) -> Answers:
        """All rows of several answers."""
        return cls(*(np.concatenate([getattr(x, f.name) for x in several]) for f in fields(cls)))

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the likeliest label."""
        return self.probabilities.max(axis=1)

    @property
    def right(self) -> np.ndarray:
        """Whether the likeliest label is the true one."""
        return self.probabilities.argmax(axis=1) == self.truth


Clips = Mapping[tuple[str, str], Answers]


def clip_answers(held_out: HeldOut) -> Clips:
    """Answers to clips by condition and what is known, except where nothing else is known.

    Clips whose annotators are divided are left out.
    """
    data = held_out.data
    agreed = data.tested.agreed
    return {
        (condition, known): Answers(
            held_out.clips[c, k],
            data.tested.truth,
            data.folds,
            held_out.clips_belief[c, k] * history_weight(data.known[known]),
        ).of(agreed)
        for c, condition in enumerate(CONDITIONS)
        for k, known in enumerate(KNOWN)
        if known == "none" or data.known[known].any()
    }


def segment_answers(held_out: HeldOut) -> Answers:
    """Answers to the segments of calls under all of `LINES`, with the call's others as history."""
    data = held_out.data
    real = data.called >= 0
    count = np.repeat(real.sum(axis=1) - 1, real.sum(axis=1))
    clips = data.called[real]
    n = len(LINES)
    return Answers(
        np.concatenate([held_out.segments[line][real] for line in range(n)]),
        np.tile(data.tested.truth[clips], n),
        np.tile(data.folds[clips], n),
        np.concatenate(
            [held_out.segments_belief[line][real] * history_weight(count) for line in range(n)]
        ),
    )


def calibrate_by_fold(asked: Answers, by_fold: Mapping[int, Temperatures]) -> Answers:
    """Answers calibrated by the temperatures of their fold."""
    probabilities = np.empty_like(asked.probabilities)
    for fold, temperatures in by_fold.items():
        own = asked.fold == fold
        probabilities[own] = temperatures(asked.probabilities[own], asked.weight[own])
    return replace(asked, probabilities=probabilities)


def sure_by_fold(asked: Answers) -> dict[str, float]:
    """Share of sure answers, and of right ones, by thresholds that other folds chose."""
    sure = np.zeros(len(asked.truth), dtype=bool)
    for fold in np.unique(asked.fold):
        own, others = asked.fold == fold, asked.of(asked.fold != fold)
        sure[own] = asked.confidence[own] >= unsure_below(others.confidence, others.right)
    return {
        "sure": float(sure.mean()),
        "right_if_sure": float(asked.right[sure].mean()) if sure.any() else 1.0,
        "right": float(asked.right.mean()),
    }
