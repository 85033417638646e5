"""Loops compiled by numba, where numpy is slow: once per machine if the cache can be written.

A module that uses this compiles while it is imported. Feature sets therefore import it on first
use, and `FeatureSet.warm` makes sure that one process compiles for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(signature: str, **options: Any) -> Callable[[Callable], Callable]:
    """Decorator: machine code for one signature, one thread, without the GIL.

    Parameters
    ----------
    signature : str
        Types as numba writes them, such as "f4[:](f4[:,::1], b1[::1])".
    **options
        Of `numba.njit`, such as `fastmath`; strict IEEE arithmetic without.
    """

    # Divide as numpy does: a branch for each divisor of 0 would prevent vectorised loops.
    options = {"nogil": True, "error_model": "numpy", **options}

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder for a cache, or no space in it
            return numba.njit(signature, **options)(function)

    return decorate
