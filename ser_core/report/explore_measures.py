"""Measures of `telephone` that people have a name for, and all its dimensions in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ser_core.corpora.sounds import Sound
from ser_core.features import mel, telephone


@dataclass(frozen=True)
class Measure:
    """A feature with a common name.

    `values` takes vectors of `telephone` [n, dimensions] and n sounds, and gives n values.
    """

    title: str
    unit: str
    about: str
    values: Callable[[np.ndarray, Sequence[Sound]], np.ndarray]


def _dimension(
    name: str,
    convert: Callable[[np.ndarray], np.ndarray] = lambda values: values,
    *,
    of_voice: bool = False,
) -> Callable[[np.ndarray, Sequence[Sound]], np.ndarray]:
    """Values of one dimension, converted; of the voice, NaN where nothing is voiced."""
    index, voiced = telephone.NAMES.index(name), telephone.NAMES.index("voiced_share")

    def values(vectors: np.ndarray, sounds: Sequence[Sound]) -> np.ndarray:
        converted = convert(vectors[:, index].astype(float))
        return np.where(vectors[:, voiced] > 0, converted, np.nan) if of_voice else converted

    return values


MEASURES = (
    Measure(
        "Pitch: F0, median", "Hz", "how high the voice is",
        _dimension(
            "f0_semitones_p50", lambda x: telephone.SEMITONES_FROM_HZ * 2 ** (x / 12), of_voice=True
        ),
    ),
    Measure(
        "F0 range", "semitones", "10th to 90th percentile: monotonous or lively",
        _dimension("f0_semitones_range", of_voice=True),
    ),
    Measure(
        "F0 change", "semitones/s", "how fast the pitch moves, up or down",
        _dimension("f0_change", of_voice=True),
    ),
    Measure(
        "Level of loud speech", "dB re full scale",
        "with the recording’s gain; no model here uses it",
        lambda vectors, sounds: np.array([sound.level_db for sound in sounds]),
    ),
    Measure(
        "Loudness range", "dB", "10th to 90th percentile of the frames' energy",
        _dimension("energy_db_range"),
    ),
    Measure(
        "Speaking rate", "voiced runs/s", "stands for syllables per second",
        _dimension("voiced_runs_per_s"),
    ),
    Measure(
        "Pauses", "% of the time", "frames 25 dB and more below loud speech",
        _dimension("active_share", lambda x: 100 * (1 - x)),
    ),
    Measure(
        "Spectral slope, 0.5 to 1.5 kHz", "dB/kHz", "flatter where the voice is pressed",
        _dimension("slope_500_1500_mean"),
    ),
    Measure(
        "Alpha ratio", "dB", "below 1 kHz against above: high is dull, low is shrill",
        _dimension("alpha_ratio_db_mean"),
    ),
    Measure(
        "Spectral centroid", "Hz", "where the middle of the power is: brightness",
        _dimension("centroid_hz_mean"),
    ),
    Measure(
        "Harmonics to noise (HNR)", "dB", "low is breathy or hoarse",
        _dimension("hnr_db_mean", of_voice=True),
    ),
    Measure(
        "H1−H2", "dB", "first harmonic against the second: high is breathy, low pressed",
        _dimension("h1_h2_db_mean", of_voice=True),
    ),
)  # fmt: skip


_ROWS = {
    "energy_db": "energy",
    "alpha_ratio_db": "alpha ratio (below 1 kHz against above)",
    "hammarberg_db": "Hammarberg index",
    "slope_60_500": "spectral slope, 60 to 500 Hz",
    "slope_500_1500": "spectral slope, 0.5 to 1.5 kHz",
    "centroid_hz": "spectral centroid",
    "bandwidth_hz": "spectral bandwidth",
    "rolloff_hz": "85 % roll-off",
    "entropy": "spectral entropy",
    "flux": "spectral flux",
    "zero_crossings": "zero crossings",
    "f0_semitones": "F0",
    "voicing": "voicing",
    "hnr_db": "harmonics to noise",
    "h1_h2_db": "H1−H2",
    "h1_a3_db": "H1−A3",
}
_STATISTICS = {
    "mean": "mean",
    "sd": "standard deviation",
    "p10": "10th percentile",
    "p50": "median",
    "p90": "90th percentile",
    "iqr": "interquartile range",
    "range": "range",
    "skewness": "skewness",
    "slope": "trend over the utterance",
}
_WHOLE = {
    "f0_change": "F0, change per second",
    "f0_rise": "F0, steepness of rises",
    "f0_fall": "F0, steepness of falls",
    "f0_rising_share": "F0, share of time rising",
    "energy_change": "energy, change per second",
    "energy_rise": "energy, steepness of rises",
    "energy_fall": "energy, steepness of falls",
    "energy_rising_share": "energy, share of time rising",
    "voiced_runs_per_s": "voiced runs per second",
    "voiced_mean_s": "voiced runs, mean length",
    "voiced_sd_s": "voiced runs, spread of lengths",
    "voiced_longest_s": "voiced runs, longest",
    "pauses_per_s": "pauses per second",
    "pause_mean_s": "pauses, mean length",
    "pause_sd_s": "pauses, spread of lengths",
    "pause_longest_s": "pauses, longest",
    "voiced_share": "share of time voiced",
    "active_share": "share of time not paused",
    "loudness_peaks_per_s": "loudness peaks per second",
}
_MODULATION = re.compile(r"modulation(\d)_band(\d\d)")
_BAND = re.compile(r"mel(\d\d)")
_CEPSTRUM = re.compile(r"(delta_)?mfcc(\d\d)")


def in_words(name: str) -> str:
    """A dimension of `telephone` in words.

    Examples
    --------
    >>> in_words("f0_semitones_p50")
    'F0, median'
    >>> in_words("mel20_sd")
    'mel band at 1,110 Hz, standard deviation'
    """
    if name in _WHOLE:
        return _WHOLE[name]
    if match := _MODULATION.fullmatch(name):
        band = int(match[2])
        low, high = telephone.MODULATION_EDGES_HZ[band - 1 : band + 1]
        part = ("lowest", "lower", "higher", "highest")[int(match[1]) - 1]
        return f"changes at {low:.1f} to {high:.1f} Hz in the {part} quarter of the mel bands"
    row, _, statistic = name.rpartition("_")
    words = _ROWS.get(row)
    if match := _BAND.fullmatch(row):
        edges_hz = mel.htk_edges_hz(telephone.LOW_HZ, telephone.HIGH_HZ, telephone.N_MELS)
        words = f"mel band at {edges_hz[int(match[1])]:,.0f} Hz"
    elif match := _CEPSTRUM.fullmatch(row):
        words = f"{'change of ' if match[1] else ''}MFCC {int(match[2])}"
    return f"{words}, {_STATISTICS[statistic]}" if words and statistic in _STATISTICS else name
