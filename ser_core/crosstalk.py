"""The channels of a call -> whether all hold the same, and which speech leaked in from another.

Channels are compared block by block while they are read (`correlation`). Crosstalk is decided at
the end, when the delays and levels of the whole recording are known (`echo`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ser_core import correlation, echo
from ser_core.correlation import BLOCK, HOP, LAG_S, Peaks
from ser_core.echo import Block, Levels
from ser_core.speech import FRAME_S, Frames

# Channels that differ by no more than this gain and this delay hold the same.
EQUAL_DB, EQUAL_S = 6.0, 0.002
EQUAL_LAG = round(EQUAL_S / LAG_S)
# Their levels differ by one gain, up to this, in this share of the frames.
EQUAL_SPREAD_DB, EQUAL_SHARE = 3.0, 0.9
TOLERANCE_DB = 0.5
EQUAL_STRENGTH = 300.0
# Channels are different once they have differed for this long, and for this share of the time.
DIFFERENT_S, DIFFERENT_SHARE = 3.0, 0.1

# The gain is taken of frames within this of the loud ones.
LOUD_PERCENTILE, LOUD_RANGE_DB = 95, 20.0


class Comparison:
    """Compares the channels of a recording with each other, block by block.

    The result does not depend on how the frames were fed.

    Parameters
    ----------
    channels : int > 0
    """

    def __init__(self, channels: int) -> None:
        self._frames: list[list[Frames]] = [[] for _ in range(channels)]
        self._sides = [_Side() for _ in range(channels)]
        self._pairs = {pair: _Pair() for pair in combinations(range(channels), 2)}
        self._start = 0

    @property
    def equal(self) -> bool:
        """Whether all channels hold the same sound; known after `end`."""
        pairs = [pair for (first, _), pair in self._pairs.items() if first == 0]
        return bool(pairs) and all(pair.equal for pair in pairs)

    @property
    def different(self) -> bool:
        """Whether it is clear already that the channels do not hold the same sound."""
        return any(pair.different for (first, _), pair in self._pairs.items() if first == 0)

    def feed(self, frames: Sequence[Frames]) -> None:
        """Add the next frames of each channel; as many of each."""
        for held, side, new in zip(self._frames, self._sides, frames, strict=True):
            held.append(new)
            side.add(new)
        self._compare(BLOCK)

    def end(self) -> None:
        """Compare what is left; call once, after the last frames."""
        shared = BLOCK - HOP
        self._compare(1 if self._start == 0 and self._held <= shared else shared + 1)

    def crosstalk(self, channel: int, others: Sequence[int]) -> np.ndarray:
        """Frames of a channel that are the speech of `others`: bool [frames]; after `end`."""
        own = self._sides[channel].joined()
        leaked = np.zeros(len(own.level_db), dtype=bool)
        for other in others:
            pair = self._pairs[min(channel, other), max(channel, other)]
            blocks = pair.blocks
            if channel < other:
                blocks = [block.reversed() for block in blocks]
            if pair.equal_later:
                leaked |= own.sounding
            elif blocks:
                leaked |= echo.find(own, self._sides[other].joined(), blocks)
        return leaked

    @property
    def _held(self) -> int:
        return sum(len(frames.level_db) for frames in self._frames[0])

    def _compare(self, least: int) -> None:
        """Compare blocks while at least this many frames are held."""
        if not self._pairs or self._held < least:
            return
        joined = [Frames.joined(held) for held in self._frames]
        at, count = 0, self._held
        while count - at >= least:
            self._compare_block([frames.part(at, at + BLOCK) for frames in joined])
            at += HOP
        self._frames = [[frames.part(at, count)] for frames in joined]

    def _compare_block(self, block: Sequence[Frames]) -> None:
        enough = [np.count_nonzero(f.sounding) >= correlation.LEAST_SOUNDING for f in block]
        spectra = [
            correlation.spectrum(frames) if sounds and sum(enough) > 1 else None
            for frames, sounds in zip(block, enough, strict=True)
        ]
        for (first, second), pair in self._pairs.items():
            peaks = correlation.peaks(spectra[first], spectra[second])
            pair.add(Block(self._start, peaks), block[first], block[second])
        self._start += HOP


class _Pair:
    """Two channels: the blocks in which one repeats the other, and for how long they were alike."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.alike = self.late = self.unlike = 0
        self.different = False
        self._gain_db: float | None = None

    @property
    def equal(self) -> bool:
        """Whether both hold the same at the same time."""
        return bool(self.alike) and not self.different and self.alike > self.late

    @property
    def equal_later(self) -> bool:
        """Whether both hold the same, one of them later."""
        late = self.late * FRAME_S
        return late > DIFFERENT_S and self.late > (1 - DIFFERENT_SHARE) * (
            self.alike + self.late + self.unlike
        )

    def add(self, block: Block, first: Frames, second: Frames) -> None:
        """Add a block."""
        if len(block.peaks.lags):
            self.blocks.append(block)
        frames = int(np.count_nonzero(first.sounding | second.sounding))
        if not frames:
            return
        # It is clear already, so the levels need not be compared.
        settled = self.different and self.unlike > self.late
        if settled or not self._alike(first, second, block.peaks):
            self.unlike += frames
        elif abs(block.peaks.lags[0]) <= EQUAL_LAG:
            self.alike += frames
        else:
            self.late += frames
        differ = self.unlike + self.late
        self.different |= differ * FRAME_S > DIFFERENT_S and differ > DIFFERENT_SHARE * (
            self.alike + differ
        )

    def _alike(self, first: Frames, second: Frames, peaks: Peaks) -> bool:
        """Whether the channels of a block differ by one gain and one delay only."""
        if peaks.strength < EQUAL_STRENGTH:
            return False
        lag = int(peaks.lags[0])
        edge, count = math.ceil(abs(lag) * LAG_S / FRAME_S), len(first.level_db)
        inner = slice(edge, count - edge)
        expected_db = 10 * np.log10(echo.delayed(10 ** (first.level_db / 10), lag, inner))
        level_db = second.level_db[inner]
        either = second.sounding[inner] | (echo.delayed(first.sounding, lag, inner) > 0)
        if np.count_nonzero(either) < correlation.LEAST_SOUNDING:
            return False
        louder_db = np.maximum(expected_db, level_db)[either]
        loud = louder_db > np.percentile(louder_db, LOUD_PERCENTILE) - LOUD_RANGE_DB
        difference_db = (level_db - expected_db)[either][loud]
        gain_db = float(np.median(difference_db)) if self._gain_db is None else self._gain_db
        same = np.abs(difference_db - gain_db) <= EQUAL_SPREAD_DB
        if abs(gain_db) > EQUAL_DB + TOLERANCE_DB or same.mean() < EQUAL_SHARE:
            return False
        self._gain_db = gain_db
        return True


class _Side:
    """Levels of a channel's frames, and whether they sound."""

    def __init__(self) -> None:
        self._level_db: list[np.ndarray] = []
        self._sounding: list[np.ndarray] = []

    def add(self, frames: Frames) -> None:
        self._level_db.append(frames.level_db)
        self._sounding.append(frames.sounding)

    def joined(self) -> Levels:
        return Levels(np.concatenate(self._level_db), np.concatenate(self._sounding))
