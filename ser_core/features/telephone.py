"""`telephone`: level-free descriptors of speech in the telephone band, at 8 kHz.

Only the band from 40 to 3,800 Hz is used, and the level of the samples has no effect, so that a
studio recording and a telephone call of the same speech have similar vectors. The vector has three
parts, and each dimension has a name:

- functionals of contours, such as `mel07_p90` or `f0_semitones_iqr`, with timing (`pause_mean_s`)
  and the modulation spectrum (`modulation2_band05`);
- differences of each third of the utterance from the whole, such as `third2_mfcc03_mean`;
- the picture: 32 equal steps by 45 rows, such as `picture_step05_mel12`, in the order of steps,
  so that `vector[PICTURE].reshape(32, 45)` is the input of a convolutional network.

Frames of 25 ms every 10 ms, from the first to the last active frame. A frame is active if it is no
more than 25 dB below loud speech, the 95th percentile of the energy. Functionals are over active
frames, those of the voice over voiced frames; they are 0 where there are none. Silence and
constants give zeros. Values are rounded to the precision of float16.

The recipe stays in one module, although it is long: its parts share the frames, constants and names
above, the order of the vector is the order of `_describe`, and its values must never change.

Sources
-------
The set: F. Eyben et al. (2016), "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for
voice research and affective computing", IEEE Trans. Affective Computing 7(2), 190-202: F0 in
semitones, HNR, alpha ratio, Hammarberg index, slopes, H1-H2, H1-A3, loudness peaks and voiced
runs per second. B. Schuller et al. (2013), "The INTERSPEECH 2013 computational paralinguistics
challenge" (ComParE): functionals over spectral descriptors, MFCC and their deltas.
F0 and HNR: `ser_core.features.pitch` (Boersma 1993). Mel scale: O'Shaughnessy (1987), as in HTK.
Modulation spectrum: H. Hermansky (2011), "Speech recognition from spectral dynamics", Sadhana
36(5), 729-744. `docs/telephone.md` lists every dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import ThreadpoolController

from ser_core.features import FeatureSet, mel
from ser_core.features.windows import hann

RATE_HZ = 8_000
LOW_HZ, HIGH_HZ = 60.0, 3_800.0
# Widths of the band's fading edges: below the low end, and inside the high end.
LOW_EDGE_HZ, HIGH_EDGE_HZ = 20.0, 100.0
FRAME, HOP, N_FFT = 200, 80, 256
FRAMES_PER_S = RATE_HZ / HOP
BIN_HZ = RATE_HZ / N_FFT
BAND = slice(2, 122)
PITCH_FRAME, PITCH_N_FFT = 320, 512
MIN_F0_HZ, MAX_F0_HZ = 59.0, 727.0

# Softer signals than this, relative to the largest sample, are rounding errors.
NOTHING = 1e-5
LOUD_PERCENTILE = 95
# Loud speech is at least this, relative to the loudest frame, however long the pauses are.
CLICK = 1e-4
ACTIVE_DB = 25.0
# Added to the energy of each frame, relative to loud speech, and spread over the band's bins, so
# that softer levels are equal. The noise of G.711 is about as loud.
FLOOR = 10**-3.5
BIN_FLOOR = np.float32(FLOOR / (BAND.stop - BAND.start))

N_MELS, N_MFCC = 40, 20
DELTA_REACH = 2
SLOPES_HZ = ((LOW_HZ, 500.0), (500.0, 1_500.0))
ROLLOFF = 0.85
SEMITONES_FROM_HZ = 27.5
# Range of the third formant.
A3_HZ = (2_000.0, 3_400.0)
PERCENTILES = (10, 25, 50, 75, 90)
# A smaller standard deviation than this share of the mean is a rounding error.
FLAT = 1e-4

# Slower changes count as neither rising nor falling.
STEADY_SEMITONES_PER_S, STEADY_DB_PER_S = 1.0, 10.0
# Frames that energy is averaged over before its peaks are counted.
PEAK_SMOOTH = 5
LOUDNESS_PEAK_DB = 3.0
MODULATION_EDGES_HZ = tuple(float(hz) for hz in np.geomspace(0.7, 30.0, 13))
MODULATION_GROUPS, MODULATION_FRAMES = 4, 512
MODULATION_FLOOR = 1e-3

THIRDS = 3
STEPS, COARSE_STEPS = 32, 8

MEL = tuple(f"mel{i:02d}" for i in range(1, N_MELS + 1))
MFCC = tuple(f"mfcc{i:02d}" for i in range(1, N_MFCC + 1))
DELTA = tuple(f"delta_{name}" for name in MFCC)
# Rows of the contours over active frames, and of those over voiced frames.
SPECTRAL = (
    "energy_db", "alpha_ratio_db", "hammarberg_db", "slope_60_500", "slope_500_1500",
    "centroid_hz", "bandwidth_hz", "rolloff_hz", "entropy", "flux", "zero_crossings",
)  # fmt: skip
VOICE = ("f0_semitones", "voicing", "hnr_db", "h1_h2_db", "h1_a3_db")

STATISTICS = ("mean", "sd", "p10", "p50", "p90", "iqr", "range", "skewness", "slope")
MEL_STATISTICS = ("mean", "sd", "p10", "p50", "p90")
DELTA_STATISTICS = ("sd", "p10", "p90")
CHANGE = ("change", "rise", "fall", "rising_share")
TIMING = (
    "voiced_runs_per_s", "voiced_mean_s", "voiced_sd_s", "voiced_longest_s",
    "pauses_per_s", "pause_mean_s", "pause_sd_s", "pause_longest_s",
    "voiced_share", "active_share", "loudness_peaks_per_s",
)  # fmt: skip
# Rows whose standard deviation in each third is kept.
SPREAD = ("energy_db", "centroid_hz", "flux", "f0_semitones", "voicing", "hnr_db")
ACTIVE_SPREAD = [i for i, row in enumerate((*MFCC, *SPECTRAL)) if row in SPREAD]
VOICE_SPREAD = [i for i, row in enumerate(VOICE) if row in SPREAD]
PICTURE_ROWS = (*MEL, "f0_semitones", "f0_coarse", "voicing", "voiced_share", "energy_db")


def _names() -> tuple[str, ...]:
    third = (
        *(f"{row}_mean" for row in (*MFCC, *SPECTRAL)),
        *(f"{row}_sd" for row in SPECTRAL if row in SPREAD),
        "active_share",
        *(f"{row}_mean" for row in VOICE),
        *(f"{row}_sd" for row in VOICE if row in SPREAD),
        "voiced_share",
    )
    return (
        *(f"{row}_{name}" for row in MEL for name in MEL_STATISTICS),
        *(f"{row}_{name}" for row in MFCC for name in STATISTICS),
        *(f"{row}_{name}" for row in DELTA for name in DELTA_STATISTICS),
        *(f"{row}_{name}" for row in SPECTRAL for name in STATISTICS),
        *(f"{row}_{name}" for row in VOICE for name in STATISTICS),
        *(f"{row}_{name}" for row in ("f0", "energy") for name in CHANGE),
        *TIMING,
        *(
            f"modulation{group}_band{band:02d}"
            for group in range(1, MODULATION_GROUPS + 1)
            for band in range(1, len(MODULATION_EDGES_HZ))
        ),
        *(f"third{i}_{name}" for i in range(1, THIRDS + 1) for name in third),
        *(f"picture_step{i:02d}_{row}" for i in range(1, STEPS + 1) for row in PICTURE_ROWS),
    )


NAMES = _names()
# Places of the parts in the vector; the thirds lie between them.
PICTURE = slice(len(NAMES) - STEPS * len(PICTURE_ROWS), len(NAMES))
FUNCTIONALS = slice(0, NAMES.index(f"third1_{MFCC[0]}_mean"))


def compute(samples: np.ndarray) -> np.ndarray:
    """Vector of one segment: float32 [n] at 8 kHz, finite, n >= 1 -> float32 [names]."""
    signal = band_limited(samples)
    if signal is None:
        return np.zeros(len(NAMES), dtype=np.float32)
    with _blas().limit(limits=1):
        vector = _describe(signal)
    largest = np.finfo(np.float16).max
    # Adding zero removes negative zeros.
    return np.clip(vector, -largest, largest).astype(np.float16).astype(np.float32) + 0.0


@cache
def _blas() -> ThreadpoolController:
    """Controller of numpy's matrix products, whose last digits depend on the number of threads."""
    return ThreadpoolController().select(user_api="blas")


