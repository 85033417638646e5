"""Facts about a recording, measured while it is decoded: clipping, bandwidth, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

# A sample within 2 % of full scale counts as clipped: mu-law and A-law end at 0.980 and 0.984.
CLIPPED_FROM = 0.98
# The bandwidth ends at the highest frequency whose mean power is within this of the loudest.
BANDWIDTH_RANGE_DB = 55.0
# Signal-to-noise ratio: a high percentile of the levels of 20 ms frames over a low one.
LEVEL_FRAME_S = 0.02
SNR_LOUD_PERCENTILE, SNR_QUIET_PERCENTILE = 95, 10
SNR_MAX_DB = 100.0
# Below this level a frame is empty: even the rounding of 16 bits is louder.
SILENT_DB = -100.0
# Ends the remark of a recording of which more is missing than there is. Its label is never sure.
LESS_THAN_HALF = "less than half of the recording, so its label is unsure"


@dataclass(frozen=True)
class Facts:
    """Measurements of a recording. Tuples hold one value per channel.

    Parameters
    ----------
    rate_hz : int
    channels : int
    codec : str
        Such as `mulaw`, `opus` or `pcm_s16`.
    duration_s : float
        Of the samples that were decoded.
    clipping_ratio : tuple of float in [0, 1]
        Share of samples at full scale.
    bandwidth_hz : tuple of float or None
        Highest frequency with content; None where nothing sounds.
    snr_db : tuple of float or None
        Level of loud frames over that of quiet frames; None where nothing sounds.
    remark : str, optional
        That the recording is cut, and what else a decoder remarks, joined by "; ".
    """

    rate_hz: int
    channels: int
    codec: str
    duration_s: float
    clipping_ratio: tuple[float, ...]
    bandwidth_hz: tuple[float | None, ...]
    snr_db: tuple[float | None, ...]
    remark: str | None = None


class Meter:
    """Accumulates `Facts` block by block. Its memory grows by 200 bytes per second.

    Parameters
    ----------
    rate_hz : int > 0
    channels : int > 0
    """

    def __init__(self, rate_hz: int, channels: int) -> None:
        self.rate_hz, self.channels, self.count = rate_hz, channels, 0
        self._clipped = np.zeros(channels, dtype=np.int64)
        self._hop = max(1, round(LEVEL_FRAME_S * rate_hz))
        self._powers: list[np.ndarray] = []
        # About 31 Hz a bin: a power of two near 32 ms.
        self._n_fft = 1 << max(7, round(np.log2(rate_hz * 0.032)))
        self._window = np.hanning(self._n_fft).astype(np.float32)
        self._spectrum = np.zeros((channels, self._n_fft // 2 + 1))

    @property
    def seconds(self) -> float:
        """Duration of the samples added so far."""
        return self.count / self.rate_hz

    def add(self, block: np.ndarray) -> None:
        """Measure the next samples: float32 [channels, m], m >= 1."""
        length = block.shape[1]
        self.count += length
        self._clipped += (np.abs(block) >= CLIPPED_FROM).sum(axis=1)
        whole = length // self._hop * self._hop or length
        frames = block[:, :whole].reshape(self.channels, -1, min(self._hop, whole))
        centred = frames - frames.mean(axis=2, keepdims=True)
        self._powers.append(np.einsum("cfn,cfn->cf", centred, centred) / frames.shape[2])
        # A quarter of the frames gives the same long-term spectrum as all of them.
        if length >= self._n_fft:
            pieces = np.lib.stride_tricks.sliding_window_view(block, self._n_fft, axis=1)
            spectra = scipy.fft.rfft(pieces[:, :: 4 * self._n_fft] * self._window, axis=2)
            self._spectrum += (np.square(spectra.real) + np.square(spectra.imag)).sum(axis=1)

    def facts(self, codec: str, remark: str | None) -> Facts:
        """Facts of everything added; at least one block."""
        power = np.concatenate(self._powers, axis=1)
        return Facts(
            rate_hz=self.rate_hz,
            channels=self.channels,
            codec=codec,
            duration_s=self.seconds,
            clipping_ratio=tuple(float(c) / self.count for c in self._clipped),
            bandwidth_hz=tuple(self._bandwidth_hz(row) for row in self._spectrum),
            snr_db=tuple(_snr_db(row) for row in power),
            remark=remark,
        )

    def _bandwidth_hz(self, spectrum: np.ndarray) -> float | None:
        smooth = np.convolve(spectrum[1:], np.ones(3) / 3, mode="same")
        if not smooth.max() > 0:
            return None
        loud = np.flatnonzero(smooth >= smooth.max() * 10 ** (-BANDWIDTH_RANGE_DB / 10))
        return float((loud[-1] + 1) * self.rate_hz / self._n_fft)


def _snr_db(power: np.ndarray) -> float | None:
    levels_db = 10 * np.log10(np.maximum(power, 10 ** (SILENT_DB / 10)))
    loud_db, quiet_db = np.percentile(levels_db, [SNR_LOUD_PERCENTILE, SNR_QUIET_PERCENTILE])
    if loud_db <= SILENT_DB:
        return None
    return float(min(loud_db - quiet_db, SNR_MAX_DB))
