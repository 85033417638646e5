"""Two channels -> where one repeats the other, and how much later, block by block.

The measure is the generalised cross-correlation with phase transform (GCC-PHAT; C. Knapp and
G. Carter 1976, "The generalized correlation method for estimation of time delay", IEEE Trans.
ASSP 24(4), 320-327), of frames that are scaled to one level, so that a soft echo counts as much as
a loud voice. Only frames that sound are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from ser_core.speech import FRAME, FRAME_S, RATE_HZ, Frames

# Every other sample is enough, and costs half.
_RATE_HZ = RATE_HZ // 2
# Blocks of 4.1 s every 3.6 s: neighbours share the longest delay.
MAX_DELAY_S = 0.5
_FFT = 1 << 14
BLOCK = _FFT // (FRAME // 2)
HOP = BLOCK - round(MAX_DELAY_S / FRAME_S)
# The band that is compared: 250 to 1,750 Hz. Its width makes lags 0.67 ms apart.
_BINS = 3 * _FFT // 8
_FIRST_BIN = round(250 * _FFT / _RATE_HZ)
LAG_S = _FFT / _RATE_HZ / _BINS
_MAX_LAG = round(MAX_DELAY_S / LAG_S)

# Blocks with fewer frames that sound, on either channel, are not compared.
LEAST_SOUNDING = 10
# The strength of a lag is its squared correlation, times the number of bins that are independent.
# Where nothing is repeated it is about exponentially distributed, with mean 1.
STRENGTH_FROM = 7.0
_PEAKS = 16


@dataclass(frozen=True)
class Peaks:
    """The strongest lags of a block, the strongest first; positive where `second` is later."""

    lags: np.ndarray
    strengths: np.ndarray

    @property
    def strength(self) -> float:
        """Of the strongest lag; 0 without any."""
        return float(self.strengths[0]) if len(self.strengths) else 0.0

    def reversed(self) -> Peaks:
        """The same where the channels change places."""
        return Peaks(-self.lags, self.strengths)


NO_PEAKS = Peaks(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


@dataclass(frozen=True)
class Spectrum:
    """Spectrum of a block in the band that is compared, and how many of its frames sound."""

    bins: np.ndarray
    sounding: int


def spectrum(frames: Frames) -> Spectrum:
    """Spectrum of a block.

    Parameters
    ----------
    frames : Frames
        At most `BLOCK`, of which at least `LEAST_SOUNDING` sound.
    """
    gain = np.where(frames.sounding, 10 ** (-frames.level_db / 20), 0).astype(np.float32)
    level = (frames.samples * gain[:, None]).ravel()
    bins = scipy.fft.rfft(level[::2] + level[1::2], _FFT)
    sounding = int(np.count_nonzero(frames.sounding))
    return Spectrum(bins[_FIRST_BIN : _FIRST_BIN + _BINS], sounding)


def peaks(first: Spectrum | None, second: Spectrum | None) -> Peaks:
    """Lags at which a channel repeats another, from the spectra of a block, None for silence."""
    if first is None or second is None:
        return NO_PEAKS
    cross = second.bins * first.bins.conj()
    cross /= np.sqrt(np.square(cross.real) + np.square(cross.imag)) + np.float32(1e-9)
    by_lag = scipy.fft.ifft(cross)
    by_lag = np.concatenate([by_lag[-_MAX_LAG:], by_lag[: _MAX_LAG + 1]])
    independent = _BINS * max(first.sounding, second.sounding) / BLOCK
    strengths = (np.square(by_lag.real) + np.square(by_lag.imag)) * np.float32(independent)
    strong = np.flatnonzero(strengths > STRENGTH_FROM)
    strong = strong[np.argsort(-strengths[strong], kind="stable")[:_PEAKS]]
    return Peaks(strong - _MAX_LAG, strengths[strong])
