"""Tuning: the deviation of a signal's pitches from those of a piano at A 440 Hz.

Peaks of the magnitude spectrum between 150 and 4,000 Hz are refined by a parabola through three
bins (J. O. Smith, Spectral Audio Signal Processing, "Sinusoidal peak interpolation"). The tuning is
the most frequent deviation of the stronger half of the peaks, in hundredths of a bin. It equals
that of `librosa.estimate_tuning` to the bit, since a rounding error could move it by a whole step.
"""

from __future__ import annotations

import numpy as np

from ser_core.features.compiled import compiled
from ser_core.features.stft import N_FFT

MIN_HZ, MAX_HZ = 150.0, 4_000.0
# Lower peaks than this share of their frame's maximum are ignored.
_THRESHOLD = 0.1
_STEPS = 100


def estimate(magnitude: np.ndarray, rate_hz: int, bins_per_octave: int) -> float:
    """Estimate the tuning in fractions of a bin: float32 [t, bins] -> -0.5 … 0.49.

    0 where the spectrum has no peaks.
    """
    low, high = np.ceil(np.array([MIN_HZ, MAX_HZ]) * N_FFT / rate_hz).astype(int)
    floor = np.float32(_THRESHOLD) * magnitude.max(axis=1)
    bins, heights = _peaks(magnitude, floor, low, high)
    if not len(bins):
        return 0.0
    hz = (bins * float(rate_hz) / N_FFT).astype(np.float32)
    hz = hz[heights >= np.median(heights)]
    deviation = np.mod(bins_per_octave * np.log2(hz / (440.0 / 16)), 1.0)
    deviation[deviation >= 0.5] -= 1.0
    counts, edges = np.histogram(deviation, np.linspace(-0.5, 0.5, _STEPS + 1))
    return float(edges[np.argmax(counts)])


@compiled(
    "Tuple((float64[::1], float32[::1]))(float32[:, ::1], float32[::1], int64, int64)",
)
def _peaks(S: np.ndarray, floor: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Peaks of the bins low … high - 1: their places in fractional bins, and their heights."""
    most = S.shape[0] * ((high - low) // 2 + 1)
    bins, heights = np.empty(most, np.float64), np.empty(most, np.float32)
    n = 0
    for t in range(S.shape[0]):
        for k in range(low, high):
            before, here, after = S[t, k - 1], S[t, k], S[t, k + 1]
            if here > floor[t] and here > before and here >= after:
                # The curvature and slope are rounded where librosa rounds them.
                curve = np.float64(after + before) - 2.0 * np.float64(here)
                slope = np.float64(after - before) / 2.0
                shift = np.float32(0)
                if abs(slope) < abs(curve):
                    shift = np.float32(-slope / curve)
                bins[n] = k + np.float64(shift)
                heights[n] = here + np.float32(0.5) * ((after - before) / np.float32(2) * shift)
                n += 1
    return bins[:n], heights[:n]
