"""Numba for loops that numpy is slow at: compiled once a machine where its cache can be written.

A module that uses this compiles while it is imported, so feature sets import it on first use:
then `FeatureSet.warm` sees to it that one process compiles for all.
"""

from __future__ import annotations

from collections.abc import Callable

import numba


def compiled(signature: str) -> Callable[[Callable], Callable]:
    """Decorator: machine code for one signature, strict IEEE arithmetic, one thread.

    Parameters
    ----------
    signature : str
        Types as numba writes them, such as "f4[:](f4[:,::1], b1[::1])".
    """

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(signature, cache=True)(function)
        except RuntimeError:  # no folder that its cache could be written to
            return numba.njit(signature)(function)

    return decorate
