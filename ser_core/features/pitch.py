"""F0 and harmonicity by autocorrelation.

P. Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, 97-110: the autocorrelation of
a windowed frame is divided by that of the window; its peaks are candidates for the period, and the
cheapest path through the candidates of all frames is the contour. The costs are those of the paper
and of Praat. Importing this module compiles (see `compiled`).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import scipy.fft

from ser_core.features.compiled import compiled
from ser_core.features.windows import hann

# A frame is unvoiced where no peak of the autocorrelation is higher.
VOICING_THRESHOLD = 0.45
OCTAVE_COST = 0.01
# For each octave of a jump, and for each change between voiced and unvoiced, at 10 ms a frame.
OCTAVE_JUMP_COST, VOICED_UNVOICED_COST = 0.35, 0.14
# Candidates of a frame; the first is "unvoiced".
CANDIDATES = 8
# Lags stand at half samples: the power spectrum is padded to twice its bandwidth.
OVERSAMPLING = 2
# Between them, Boersma's sinc interpolation over this many lags on either side.
REACH = 6
CLOSE = 0.2


@cache
def _window_autocorrelation(length: int, n_fft: int) -> np.ndarray:
    """1 / normalised autocorrelation of a Hann window, by lag in half samples, float32 [n_fft]."""
    window = hann(length, np.float32, centred=True).astype(np.float64)
    power = np.abs(scipy.fft.rfft(window, n_fft)) ** 2
    padded = np.zeros(n_fft + 1)
    padded[: len(power)] = power
    autocorrelation = scipy.fft.dct(padded, type=1)[:n_fft]
    return (autocorrelation[0] / np.maximum(autocorrelation, 1e-9)).astype(np.float32)


def autocorrelation(
    power: np.ndarray, *, length: int, rate_hz: int, min_f0_hz: float
) -> np.ndarray:
    """Normalised autocorrelation of Hann-windowed frames, from their power spectra.

    Parameters
    ----------
    power : np.ndarray [shape=(frames, n_fft // 2 + 1)], float32
        Power spectra of frames in centred Hann windows of `length` samples, zero-padded to `n_fft`.
    length : int > 0
        Samples of a frame; `n_fft` is at least this and the longest lag.
    rate_hz : int > 0
    min_f0_hz : float > 0
        Its period is the longest lag.

    Returns
    -------
    np.ndarray [shape=(frames, lags)], float32
        1 at lag 0 (0 in frames without power); lags in half samples, up to that of `min_f0_hz` and
        some more. A periodic frame has about 1 at its period (Boersma's equation 9).
    """
    frames, bins = power.shape
    n_fft = 2 * (bins - 1)
    lags = math.ceil(OVERSAMPLING * rate_hz / min_f0_hz) + REACH + 2
    padded = np.zeros((frames, n_fft + 1), dtype=np.float32)
    padded[:, :bins] = power
    found = scipy.fft.dct(padded, type=1, overwrite_x=True)[:, :lags]
    at_zero = found[:, :1]
    scale = np.divide(1, at_zero, out=np.zeros_like(at_zero), where=at_zero > 0)
    return found * scale * _window_autocorrelation(length, n_fft)[:lags]


def track(
    autocorrelation: np.ndarray,
    silent: np.ndarray,
    *,
    rate_hz: int,
    min_f0_hz: float,
    max_f0_hz: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the F0 contour: the cheapest path through the candidates of all frames.

    Parameters
    ----------
    autocorrelation : np.ndarray [shape=(frames, lags)], float32
        As `autocorrelation` gives it.
    silent : np.ndarray [shape=(frames,)], bool
        Frames that cannot be voiced.
    rate_hz : int > 0
    min_f0_hz, max_f0_hz : float > 0
        Range of F0; the same `min_f0_hz` as for `autocorrelation`.

    Returns
    -------
    f0_hz : np.ndarray [shape=(frames,)], float32
        0 where unvoiced.
    strength : np.ndarray [shape=(frames,)], float32
        Height of the autocorrelation's peak at the period, or of the highest peak where the frame
        is unvoiced; 0 to 1.
    """
    return _track(
        np.ascontiguousarray(autocorrelation),
        np.ascontiguousarray(silent),
        float(OVERSAMPLING * rate_hz),
        float(min_f0_hz),
        float(max_f0_hz),
    )


@compiled("f8(f4[::1], f8)")
def _between(r: np.ndarray, lag: float) -> float:
    """Value between two lags: a sinc with a Hann window over 12 lags."""
    below = int(lag)
    part = lag - below
    if part < 1e-6:
        return float(r[below])
    total = 0.0
    sign = math.sin(math.pi * part) / math.pi
    for k in range(1 - REACH, REACH + 1):
        away = part - k
        weight = sign / away * (0.5 + 0.5 * math.cos(math.pi * away / (REACH + 0.5)))
        total += (weight if k % 2 == 0 else -weight) * r[below + k]
    return total


@compiled("Tuple((f4[::1], f4[::1]))(f4[:,::1], b1[::1], f8, f8, f8)")
def _track(
    r: np.ndarray, silent: np.ndarray, lag_rate_hz: float, min_f0_hz: float, max_f0_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    frames, lags = r.shape
    first_lag = int(lag_rate_hz / max_f0_hz)
    f0 = np.zeros((frames, CANDIDATES))
    octave = np.zeros((frames, CANDIDATES))
    height = np.zeros((frames, CANDIDATES))
    local = np.full((frames, CANDIDATES), -np.inf)
    for t in range(frames):
        local[t, 0] = 2.0 if silent[t] else VOICING_THRESHOLD
        for lag in range(first_lag, lags - REACH - 1):
            here, before, after = r[t, lag], r[t, lag - 1], r[t, lag + 1]
            if here <= 0.25 or here < before or here <= after:
                continue
            # A parabola through three points gives the top between the lags; a second one, through
            # three points close to it, makes it finer.
            place = lag + 0.5 * (after - before) / (2.0 * here - before - after)
            here, before = _between(r[t], place), _between(r[t], place - CLOSE)
            after = _between(r[t], place + CLOSE)
            bend = 2.0 * here - before - after
            shift = 0.5 * (after - before) / bend if bend > 1e-9 else 0.0
            shift = max(-1.0, min(1.0, shift))
            peak = min(1.0, here + 0.25 * (after - before) * shift)
            hz = lag_rate_hz / (place + CLOSE * shift)
            if not min_f0_hz <= hz <= max_f0_hz:
                continue
            goodness = peak + OCTAVE_COST * math.log2(hz / min_f0_hz)
            worst = 1
            for k in range(2, CANDIDATES):
                if local[t, k] < local[t, worst]:
                    worst = k
            if goodness > local[t, worst]:
                local[t, worst], height[t, worst] = goodness, peak
                f0[t, worst], octave[t, worst] = hz, math.log2(hz)

    best_before = np.zeros((frames, CANDIDATES), dtype=np.int64)
    total = local[0].copy() if frames else np.zeros(CANDIDATES)
    for t in range(1, frames):
        reached = np.full(CANDIDATES, -np.inf)
        for k in range(CANDIDATES):
            if local[t, k] == -np.inf:
                continue
            for j in range(CANDIDATES):
                if total[j] == -np.inf:
                    continue
                cost = 0.0
                if (k == 0) != (j == 0):
                    cost = VOICED_UNVOICED_COST
                elif k > 0:
                    cost = OCTAVE_JUMP_COST * abs(octave[t, k] - octave[t - 1, j])
                if total[j] - cost > reached[k]:
                    reached[k], best_before[t, k] = total[j] - cost, j
            reached[k] += local[t, k]
        total = reached

    found_f0 = np.zeros(frames, dtype=np.float32)
    strength = np.zeros(frames, dtype=np.float32)
    k = int(np.argmax(total))
    for t in range(frames - 1, -1, -1):
        found_f0[t] = f0[t, k]
        strength[t] = height[t, k] if k > 0 else height[t].max()
        k = best_before[t, k]
    return found_f0, strength


def hnr_db(strength: np.ndarray, *, limit_db: float = 40.0) -> np.ndarray:
    """Harmonics-to-noise ratio r / (1 - r) in dB, within ±`limit_db`; Boersma's equation 4."""
    edge = 1 / (1 + 10 ** (limit_db / 10))
    r = np.clip(strength.astype(np.float64), edge, 1 - edge)
    return (10 * np.log10(r / (1 - r))).astype(np.float32)


def harmonic(power: np.ndarray, f0_hz: np.ndarray, number: int, *, bin_hz: float) -> np.ndarray:
    """Power of a harmonic: the highest of the three bins around `number` times F0.

    Parameters
    ----------
    power : np.ndarray [shape=(frames, bins)]
    f0_hz : np.ndarray [shape=(frames,)]
    number : int > 0
        1 is the fundamental.
    bin_hz : float > 0
        Distance of the bins.

    Returns
    -------
    np.ndarray [shape=(frames,)]
    """
    centre = np.rint(number * f0_hz / bin_hz).astype(np.intp)
    around = np.clip(centre[:, None] + np.array([-1, 0, 1]), 0, power.shape[1] - 1)
    return np.take_along_axis(power, around, axis=1).max(axis=1)
