"""Mel filters: Slaney's, which librosa takes by default, and HTK's, for the telephone band."""

from __future__ import annotations

from functools import cache

import numpy as np

# HTK's scale (O'Shaughnessy 1987): mel = 2595 log10(1 + hz / 700).
_HTK_MEL, _HTK_HZ = 2595, 700


@cache
def slaney_filters(rate_hz: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Slaney's triangles of equal area (Auditory Toolbox, 1998) up to half the sample rate.

    Returns
    -------
    np.ndarray [shape=(n_fft // 2 + 1, n_mels)], float32
    """
    # Linear below 1 kHz, 200/3 Hz a mel; then logarithmic, 27 mels for a factor of 6.4.
    mel_hz, corner_hz, log_step = 200.0 / 3, 1_000.0, np.log(6.4) / 27.0
    corner = corner_hz / mel_hz
    top = corner + np.log(rate_hz / 2 / corner_hz) / log_step
    mels = np.linspace(0.0, top, n_mels + 2)
    edges = np.where(mels < corner, mel_hz * mels, corner_hz * np.exp(log_step * (mels - corner)))
    ramps = np.subtract.outer(edges, np.fft.rfftfreq(n_fft, 1.0 / rate_hz))
    width = np.diff(edges)[:, np.newaxis]
    triangles = np.maximum(0, np.minimum(-ramps[:-2] / width[:-1], ramps[2:] / width[1:]))
    area = (edges[2:] - edges[:-2]) / 2
    return np.ascontiguousarray((triangles / area[:, np.newaxis]).T, dtype=np.float32)


@cache
def htk_edges_hz(low_hz: float, high_hz: float, n_mels: int) -> np.ndarray:
    """Edges and centres of bands that are evenly spaced in HTK's mel.

    Returns
    -------
    np.ndarray [shape=(n_mels + 2,)]
        Band i is centred at i + 1, between the values at i and i + 2.

    Examples
    --------
    >>> htk_edges_hz(0.0, 4_000.0, 3).round().tolist()
    [0.0, 427.0, 1114.0, 2220.0, 4000.0]
    """
    low_mel, high_mel = _HTK_MEL * np.log10(1 + np.array([low_hz, high_hz]) / _HTK_HZ)
    edges_mel = np.linspace(low_mel, high_mel, n_mels + 2)
    return _HTK_HZ * (10 ** (edges_mel / _HTK_MEL) - 1)


@cache
def htk_filters(rate_hz: int, n_fft: int, low_hz: float, high_hz: float, n_mels: int) -> np.ndarray:
    """Triangles of height 1 that are evenly spaced in HTK's mel.

    Returns
    -------
    np.ndarray [shape=(n_fft // 2 + 1, n_mels)], float32
    """
    edges_hz = htk_edges_hz(low_hz, high_hz, n_mels)
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    hz = np.arange(n_fft // 2 + 1)[:, None] * (rate_hz / n_fft)
    rising, falling = (hz - low) / (centre - low), (high - hz) / (high - centre)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
