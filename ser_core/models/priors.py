"""How common each emotion is in an archive, estimated without labels."""

from __future__ import annotations

import numpy as np

_TOLERANCE = 1e-8
_MAX_STEPS = 10_000
# No emotion is believed to be rarer than this in an archive.
_LEAST_SHARE = 0.01
# From this weight of rows on, the estimate counts in full.
_FULL_WEIGHT = 300


def estimate_priors(
    probabilities: np.ndarray, prior: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Shares of the classes in new data, by expectation maximisation (Saerens et al. 2002).

    Maximises the likelihood of the new data, if classes look there as they did in the training and
    only their shares differ. It is as good as the calibration of the probabilities.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, k)]
        Calibrated posteriors of the new rows under the training's shares; n >= 1.
    prior : np.ndarray [shape=(k,)]
        Shares of the classes in the training, each above 0; they add up to 1.
    weights : np.ndarray [shape=(n,)], optional
        Weight of each row; equal by default.

    Returns
    -------
    np.ndarray [shape=(k,)], float64
        Adds up to 1.

    Examples
    --------
    Where the classes are told apart, it counts them:

    >>> estimate_priors(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), [0.5, 0.5])
    array([0.75, 0.25])
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    prior = np.asarray(prior, dtype=np.float64)
    weights = np.ones(len(probabilities)) if weights is None else np.asarray(weights, np.float64)
    weights = weights / weights.sum()
    likelihoods = probabilities / prior
    found = prior
    for _ in range(_MAX_STEPS):
        before = found
        joint = likelihoods * before
        found = weights @ (joint / joint.sum(axis=1, keepdims=True))
        if np.abs(found - before).max() < _TOLERANCE:
            break
    return found


def estimate_log_prior(
    probabilities: np.ndarray, weights: np.ndarray, temperature: float
) -> np.ndarray:
    """What to add to a network's log-probabilities for an archive's shares of the emotions.

    The training is taken to have had equal shares: classes are weighted alike in it.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, k)]
        Calibrated.
    weights : np.ndarray [shape=(n,)]
        Weight of each row; the less there is in total, the nearer is the result to zeros.
    temperature : float > 0
        Of the calibration, which divides what is added.

    Returns
    -------
    np.ndarray [shape=(k,)], float64
    """
    labels = probabilities.shape[1]
    equal = np.full(labels, 1 / labels)
    found = np.maximum(estimate_priors(probabilities, equal, weights), _LEAST_SHARE)
    share = min(1.0, weights.sum() / _FULL_WEIGHT)
    found = share * found / found.sum() + (1 - share) * equal
    return temperature * np.log(found / equal)
