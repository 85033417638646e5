"""Feature sets: named, versioned recipes from samples to a vector.

`get` finds a set by name. Built-in sets are listed in `_BUILT_IN`; other packages register theirs
as entry points of the group `ser_core.features`. Once a bundle that uses a set is shipped, the set
never changes under its name.

Examples
--------
>>> import numpy as np
>>> feature_set = get("telephone")
>>> feature_set.extract(np.zeros(8_000), rate=8_000).shape
(2223,)
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from ser_core.errors import FeatureError

# A new feature set is added here: its name, and the module with its FEATURE_SET.
_BUILT_IN = {
    "encoder": "ser_core.features.encoder",
    "librosa193": "ser_core.features.librosa193",
    "seed193": "ser_core.features.seed193",
    "telephone": "ser_core.features.telephone",
    "voice": "ser_core.features.voice",
}
_ENTRY_POINTS = "ser_core.features"


@dataclass(frozen=True)
class FeatureSet:
    """A recipe from the samples of one segment to one vector.

    Parameters
    ----------
    id : str
        The name under which it is registered.
    names : tuple of str
        Name of each dimension of the vector.
    rate : int
        Sample rate of the recipe in Hz; `extract` resamples to it.
    parameters : mapping
        Everything else that changes a value: window, hop, bands, version.
    compute : callable
        float32 [n] at `rate` -> [len(names)]. Given finite samples, n >= 1.
    attribution : str
        What to name for the parts of it that others made, for the cards of models over it.
    """

    id: str
    names: tuple[str, ...]
    rate: int
    parameters: Mapping[str, Any]
    compute: Callable[[np.ndarray], np.ndarray] = field(repr=False)
    attribution: str = ""

    @property
    def fingerprint(self) -> str:
        """Hash over id, names, rate and parameters, kept in bundles and with stored features."""
        recipe = json.dumps(
            [self.id, list(self.names), self.rate, dict(self.parameters)], sort_keys=True
        )
        return hashlib.sha256(recipe.encode()).hexdigest()[:16]

    def extract(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Turn the samples of one segment into a vector.

        Parameters
        ----------
        samples : np.ndarray [shape=(n,)]
            One channel, full scale at 1.0; n >= 1.
        rate : int > 0
            Sample rate in Hz; resampled with soxr HQ where it differs from `self.rate`.

        Returns
        -------
        np.ndarray [shape=(len(names),)], float32

        Raises
        ------
        FeatureError
            Samples that are empty, of several channels, not finite, or so large that
            values overflow.
        """
        samples = np.asarray(samples, dtype=np.float32)
        if samples.ndim != 1 or samples.size == 0:
            raise FeatureError(
                f"{self.id}: samples of shape {samples.shape} found, one channel [n >= 1] expected"
            )
        if not np.isfinite(samples).all():
            raise FeatureError(f"{self.id}: samples hold NaN or infinity, finite ones expected")
        if rate != self.rate:
            samples = resample(samples, rate, self.rate)
        with np.errstate(over="ignore", invalid="ignore"):  # checked below, in the vector
            vector = np.asarray(self.compute(samples), dtype=np.float32)
        if vector.shape != (len(self.names),):
            raise FeatureError(
                f"{self.id}: computed a vector of shape {vector.shape}, "
                f"({len(self.names)},) expected"
            )
        if not np.isfinite(vector).all():
            raise FeatureError(
                f"{self.id}: the values overflow; samples up to {np.abs(samples).max():g} found, "
                "full scale at 1.0 expected"
            )
        return vector

    def warm(self) -> None:
        """Compile and fill caches with a second of noise, before a timeout or a benchmark starts.

        The first time on a machine, one process compiles while the others wait: two processes
        that fill numba's cache at once damage it, and later processes crash on loading it.
        """
        noise = np.random.default_rng(0).standard_normal(self.rate).astype(np.float32)
        with _compile_alone(self.fingerprint):
            self.extract(0.1 * noise, self.rate)


@contextmanager
def _compile_alone(fingerprint: str) -> Iterator[None]:
    """Hold a lock over all processes of this user, until one of them has compiled."""
    installed = [
        (name, spec.origin, os.stat(spec.origin).st_mtime_ns)
        for name in ("numba", "ser_core")
        if (spec := importlib.util.find_spec(name)) and spec.origin
    ]
    identity = repr((installed, fingerprint, os.environ.get("NUMBA_CACHE_DIR"), os.getuid()))
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    done = Path(tempfile.gettempdir()) / f"ser-compiled-{key}"
    if done.exists():
        yield
        return
    lock = filelock.FileLock(f"{done}.lock")
    with suppress(OSError):  # without a lock where the folder cannot be written
        lock.acquire()
    try:
        yield
        with suppress(OSError):
            done.touch()
    finally:
        lock.release()


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resample one channel with soxr HQ: float32 [n] -> float32 [ceil(n * new_rate / rate)]."""
    import soxr

    n = math.ceil(len(samples) * (float(new_rate) / rate))
    resampled = soxr.resample(np.ascontiguousarray(samples), rate, new_rate, quality="soxr_hq")
    return np.pad(resampled[:n], (0, max(0, n - len(resampled))))


@cache
def get(name: str) -> FeatureSet:
    """Find a feature set by name.

    Parameters
    ----------
    name : str
        A built-in set or an entry point of the group `ser_core.features`.

    Returns
    -------
    FeatureSet

    Raises
    ------
    FeatureError
        Neither a built-in set nor an entry point has this name, or the entry point is something
        else.

    Examples
    --------
    >>> feature_set = get("telephone")
    >>> feature_set.rate, len(feature_set.names)
    (8000, 2223)
    >>> one_second = np.random.default_rng(0).standard_normal(8_000) / 10
    >>> feature_set.extract(one_second, 8_000).shape
    (2223,)
    """
    if name in _BUILT_IN:
        return importlib.import_module(_BUILT_IN[name]).FEATURE_SET
    plugins = {point.name: point for point in entry_points(group=_ENTRY_POINTS)}
    if name in plugins:
        found = plugins[name].load()
        if not isinstance(found, FeatureSet):
            raise FeatureError(
                f"feature set {name!r}: the entry point {plugins[name].value} gives a "
                f"{type(found).__name__}, a ser_core.features.FeatureSet expected"
            )
        return found
    known = ", ".join(sorted({*_BUILT_IN, *plugins}))
    raise FeatureError(f"no feature set is called {name!r}; known sets: {known}")
