"""Compiled loops: numba with a cache on disk, where a folder for one can be written."""

from __future__ import annotations

from collections.abc import Callable

import numba


def compiled(signature: str, **options) -> Callable[[Callable], Callable]:
    """Compile a function for one signature: once a machine, without a cache once a process."""

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(signature, cache=True, nogil=True, **options)(function)
        except (RuntimeError, OSError):  # no folder for a cache, or no room in it
            return numba.njit(signature, nogil=True, **options)(function)

    return decorate
