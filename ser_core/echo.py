"""Levels of two channels, and the lags at which one repeats the other -> frames that are an echo.

The other side's speech reaches a channel as line echo, from a loudspeaker, or from a headset:
softer, later, filtered by a room. At the lag that `correlation` found, the levels of the frames
that sound on both channels tell who repeats whom, and how much softer. A frame that is no louder
than the echo that is expected there is an echo. A customer who talks over it is louder, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ser_core.correlation import BLOCK, LAG_S, Peaks
from ser_core.speech import FRAME_S

# Strength of a peak that is surely a repetition; and of one that is if the nearest sure peak of
# the recording has the same lag.
SURE, LIKELY = 25.0, 8.0
SAME_LAG = 4
# A channel that is softer than this, against the other one, repeats it whatever the lag. Between
# this and the opposite, the later channel repeats the earlier; and each the other up to this lag.
EQUAL_DB, EQUAL_S = 6.0, 0.002
EQUAL_LAG = round(EQUAL_S / LAG_S)

# The gain of an echo is measured over so many blocks before and after a block, if it has so
# many of the frames that sound on both channels.
NEIGHBOURS = 5
ECHO_SHARE, LEAST_FRAMES = 0.3, 8
# It is measured where the other channel is loud and not fading.
LOUD_PERCENTILE, LOUD_RANGE_DB = 95, 20.0
# The echo of a room fades by this much a frame (60 dB in 0.6 s).
FADE_DB, FADE_FRAMES = 2.0, 12
# A frame of an echo may be louder than expected by this. Its neighbours decide about frames that
# are not clear.
MARGIN_DB = 8.0
AROUND = 21
ECHO_FROM, ECHO_BELOW = 0.7, 0.3


@dataclass(frozen=True)
class Levels:
    """Levels of a channel's frames, and whether they sound."""

    level_db: np.ndarray
    sounding: np.ndarray


@dataclass(frozen=True)
class Block:
    """The block that begins at the frame `start`; lags are positive where the channel is later."""

    start: int
    peaks: Peaks

    def reversed(self) -> Block:
        """The same seen from the other channel."""
        return Block(self.start, self.peaks.reversed())


def find(own: Levels, other: Levels, blocks: Sequence[Block]) -> np.ndarray:
    """Find the frames of a channel that repeat another channel.

    Parameters
    ----------
    own, other : Levels
        Of as many frames.
    blocks : sequence of Block
        In order.

    Returns
    -------
    np.ndarray [shape=(frames,)], bool
    """
    found = np.zeros(len(own.level_db), dtype=bool)
    repetitions = [list(_repetitions(blocks, later=later)) for later in (True, False)]
    if not any(repetitions):
        return found
    source = _Source(other)
    for one_side in repetitions:
        pieces = [
            _Piece(own, source, start, lag, EQUAL_DB if lag >= -EQUAL_LAG else -EQUAL_DB)
            for start, lag in one_side
        ]
        for i, piece in enumerate(pieces):
            gain_db = _gain_db(pieces[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1])
            if gain_db is not None:
                found[piece.frames] |= piece.echo(gain_db)
    return _smooth(found, own.sounding)


def _repetitions(blocks: Sequence[Block], *, later: bool) -> Iterator[tuple[int, int]]:
    """Start and lag of the blocks in which the channel repeats the other, or is repeated."""
    sides = []
    for block in blocks:
        lags = block.peaks.lags
        on_side = lags >= -EQUAL_LAG if later else lags < -EQUAL_LAG
        sides.append((block.start, lags[on_side], block.peaks.strengths[on_side]))
    sure = [(start, lags[0]) for start, lags, strengths in sides if strengths[:1].sum() > SURE]
    if not sure:
        return
    starts = np.array([start for start, _ in sure])
    for start, lags, strengths in sides:
        near = sure[int(np.abs(starts - start).argmin())][1]
        same = np.flatnonzero((np.abs(lags - near) <= SAME_LAG) & (strengths > LIKELY))
        if strengths[:1].sum() > SURE:
            yield start, int(lags[0])
        elif len(same):
            yield start, int(lags[same[0]])


def delayed(values: np.ndarray, lag: int, frames: slice) -> np.ndarray:
    """Values [all frames] that come later by a lag, which may be negative, at some frames."""
    delay = lag * LAG_S / FRAME_S
    whole = int(np.floor(delay))
    share = delay - whole
    at, last = np.arange(frames.start, frames.stop) - whole, len(values) - 1
    return (1 - share) * values[np.clip(at, 0, last)] + share * values[np.clip(at - 1, 0, last)]


class _Source:
    """A channel that may be repeated: its power, with and without the fading of a room."""

    def __init__(self, levels: Levels) -> None:
        self.sounding = levels.sounding
        self.power = 10 ** (levels.level_db.astype(np.float64) / 10)
        self.faded = self.power.copy()
        for k in range(1, FADE_FRAMES + 1):
            later = self.power[:-k] * 10 ** (-FADE_DB * k / 10)
            np.maximum(self.faded[k:], later, out=self.faded[k:])
        sounds = levels.level_db[levels.sounding]
        loud_db = np.percentile(sounds, LOUD_PERCENTILE) if len(sounds) else 0.0
        self.loud_power = 10 ** ((loud_db - LOUD_RANGE_DB) / 10)


class _Piece:
    """A block of a channel beside what it repeats at a lag.

    Parameters
    ----------
    own : Levels
    source : _Source
    start, lag : int
        First frame; the lag in steps of `LAG_S`.
    limit_db : float
        An echo is softer than this, against the source.
    """

    def __init__(self, own: Levels, source: _Source, start: int, lag: int, limit_db: float) -> None:
        count = len(own.level_db)
        self.frames = slice(start, min(start + BLOCK, count))
        self._level_db = own.level_db[self.frames]
        self._sounding = own.sounding[self.frames]
        power = delayed(source.power, lag, self.frames)
        faded = delayed(source.faded, lag, self.frames)
        self._expected_db = 10 * np.log10(np.maximum(faded, 1e-12))
        both = self._sounding & (delayed(source.sounding, lag, self.frames) > 0)
        gains_db = self._level_db[both] - 10 * np.log10(np.maximum(power[both], 1e-12))
        echo = gains_db < limit_db
        self.both, self.echoes = len(gains_db), int(np.count_nonzero(echo))
        clear = (power > source.loud_power) & (power > 0.8 * faded)
        self.gains_db = gains_db[echo & clear[both]]

    def echo(self, gain_db: float) -> np.ndarray:
        """Frames that are no louder than an echo of this gain: bool [frames]."""
        return self._sounding & (self._level_db <= self._expected_db + gain_db + MARGIN_DB)


def _gain_db(pieces: Sequence[_Piece]) -> float | None:
    """Gain of the echo over several blocks; None where the channel is not the echo."""
    both, echoes = sum(piece.both for piece in pieces), sum(piece.echoes for piece in pieces)
    gains_db = np.concatenate([piece.gains_db for piece in pieces])
    if echoes < ECHO_SHARE * both or len(gains_db) < LEAST_FRAMES:
        return None
    return float(np.median(gains_db))


def _smooth(found: np.ndarray, sounding: np.ndarray) -> np.ndarray:
    """Frames as most of those around them that sound."""
    if not found.any():
        return found
    window = np.ones(AROUND)
    share = np.convolve(found, window, "same") / np.maximum(
        np.convolve(sounding, window, "same"), 1
    )
    return sounding & ((found & (share > ECHO_BELOW)) | (share > ECHO_FROM))
