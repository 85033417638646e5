"""One channel -> segments: the stretches of speech, 1 to 10 s each.

WebRTC's voice activity detector at 8 kHz proposes frames. A level gate, a test for steady spectra
(tones) and `not_speech` (music, keys, noise) remove non-speech. The remaining frames are joined
over short pauses and cut at the quietest points. Silence, DC and clicks give no segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft

from ser_core import not_speech, reversal
from ser_core.not_speech import LAGS, Measures

RATE_HZ = 8_000
FRAME_S = 0.02
FRAME = int(RATE_HZ * FRAME_S)

# From 0, which lets most frames through, to 3.
VAD_MODE = 2
# A frame is not speech below an absolute level, and below a level relative to the channel's loud
# speech: crosstalk from the other side is 30 dB softer and more.
GATE_DBFS = -60.0
GATE_BELOW_LOUD_DB = 32.0
LOUD_PERCENTILE = 95

# A tone: spectra of 60 ms that stay the same (by cosine) over these many frames.
SPECTRUM_FRAMES = 3
STEADY_LAGS = (3, 6)
STEADY_COSINE = 0.985
STEADY_SHARE = 0.5

# Every so many frames, the levels of bands are kept for `reversal`.
BAND_FRAMES = 4

# Shorter sounds are clicks; shorter pauses are inside a phrase.
CLICK_S = 0.08
PHRASE_PAUSE_S = 0.3
# A stretch that is shorter than a segment joins its neighbour over a pause of up to this.
JOIN_PAUSE_S = 1.0
# The detector starts a little late and stops a little early.
PAD_S = 0.06
# Stretches with less speech are dropped.
MIN_SPEECH_S = 0.25
MIN_SEGMENT_S, MAX_SEGMENT_S = 1.0, 10.0
# A long stretch is cut at its quietest fifth of a second, but not before this.
CUT_FROM_S = 4.0
CUT_SMOOTH_S = 0.2


@dataclass(frozen=True)
class Segment:
    """A stretch of speech: seconds from the start of the recording."""

    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Frames:
    """Frames of 20 ms at 8 kHz.

    `samples` is float32 [frames, FRAME] without DC, `level_db` float32 [frames], and `sounding`
    bool [frames]: the detector takes it for a voice, and it is above `GATE_DBFS`.
    """

    samples: np.ndarray
    level_db: np.ndarray
    sounding: np.ndarray

    def part(self, start: int, end: int) -> Frames:
        """The frames from `start` to before `end`."""
        return Frames(*(getattr(self, name)[start:end] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: Sequence[Frames]) -> Frames:
        """Frames that follow each other, as one."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in cls.__dataclass_fields__
            )
        )


