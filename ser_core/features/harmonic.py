"""The harmonic part of a signal: median filters and a soft mask on its spectrogram.

Harmonics are lines along time, percussive sounds are lines along frequency. A running median along
one axis keeps the lines along it and removes the others (Fitzgerald, DAFx 2010; masks: Driedger,
Müller & Disch, ISMIR 2014). Window 31, power 2, margin 1, as in librosa.
"""

from __future__ import annotations

import numpy as np

from ser_core.features import medians
from ser_core.features.compiled import compiled

_TINY = np.finfo(np.float32).tiny


def spectrum(spectra: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Harmonic part of a spectrogram: complex64 [t, bins] and its magnitude -> complex64."""
    harmonic, percussive = medians.along_time(magnitude), medians.along_frequency(magnitude)
    return _masked(spectra, magnitude, np.ascontiguousarray(harmonic), percussive)


@compiled("complex64[:, ::1](complex64[:, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1])")
def _masked(
    spectra: np.ndarray, magnitude: np.ndarray, harmonic: np.ndarray, percussive: np.ndarray
) -> np.ndarray:
    # In 32 bit and in librosa's order of operations: the mask times magnitude, then the phase.
    half, full = np.float32(0.5), np.float32(1)
    out = np.empty_like(spectra)
    for t in range(spectra.shape[0]):
        for k in range(spectra.shape[1]):
            h, p, m = harmonic[t, k], percussive[t, k], magnitude[t, k]
            larger = h if h > p else p
            divisor = larger if larger >= _TINY else full
            h, p = h / divisor, p / divisor
            h, p = h * h, p * p
            mask = h / (h + p) if larger >= _TINY else half
            divisor = m if m > 0 else full
            m *= mask
            value = spectra[t, k]
            out[t, k] = complex(m * (value.real / divisor), m * (value.imag / divisor))
    return out
