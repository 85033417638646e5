"""Cepstrum, chroma and spectral contrast of a spectrogram [t, 1025], as librosa defines them."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import scipy.fft

from ser_core.features.stft import N_FFT

N_CHROMA = 12
_AMIN, _TOP_DB = 1e-10, 80.0
# Contrast: octaves from 200 Hz; a peak or a valley is a fiftieth of a band.
_CONTRAST_MIN_HZ, _CONTRAST_OCTAVES, _CONTRAST_SHARE = 200.0, 6, 0.02


def decibels(power: np.ndarray) -> np.ndarray:
    """Power in dB, at least 1e-10 and at most 80 dB below the largest of all."""
    level = 10.0 * np.log10(np.maximum(_AMIN, power))
    return np.maximum(level, level.max() - _TOP_DB)


def cepstrum(mel: np.ndarray, n: int) -> np.ndarray:
    """Mean MFCC of mel power: [t, n_mels] -> [n]. The mean is taken before the transform."""
    mean = decibels(mel).mean(axis=0, dtype=np.float64)
    return scipy.fft.dct(mean, type=2, norm="ortho")[:n]


@lru_cache(maxsize=128)
def chroma_filters(rate_hz: int, tuning: float) -> np.ndarray:
    """Weights of 12 pitch classes from C (Ellis 2007): float32 [bins, 12].

    A bump of a semitone for each pitch class in every octave, under a Gaussian two octaves
    wide about the fifth octave. `tuning` is in semitones.
    """
    hz = np.linspace(0, rate_hz, N_FFT, endpoint=False)[1:]
    pitch = N_CHROMA * np.log2(hz / (440.0 * 2.0 ** (tuning / N_CHROMA) / 16))
    # Bin 0 has no pitch: one and a half octaves below bin 1.
    pitch = np.concatenate([[pitch[0] - 1.5 * N_CHROMA], pitch])
    width = np.concatenate([np.maximum(np.diff(pitch), 1.0), [1.0]])
    half = N_CHROMA / 2
    away = np.subtract.outer(pitch, np.arange(N_CHROMA)) + half + 10 * N_CHROMA
    away = np.remainder(away, N_CHROMA) - half
    weights = np.exp(-0.5 * (2 * away / width[:, np.newaxis]) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    weights *= np.exp(-0.5 * ((pitch / N_CHROMA - 5.0) / 2.0) ** 2)[:, np.newaxis]
    from_c = np.roll(weights, -3, axis=1)  # log2(hz / 27.5) counts from A
    return np.ascontiguousarray(from_c[: N_FFT // 2 + 1], dtype=np.float32)


def to_unit(rows: np.ndarray, norm: float) -> np.ndarray:
    """Rows divided by their norm (1: sum, inf: maximum): [t, n], values >= 0; zero rows stay."""
    size = rows.max(axis=1) if norm == np.inf else rows.sum(axis=1, dtype=np.float64)
    size = np.where(size < np.finfo(np.float32).tiny, 1.0, size)
    return (rows / size[:, np.newaxis]).astype(np.float32)


def contrast(magnitude: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mean spectral contrast in dB by octave (Jiang et al., ICME 2002): [t, bins] -> [7].

    The contrast of a band is its peak over its valley: means of the ends of the sorted band. Like
    librosa, this converts magnitudes to dB as if they were powers.
    """
    peaks, valleys = [], []
    for low, high, n in _contrast_bands(rate_hz):
        band = np.sort(magnitude[:, low:high], axis=1)
        valleys.append(band[:, :n].mean(axis=1))
        peaks.append(band[:, -n:].mean(axis=1))
    return (decibels(np.array(peaks, np.float64)) - decibels(np.array(valleys, np.float64))).mean(
        axis=1
    )


@cache
def _contrast_bands(rate_hz: int) -> list[tuple[int, int, int]]:
    """First bin, bin after the last, and number of bins of a peak or a valley, by octave."""
    hz = _bins_hz(rate_hz)
    edges = np.concatenate([[0.0], _CONTRAST_MIN_HZ * 2.0 ** np.arange(_CONTRAST_OCTAVES + 1)])
    bands = []
    for k in range(_CONTRAST_OCTAVES + 1):
        inside = np.flatnonzero((hz >= edges[k]) & (hz <= edges[k + 1]))
        # As in librosa: every band but the first begins a bin earlier. The last band has all the
        # rest; the others lose their last bin after the size of the peak is computed.
        low = inside[0] - (k > 0)
        high = inside[-1] + 1 if k < _CONTRAST_OCTAVES else len(hz)
        n = max(int(np.rint(_CONTRAST_SHARE * (high - low))), 1)
        bands.append((int(low), int(high) - (k < _CONTRAST_OCTAVES), n))
    return bands


def _bins_hz(rate_hz: int) -> np.ndarray:
    return np.fft.rfftfreq(N_FFT, 1.0 / rate_hz)
