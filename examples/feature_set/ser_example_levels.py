"""The feature set `example_levels`: level and spectrum of telephone speech, six numbers.

A feature set is data and one function. The function is given the samples of one segment at the
rate named below and returns one number for each name. Once a model uses the set, it never changes:
a different recipe gets a different name, since stored features and models carry the fingerprint.
"""

from __future__ import annotations

import numpy as np

from ser_core.features import FeatureSet

RATE_HZ = 8_000
FRAME = 200  # samples, 25 ms
HOP = 80  # samples, 10 ms
FLOOR = 1e-10  # power of silence, -100 dB

NAMES = (
    "level_db_mean",
    "level_db_sd",
    "level_db_range",
    "centroid_hz_mean",
    "centroid_hz_sd",
    "zero_crossings_per_s",
)


def compute(samples: np.ndarray) -> np.ndarray:
    """Describe one segment.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)], float32
        One channel at 8,000 Hz, full scale at 1.0; n >= 1.

    Returns
    -------
    np.ndarray [shape=(6,)]
    """
    padded = np.pad(samples.astype(np.float64), (0, max(0, FRAME - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)) ** 2
    level_db = 10 * np.log10(np.mean(frames**2, axis=1) + FLOOR)
    frequency_hz = np.fft.rfftfreq(FRAME, 1 / RATE_HZ)
    centroid_hz = power @ frequency_hz / (power.sum(axis=1) + FLOOR)
    quiet, loud = np.percentile(level_db, [10, 90])
    crossings = np.count_nonzero(np.diff(np.signbit(samples)))
    return np.array(
        [
            level_db.mean(),
            level_db.std(),
            loud - quiet,
            centroid_hz.mean(),
            centroid_hz.std(),
            crossings * RATE_HZ / len(samples),
        ]
    )


FEATURE_SET = FeatureSet(
    id="example_levels",
    names=NAMES,
    rate=RATE_HZ,
    parameters={"version": 1, "frame": FRAME, "hop": HOP, "floor": FLOOR},
    compute=compute,
)
