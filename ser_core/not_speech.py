"""Non-speech that a voice activity detector takes for a voice: music, tones, long noise.

Speech changes its level about four times a second and its spectrum several times in a syllable.
Held notes and tones do not change, and noise has neither spectral peaks nor syllables. These
changes are measured over windows of three seconds and weighed by a logistic regression. Breath has
syllables of a kind, but no harmonics (`is_noise`). The
measures are those of E. Scheirer and M. Slaney (1997), "Construction and evaluation of a robust
multifeature speech/music discriminator", ICASSP, 1331-1334, and the 4 Hz modulation of speech.
`benchmarks/not_speech.py` fits and tests the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

FRAMES_PER_S = 50
WINDOW_S, HOP_S = 3.0, 0.5
# Distances of the frames whose spectra are compared.
LAGS = (1, 3, 6, 12)
BAND_HZ = (200.0, 3_500.0)
# Frames that are softer than the loudest of a window by more than this are silence.
RANGE_DB = 40.0
SYLLABLES_HZ, MOVES_HZ = (2.0, 9.0), 0.3
# Windows whose log odds are averaged: a held note lasts longer than a drawn-out word.
SMOOTH = 5
# A window with fewer active frames is not judged: a single word passes as speech.
LEAST_ACTIVE = 40
_AT_ONCE = 2_000

# The lower half of the band, in pieces as wide as the pitch of the highest voices. Noise is flat in
# each, whatever its colour; the harmonics of a voice are not. A voice has a tenth of its frames
# below this (natural logarithm; noise has -0.58 on average).
PIECE_HZ, PIECES = 300.0, 6
FLAT_ABOVE, FLAT_PERCENTILE = -0.8, 10

# The two tones of a telephone's keys; the most power outside them, and the least in each.
DTMF_LOW_HZ, DTMF_HIGH_HZ = (697, 770, 852, 941), (1_209, 1_336, 1_477, 1_633)
DTMF_OTHERS, DTMF_EACH = 0.15, 0.1

# Non-speech below this probability of speech.
SPEECH_FROM = 0.1
# Weight of each measure of a window in the log odds of speech.
WEIGHTS = {
    "level_sd_db": 0.2615,
    "level_change_db": -0.07293,
    "active_share": -2.691,
    "alike_1_mean": 7.37,
    "alike_1_sd": -47.48,
    "alike_3_mean": -26.39,
    "alike_3_sd": -38.2,
    "alike_6_mean": -15.69,
    "alike_6_sd": -16.09,
    "alike_12_mean": -4.637,
    "alike_12_sd": 15.3,
    "flatness_mean": 1,
    "flatness_sd": 2.64,
    "centroid_khz_mean": -6.128,
    "centroid_khz_sd": 6.719,
    "syllables": 0.59,
}
BIAS = 37.82


@dataclass(frozen=True)
class Measures:
    """Measures of frames of 20 ms: `alike` is float32 [len(LAGS), frames], the others [frames].

    `alike` is the cosine of the magnitude spectra of a frame and of the frame a lag earlier,
    `flatness` the logarithm of the geometric over the arithmetic mean of the power,
    `local_flatness` its mean over pieces of the band, `dtmf` whether the frame is the tone of a
    telephone's key.
    """

    alike: np.ndarray
    flatness: np.ndarray
    local_flatness: np.ndarray
    centroid_khz: np.ndarray
    dtmf: np.ndarray

    @classmethod
    def joined(cls, parts: list[Measures]) -> Measures:
        """Measures of blocks that follow each other, as those of one block."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts], axis=-1)
                for name in cls.__dataclass_fields__
            )
        )


def measure(magnitude: np.ndarray, before: np.ndarray, bin_hz: float) -> Measures:
    """Measure frames.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(frames, bins)], float32
        Spectra of windowed frames.
    before : np.ndarray [shape=(max(LAGS), bins)], float32
        Spectra of the frames before them, of norm 1.
    bin_hz : float
    """
    series = np.concatenate([before, unit(magnitude)])
    frames = len(magnitude)
    alike = np.stack(
        [
            np.einsum("fk,fk->f", series[-frames:], series[len(before) - lag :][:frames])
            for lag in LAGS
        ]
    )
    power = np.square(magnitude) + np.float32(1e-9)
    low, high = (round(hz / bin_hz) for hz in BAND_HZ)
    band = power[:, low:high]
    log_band = np.log(band)
    width = round(PIECE_HZ / bin_hz)
    lower = (slice(None), slice(0, PIECES * width))
    pieces, log_pieces = (
        values[lower].reshape(-1, PIECES, width).mean(axis=2) for values in (band, log_band)
    )
    khz = (np.arange(power.shape[1]) * bin_hz / 1000).astype(np.float32)
    total = power.sum(axis=1)
    return Measures(
        alike=alike,
        flatness=log_band.mean(axis=1) - np.log(band.mean(axis=1)),
        local_flatness=(log_pieces - np.log(pieces)).mean(axis=1),
        centroid_khz=power @ khz / total,
        dtmf=_dtmf(power, total, bin_hz),
    )