def _describe(signal: np.ndarray) -> np.ndarray:
    """All dimensions of a band-limited signal, before rounding."""
    signal, energy_db, active = _active_span(signal)
    power = _power(signal, FRAME, N_FFT)
    mel_db = log_mel(power)
    mel_db -= mel_db[active].mean()
    mfcc = mel_db @ _dct()

    f0_hz, voice = _voice(signal, ~active)
    voiced = f0_hz > 0
    spectral = np.stack([energy_db, *spectral_shape(power), zero_crossings(signal)])
    contours = np.concatenate([mel_db.T, mfcc.T, deltas(mfcc).T, spectral])

    at_s = np.arange(len(active), dtype=np.float32) / FRAMES_PER_S
    over_active = statistics(contours[:, active], at_s[active])
    over_voiced = statistics(voice[:, voiced], at_s[voiced])
    per_mel, per_mfcc, per_delta, per_spectral = np.split(
        over_active, np.cumsum([N_MELS, N_MFCC, N_MFCC])
    )
    active_thirds = thirds(np.concatenate([mfcc.T, spectral]), active, ACTIVE_SPREAD)
    voiced_thirds = thirds(voice, voiced, VOICE_SPREAD)
    semitones = voice[0] - over_voiced[0, STATISTICS.index("p50")]
    return np.concatenate(
        [
            per_mel[:, _columns(MEL_STATISTICS)].ravel(),
            per_mfcc.ravel(),
            per_delta[:, _columns(DELTA_STATISTICS)].ravel(),
            per_spectral.ravel(),
            over_voiced.ravel(),
            changes(voice[0], voiced, STEADY_SEMITONES_PER_S),
            changes(energy_db, active, STEADY_DB_PER_S),
            timing(voiced, active, energy_db),
            modulation(mel_db).ravel(),
            np.hstack([active_thirds, voiced_thirds]).ravel(),
            picture(mel_db, semitones, voice[1], voiced, energy_db).ravel(),
        ]
    )


