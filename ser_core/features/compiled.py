"""Numba for loops that numpy is slow at: compiled once a machine where its cache can be written.

A module that uses this compiles while it is imported, so feature sets import it on first use:
then `FeatureSet.warm` sees to it that one process compiles for all.
"""

from __future__ import annotations

from collections.abc import Callable

import numba


def compiled(signature: str, **options) -> Callable[[Callable], Callable]:
    """Decorator: machine code for one signature, one thread, without the GIL.

    Parameters
    ----------
    signature : str
        Types as numba writes them, such as "f4[:](f4[:,::1], b1[::1])".
    **options
        Of `numba.njit`, such as `fastmath`; strict IEEE arithmetic without.
    """

    # Division as in numpy: a branch for each divisor of 0 would keep loops from being vectors.
    options = {"nogil": True, "error_model": "numpy", **options}

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder for a cache, or no room in it
            return numba.njit(signature, **options)(function)

    return decorate
