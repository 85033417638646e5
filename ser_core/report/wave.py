"""Waves, reduced to the points that can be seen."""

from __future__ import annotations

import numpy as np


def envelope(samples: np.ndarray, columns: int) -> np.ndarray:
    """Lowest and highest sample in each of `columns` equal stretches.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
    columns : int > 0
        There are never more columns than samples.

    Returns
    -------
    np.ndarray [shape=(2, min(n, columns))]

    Examples
    --------
    >>> envelope(np.array([0, 3, -1, 2, 5, 4]), 2).tolist()
    [[-1, 2], [3, 5]]
    """
    samples = np.asarray(samples)
    columns = min(columns, len(samples))
    if columns == 0:
        return np.zeros((2, 0), np.float32)
    first = np.arange(columns) * len(samples) // columns
    return np.stack([np.minimum.reduceat(samples, first), np.maximum.reduceat(samples, first)])
