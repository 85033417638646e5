"""The figures of a bundle that was started from another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_core.models.calibration import (
    Bin,
    calibrate,
    calibration_error,
    coverage_and_risk,
    fit_temperature,
    reliability,
    unsure_below,
)
from ser_core.models.comparison import resampled_difference
from ser_core.models.recipes.base import Curve
from ser_core.models.recipes.preparation import LabelledClips
from ser_core.models.recipes.transfer.start import Start
from ser_core.models.scores import Scores, count_confusions, score, unweighted_average_recall

# With fewer clips than these, calibration and thresholds stay the bundle's where the labels do.
LEAST_TO_CALIBRATE = 50


@dataclass(frozen=True)
class Measured:
    """All figures of a training.

    Parameters
    ----------
    results : mapping of name to Scores
        `after`; and `before` where the labels are the start's.
    measures : mapping
        Calibration, what the threshold does, and the difference from the start (None where that
        has other labels); for the card.
    temperature, unsure_below : float
    bins : mapping of words to the bins of a reliability picture
    curves : mapping of words to a risk-coverage curve
    """

    results: dict[str, Scores]
    measures: dict[str, Any]
    temperature: float
    unsure_below: float
    bins: dict[str, tuple[Bin, ...]]
    curves: dict[str, Curve]


def keeps_calibration(start: Start, clips: LabelledClips) -> bool:
    """Whether the start's calibration stays: few clips, and no other labels than the start's."""
    few = int(clips.agreed.sum()) < LEAST_TO_CALIBRATE
    return few and set(clips.labels) <= set(start.card.labels)


def measure(start: Start, after: np.ndarray, clips: LabelledClips, scaled: np.ndarray) -> Measured:
    """All figures.

    Parameters
    ----------
    start : Start
    after : np.ndarray [shape=(n, labels)]
        Out-of-fold predictions, not calibrated.
    clips : LabelledClips
    scaled : np.ndarray [shape=(n, d)]
        Standardised vectors.
    """
    agreed, fold = clips.agreed, clips.folds[clips.agreed]
    truth, probabilities = clips.truth[agreed], after[agreed]
    if keeps_calibration(start, clips):
        temperature = start.card.temperature
        by_row = np.full(len(truth), temperature)
    else:
        temperature = fit_temperature(probabilities, truth)
        by_row = np.empty(len(truth))
        for left_out in np.unique(fold):
            others = fold != left_out
            by_row[~others] = fit_temperature(probabilities[others], truth[others])
    probabilities = calibrate(probabilities, by_row)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    below = start.card.unsure_segment_below
    if len(truth) >= LEAST_TO_CALIBRATE:
        below = unsure_below(confidence, right)
    sure = _sure_by_fold(confidence, right, fold)
    coverage, risk, _ = coverage_and_risk(confidence, right)
    bins = {"new speakers": reliability(confidence, right)}
    results = {"after": _scored(clips, probabilities, "as recorded, by speaker")}
    own = start.card.labels
    against_start = None
    if set(clips.labels) <= set(own):
        before = calibrate(start.head(scaled), start.card.temperature)[agreed]
        places = [own.index(label) for label in clips.labels]
        results["before"] = _scored(clips, before[:, places], f"{start.card.id} on the same")
        against_start = _difference(clips, probabilities, before[:, places])
    return Measured(
        results=results,
        measures={
            "calibration_error": {words: calibration_error(b) for words, b in bins.items()},
            "unsure": {"segments": sure},
            "against_start": against_start,
        },
        temperature=temperature,
        unsure_below=below,
        bins=bins,
        curves={"segments": (coverage, risk, (sure["sure"], 1 - sure["right_if_sure"]))},
    )


def _difference(
    clips: LabelledClips, after: np.ndarray, before: np.ndarray
) -> dict[str, float | None]:
    """UAR after the training less that before it, with its interval by resampling speakers."""
    truth, speakers = clips.truth[clips.agreed], clips.speakers[clips.agreed]
    confusions = [
        count_confusions(truth, answers.argmax(axis=1), speakers, len(clips.labels))
        for answers in (after, before)
    ]
    uars = [unweighted_average_recall(confusion.sum(axis=0)) for confusion in confusions]
    low, high, p = resampled_difference(*confusions)
    return {"difference": uars[0] - uars[1], "low": low, "high": high, "p": p}


def _sure_by_fold(confidence: np.ndarray, right: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """Share of sure predictions, and of right ones, by thresholds that other folds chose."""
    sure = np.zeros(len(right), dtype=bool)
    for left_out in np.unique(fold):
        own = fold == left_out
        if own.all():
            continue
        sure[own] = confidence[own] >= unsure_below(confidence[~own], right[~own])
    return {
        "sure": float(sure.mean()),
        "right_if_sure": float(right[sure].mean()) if sure.any() else 1.0,
        "right": float(right.mean()),
    }


def _scored(clips: LabelledClips, probabilities: np.ndarray, protocol: str) -> Scores:
    return score(
        clips.truth[clips.agreed], probabilities, labels=clips.labels,
        speakers=clips.speakers[clips.agreed], protocol=protocol,
    )  # fmt: skip
