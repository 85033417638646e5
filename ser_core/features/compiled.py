"""Compiled loops: numba with a cache on disk, where a folder for one can be written."""

from __future__ import annotations

from collections.abc import Callable

import numba


def compiled(signature: str, **options) -> Callable[[Callable], Callable]:
    """Compile a function for one signature: once a machine, without a cache once a process."""

    # Division as in numpy: a branch for each divisor of 0 would keep loops from being vectors.
    options = {"nogil": True, "error_model": "numpy", **options}

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder for a cache, or no room in it
            return numba.njit(signature, **options)(function)

    return decorate
