"""A channel's history: the other segments of a segment's channel, and how far they are used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ser_core.emotions import CALM

# The value of `Card.channel_normalisation`; and the number of other segments that weigh as much as
# the training speakers do.
HISTORY, HISTORY_HALF = "history", 4.0


def histories(
    matrix: np.ndarray, channel: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and variance of the other rows of each row's channel.

    Parameters
    ----------
    matrix : np.ndarray [shape=(n, d)], float32
    channel : np.ndarray [shape=(n,)] or None
        Id of each row's channel. None: no row has a history.

    Returns
    -------
    count [n, 1], mean and variance [n, d], float32
        Zeros for a row without others.
    """
    count = np.zeros((len(matrix), 1), dtype=np.float32)
    mean, variance = np.zeros_like(matrix), np.zeros_like(matrix)
    if channel is None:
        return count, mean, variance
    _, index, sizes = np.unique(channel, return_inverse=True, return_counts=True)
    for which in np.flatnonzero(sizes > 1):
        rows = np.flatnonzero(index == which)
        exact, others = matrix[rows].astype(np.float64), len(rows) - 1
        squares = np.square(exact)
        left_out = (exact.sum(axis=0) - exact) / others
        count[rows], mean[rows] = others, left_out
        square = (squares.sum(axis=0) - squares) / others
        variance[rows] = np.maximum(square - np.square(left_out), 0)
    return count, mean, variance


def history_weight(count: np.ndarray) -> np.ndarray:
    """Weight of a history of n segments: n / (n + 4).

    Examples
    --------
    >>> history_weight(np.array([0, 4, 12]))
    array([0.  , 0.5 , 0.75])
    """
    return count / (count + HISTORY_HALF)


def history_belief(
    others: np.ndarray, labels: Sequence[str], doubted: tuple[float, float]
) -> np.ndarray:
    """How far a channel's history is used, by the mean prediction of its segments.

    A caller who is in one mood throughout would pass for normal in it. A history is therefore used
    less, or not at all, where one emotion other than neutral and calm has a large share of it.

    Parameters
    ----------
    others : np.ndarray [shape=(n, k)]
        Mean probabilities of the other segments, each predicted without a history; zeros where
        there are none.
    labels : sequence of k str
    doubted : two floats
        See `Card.history_doubted`.

    Returns
    -------
    np.ndarray [shape=(n,)]
        From 0 (not at all) to 1 (in full).
    """
    moods = others[:, [label not in CALM for label in labels]]
    share = moods.max(axis=1, initial=0.0)
    low, high = doubted
    return np.clip((high - share) / (high - low), 0, 1)