def band_limited(samples: np.ndarray) -> np.ndarray | None:
    """Limit samples to the band from 60 to 3,800 Hz; None where the band is empty.

    One transform of all samples: a zero-phase filter with linear edges.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        At 8 kHz, any level.

    Returns
    -------
    np.ndarray [shape=(n,)], float32
        Relative to the largest sample.
    """
    largest = float(np.abs(samples).max())
    if largest == 0:
        return None
    centred = samples / np.float64(largest)
    centred -= centred.mean()
    # Room for the ringing of the filter, which would wrap around to the other end.
    n_fft = scipy.fft.next_fast_len(len(samples) + FRAME, real=True)
    spectrum = scipy.fft.rfft(centred.astype(np.float32), n_fft)
    per_hz = n_fft / RATE_HZ
    low, low_end = round((LOW_HZ - LOW_EDGE_HZ) * per_hz), round(LOW_HZ * per_hz)
    high, high_end = round((HIGH_HZ - HIGH_EDGE_HZ) * per_hz), round(HIGH_HZ * per_hz)
    spectrum[:low] = 0
    spectrum[low:low_end] *= np.linspace(0, 1, low_end - low, endpoint=False, dtype=np.float32)
    spectrum[high:high_end] *= np.linspace(1, 0, high_end - high, endpoint=False, dtype=np.float32)
    spectrum[high_end:] = 0
    signal = scipy.fft.irfft(spectrum, n_fft)[: len(samples)]
    return signal if np.abs(signal).max() > NOTHING else None


