"""Where decoded chunks stand in time: how much silence goes before each.

A container that stores timestamps may lack packets: the recorder paused, a network lost them, a
muted side sent none. Such a gap is filled with silence, so that speech after it stands where it was
said. Timestamps may also be wrong, so they are followed only where several chunks agree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

# Timestamps of chunks without a gap differ by this much (rounding, jitter of a recorder's clock),
# and by a chunk, which a decoder may hold back, if it is no longer than the second number.
TOLERANCE_S = 0.05
MAX_CHUNK_S = 0.15
# What a decoder holds back at the start, several chunks in WMA, is no gap.
MAX_DELAY_S = 0.25
# Chunks that have to agree on a gap, and how many do where a long one is believed. At the end of a
# track are fewer.
WITNESSES = 5
MIN_WITNESSES = 3
# A longer gap is taken for a wrong timestamp.
MAX_GAP_S = 3600.0
MAX_GAP_OF_FEW_S = 60.0
# In one track. Together with `MAX_GAP_S` it bounds what wrong timestamps can cost.
MAX_FILLED_S = 4 * 3600.0
# Timestamps that fall back by more were restarted; by less, it is jitter.
RESTART_S = 1.0


@dataclass(frozen=True)
class Chunk:
    """Decoded samples.

    Parameters
    ----------
    samples : np.ndarray [shape=(n, channels)], float32
    rate_hz : int
    start_s : float or None
        Presentation time; None where the container stores none.
    lost_s : float
        Seconds directly before it that could not be decoded.
    """

    samples: np.ndarray
    rate_hz: int
    start_s: float | None = None
    lost_s: float = 0.0

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz


class Timeline:
    """Places the chunks of one track in time.

    Parameters
    ----------
    start_s : float
        Presentation time of the recording's start.

    Attributes
    ----------
    position_s : float
        End of what was placed, from the recording's start.
    filled_s : float
        Silence in gaps. What was lost by damage is not counted.
    ignored_s : float
        Gaps that are too long to be believed.
    late_s : float
        Silence before the first chunk; part of `filled_s`.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._offset_s = start_s
        self._offset_before_s: float | None = None  # before the timestamps fell back
        self.position_s = self.filled_s = self.ignored_s = self.late_s = 0.0

    def place(self, chunks: Iterable[Chunk]) -> Iterator[tuple[float, Chunk]]:
        """Yield each chunk with the seconds of silence that go before it."""
        window: deque[Chunk] = deque()
        for chunk in chunks:
            window.append(chunk)
            if len(window) == WITNESSES:
                yield self._next(window)
        while window:
            yield self._next(window)

    def _next(self, window: deque[Chunk]) -> tuple[float, Chunk]:
        gap_s = self._gap_s(window)
        if self.position_s == 0:
            self.late_s = gap_s
        chunk = window.popleft()
        self.filled_s += gap_s
        self.position_s += gap_s + chunk.lost_s + chunk.seconds
        return gap_s + chunk.lost_s, chunk

    def _gap_s(self, window: deque[Chunk]) -> float:
        """Gap before the first chunk, on which all chunks agree; 0 where they do not."""
        deviations_s: list[float] = []
        tolerance_s = TOLERANCE_S + min(window[0].seconds, MAX_CHUNK_S)
        expected_s = self._offset_s + self.position_s
        for chunk in window:
            expected_s += chunk.lost_s
            if chunk.start_s is not None:
                deviations_s.append(chunk.start_s - expected_s)
            expected_s += chunk.seconds
            if deviations_s and -RESTART_S <= deviations_s[-1] <= tolerance_s:
                return 0.0
        if not deviations_s:
            return 0.0
        gap_s = min(deviations_s)
        max_gap_s = MAX_GAP_S if len(deviations_s) >= MIN_WITNESSES else MAX_GAP_OF_FEW_S
        if max(deviations_s) < -RESTART_S:
            self._offset_before_s = self._offset_s
            self._offset_s += max(deviations_s)
        elif self._fell_back_by_s(gap_s, tolerance_s):
            # Only some chunks had wrong timestamps, as behind damage to Matroska.
            gap_s -= self._fell_back_by_s(gap_s, tolerance_s)
            self._offset_s, self._offset_before_s = self._offset_before_s or 0.0, None
            return gap_s if gap_s > tolerance_s else 0.0
        elif self.position_s == 0 and gap_s <= MAX_DELAY_S:
            self._offset_s += gap_s
        elif gap_s > max_gap_s or self.filled_s + gap_s > MAX_FILLED_S:
            self._offset_s += gap_s
            self.ignored_s += gap_s
        elif gap_s > tolerance_s:
            return gap_s
        return 0.0

    def _fell_back_by_s(self, gap_s: float, tolerance_s: float) -> float:
        """What timestamps had fallen back by, if a gap brings them to where they were; else 0."""
        if self._offset_before_s is None:
            return 0.0
        back_s = self._offset_before_s - self._offset_s
        return back_s if gap_s > tolerance_s and gap_s - back_s >= -tolerance_s else 0.0