class Finder:
    """Finds the speech of one channel, fed block by block.

    Memory grows by about 1 KB per second. The result does not depend on the size of the blocks.

    Parameters
    ----------
    rate : int > 0
        Sample rate of the blocks in Hz.
    """

    def __init__(self, rate: int) -> None:
        import soxr
        import webrtcvad

        self._rate, self._count, self._frame_count = rate, 0, 0
        self._resampler = None
        if rate != RATE_HZ:
            self._resampler = soxr.ResampleStream(rate, RATE_HZ, 1, dtype="float32", quality="HQ")
        self._vad = webrtcvad.Vad(VAD_MODE)
        # Seconds of non-speech that passed the detector, and of speech that is another channel's;
        # known once `segments` was called.
        self.music_s = self.crosstalk_s = 0.0
        self._held = np.empty(0, dtype=np.float32)
        self._voiced: list[np.ndarray] = []
        self._level_db: list[np.ndarray] = []
        self._measures: list[Measures] = []
        self._band_levels: list[np.ndarray] = []
        self._spectra = np.zeros((max(LAGS), SPECTRUM_FRAMES * FRAME // 2 + 1), np.float32)
        self._before = np.zeros((SPECTRUM_FRAMES - 1, FRAME), dtype=np.float32)
        self._window = np.hanning(SPECTRUM_FRAMES * FRAME).astype(np.float32)

    def feed(self, block: np.ndarray, *, last: bool = False) -> Frames:
        """Add the next samples: float32 [m], m >= 0. `last` ends the channel.

        Returns
        -------
        Frames
            Those that are complete now.
        """
        self._count += len(block)
        if self._resampler is not None:
            block = self._resampler.resample_chunk(np.ascontiguousarray(block), last=last)
        samples = np.concatenate([self._held, block])
        whole = len(samples) // FRAME * FRAME
        self._held = samples[whole:]
        if not whole:
            none = np.empty(0, dtype=np.float32)
            return Frames(none.reshape(0, FRAME), none, none.astype(bool))
        frames = samples[:whole].reshape(-1, FRAME)
        pcm = (np.clip(frames, -1, 1) * 32767).astype("<i2")
        self._voiced.append(
            np.fromiter(
                (self._vad.is_speech(frame.tobytes(), RATE_HZ) for frame in pcm),
                dtype=bool,
                count=len(pcm),
            )
        )
        centred = frames - frames.mean(axis=1, keepdims=True)
        power = np.einsum("fn,fn->f", centred, centred) / FRAME
        self._level_db.append(10 * np.log10(np.maximum(power, 1e-12)).astype(np.float32))
        joined = np.concatenate([self._before, centred])
        self._before = joined[-(SPECTRUM_FRAMES - 1) :]
        windowed = np.lib.stride_tricks.sliding_window_view(
            joined.ravel(), SPECTRUM_FRAMES * FRAME
        )[::FRAME]
        spectra = np.abs(scipy.fft.rfft(windowed * self._window, axis=1))
        bin_hz = RATE_HZ / (SPECTRUM_FRAMES * FRAME)
        sampled = spectra[-self._frame_count % BAND_FRAMES :: BAND_FRAMES]
        self._frame_count += len(frames)
        self._band_levels.append(reversal.band_levels(sampled, bin_hz))
        self._measures.append(not_speech.measure(spectra, self._spectra, bin_hz))
        latest = not_speech.unit(spectra[-max(LAGS) :])
        self._spectra = np.concatenate([self._spectra, latest])[-max(LAGS) :]
        level_db = self._level_db[-1]
        return Frames(centred, level_db, self._voiced[-1] & (level_db > GATE_DBFS))

    def segments(self, crosstalk: np.ndarray | None = None) -> list[Segment]:
        """Segments of all samples; call after the last block.

        Parameters
        ----------
        crosstalk : np.ndarray [shape=(frames,)], bool, optional
            Frames that are another channel's speech.
        """
        if not self._voiced:
            return []
        measures, level_db, sounding = self.frames()
        steady = _steady(measures.alike)
        active = sounding & ~steady
        active &= not_speech.is_speech(measures, level_db, active)
        for start, end in _joined(_runs(active), active):
            frames = slice(round(start / FRAME_S), round(end / FRAME_S))
            own = active[frames]
            if not_speech.is_noise(measures, np.arange(frames.start, frames.stop)[own]):
                own[:] = False
        self.music_s = float(np.count_nonzero(sounding & ~active)) * FRAME_S
        if crosstalk is not None:
            self.crosstalk_s = float(np.count_nonzero(active & crosstalk)) * FRAME_S
            active &= ~crosstalk
        runs = _joined(_runs(active), active)
        duration_s = self._count / self._rate
        cut = [piece for run in _padded(runs, duration_s) for piece in _cut(*run, level_db)]
        return [Segment(round(float(start), 3), round(float(end), 3)) for start, end in cut]

    def spectrum(self, segments: Sequence[Segment]) -> tuple[float, ...] | None:
        """Long-term spectrum of some segments, as `reversal` compares it; None for too few."""
        if sum(segment.seconds for segment in segments) < reversal.LEAST_S:
            return None
        sounding = np.concatenate(self._voiced)
        spoken = np.zeros(len(sounding), dtype=bool)
        for segment in segments:
            spoken[round(segment.start_s / FRAME_S) : round(segment.end_s / FRAME_S)] = True
        levels = np.concatenate(self._band_levels)[(sounding & spoken)[::BAND_FRAMES]]
        return reversal.spectrum(levels) if len(levels) else None

    def frames(self) -> tuple[Measures, np.ndarray, np.ndarray]:
        """Measures, level in dB, and whether the detector takes it for a voice, of each frame."""
        level_db = np.concatenate(self._level_db)
        sounding = np.concatenate(self._voiced) & (level_db > self._gate_db(level_db))
        return Measures.joined(self._measures), level_db, sounding

    def _gate_db(self, level_db: np.ndarray) -> float:
        voiced = np.concatenate(self._voiced) & (level_db > GATE_DBFS)
        if not voiced.any():
            return GATE_DBFS
        loud = np.percentile(level_db[voiced], LOUD_PERCENTILE)
        return max(GATE_DBFS, float(loud) - GATE_BELOW_LOUD_DB)


def find(samples: np.ndarray, rate: int) -> list[Segment]:
    """Find the speech of one channel.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        Full scale at 1.0; n >= 0.
    rate : int > 0
        Hz.

    Returns
    -------
    list of Segment
        In order, without overlap, each 1 to 10 s.

    Examples
    --------
    >>> find(np.zeros(80_000), 8_000)
    []
    """
    finder = Finder(rate)
    finder.feed(np.asarray(samples, dtype=np.float32), last=True)
    return finder.segments()


def _runs(active: np.ndarray) -> list[tuple[float, float]]:
    """Stretches of True as (start_s, end_s)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    return [(start * FRAME_S, end * FRAME_S) for start, end in edges.reshape(-1, 2)]


def _steady(alike: np.ndarray) -> np.ndarray:
    """Frames with the spectrum of the frames before or after: a tone, not a voice.

    Parameters
    ----------
    alike : np.ndarray [shape=(len(LAGS), frames)]
        As in `not_speech.Measures`.
    """
    same = np.ones(alike.shape[1], dtype=bool)
    for lag in STEADY_LAGS:
        earlier = alike[LAGS.index(lag)] > STEADY_COSINE
        later = np.concatenate([earlier[lag:], np.zeros(min(lag, len(earlier)), dtype=bool)])
        same &= earlier | later
    # By majority over a fifth of a second, since single frames of a vowel may be alike.
    width = round(0.2 / FRAME_S) + 1
    share = np.convolve(same, np.ones(width) / width, mode="full")[width // 2 :][: len(same)]
    return share > STEADY_SHARE


def _joined(runs: Iterable[tuple[float, float]], active: np.ndarray) -> list[tuple[float, float]]:
    """Runs without clicks, joined over pauses in a phrase, short ones with their neighbour."""
    runs = [run for run in runs if run[1] - run[0] >= CLICK_S]
    phrases = _join(runs, lambda left, right: right[0] - left[1] <= PHRASE_PAUSE_S)
    stretches = _join(
        phrases,
        lambda left, right: (
            right[0] - left[1] <= JOIN_PAUSE_S
            and min(left[1] - left[0], right[1] - right[0]) < MIN_SEGMENT_S
        ),
    )
    return [run for run in stretches if _active_s(run, active) >= MIN_SPEECH_S]


def _join(
    runs: Iterable[tuple[float, float]],
    together: Callable[[tuple[float, float], tuple[float, float]], bool],
) -> list[tuple[float, float]]:
    """Join neighbouring runs that belong together."""
    joined: list[tuple[float, float]] = []
    for run in runs:
        if joined and together(joined[-1], run):
            joined[-1] = (joined[-1][0], run[1])
        else:
            joined.append(run)
    return joined


def _active_s(run: tuple[float, float], active: np.ndarray) -> float:
    return float(active[round(run[0] / FRAME_S) : round(run[1] / FRAME_S)].sum()) * FRAME_S


def _padded(runs: list[tuple[float, float]], duration_s: float) -> list[tuple[float, float]]:
    """Runs with a margin on both sides, at least MIN_SEGMENT_S long, that do not overlap."""
    padded: list[tuple[float, float]] = []
    for i, (start, end) in enumerate(runs):
        low = padded[-1][1] if padded else 0.0
        high = runs[i + 1][0] - PAD_S if i + 1 < len(runs) else duration_s
        high = max(high, end)
        start, end = max(low, start - PAD_S), min(high, end + PAD_S)
        missing = MIN_SEGMENT_S - (end - start)
        if missing > 0:
            start = max(low, start - missing / 2)
            end = min(high, start + MIN_SEGMENT_S)
            start = max(low, end - MIN_SEGMENT_S)
        if end - start >= MIN_SEGMENT_S - 1e-6:
            padded.append((start, end))
    return padded


def _cut(start: float, end: float, level_db: np.ndarray) -> list[tuple[float, float]]:
    """Pieces of at most MAX_SEGMENT_S, cut at the quietest points."""
    width = round(CUT_SMOOTH_S / FRAME_S)
    pieces = []
    while end - start > MAX_SEGMENT_S:
        first = round((start + CUT_FROM_S) / FRAME_S)
        last = round(min(start + MAX_SEGMENT_S, end - MIN_SEGMENT_S) / FRAME_S)
        around = level_db[max(0, first - width) : last + width]
        smooth = np.convolve(around, np.ones(width) / width, mode="same")
        offset = first - max(0, first - width)
        at = (first + int(smooth[offset : offset + last - first].argmin())) * FRAME_S
        pieces.append((start, at))
        start = at
    return [*pieces, (start, end)]
