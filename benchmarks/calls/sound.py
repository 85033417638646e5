"""Levels, spans of speech, bands and noise of built calls."""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, sosfilt

TELEPHONE_BAND_HZ = (300.0, 3400.0)
WIDE_BAND_HZ = (50.0, 7000.0)

# The definition of speech within an utterance.
FRAME_S, HOP_S = 0.02, 0.01
SPEECH_BELOW_PEAK_DB = 30.0
MIN_PAUSE_S = 0.3
MIN_SPEECH_S = 0.05


def rms(samples: np.ndarray) -> float:
    """Root mean square; 0 for no samples."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def amplitude(db: float) -> float:
    """Decibels to a factor."""
    return float(10.0 ** (db / 20.0))


def speech_spans(samples: np.ndarray, rate: int) -> list[tuple[float, float]]:
    """Find the speech of a clean utterance by its energy.

    Speech are the frames of 20 ms that are at most 30 dB below loud ones (95th percentile). Pauses
    of less than 0.3 s are filled.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        One speaker, recorded with little noise.
    rate : int > 0
        Sample rate in Hz.

    Returns
    -------
    list of (start_s, end_s)
    """
    frame, hop = round(FRAME_S * rate), round(HOP_S * rate)
    if len(samples) < frame:
        return []
    frames = np.lib.stride_tricks.sliding_window_view(samples, frame)[::hop]
    level = 10.0 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)
    sounding = np.flatnonzero(level > max(np.percentile(level, 95) - SPEECH_BELOW_PEAK_DB, -80.0))
    spans: list[tuple[float, float]] = []
    for index in sounding:
        start, end = index * hop / rate, (index * hop + frame) / rate
        if spans and start - spans[-1][1] < MIN_PAUSE_S:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [(start, end) for start, end in spans if end - start >= MIN_SPEECH_S]


def band_pass(samples: np.ndarray, rate: int) -> np.ndarray:
    """Limit to the bandwidth of a line: 300 to 3400 Hz, or 50 to 7000 Hz from 16 kHz on."""
    band = WIDE_BAND_HZ if rate >= 16_000 else TELEPHONE_BAND_HZ
    return sosfilt(butter(4, band, "bandpass", fs=rate, output="sos"), samples)


def line_noise(n: int, rate: int, level_dbfs: float, rng: np.random.Generator) -> np.ndarray:
    """Line noise: float64 [n] with an RMS of `level_dbfs`."""
    noise = band_pass(rng.standard_normal(n), rate)
    return noise * (amplitude(level_dbfs) / max(rms(noise), 1e-12))