def frame_count(samples: int) -> int:
    """Number of frames of so many samples; at least 1."""
    return 1 + max(0, samples - FRAME) // HOP


def _framed(signal: np.ndarray, length: int) -> np.ndarray:
    """Frames of `length` every `HOP`, with the centres of those of `FRAME`: [frames, length].

    A view of the signal, padded with zeros. Samples after the last whole hop are ignored.
    """
    count = frame_count(len(signal))
    before = (length - FRAME) // 2
    after = max(0, (count - 1) * HOP + length - before - len(signal))
    zeros = np.zeros(max(before, after), dtype=signal.dtype)
    padded = np.concatenate([zeros[:before], signal, zeros[:after]])
    return sliding_window_view(padded, length)[::HOP][:count]


def _active_span(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal from the first to the last active frame, scaled to the level of loud speech.

    Also the energy of its frames in dB relative to that level, and whether each is active.
    """
    frames = _framed(signal, FRAME)
    energy = np.einsum("ij,ij->i", frames, frames) / FRAME
    active = energy >= _loud(energy) * 10 ** (-ACTIVE_DB / 10)
    first, last = np.flatnonzero(active)[[0, -1]]
    energy, active = energy[first : last + 1], active[first : last + 1]
    loud = _loud(energy[active])
    energy_db = 10 * np.log10(energy / loud + np.float32(FLOOR))
    return signal[first * HOP : last * HOP + FRAME] / np.sqrt(loud), energy_db, active


def _loud(energy: np.ndarray) -> np.float32:
    """Energy of loud speech: the 95th percentile, but at most 40 dB below the loudest frame."""
    ordered = np.sort(energy)
    return np.float32(max(quantiles(ordered, [LOUD_PERCENTILE])[0], CLICK * ordered[-1]))


def _power(signal: np.ndarray, length: int, n_fft: int) -> np.ndarray:
    """Power spectra of Hann-windowed frames, float32 [frames, n_fft // 2 + 1].

    A frame's bins add up to its mean square: to 1 where it is as loud as loud speech.
    """
    window = hann(length, np.float32, centred=True)
    spectrum = scipy.fft.rfft(_framed(signal, length) * window, n_fft)
    scale = np.float32(2 / (n_fft * np.square(window).sum()))
    return (np.square(spectrum.real) + np.square(spectrum.imag)) * scale


def log_mel(power: np.ndarray) -> np.ndarray:
    """Levels of the mel bands in dB, float32 [frames, 40]."""
    filters = mel.htk_filters(RATE_HZ, N_FFT, LOW_HZ, HIGH_HZ, N_MELS)
    return 10 * np.log10((power + BIN_FLOOR) @ filters)


@cache
def _dct() -> np.ndarray:
    """Type II, orthonormal, without coefficient 0: float32 [40, 20]; as librosa's MFCC."""
    return scipy.fft.dct(np.eye(N_MELS), type=2, norm="ortho")[:, 1 : N_MFCC + 1].astype(np.float32)


def _held(contours: np.ndarray, reach: int) -> np.ndarray:
    """Contours with the first and the last frame repeated `reach` times."""
    index = np.clip(np.arange(-reach, len(contours) + reach), 0, len(contours) - 1)
    return contours[index]


def deltas(contours: np.ndarray) -> np.ndarray:
    """Slope of a line through five frames, per frame; the first and last frame are repeated.

    Parameters
    ----------
    contours : np.ndarray [shape=(frames, rows)]
    """
    n = len(contours)
    around = _held(contours, DELTA_REACH)
    steps = range(1, DELTA_REACH + 1)
    rise = sum(k * (around[DELTA_REACH + k :][:n] - around[DELTA_REACH - k :][:n]) for k in steps)
    return rise / np.float32(2 * sum(k * k for k in steps))


@cache
def _slope_weights(low_hz: float, high_hz: float) -> tuple[slice, np.ndarray]:
    """Bins of a part of the band, and the weights of their levels for a slope in dB per kHz."""
    bins = slice(int(np.ceil(low_hz / BIN_HZ)), int(high_hz / BIN_HZ) + 1)
    khz = np.arange(bins.start, bins.stop) * BIN_HZ / 1000
    khz -= khz.mean()
    return bins, (khz / np.square(khz).sum()).astype(np.float32)


def spectral_shape(power: np.ndarray) -> np.ndarray:
    """Alpha ratio to flux, the rows of `SPECTRAL` between energy and zero crossings.

    Parameters
    ----------
    power : np.ndarray [shape=(frames, 129)]

    Returns
    -------
    np.ndarray [shape=(9, frames)], float32
        Alpha ratio (dB): power below to that above 1 kHz, Hammarberg index (dB): highest bin
        below to that above 2 kHz, two slopes (dB per kHz), as in GeMAPS with the band's ends for
        its 50 Hz and 5 kHz; centroid, bandwidth and 85 % roll-off (Hz), entropy (0 to 1), flux:
        distance of neighbouring magnitude spectra of norm 1.
    """
    power = power[:, BAND] + BIN_FLOOR
    hz = (np.arange(BAND.start, BAND.stop) * BIN_HZ).astype(np.float32)
    at_1khz, at_2khz = np.searchsorted(hz, [1000, 2000])
    cumulated = np.cumsum(power, axis=1)
    total = cumulated[:, -1:]
    low = cumulated[:, at_1khz - 1]
    highest = power[:, :at_2khz].max(axis=1), power[:, at_2khz:].max(axis=1)

    share = power / total
    centroid = share @ hz
    bandwidth = np.sqrt(np.einsum("ij,ij->i", share, np.square(hz - centroid[:, None])))
    rolloff = hz[(cumulated < ROLLOFF * total).sum(axis=1)]
    entropy = -np.einsum("ij,ij->i", share, np.log(share)) / np.log(len(hz))
    magnitude = np.sqrt(share)
    flux = np.sqrt(np.square(np.diff(magnitude, axis=0)).sum(axis=1))

    slopes = []
    for low_hz, high_hz in SLOPES_HZ:
        bins, weights = _slope_weights(low_hz, high_hz)
        inside = slice(bins.start - BAND.start, bins.stop - BAND.start)
        slopes.append(10 * np.log10(power[:, inside]) @ weights)
    return np.stack(
        [
            10 * np.log10(low / (total[:, 0] - low)),
            10 * np.log10(highest[0] / highest[1]),
            *slopes,
            centroid,
            bandwidth,
            rolloff,
            entropy,
            np.concatenate([flux[:1], flux]) if len(flux) else np.zeros(1, dtype=np.float32),
        ]
    )


def zero_crossings(signal: np.ndarray) -> np.ndarray:
    """Changes of sign per second, in each frame: float32 [frames]."""
    sign = signal >= 0
    before = np.concatenate([[0, 0], np.cumsum(sign[1:] != sign[:-1])])
    first = np.arange(frame_count(len(signal))) * HOP
    last = np.minimum(first + FRAME, len(signal))
    return (before[last] - before[first]).astype(np.float32) * np.float32(RATE_HZ / FRAME)


def _voice(signal: np.ndarray, silent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F0 in Hz [frames], 0 where unvoiced, and the rows of `VOICE` [5, frames].

    Semitones are above 27.5 Hz. H1, H2 and A3 are the levels of the first and second harmonic and
    of the highest bin in the range of the third formant. They are valid in voiced frames.
    """
    from ser_core.features import pitch  # compiles when it is imported

    power = _power(signal, PITCH_FRAME, PITCH_N_FFT)
    correlation = pitch.autocorrelation(
        power, length=PITCH_FRAME, rate_hz=RATE_HZ, min_f0_hz=MIN_F0_HZ
    )
    f0_hz, strength = pitch.track(
        correlation, silent, rate_hz=RATE_HZ, min_f0_hz=MIN_F0_HZ, max_f0_hz=MAX_F0_HZ
    )
    bin_hz = RATE_HZ / PITCH_N_FFT
    h1, h2 = (pitch.harmonic(power, f0_hz, number, bin_hz=bin_hz) for number in (1, 2))
    a3 = power[:, slice(*(round(hz / bin_hz) for hz in A3_HZ))].max(axis=1)
    h1_db, h2_db, a3_db = 10 * np.log10(np.stack([h1, h2, a3]) + BIN_FLOOR)
    voiced = f0_hz > 0
    semitones = 12 * np.log2(np.where(voiced, f0_hz, SEMITONES_FROM_HZ) / SEMITONES_FROM_HZ)
    rows = [semitones, strength, pitch.hnr_db(strength), h1_db - h2_db, h1_db - a3_db]
    return f0_hz, np.stack(rows).astype(np.float32)


def statistics(contours: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """`STATISTICS` of each contour; 0 where there are no frames.

    Parameters
    ----------
    contours : np.ndarray [shape=(rows, frames)]
    at_s : np.ndarray [shape=(frames,)]
        Time of each frame in seconds.

    Returns
    -------
    np.ndarray [shape=(rows, 9)]
        Range is from the 10th to the 90th percentile, slope per second. Percentiles lie on
        straight lines between the values, as numpy's do by default.
    """
    rows, n = contours.shape
    if n == 0:
        return np.zeros((rows, len(STATISTICS)), dtype=np.float32)
    mean = contours.mean(axis=1)
    centred = contours - mean[:, None]
    squares = np.square(centred)
    sd = np.sqrt(squares.mean(axis=1))
    # A rounding error has no shape.
    flat = sd <= FLAT * (np.abs(mean) + sd)
    cubes = np.einsum("ij,ij->i", squares, centred) / n
    skewness = np.where(flat, 0, cubes / np.where(flat, 1, sd) ** 3)
    since = at_s - at_s.mean()
    slope = centred @ since / max(float(np.square(since).sum()), 1e-9)

    p10, p25, p50, p75, p90 = quantiles(np.sort(contours, axis=1), PERCENTILES).T
    return np.stack([mean, sd, p10, p50, p90, p75 - p25, p90 - p10, skewness, slope], axis=1)


def quantiles(ordered: np.ndarray, percent: Sequence[float]) -> np.ndarray:
    """Percentiles of values that are sorted along the last axis, equal to `np.percentile`."""
    last = ordered.shape[-1] - 1
    position = np.asarray(percent) * last / 100
    below = position.astype(np.intp)
    share = (position - below).astype(np.float32)
    upper = ordered[..., np.minimum(below + 1, last)]
    return ordered[..., below] * (1 - share) + upper * share


def _columns(names: tuple[str, ...]) -> list[int]:
    return [STATISTICS.index(name) for name in names]


def changes(contour: np.ndarray, valid: np.ndarray, steady: float) -> np.ndarray:
    """`CHANGE` between neighbouring valid frames, per second.

    Mean size; means of the rises and of the falls that are faster than `steady`; share of rising
    frames. 0 where there are none.

    Parameters
    ----------
    contour : np.ndarray [shape=(frames,)]
    valid : np.ndarray [shape=(frames,)], bool
    steady : float > 0
        Per second.
    """
    step = np.diff(contour)[valid[1:] & valid[:-1]] * np.float32(FRAMES_PER_S)
    rising, falling = step[step > steady], -step[step < -steady]
    return np.array(
        [_mean(np.abs(step)), _mean(rising), _mean(falling), len(rising) / max(len(step), 1)]
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def runs_s(mask: np.ndarray) -> np.ndarray:
    """Lengths of the runs of true frames, in seconds."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    return (edges[1::2] - edges[::2]) / FRAMES_PER_S


def timing(voiced: np.ndarray, active: np.ndarray, energy_db: np.ndarray) -> np.ndarray:
    """`TIMING`: runs of voiced frames and of pauses in the active span."""
    seconds = len(active) / FRAMES_PER_S
    described = []
    for runs in (runs_s(voiced), runs_s(~active)):
        described += [len(runs) / seconds, _mean(runs)]
        described += [runs.std(), runs.max()] if len(runs) else [0.0, 0.0]
    peaks = loudness_peaks(energy_db)
    return np.array([*described, voiced.mean(), active.mean(), peaks / seconds])


def loudness_peaks(energy_db: np.ndarray) -> int:
    """Number of peaks of the energy contour that a dip of 3 dB separates, as in GeMAPS.

    The contour is averaged over 50 ms and limited to the level of an active frame from below.
    """
    levels = np.maximum(energy_db, -ACTIVE_DB)
    # Each row is the contour, moved by a frame.
    levels = sliding_window_view(_held(levels, PEAK_SMOOTH // 2), len(levels)).mean(axis=0)
    count, rising, high, low = 0, True, -ACTIVE_DB, 0.0
    for level in levels.tolist():
        if rising:
            high = max(high, level)
            if level < high - LOUDNESS_PEAK_DB:
                count, rising, low = count + 1, False, level
        else:
            low = min(low, level)
            if level > low + LOUDNESS_PEAK_DB:
                rising, high = True, level
    return count + rising


@cache
def _modulation_bands() -> np.ndarray:
    """Weights of the bins in the mean of each band: float32 [bins, bands]."""
    hz = np.arange(MODULATION_FRAMES // 2 + 1)[:, None] * FRAMES_PER_S / MODULATION_FRAMES
    edges = np.array(MODULATION_EDGES_HZ)
    inside = (hz >= edges[:-1]) & (hz < edges[1:])
    return (inside / inside.sum(axis=0)).astype(np.float32)


def modulation(mel_db: np.ndarray) -> np.ndarray:
    """Modulation spectrum of the levels of four groups of ten mel bands.

    Power spectral density of the groups' mean levels, in Hann windows of 5.12 s (or the whole span,
    if that is shorter) that overlap by half or more.

    Parameters
    ----------
    mel_db : np.ndarray [shape=(frames, 40)]

    Returns
    -------
    np.ndarray [shape=(4, 12)], dB re 1 dB² / Hz, at least -30
        Bands are even on a logarithmic scale from 0.7 to 30 Hz.
    """
    groups = mel_db.reshape(len(mel_db), MODULATION_GROUPS, -1).mean(axis=2).T
    length = min(len(mel_db), MODULATION_FRAMES)
    count = 1 + -(-(len(mel_db) - length) // (MODULATION_FRAMES // 2))
    starts = np.linspace(0, len(mel_db) - length, count).astype(np.intp)
    windows = sliding_window_view(groups, length, axis=1)[:, starts]
    window = hann(length, np.float32, centred=True)
    windows = (windows - windows.mean(axis=2, keepdims=True)) * window
    spectrum = scipy.fft.rfft(windows, MODULATION_FRAMES)
    density = (np.square(np.abs(spectrum))).mean(axis=1)
    density *= np.float32(2 / (FRAMES_PER_S * np.square(window).sum()))
    return 10 * np.log10(density @ _modulation_bands() + np.float32(MODULATION_FLOOR))


def thirds(contours: np.ndarray, valid: np.ndarray, spread: list[int]) -> np.ndarray:
    """Difference of each third of the span from the whole span.

    Parameters
    ----------
    contours : np.ndarray [shape=(rows, frames)]
    valid : np.ndarray [shape=(frames,)], bool
        Frames that count.
    spread : list of int
        Rows whose standard deviation is computed.

    Returns
    -------
    np.ndarray [shape=(3, rows + len(spread) + 1)]
        Mean of each row, standard deviation of the `spread` rows and share of valid frames, each
        minus that of the whole span. Means and deviations of a third without valid frames are 0.
    """
    frames, rows = contours.shape[1], len(contours)
    third = np.arange(frames) * THIRDS // frames
    # Columns: the whole span, then its thirds.
    parts = (third[:, None] == np.arange(-1, THIRDS)) | (np.arange(-1, THIRDS) == -1)
    counted = (parts & valid[:, None]).astype(np.float32)
    count = counted.sum(axis=0)
    weights = counted / np.maximum(count, 1)
    centred = contours - contours @ weights[:, :1]
    mean = centred @ weights
    sd = np.sqrt(np.maximum(np.square(centred[spread]) @ weights - np.square(mean[spread]), 0))
    more = np.vstack([mean, sd, count / np.maximum(parts.sum(axis=0), 1)])
    more[:, 1:] -= more[:, :1]
    more[: rows + len(spread), count == 0] = 0
    more[-1, ~parts.any(axis=0)] = 0
    return more[:, 1:].T


def equal_steps(frames: int, steps: int) -> np.ndarray:
    """Means over equal steps of a span: float32 [steps, frames], rows that add up to 1.

    A frame on the edge of two steps counts in both, by its overlap with each. There may be more
    steps than frames.
    """
    edges = np.arange(steps + 1)[:, None] * (frames / steps)
    at = np.arange(frames)
    overlap = np.minimum(edges[1:], at + 1) - np.maximum(edges[:-1], at)
    return (np.maximum(overlap, 0) * (steps / frames)).astype(np.float32)


def picture(
    mel_db: np.ndarray,
    semitones: np.ndarray,
    strength: np.ndarray,
    voiced: np.ndarray,
    energy_db: np.ndarray,
) -> np.ndarray:
    """Picture of the segment: means over 32 equal steps of the active span.

    Parameters
    ----------
    mel_db : np.ndarray [shape=(frames, 40)]
        Minus the utterance's mean.
    semitones : np.ndarray [shape=(frames,)]
        F0 relative to its median; used where voiced.
    strength, energy_db : np.ndarray [shape=(frames,)]
    voiced : np.ndarray [shape=(frames,)], bool

    Returns
    -------
    np.ndarray [shape=(32, 45)], float32
        `PICTURE_ROWS` of each step. The coarse F0 is the mean over four steps. F0 is 0 in a step
        without voiced frames.
    """
    frames, is_voiced = len(mel_db), voiced.astype(np.float32)
    fine, coarse = (equal_steps(frames, steps) for steps in (STEPS, COARSE_STEPS))

    def f0(steps: np.ndarray) -> np.ndarray:
        share = steps @ is_voiced
        return np.divide(steps @ (semitones * is_voiced), share, out=share * 0, where=share > 1e-6)

    rows = fine @ np.column_stack([mel_db, strength, is_voiced, energy_db])
    bands, others = rows[:, :N_MELS], rows[:, N_MELS:]
    f0_coarse = np.repeat(f0(coarse), STEPS // COARSE_STEPS)
    return np.column_stack([bands, f0(fine), f0_coarse, others])


FEATURE_SET = FeatureSet(
    id="telephone",
    names=NAMES,
    rate=RATE_HZ,
    parameters={
        "version": 1,
        "band_hz": [LOW_HZ, HIGH_HZ],
        "frame": FRAME,
        "hop": HOP,
        "pitch_frame": PITCH_FRAME,
        "f0_hz": [MIN_F0_HZ, MAX_F0_HZ],
        "active_db": ACTIVE_DB,
        "floor": FLOOR,
        "modulation_edges_hz": [round(hz, 3) for hz in MODULATION_EDGES_HZ],
        "resampler": "soxr_hq",
        "rounding": "float16",
    },
    compute=compute,
)
