"""A recording, decoded from start to end -> whose channels it has, and the speech of each.

Channels that hold the same sound are one. Speech that leaked in from a channel of another role
(`crosstalk`) is not this channel's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ser_core import audio, policy, speech
from ser_core.crosstalk import Comparison
from ser_core.errors import AudioError
from ser_core.roles import MIXED, Roles, role_of_equal, roles_of

# Samples up to this much are kept for the features (20 minutes of one channel at 8 kHz);
# longer calls are decoded twice.
KEEP_SAMPLES_BYTES = 40 << 20


@dataclass(frozen=True)
class Side:
    """One side of a call: a channel, or the first of several that hold the same."""

    channel: int
    role: str
    analysed: bool
    segments: list[speech.Segment]
    music_s: float
    crosstalk_s: float
    spectrum: tuple[float, ...] | None


@dataclass(frozen=True)
class FirstPass:
    """Result of decoding a recording once.

    `kept` holds the blocks of the channels `held`, None where they take too much memory.
    """

    facts: audio.Facts
    sides: tuple[Side, ...]
    remark: str | None
    held: list[int]
    kept: list[np.ndarray] | None

    @property
    def analysed(self) -> list[Side]:
        """The sides whose speech is labelled."""
        return [side for side in self.sides if side.analysed]


class Clock:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.process_time()
        try:
            yield
        finally:
            spent = time.process_time() - started
            self.cpu_s[stage] = self.cpu_s.get(stage, 0.0) + spent


def find_speech(
    open_stream: Callable[[], audio.AudioStream],
    uri: str,
    given: Roles,
    analyse: Sequence[str],
    clock: Clock,
    beat: Callable[[], None],
) -> FirstPass:
    """Decode block by block, find the speech of each channel, and keep the samples if they fit.

    Parameters
    ----------
    open_stream : callable
        Opens the recording.
    uri : str
        For messages.
    given : Roles
        Whose voices the channels are.
    analyse : sequence of str
        Roles whose speech is labelled.
    clock : Clock
    beat : callable
        Called after each block.

    Raises
    ------
    AudioError
        As reading raises it; `channel_roles_unknown` where channels are different.
    """
    with open_stream() as stream:
        roles = _Roles(stream, given, uri)
        held = roles.analysed(analyse) or [0]
        finders = [speech.Finder(stream.rate) for _ in range(stream.channels)]
        comparison = Comparison(stream.channels)
        kept: list[np.ndarray] | None = []
        kept_bytes = 0
        for block in timed(stream.blocks(), clock):
            with clock("speech"):
                comparison.feed([f.feed(own) for f, own in zip(finders, block, strict=True)])
            if comparison.different:
                roles.check()
            if kept is not None:
                kept.append(block[held])
                kept_bytes += kept[-1].nbytes
                if kept_bytes > KEEP_SAMPLES_BYTES:
                    kept = None
            beat()
        facts = stream.facts
        roles.known = (MIXED,) if stream.is_mixed and roles.analysed(analyse) else roles.known
    with clock("speech"):
        nothing = np.empty(0, dtype=np.float32)
        comparison.feed([finder.feed(nothing, last=True) for finder in finders])
        comparison.end()
        if comparison.equal:
            role = role_of_equal(stream.channels, given, uri)
            side = _side(finders[0], 0, role, analyse, None)
            remark = f"{stream.channels} channels hold the same sound and are one, {role}"
            return FirstPass(facts, (side,), remark, [0], kept if held[0] == 0 else None)
        roles.check()
        sides = [
            _side(finder, c, role, analyse, comparison.crosstalk(c, roles.others(c)))
            for c, (finder, role) in enumerate(zip(finders, roles.known, strict=True))
        ]
    return FirstPass(facts, tuple(sides), None, held, kept)


class _Roles:
    """The roles of the channels. That they are unknown is an error unless all hold the same."""

    def __init__(self, stream: audio.AudioStream, given: Roles, uri: str) -> None:
        self.known: tuple[str, ...] = ()
        self._problem: AudioError | None = None
        try:
            self.known = roles_of(stream.channels, given, uri, tracks=stream.tracks)
        except AudioError as problem:
            self._problem = problem
            if stream.channels == 1:
                raise

    def check(self) -> None:
        """Raise the AudioError if the roles are unknown."""
        if self._problem is not None:
            raise self._problem

    def analysed(self, analyse: Sequence[str]) -> list[int]:
        """Channels whose speech is labelled."""
        return [c for c, role in enumerate(self.known) if policy.is_analysed(role, analyse)]

    def others(self, channel: int) -> list[int]:
        """Channels of another role."""
        return [c for c, role in enumerate(self.known) if role != self.known[channel]]


def _side(
    finder: speech.Finder,
    channel: int,
    role: str,
    analyse: Sequence[str],
    crosstalk: np.ndarray | None,
) -> Side:
    segments = finder.segments(crosstalk)
    analysed = policy.is_analysed(role, analyse)
    spectrum = finder.spectrum(segments) if role in ("agent", "customer") else None
    return Side(channel, role, analysed, segments, finder.music_s, finder.crosstalk_s, spectrum)


def decode_again(
    open_stream: Callable[[], audio.AudioStream], held: list[int], clock: Clock
) -> Iterator[np.ndarray]:
    """Blocks of some channels of a recording that was too long to be kept."""
    with open_stream() as stream:
        for block in timed(stream.blocks(), clock):
            yield block[held]


def timed(blocks: Iterator[np.ndarray], clock: Clock) -> Iterator[np.ndarray]:
    """The same blocks; the time that each takes counts as decoding."""
    while True:
        with clock("decode"):
            block = next(blocks, None)
        if block is None:
            return
        yield block
