"""Window functions, made once per process."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import DTypeLike


@cache
def hann(length: int, dtype: DTypeLike = np.float64, *, centred: bool = False) -> np.ndarray:
    """Hann window; do not write to it.

    Parameters
    ----------
    length : int > 0
    dtype : type
        What the values are rounded to.
    centred : bool
        Samples stand half a sample later: the window is symmetric, without the zero at its
        start. Otherwise it is periodic, as scipy.signal (which takes long to load) has it.

    Returns
    -------
    np.ndarray [shape=(length,)]

    Examples
    --------
    >>> hann(4).round(3).tolist()
    [0.0, 0.5, 1.0, 0.5]
    >>> hann(4, centred=True).round(3).tolist()
    [0.146, 0.854, 0.854, 0.146]
    """
    turn = np.linspace(-np.pi, np.pi, length + 1)[:-1]
    if centred:
        turn = turn + np.pi / length
    return (0.5 + 0.5 * np.cos(turn)).astype(dtype)
