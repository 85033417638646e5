"""Calibration: temperature scaling, expected calibration error, and the risk-coverage curve.

All of these need out-of-fold predictions, for speakers that were not in the training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TEMPERATURES = (0.05, 1000.0)
_BINS = 15
# A float32 softmax rounds smaller probabilities to zero, which has no logarithm.
_SMALLEST = 1e-38
# The share of predictions that stays sure, and the share of these that must be right.
SURE_SHARE = 0.5
SURE_RIGHT = 0.8


def calibrate(
    probabilities: np.ndarray,
    temperature: float | np.ndarray,
    log_prior: np.ndarray | None = None,
) -> np.ndarray:
    """Temperature scaling (Guo et al. 2017): a temperature above 1 softens probabilities.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, k)]
    temperature : float > 0, or np.ndarray [shape=(n,)]
    log_prior : np.ndarray [shape=(k,)], optional
        Added to the log-probabilities before they are divided by the temperature.

    Returns
    -------
    np.ndarray [shape=(n, k)], float32

    Examples
    --------
    >>> calibrate(np.array([[0.8, 0.2]]), 2.0).round(3)
    array([[0.667, 0.333]], dtype=float32)
    """
    from scipy.special import softmax

    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    if log_prior is not None:
        logits += log_prior
    logits /= np.reshape(temperature, (-1, 1))
    return softmax(logits, axis=1).astype(np.float32)


def fit_temperature(
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    weight: np.ndarray | float = 1.0,
    without: float = 1.0,
) -> float:
    """Temperature of the least cross-entropy over held-out predictions (Guo et al. 2017).

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, k)]
        Out-of-fold predictions.
    truth : np.ndarray [shape=(n,)], int
    weight, without : optional
        Where the temperature depends on the history: `history_weight` of each row, and the
        temperature at weight 0. The temperature at weight 1 is fitted.

    Returns
    -------
    float
        From 0.05 to 1,000; above 1 where the network is overconfident.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        temperature = without + (math.exp(log_temperature) - without) * weight
        return cross_entropy(calibrate(probabilities, temperature), truth)

    bounds = tuple(math.log(bound) for bound in _TEMPERATURES)
    return round(math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x), 4)


def cross_entropy(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean of -log p of the true labels, in nats.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, k)]
    truth : np.ndarray [shape=(n,)], int
    """
    right = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())


@dataclass(frozen=True)
class Bin:
    """Predictions of similar confidence: their mean confidence, share of right ones, count."""

    confidence: float
    right: float
    count: int


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = _BINS) -> tuple[Bin, ...]:
    """Mean confidence and share of right predictions in bins of equal width, without empty bins.

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
    """Expected calibration error: mean gap of confidence and accuracy (Naeini et al. 2015)."""
    total = sum(group.count for group in bins)
    return sum(group.count * abs(group.confidence - group.right) for group in bins) / total


def coverage_and_risk(
    confidence: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Risk-coverage curve (El-Yaniv and Wiener 2010).

    Parameters
    ----------
    confidence : np.ndarray [shape=(n,)], in [0, 1]
    right : np.ndarray [shape=(n,)], bool

    Returns
    -------
    coverage, risk, threshold : np.ndarray [shape=(m,)]
        The share of predictions whose confidence is at least the threshold, and the share of these
        that are wrong. One point for each confidence that occurs, the highest first.
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
    """The threshold of confidence under which a prediction is unsure.

    It is the largest threshold that leaves at least `share` of the predictions sure, if at least
    `least_right` of these are right. Otherwise it is the smallest threshold above which that many
    are right, or 1.0 if there is none.

    Parameters
    ----------
    confidence : np.ndarray [shape=(n,)], in [0, 1]
    right : np.ndarray [shape=(n,)], bool
    share, least_right : float in [0, 1]
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
    # Rounded down, so that no sure prediction falls under a threshold of few digits.
    return math.floor(float(threshold[chosen]) * 10_000) / 10_000