def unit(magnitude: np.ndarray) -> np.ndarray:
    """Spectra scaled to norm 1: float32 [frames, bins]."""
    return magnitude / (np.linalg.norm(magnitude, axis=1, keepdims=True) + np.float32(1e-9))


def _dtmf(power: np.ndarray, total: np.ndarray, bin_hz: float) -> np.ndarray:
    """Whether a frame is the two tones of a key and nothing else: bool [frames]."""

    def strongest_share(tones_hz: tuple[int, ...]) -> np.ndarray:
        around = [
            power[:, max(0, round(hz / bin_hz) - 3) : round(hz / bin_hz) + 4].sum(axis=1)
            for hz in tones_hz
        ]
        return np.max(around, axis=0) / total

    low, high = strongest_share(DTMF_LOW_HZ), strongest_share(DTMF_HIGH_HZ)
    return (low + high > 1 - DTMF_OTHERS) & (low > DTMF_EACH) & (high > DTMF_EACH)


def is_noise(measures: Measures, frames: np.ndarray) -> bool:
    """Whether none of some frames has a voice: breath, comfort noise, rustling.

    Parameters
    ----------
    measures : Measures
    frames : np.ndarray [shape=(n,)], int or bool
        The frames of a stretch that may be speech.
    """
    flatness = measures.local_flatness[frames]
    return len(flatness) > 0 and float(np.percentile(flatness, FLAT_PERCENTILE)) > FLAT_ABOVE


def windows(
    measures: Measures, level_db: np.ndarray, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Measures of windows of 3 s every half second.

    Parameters
    ----------
    measures : Measures
    level_db : np.ndarray [shape=(frames,)]
    active : np.ndarray [shape=(frames,)], bool
        Frames that may be speech; means are over these.

    Returns
    -------
    values : np.ndarray [shape=(windows, len(WEIGHTS))], float64
    judged : np.ndarray [shape=(windows,)], bool
        Windows with enough active frames.
    """
    count, hop = len(active), round(HOP_S * FRAMES_PER_S)
    width = min(count, round(WINDOW_S * FRAMES_PER_S))
    centres = np.arange(hop // 2, count + hop // 2, hop)
    starts = np.clip(centres - width // 2, 0, count - width)
    values, judged = [], []
    for first in range(0, len(starts), _AT_ONCE):
        index = starts[first : first + _AT_ONCE, None] + np.arange(width)
        on = active[index]
        n = on.sum(axis=1)
        judged.append(n >= LEAST_ACTIVE)
        level = level_db[index].astype(np.float64)
        level = np.maximum(level, level.max(axis=1, keepdims=True) - RANGE_DB)
        columns = {
            "level_sd_db": level.std(axis=1),
            "level_change_db": np.abs(np.diff(level, axis=1)).sum(axis=1) / max(width - 1, 1),
            "active_share": n / width,
            "syllables": _syllables(level),
        }
        tracks = {
            **{f"alike_{lag}": measures.alike[i] for i, lag in enumerate(LAGS)},
            "flatness": measures.flatness,
            "centroid_khz": measures.centroid_khz,
        }
        for name, track in tracks.items():
            active_values = np.where(on, track[index].astype(np.float64), 0.0)
            mean = active_values.sum(axis=1) / np.maximum(n, 1)
            square = np.square(active_values).sum(axis=1) / np.maximum(n, 1)
            columns[f"{name}_mean"] = mean
            columns[f"{name}_sd"] = np.sqrt(np.maximum(square - np.square(mean), 0))
        values.append(np.stack([columns[name] for name in WEIGHTS], axis=1))
    return np.concatenate(values), np.concatenate(judged)


def _syllables(level: np.ndarray) -> np.ndarray:
    """Logarithm of the share of the level's modulation at syllable rates: float64 [windows]."""
    width = level.shape[1]
    centred = (level - level.mean(axis=1, keepdims=True)) * np.hanning(width)
    power = np.square(np.abs(scipy.fft.rfft(centred, 256, axis=1)))
    hz = np.arange(power.shape[1]) * FRAMES_PER_S / 256
    low, high = SYLLABLES_HZ
    inside = power[:, (hz > low) & (hz < high)].sum(axis=1)
    return np.log((inside + 1e-3) / (power[:, hz > MOVES_HZ].sum(axis=1) + 1e-3))


def is_speech(measures: Measures, level_db: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Whether each frame may be speech; all frames may where too few are active.

    Parameters
    ----------
    measures, level_db, active
        As in `windows`.

    Returns
    -------
    np.ndarray [shape=(frames,)], bool
    """
    values, judged = windows(measures, level_db, active)
    log_odds = values @ np.array(list(WEIGHTS.values())) + BIAS
    # A running mean over the windows that were judged.
    weights, window = judged.astype(np.float64), np.ones(SMOOTH)
    counted = np.convolve(weights, window)[SMOOTH // 2 :][: len(weights)]
    summed = np.convolve(weights * log_odds, window)[SMOOTH // 2 :][: len(weights)]
    smooth = summed / np.maximum(counted, 1)
    speech = ~judged | (smooth > np.log(SPEECH_FROM / (1 - SPEECH_FROM)))
    hop = round(HOP_S * FRAMES_PER_S)
    return np.repeat(speech, hop)[: len(active)] & ~measures.dtmf
