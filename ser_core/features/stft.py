"""Short-time Fourier transform and its inverse, with librosa's defaults and equal to the last bit.

Frames are 2048 samples long, 512 apart, centred (the signal is padded with zeros), under a periodic
Hann window. Spectra are stored frame by frame, [t, bins], so that a frame is contiguous in memory.
Windowing and transform run in 64 bits and spectra are kept in 32: in a silent band, `contrast`
would measure the rounding of a 32-bit transform.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import as_strided

from ser_core.features.compiled import compiled
from ser_core.features.windows import hann

N_FFT, HOP = 2048, 512
# Frames transformed at once, so that their 64-bit samples stay in the processor's cache.
_BLOCK = 32


def blocks(n: int) -> Iterator[slice]:
    """Slices that together cover n frames."""
    return (slice(start, start + _BLOCK) for start in range(0, n, _BLOCK))


def frames(y: np.ndarray, n_fft: int = N_FFT, hop: int = HOP) -> np.ndarray:
    """Centred frames of `y`: a read-only view [1 + n // hop, n_fft]."""
    padded = np.zeros(len(y) + n_fft, dtype=y.dtype)
    padded[n_fft // 2 : n_fft // 2 + len(y)] = y
    step = padded.itemsize
    return as_strided(padded, (1 + len(y) // hop, n_fft), (hop * step, step), writeable=False)


def spectrum(y: np.ndarray) -> np.ndarray:
    """Transform a signal: float32 [n] -> complex64 [t, 1 + N_FFT // 2], t = 1 + n // HOP."""
    framed = frames(y)
    out = np.empty((len(framed), 1 + N_FFT // 2), dtype=np.complex64)
    for block in blocks(len(framed)):
        out[block] = scipy.fft.rfft(framed[block] * hann(N_FFT), axis=1)
    return out


def signal(spectra: np.ndarray, n: int) -> np.ndarray:
    """Turn spectra back into a signal: complex64 [t, bins] -> float32 [n].

    Windowed overlap-add, divided by the sum of the squared windows (Griffin & Lim 1984).
    """
    return _overlap_add(scipy.fft.irfft(spectra, n=N_FFT, axis=1), hann(N_FFT), n)


@compiled("float32[::1](float32[:, ::1], float64[::1], int64)")
def _overlap_add(framed: np.ndarray, window: np.ndarray, n: int) -> np.ndarray:
    # Sums are rounded to 32 bit frame by frame, as librosa's are.
    size = len(window)
    total = np.zeros(size + HOP * (len(framed) - 1), np.float32)
    weight = np.zeros_like(total)
    for t in range(len(framed)):
        for i in range(size):
            total[t * HOP + i] += window[i] * framed[t, i]
            weight[t * HOP + i] += window[i] * window[i]
    out = np.empty(n, np.float32)
    for i in range(n):
        at = size // 2 + i
        if weight[at] > np.finfo(np.float32).tiny:
            out[i] = total[at] / weight[at]
        else:
            out[i] = total[at]
    return out
