"""The figures of a bundle that was started from another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_core.models import bundle
from ser_core.models.calibration import (
    Bin,
    calibrate,
    calibration_error,
    coverage_and_risk,
    fit_temperature,
    reliability,
    unsure_below,
)
from ser_core.models.recipes.base import Curve
from ser_core.models.recipes.calls.answers import Answers, sure_by_fold
from ser_core.models.recipes.preparation import LabelledClips
from ser_core.models.recipes.transfer.start import Start
from ser_core.models.scores import Scores, score

# With fewer clips than these, calibration and thresholds stay the bundle's where the labels do.
LEAST_TO_CALIBRATE = 50
NONE, CHANNEL = "nothing known of the speaker", "the channel's other clips known"


@dataclass(frozen=True)
class Measured:
    """All figures of a training.

    Parameters
    ----------
    results : mapping of name to Scores
        `after` and `after_channel`; `before` and `before_channel` where the labels are the start's.
    measures : mapping
        Calibration, and what the threshold does; for the card.
    temperature : float or None
        None where the start's calibration stays.
    unsure_below : float
    bins : mapping of words to the bins of a reliability picture
    curves : mapping of words to a risk-coverage curve
    """

    results: dict[str, Scores]
    measures: dict[str, Any]
    temperature: float | None
    unsure_below: float
    bins: dict[str, tuple[Bin, ...]]
    curves: dict[str, Curve]


def keeps_calibration(start: Start, clips: LabelledClips) -> bool:
    """Whether the start's calibration stays: few clips, and no other labels than the start's."""
    few = int(clips.agreed.sum()) < LEAST_TO_CALIBRATE
    return few and set(clips.labels) <= set(start.card.labels)


def measure(
    start: Start,
    after: np.ndarray,
    clips: LabelledClips,
    matrix: np.ndarray,
    channel: np.ndarray,
) -> Measured:
    """All figures.

    Parameters
    ----------
    start : Start
    after : np.ndarray [shape=(2, n, labels)]
        Out-of-fold answers, without a history and with the channel's. They are not calibrated yet,
        unless the start's calibration stays.
    clips : LabelledClips
    matrix : np.ndarray [shape=(n, d)]
        Feature vectors.
    channel : np.ndarray [shape=(n,)], int
    """
    asked, temperature = _calibrated(start, after, clips)
    alone, related = np.split(np.arange(len(asked.truth)), 2)
    by_known = {NONE: asked.of(alone), CHANNEL: asked.of(related)}
    threshold = start.card.unsure_segment_below
    if int(clips.agreed.sum()) >= LEAST_TO_CALIBRATE:
        threshold = unsure_below(asked.confidence, asked.right)
    sure = sure_by_fold(asked)
    coverage, risk, _ = coverage_and_risk(asked.confidence, asked.right)
    bins = {known: reliability(a.confidence, a.right) for known, a in by_known.items()}
    return Measured(
        results=_results(start, by_known, clips, matrix, channel),
        measures={
            "calibration_error": {known: calibration_error(b) for known, b in bins.items()},
            "unsure": {"segments": sure},
        },
        temperature=temperature,
        unsure_below=threshold,
        bins=bins,
        curves={"segments": (coverage, risk, (sure["sure"], 1 - sure["right_if_sure"]))},
    )


def _calibrated(
    start: Start, after: np.ndarray, clips: LabelledClips
) -> tuple[Answers, float | None]:
    """Answers to all clips that can be tested, each calibrated by other folds; the temperature."""
    truth, fold = np.tile(clips.truth[clips.agreed], 2), np.tile(clips.folds[clips.agreed], 2)
    probabilities = np.concatenate(list(after[:, clips.agreed]))
    temperature = None
    if not keeps_calibration(start, clips):
        by_fold = {
            left_out: fit_temperature(probabilities[fold != left_out], truth[fold != left_out])
            for left_out in np.unique(fold)
        }
        temperature = fit_temperature(probabilities, truth)
        probabilities = calibrate(probabilities, np.array([by_fold[f] for f in fold]))
    return Answers(probabilities, truth, fold, np.zeros(len(truth))), temperature


def _results(
    start: Start,
    by_known: dict[str, Answers],
    clips: LabelledClips,
    matrix: np.ndarray,
    channel: np.ndarray,
) -> dict[str, Scores]:
    """Scores after and, where the labels are the start's, before the training."""
    agreed, labels, own = clips.agreed, clips.labels, start.card.labels

    def scored(probabilities: np.ndarray, protocol: str) -> Scores:
        return score(
            clips.truth[agreed], probabilities, labels=labels, speakers=clips.speakers[agreed],
            protocol=protocol,
        )  # fmt: skip

    started = bundle.from_keras(start.assemble(), start.card)
    results = {}
    for known, suffix, ids in ((NONE, "", None), (CHANNEL, "_channel", channel)):
        results[f"after{suffix}"] = scored(
            by_known[known].probabilities, f"as recorded, by speaker, {known}"
        )
        if set(labels) <= set(own):
            places = [own.index(label) for label in labels]
            before = started.predict(matrix, ids)[agreed][:, places]
            results[f"before{suffix}"] = scored(before, f"{start.card.id} on the same, {known}")
    return results
