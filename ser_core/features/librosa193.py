"""`librosa193`: the article's 193 features by librosa itself, the reference of `seed193`.

The recipe is the article's code, line by line, on audio at 22,050 Hz: over the frames the means of
40 MFCC, 12 chroma of the magnitude STFT, 128 mel power bands, 7 spectral contrast bands and 6
tonnetz dimensions of the harmonic part. `seed193` claims the same values at a fraction of the
time; run both to see that it is true:

    ser extract --input CALLS --output OUT --feature-set librosa193

Importing librosa takes seconds and 65 MB, so it is imported when the first vector is computed.
"""

from __future__ import annotations

import warnings

import numpy as np

from ser_core.errors import FeatureError
from ser_core.features import FeatureSet
from ser_core.features.seed193 import N_MFCC, NAMES, RATE_HZ


def compute(samples: np.ndarray) -> np.ndarray:
    """Vector of one segment: float32 [n] at 22,050 Hz -> float32 [193].

    Raises
    ------
    FeatureError
        librosa refuses the samples. This can happen with two or three frames, where scipy's median
        filter reads outside its array and may find values that are not finite.
    """
    import librosa

    sr = RATE_HZ
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # n_fft larger than the signal, frames without pitch
            stft = np.abs(librosa.stft(samples))
            parts = (
                librosa.feature.mfcc(y=samples, sr=sr, n_mfcc=N_MFCC),
                librosa.feature.chroma_stft(S=stft, sr=sr),
                librosa.feature.melspectrogram(y=samples, sr=sr),
                librosa.feature.spectral_contrast(S=stft, sr=sr),
                librosa.feature.tonnetz(y=librosa.effects.harmonic(samples), sr=sr),
            )
    except librosa.ParameterError as error:
        raise FeatureError(f"librosa193: librosa refuses the samples: {error}") from error
    return np.concatenate([np.mean(part.T, axis=0) for part in parts]).astype(np.float32)


FEATURE_SET = FeatureSet(
    id="librosa193",
    names=NAMES,
    rate=RATE_HZ,
    parameters={
        "version": 1,
        "library": "librosa 0.11",
        "n_fft": 2048,
        "hop_length": 512,
        "window": "hann",
        "resampler": "soxr_hq",
        "statistic": "mean",
    },
    compute=compute,
)
