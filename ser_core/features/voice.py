"""`voice`: what a pretrained speech encoder hears in a segment, on a coarse scale.

The 3,072 statistics of `ser_core.features.encoder` (Whisper base, layers 2 to 4), standardised by
the mean and the standard deviation that they have in CREMA-D and EMO-DB over mu-law (`scale.npz`,
fixed), and rounded to halves of that standard deviation. Rounding costs no accuracy and makes a
segment take 1.8 KB in Parquet instead of 11.

A projection on 256 to 640 principal components was less accurate, since an archive's own normal is
better taken before it; so were the functionals of `telephone` beside (docs/accuracy.md, "Trials").

The scale of a value depends on its segment alone, never on its neighbours.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ser_core.errors import FeatureError
from ser_core.features import FeatureSet, encoder

FILE = Path(__file__).with_name("scale.npz")
SHA256 = "9aac07559675ede456fea156ac41fa4adb376d22fe1afec2b590d70b9257cb88"
# In standard deviations.
STEP, LIMIT = 0.5, 16.0


@dataclass(frozen=True)
class Scale:
    """What the statistics are standardised by.

    Parameters
    ----------
    mean, sd : np.ndarray [shape=(3072,)], float32
    """

    mean: np.ndarray
    sd: np.ndarray

    def __call__(self, statistics: np.ndarray) -> np.ndarray:
        """Standardise and round: [..., 3072] -> float32 [..., 3072]."""
        steps = np.rint((statistics - self.mean) / self.sd / np.float32(STEP))
        # Adding zero removes negative zeros.
        return (np.float32(STEP) * np.clip(steps, -LIMIT / STEP, LIMIT / STEP) + 0.0).astype(
            np.float32
        )


@cache
def read_scale() -> Scale:
    """Read the scale, once a process.

    Raises
    ------
    FeatureError
        The file is missing, has another SHA-256, or other shapes.
    """
    content = encoder.read_shipped(FILE, SHA256, "the scale of the feature set `voice`")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        scale = Scale(arrays["mean"], arrays["sd"])
    size = len(encoder.NAMES)
    if scale.mean.shape != (size,) or scale.sd.shape != (size,):
        raise FeatureError(
            f"{FILE}: shapes {scale.mean.shape} and {scale.sd.shape} found, ({size},) expected"
        )
    return scale


def compute(samples: np.ndarray) -> np.ndarray:
    """Vector of one segment: float32 [n >= 1] at 8 kHz -> float32 [3072]."""
    return read_scale()(encoder.statistics(samples))


FEATURE_SET = FeatureSet(
    id="voice",
    names=encoder.NAMES,
    rate=encoder.RATE_HZ,
    parameters={
        "version": 1,
        "encoder": encoder.FEATURE_SET.fingerprint,
        "scale": SHA256,
        "step": STEP,
        "limit": LIMIT,
    },
    compute=compute,
    attribution=encoder.ATTRIBUTION,
)
