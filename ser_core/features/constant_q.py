"""Chroma of a constant-Q transform, and the tonal centroids ("tonnetz") made of it.

Seven octaves of 36 bins from C1, from the top octave downwards: one octave of wavelets is applied
to the signal, then the sample rate of the signal is halved (Schörkhuber & Klapuri, SMC 2010).
Since rate and hop are halved together, all octaves use the wavelets of the top octave. These are
cached for each of the 100 tunings that `tuning.estimate` can give.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
import soxr

from ser_core.features import bands
from ser_core.features.stft import HOP, blocks, frames
from ser_core.features.windows import hann

OCTAVES, BINS, PER_SEMITONE = 7, 36, 3
C1_HZ = 440.0 * 2.0 ** ((24 - 69) / 12)
# The smallest values of each wavelet's spectrum, up to this share of the sum, are set to 0.
_LEFT_OUT = 0.01


def tonnetz(y: np.ndarray, rate_hz: int, tuning: float) -> np.ndarray:
    """Mean tonal centroids (Harte, Sandler & Gasser 2006): float32 [n] -> float64 [6].

    Sine and cosine on the circles of fifths, of minor and of major thirds.
    """
    chroma = bands.to_unit(chromagram(y, rate_hz, tuning), np.inf)
    mean = bands.to_unit(chroma, 1).mean(axis=0, dtype=np.float64)
    turns = np.outer([7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3], np.arange(12))
    turns[::2] -= 0.5
    radius = np.array([1, 1, 1, 1, 0.5, 0.5])
    return radius * (np.cos(np.pi * turns) @ mean)


def chromagram(y: np.ndarray, rate_hz: int, tuning: float) -> np.ndarray:
    """Magnitudes summed by pitch class from C: float32 [n] -> float32 [t, 12].

    `tuning` is in bins, a third of a semitone each.
    """
    octaves, hop = [], HOP
    for octave in range(OCTAVES):
        if octave:
            y, hop = halve(y), hop // 2
        octaves.append(_octave(y, hop, *_wavelets(rate_hz, tuning)))
    n = min(map(len, octaves))
    total = sum(octave[:n] for octave in octaves)
    # Bins 35, 0 and 1 are C, 2 to 4 C sharp, and so on.
    return np.roll(total, 1, axis=1).reshape(n, -1, PER_SEMITONE).sum(axis=2)


def _octave(y: np.ndarray, hop: int, first: int, wavelets: np.ndarray, n_fft: int) -> np.ndarray:
    """Magnitudes of the top octave: float32 [n] -> float32 [1 + n // hop, 36]."""
    framed = frames(y, n_fft, hop)
    used = slice(first, first + len(wavelets))
    out = np.empty((len(framed), BINS), dtype=np.float32)
    for block in blocks(len(framed)):
        spectra = scipy.fft.rfft(framed[block].astype(np.float64), axis=1)
        np.abs(spectra[:, used].astype(np.complex64) @ wavelets, out=out[block])
    return out


def halve(y: np.ndarray) -> np.ndarray:
    """Halve the sample rate and keep the energy: float32 [n] -> float32 [ceil(n / 2)]."""
    n = (len(y) + 1) // 2
    half = soxr.resample(y, 2, 1, quality="soxr_hq")[:n]
    half = np.pad(half, (0, n - len(half)))
    half /= np.sqrt(0.5)
    return half


@lru_cache(maxsize=128)
def _wavelets(rate_hz: int, tuning: float) -> tuple[int, np.ndarray, int]:
    """Spectra of the top octave's wavelets: first bin, complex64 [used bins, 36], n_fft."""
    bins = np.arange(BINS, dtype=float)
    hz = 2.0 ** (OCTAVES - 1) * 2.0 ** (bins / BINS) * (C1_HZ * 2.0 ** (tuning / BINS))
    bandwidth = (2.0 ** (2 / BINS) - 1) / (2.0 ** (2 / BINS) + 1)
    lengths = rate_hz / (bandwidth * hz)
    n_fft = int(2.0 ** np.ceil(np.log2(lengths.max())))
    spectra = np.zeros((BINS, n_fft // 2 + 1), dtype=np.complex64)
    for i in range(BINS):
        n = np.arange(-lengths[i] // 2, lengths[i] // 2)
        wavelet = np.exp(2j * np.pi * hz[i] / rate_hz * n) * hann(len(n))
        wavelet /= np.abs(wavelet).sum()
        padded = np.zeros(n_fft, dtype=np.complex64)
        start = (n_fft - len(n)) // 2
        padded[start : start + len(n)] = wavelet
        padded *= lengths[i] / n_fft
        spectrum = scipy.fft.fft(padded)[: n_fft // 2 + 1]
        size = np.abs(spectrum)
        order = np.sort(size)
        kept = size >= order[np.argmin(np.cumsum(order / size.sum()) < _LEFT_OUT)]
        spectra[i, kept] = spectrum[kept] / np.sqrt(lengths[i])
    used = np.flatnonzero(spectra.any(axis=0))
    first, last = used[0], used[-1] + 1
    return int(first), np.ascontiguousarray(spectra[:, first:last].T), n_fft
