"""Whether a model's confidence can be believed: temperature, calibration error, coverage and risk.

All of it wants predictions for speakers that the network had not heard.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TEMPERATURES = (0.05, 1000.0)
_BINS = 15
# A float32 softmax rounds smaller ones to zero, whose logarithm is none.
_SMALLEST = 1e-38
# Of the predictions, the share that stays sure, and how many of these must be right.
SURE_SHARE = 0.5
SURE_RIGHT = 0.8


def calibrate(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Soften (temperature > 1) or sharpen probabilities; temperature scaling, Guo et al. 2017.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, k)]
    temperature : float > 0, or one a row

    Returns
    -------
    np.ndarray [shape=(n, k)], float32
    """
    from scipy.special import softmax

    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    logits /= np.reshape(temperature, (-1, 1))
    return softmax(logits, axis=1).astype(np.float32)


def fit_temperature(
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    weight: np.ndarray | float = 1.0,
    without: float = 1.0,
) -> float:
    """Temperature that makes held-out predictions most likely (Guo et al. 2017).

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, k)]
        Of utterances that the network had not seen.
    truth : np.ndarray [shape=(n,)], int
    weight, without : optional
        Where the temperature changes with the history: `history_weight` of each row, and
        the temperature at weight 0. What is fitted is the one at weight 1.

    Returns
    -------
    float
        From 0.05 to 1,000; above 1 where the network is too sure of itself.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        temperature = without + (math.exp(log_temperature) - without) * weight
        return cross_entropy(calibrate(probabilities, temperature), truth)

    bounds = tuple(math.log(bound) for bound in _TEMPERATURES)
    return round(math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x), 4)


def cross_entropy(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean of -log p of the true labels, in nats."""
    right = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())


@dataclass(frozen=True)
class Bin:
    """Predictions of about the same confidence."""

    confidence: float
    right: float
    count: int


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = _BINS) -> tuple[Bin, ...]:
    """Mean confidence and share of right predictions, in bins of equal width; empty ones left out.

    Parameters
    ----------
    confidence : np.ndarray [shape=(n,)], in [0, 1]
    right : np.ndarray [shape=(n,)], bool
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return tuple(
        Bin(float(confidence[own].mean()), float(right[own].mean()), int(own.sum()))
        for own in (place == index for index in range(bins))
        if own.any()
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean distance of confidence and truth (Naeini et al. 2015)."""
    total = sum(group.count for group in bins)
    return sum(group.count * abs(group.confidence - group.right) for group in bins) / total


def coverage_and_risk(
    confidence: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is wrong among the surest, by how many these are (El-Yaniv and Wiener 2010).

    Returns
    -------
    coverage, risk, threshold : np.ndarray [shape=(m,)]
        Of the predictions, the share whose confidence is at least the threshold, and the share
        of these that are wrong; a point for each confidence that occurs, the highest first.
    """
    order = np.argsort(-confidence, kind="stable")
    threshold = confidence[order]
    count = np.arange(1, len(order) + 1)
    risk = np.cumsum(~right[order]) / count
    last = np.append(threshold[1:] != threshold[:-1], True)
    return count[last] / len(order), risk[last], threshold[last]


def unsure_below(
    confidence: np.ndarray,
    right: np.ndarray,
    share: float = SURE_SHARE,
    least_right: float = SURE_RIGHT,
) -> float:
    """The confidence from which on a prediction is called sure.

    The largest threshold that leaves at least `share` of the predictions sure; where fewer than
    `least_right` of these are right, the largest part of the surest of whom that many are. 1.0,
    which nothing reaches but certainty, where there is no such part.
    """
    coverage, risk, threshold = coverage_and_risk(confidence, right)
    good = risk <= 1 - least_right + 1e-9
    enough = good & (coverage >= share)
    if enough.any():
        chosen = int(np.flatnonzero(enough)[0])
    elif good.any():
        chosen = int(np.flatnonzero(good)[-1])
    else:
        return 1.0
    # Rounded down: a threshold is written with few digits, and nobody sure falls under it.
    return math.floor(float(threshold[chosen]) * 10_000) / 10_000
