"""Windows, made once a process."""

from __future__ import annotations

from functools import cache

import numpy as np


@cache
def hann(length: int) -> np.ndarray:
    """Hann window without its zeros at the ends, float32 [length]; do not write to it."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)).astype(np.float32)
