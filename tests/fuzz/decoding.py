"""Decodes mutated recordings: each gives samples in [-1, 1], or is rejected with a reason.

A span of files is decoded in a process of its own with little memory. A crash, a hang and a file
that takes too long are findings like a wrong outcome; the file is made again from its number.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ser_core import audio
from ser_core.audio.decoders.sndfile import SoundFileDecoder
from ser_core.audio.formats import MPEG_CODECS
from ser_core.child import limit_memory
from ser_core.errors import AudioError
from tests.fuzz.mutations import mutate

LIMITS = audio.Limits(max_duration_s=600.0)
# Far below what a hostile header can promise; a block of 10 s at 192 kHz and 8 channels has 61 MB.
MEMORY_MB = 512
MOST_CPU_S, HANGS_AFTER_S = 10.0, 60.0
SPAN = 1_000
_LIBRARIES = {"opus": "libopus", "vorbis": "libvorbis"}


@dataclass
class Outcomes:
    """What became of mutated files.

    Parameters
    ----------
    by_outcome : Counter
        `samples`, or the reason of a rejection.
    by_library : Counter
        Files that a library opened.
    slowest_s : float
        CPU seconds of the slowest file.
    findings : list of (number, text)
        Files whose outcome must not be.
    """

    by_outcome: Counter[str] = field(default_factory=Counter)
    by_library: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    findings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Outcomes) -> None:
        self.by_outcome += other.by_outcome
        self.by_library += other.by_library
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.findings += other.findings

    def __str__(self) -> str:
        def counted(counts: Counter[str]) -> str:
            return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())

        return (
            f"{self.by_outcome.total():,} files: {counted(self.by_outcome)}; opened by "
            f"{counted(self.by_library)}; slowest {self.slowest_s:.1f} CPU s; "
            f"{len(self.findings)} findings"
        )


def judge(data: bytes, uri: str, outcomes: Outcomes) -> str:
    """Decode one file, and return `samples` or the reason of its rejection.

    Raises
    ------
    AssertionError
        Samples that must not be.
    Exception
        Whatever else the decoders raise: a finding.
    """
    raw = (audio.RawFormat("mulaw", extensions=(".ulaw",)),)
    try:
        with audio.open(io.BytesIO(data), uri, limits=LIMITS, raw=raw) as stream:
            outcomes.by_library[_library(stream)] += 1
            samples = 0
            for block in stream.blocks():
                assert block.dtype == np.float32
                assert block.ndim == 2
                assert block.shape[0] == stream.channels
                assert np.abs(block).max() <= 1  # and no NaN
                samples += block.shape[1]
            assert stream.facts.duration_s == samples / stream.rate
        return "samples"
    except AudioError as error:
        return error.reason


def _library(stream: audio.AudioStream) -> str:
    decoder = stream._chain._decoder
    if not isinstance(decoder, SoundFileDecoder):
        return "FFmpeg"
    if decoder._sound.format == "FLAC":
        return "libFLAC"
    if decoder.codec in MPEG_CODECS:
        return "libmpg123"
    return _LIBRARIES.get(decoder.codec, "libsndfile")


def decode_many(
    seeds: Sequence[tuple[str, bytes]],
    count: int,
    seed: int = 0,
    *,
    until: float | None = None,
    mutated: bool = True,
) -> Outcomes:
    """Decode mutated files 0 to `count` in processes of their own.

    Parameters
    ----------
    seeds : sequence of (name, bytes)
    count : int
    seed : int
    until : float, optional
        Time of `time.monotonic` at which no further span is begun.
    mutated : bool
        Whether the seeds are changed.
    """
    outcomes, at = Outcomes(), 0
    while at < count and (until is None or time.monotonic() < until):
        end = min(count, at + SPAN)
        at = _decode_span(seeds, at, end, seed if mutated else None, outcomes)
    return outcomes


def _decode_span(
    seeds: Sequence[tuple[str, bytes]], at: int, end: int, seed: int | None, outcomes: Outcomes
) -> int:
    """Decode files `at` to `end` in a process; returns the number to go on with."""
    context = multiprocessing.get_context("fork")
    progress = context.Value("q", at, lock=False)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(seeds, at, end, seed, progress, theirs))
    process.start()
    theirs.close()
    seen, since = at, time.monotonic()
    while not ours.poll(1.0):
        if progress.value != seen:
            seen, since = progress.value, time.monotonic()
        if time.monotonic() - since > HANGS_AFTER_S:
            process.kill()
    try:
        outcomes.add(ours.recv())
        stopped = end
    except EOFError:
        process.join()
        stopped = progress.value + 1
        problem = f"the process ended with {process.exitcode}"
        outcomes.findings.append((progress.value, problem))
        outcomes.by_outcome["process ended"] += 1
    process.join()
    return stopped


def _work(seeds, at: int, end: int, seed: int | None, progress, pipe) -> None:
    limit_memory(MEMORY_MB)
    outcomes = Outcomes()
    _silence()
    files = [data for _, data in seeds]
    for number in range(at, end):
        progress.value = number
        data = files[number] if seed is None else mutate(files, number, seed)
        uri = "call.ulaw" if number % 40 == 0 else "call.wav"
        before_s = time.process_time()
        try:
            outcomes.by_outcome[judge(data, uri, outcomes)] += 1
        except BaseException as error:
            outcomes.by_outcome[type(error).__name__] += 1
            outcomes.findings.append((number, f"{type(error).__name__}: {error}"))
        spent_s = time.process_time() - before_s
        outcomes.slowest_s = max(outcomes.slowest_s, spent_s)
        if spent_s > MOST_CPU_S:
            outcomes.findings.append((number, f"{spent_s:.1f} CPU s"))
    pipe.send(outcomes)
    pipe.close()


def _silence() -> None:
    """The libraries write their complaints to standard error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
