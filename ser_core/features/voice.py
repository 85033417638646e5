"""`voice`: what a pretrained speech encoder hears in a segment, in a few hundred numbers.

The statistics of `ser_core.features.encoder` (Whisper base, layers 2 to 4) are standardised and
projected on the principal components of the training corpora (`projection.npz`, fixed), and the
functionals of `ser_core.features.telephone` follow. Values are rounded to the precision of
float16, which halves their size in Parquet.

The scale of a value depends on its segment alone, never on its neighbours.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from ser_core.errors import FeatureError
from ser_core.features import FeatureSet, encoder, telephone

FILE = Path(__file__).with_name("projection.npz")
SHA256 = ""
COMPONENTS = 256
WITH_FUNCTIONALS = True


@dataclass(frozen=True)
class Projection:
    """Principal components of the encoder's statistics.

    Parameters
    ----------
    mean, sd : np.ndarray [shape=(3072,)], float32
        What the statistics are standardised by.
    components : np.ndarray [shape=(3072, k)], float32
    """

    mean: np.ndarray
    sd: np.ndarray
    components: np.ndarray

    def __call__(self, statistics: np.ndarray) -> np.ndarray:
        """Project float32 [3072] -> float32 [k]."""
        # A sum in one fixed order; that of a matrix product depends on the threads of BLAS.
        return np.einsum("i,ij->j", (statistics - self.mean) / self.sd, self.components)


@cache
def read_projection(file: Path, sha256: str, components: int) -> Projection:
    """Read `mean`, `sd` and `components` from an .npz file, once a process, as float32.

    Raises
    ------
    FeatureError
        The file is missing, or has another SHA-256, or other shapes.
    """
    content = encoder.read_shipped(file, sha256, "the projection of the feature set `voice`")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        projection = Projection(
            *(arrays[name].astype(np.float32) for name in ("mean", "sd", "components"))
        )
    size = len(encoder.NAMES)
    expected = {"mean": (size,), "sd": (size,), "components": (size, components)}
    found = {name: getattr(projection, name).shape for name in expected}
    if found != expected:
        raise FeatureError(f"{file}: arrays of shapes {found} found, {expected} expected")
    return projection


def compute(
    samples: np.ndarray, *, file: Path, sha256: str, components: int, with_functionals: bool
) -> np.ndarray:
    """Vector of one segment: float32 [n >= 1] at 8 kHz -> float32 [components, or 651 more]."""
    project = read_projection(file, sha256, components)
    # Adding zero removes negative zeros.
    vector = project(encoder.statistics(samples)).astype(np.float16).astype(np.float32) + 0.0
    if not with_functionals:
        return vector
    return np.concatenate([vector, telephone.functionals(samples)])


def feature_set(file: Path, sha256: str, components: int, *, with_functionals: bool) -> FeatureSet:
    """Describe the set over a projection, which is read when it is first used.

    Parameters
    ----------
    file : Path
        See `read_projection`.
    sha256 : str
        Of the file; part of the fingerprint.
    components : int
        Principal components in the file.
    with_functionals : bool
        Whether the 651 functionals of `telephone` follow.
    """
    names = tuple(f"component{i:03d}" for i in range(1, components + 1))
    if with_functionals:
        names += telephone.NAMES[telephone.FUNCTIONALS]
    return FeatureSet(
        id="voice",
        names=names,
        rate=encoder.RATE_HZ,
        parameters={
            "version": 1,
            "encoder": encoder.FEATURE_SET.fingerprint,
            "telephone": telephone.FEATURE_SET.fingerprint,
            "projection": sha256,
            "components": components,
            "with_functionals": with_functionals,
            "rounding": "float16",
        },
        compute=partial(
            compute,
            file=file,
            sha256=sha256,
            components=components,
            with_functionals=with_functionals,
        ),
        attribution=encoder.FEATURE_SET.attribution,
    )


FEATURE_SET = feature_set(FILE, SHA256, COMPONENTS, with_functionals=WITH_FUNCTIONALS)
