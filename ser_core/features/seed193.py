"""`seed193`: the article's 193 features, to the letter, as librosa computes them.

Audio at 22,050 Hz; over the frames the means of 40 MFCC, 12 chroma of the magnitude
STFT, 128 mel power bands, 7 spectral contrast bands and 6 tonnetz dimensions of the
harmonic part, in that order, all with librosa's defaults.
"""

from __future__ import annotations

import warnings

import numpy as np

from ser_core.features import FeatureSet

RATE_HZ = 22_050
N_MFCC, N_CHROMA, N_MELS, N_CONTRAST, N_TONNETZ = 40, 12, 128, 7, 6


def compute(samples: np.ndarray) -> np.ndarray:
    """The vector of one segment: float32 [n] at 22,050 Hz -> float32 [193]."""
    import librosa

    with warnings.catch_warnings():
        # Shorter than one window, or silent: librosa pads, and says so for each feature.
        warnings.simplefilter("ignore")
        magnitude = np.abs(librosa.stft(samples))
        parts = (
            librosa.feature.mfcc(y=samples, sr=RATE_HZ, n_mfcc=N_MFCC),
            librosa.feature.chroma_stft(S=magnitude, sr=RATE_HZ),
            librosa.feature.melspectrogram(y=samples, sr=RATE_HZ),
            librosa.feature.spectral_contrast(S=magnitude, sr=RATE_HZ),
            librosa.feature.tonnetz(y=librosa.effects.harmonic(samples), sr=RATE_HZ),
        )
    return np.concatenate([part.mean(axis=1) for part in parts]).astype(np.float32)


def _names() -> tuple[str, ...]:
    groups = (
        ("mfcc", N_MFCC),
        ("chroma", N_CHROMA),
        ("mel_power", N_MELS),
        ("contrast", N_CONTRAST),
        ("tonnetz", N_TONNETZ),
    )
    return tuple(f"{group}_{i}_mean" for group, count in groups for i in range(count))


FEATURE_SET = FeatureSet(
    id="seed193",
    names=_names(),
    rate=RATE_HZ,
    parameters={
        "version": 1,
        "n_fft": 2048,
        "hop_length": 512,
        "window": "hann",
        "resampler": "soxr_hq",
        "statistic": "mean",
    },
    compute=compute,
)
