"""One recording -> everything that needs no model: facts, segments, feature vectors.

`examine` is the pure function that the pipeline runs for each recording, in a process that may
die. It reads from top to bottom: hash the bytes, decode and find the speech of each channel
(`first_pass`), turn each segment into a vector (`_extract`), put the result together. If a
recording cannot be examined, the result has the reason, and no exception is raised.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ser_core import audio, features, policy, reversal, speech
from ser_core.errors import AudioError, SerError
from ser_core.first_pass import Clock, FirstPass, Side, decode_again, find_speech
from ser_core.roles import ROLES, Roles

# Remark on a file that is still being recorded, or copied; the next run takes it for a new one.
CHANGED = "the file changed while it was read"


@dataclass(frozen=True)
class Source:
    """A recording as it was matched. The ledger compares size and time; None where unreadable.

    `rejected_before` tells whether an earlier run rejected what had this URI.
    """

    uri: str
    size_bytes: int | None
    modified_us: int | None  # since 1970, UTC
    rejected_before: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Settings:
    """Settings of an examination.

    Parameters
    ----------
    feature_set : str
        Name of a registered feature set.
    channel_roles : tuple of str
        Roles of a recording's channels, in order; empty where unknown.
    analyse : tuple of str
        Roles whose speech is labelled. The only channel of a mono recording is, too, unless its
        path names another role.
    limits : audio.Limits
    raw : tuple of audio.RawFormat
        Formats of files without a header.

    Raises
    ------
    SerError
        An unknown role, a single channel role, or no channel to analyse.
    """

    feature_set: str
    channel_roles: tuple[str, ...] = ()
    analyse: tuple[str, ...] = policy.DEFAULT
    limits: audio.Limits = field(default_factory=audio.Limits)
    raw: tuple[audio.RawFormat, ...] = ()

    def __post_init__(self) -> None:
        for name, roles in (("channel_roles", self.channel_roles), ("analyse", self.analyse)):
            for role in roles:
                if role not in ROLES:
                    raise SerError(
                        f"{name}: role {role!r} found, one of {', '.join(ROLES)} expected"
                    )
        if len(self.channel_roles) == 1:
            raise SerError(
                f"channel_roles: one role found ({self.channel_roles[0]}), one for each channel "
                "expected; mono recordings need none"
            )
        if not self.analyse:
            raise SerError("analyse: no role found, at least one expected")
        missing = [role for role in self.analyse if role not in self.channel_roles]
        if self.channel_roles and len(missing) == len(self.analyse):
            raise SerError(
                f"analyse: {', '.join(self.analyse)} found, but the channels are "
                f"{', '.join(self.channel_roles)}: no channel would be analysed"
            )


@dataclass(frozen=True)
class Channel:
    """One side of a call; `speech_s` is all speech found on it, analysed or not."""

    channel: int
    role: str
    analysed: bool
    speech_s: float


@dataclass(frozen=True)
class SpeechSegment:
    """A stretch of speech on an analysed channel: the row of the table `segments`, so far."""

    channel: int
    role: str
    start_s: float
    end_s: float
    rms_db: float


@dataclass(frozen=True)
class Examined:
    """Everything about one recording except its emotions.

    `reason` is None unless the recording is rejected. `vectors` is float32
    [len(segments), dimensions], in the order of `segments` (by channel, then time).
    `spectra` is set where an agent and a customer speak. `cpu_s` holds the CPU seconds by stage.
    """

    source: Source
    recording_id: str | None = None
    reason: str | None = None
    detail: str | None = None
    duration_s: float | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    codec: str | None = None
    music_s: float | None = None
    crosstalk_s: float | None = None
    clipping_ratio: float | None = None
    snr_db: float | None = None
    bandwidth_hz: float | None = None
    silence_s: float | None = None
    overlap_s: float | None = None
    by_channel: tuple[Channel, ...] = ()
    segments: tuple[SpeechSegment, ...] = ()
    vectors: np.ndarray | None = None
    spectra: reversal.Spectra | None = None
    cpu_s: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def speech_s(self) -> float | None:
        """Seconds of speech on the channels analysed; None where rejected."""
        if self.reason is not None:
            return None
        return sum(segment.end_s - segment.start_s for segment in self.segments)

    @property
    def is_mostly_missing(self) -> bool:
        """Whether more of the recording is missing than there is, by its remark."""
        return audio.LESS_THAN_HALF in (self.detail or "")


def examine(
    path: str | os.PathLike | int,
    source: Source,
    settings: Settings,
    *,
    roles: Roles | None = None,
    beat: Callable[[str | None], None] = lambda recording_id: None,
) -> Examined:
    """Decode a recording, find the speech of each channel, turn each stretch into a vector.

    Parameters
    ----------
    path : path, or int
        Local file with the recording's bytes, or the descriptor of an open one.
    source : Source
    settings : Settings
    roles : Roles, optional
        Of this recording; by default those of the settings.
    beat : callable
        Called with the recording's id after each block and each segment, so that a watcher can
        tell a slow process from one that hangs.

    Returns
    -------
    Examined
        With a reason where the recording is rejected.
    """
    clock = Clock()
    roles = roles or Roles(settings.channel_roles)
    found = Examined(source=source, cpu_s=clock.cpu_s)
    try:
        version = _version(path)
        with clock("read"):
            found = replace(found, recording_id=_sha256(path, source.uri, settings.limits))
        beat(found.recording_id)
        found = _examine(path, found, settings, roles, clock, lambda: beat(found.recording_id))
        return found if _version(path) == version else changed(found)
    except AudioError as error:
        return replace(found, reason=error.reason, detail=error.detail)
    except MemoryError:
        return replace(found, reason="crashed", detail="it needed more memory than --memory-mb")
    except Exception as error:  # our bug or a library's costs one recording, not the night
        return replace(found, reason="crashed", detail=f"{type(error).__name__}: {error}")


def _examine(
    path: str | os.PathLike | int,
    found: Examined,
    settings: Settings,
    roles: Roles,
    clock: Clock,
    beat: Callable[[], None],
) -> Examined:
    feature_set = features.get(settings.feature_set)
    uri = found.source.uri
    open_stream = partial(audio.open, path, uri, limits=settings.limits, raw=settings.raw)
    first = find_speech(open_stream, uri, roles, settings.analyse, clock, beat)
    blocks = first.kept or decode_again(open_stream, first.held, clock)
    segments, vectors = _extract(first, blocks, feature_set, clock, beat)
    facts, analysed = first.facts, first.analysed
    channels = [side.channel for side in analysed]
    speaking_s, overlap_s = _union_and_overlap([side.segments for side in first.sides])
    return replace(
        found,
        detail=_joined(facts.remark, first.remark, _not_analysed(first)),
        duration_s=facts.duration_s,
        sample_rate_hz=facts.rate_hz,
        channels=facts.channels,
        codec=facts.codec,
        music_s=sum(side.music_s for side in analysed),
        crosstalk_s=sum(side.crosstalk_s for side in analysed),
        clipping_ratio=_mean([facts.clipping_ratio[c] for c in channels]),
        snr_db=_lowest([facts.snr_db[c] for c in channels]),
        bandwidth_hz=_lowest([facts.bandwidth_hz[c] for c in channels]),
        silence_s=max(0.0, facts.duration_s - speaking_s),
        overlap_s=overlap_s if len(first.sides) > 1 else None,
        by_channel=tuple(
            Channel(side.channel, side.role, side.analysed, sum(s.seconds for s in side.segments))
            for side in first.sides
        ),
        segments=segments,
        vectors=vectors,
        spectra=_spectra(found.recording_id, first.sides),
    )


def _spectra(recording_id: str | None, sides: Sequence[Side]) -> reversal.Spectra | None:
    """The spectra of a call of one agent and one customer who both speak."""
    by_role = {side.role: side for side in sides}
    agent, customer = by_role.get("agent"), by_role.get("customer")
    if len(sides) != 2 or not (recording_id and agent and customer):
        return None
    if agent.spectrum is None or customer.spectrum is None:
        return None
    first = customer.segments[0].start_s < agent.segments[0].start_s
    return reversal.Spectra(recording_id, agent.spectrum, customer.spectrum, first)


def _extract(
    first: FirstPass,
    blocks: Iterable[np.ndarray],
    feature_set: features.FeatureSet,
    clock: Clock,
    beat: Callable[[], None],
) -> tuple[tuple[SpeechSegment, ...], np.ndarray]:
    """Vectors of the wanted segments, float32 [segments, dimensions], and the segments."""
    wanted = [(side, segment) for side in first.analysed for segment in side.segments]
    rate_hz = first.facts.rate_hz
    segments: dict[int, SpeechSegment] = {}
    vectors = np.empty((len(wanted), len(feature_set.names)), dtype=np.float32)
    if wanted:
        places = [(first.held.index(side.channel), segment) for side, segment in wanted]
        for i, samples in _slices(blocks, places, rate_hz):
            side, segment = wanted[i]
            with clock("features"):
                vectors[i] = feature_set.extract(samples, rate_hz)
            segments[i] = SpeechSegment(
                side.channel, side.role, segment.start_s, segment.end_s, _rms_db(samples)
            )
            beat()
    return tuple(segments[i] for i in range(len(wanted))), vectors


def _sha256(path: str | os.PathLike | int, uri: str, limits: audio.Limits) -> str:
    try:
        with audio.open_regular(path) as file:
            limits.check_size(os.fstat(file.fileno()).st_size, uri)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(error, uri) from error


def unreadable(error: OSError, uri: str) -> AudioError:
    """The rejection of a recording that cannot be opened or read."""
    missing = isinstance(error, FileNotFoundError)
    return AudioError("unreadable", "not found" if missing else error.strerror or str(error), uri)


def changed(found: Examined) -> Examined:
    """The same with the remark that its file changed while it was read."""
    if CHANGED in (found.detail or ""):
        return found
    return replace(found, detail=_joined(found.detail, CHANGED))


def _version(path: str | os.PathLike | int) -> tuple[int, ...] | None:
    """What changes when a file is written to or replaced; None where it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _not_analysed(first: FirstPass) -> str | None:
    """A remark on a recording that has nobody to analyse."""
    if first.analysed:
        return None
    sides = " and ".join(dict.fromkeys(side.role for side in first.sides))
    return f"{sides} only: not analysed (--analyse)"


def _joined(*remarks: str | None) -> str | None:
    return "; ".join(remark for remark in remarks if remark) or None


def _slices(
    blocks: Iterable[np.ndarray], wanted: Sequence[tuple[int, speech.Segment]], rate: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Index and samples of each wanted (row, segment), as soon as its last block was read.

    A row is one of a block's. Only the blocks that an unfinished segment
    reaches back to are held.
    """
    spans = [(row, round(s.start_s * rate), round(s.end_s * rate)) for row, s in wanted]
    todo = sorted(range(len(spans)), key=lambda i: spans[i][2])
    held: list[np.ndarray] = []
    held_from = at = 0
    done = 0
    for block in blocks:
        held.append(block)
        at += block.shape[1]
        ready = []
        while done < len(todo) and spans[todo[done]][2] <= at:
            ready.append(todo[done])
            done += 1
        if ready:
            samples = np.concatenate(held, axis=1)
            for i in ready:
                row, start, end = spans[i]
                yield i, samples[row, start - held_from : end - held_from]
        if done == len(todo):
            return
        needed = min(spans[i][1] for i in todo[done:])
        while held and held_from + held[0].shape[1] <= needed:
            held_from += held.pop(0).shape[1]
    # Rounding may place the last end a sample after the last one.
    samples = np.concatenate(held, axis=1)
    for i in todo[done:]:
        row, start, end = spans[i]
        yield i, samples[row, start - held_from : end - held_from]


def _rms_db(samples: np.ndarray) -> float:
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return float(10 * np.log10(max(power, 1e-12)))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _lowest(values: Sequence[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _union_and_overlap(by_channel: Sequence[Sequence[speech.Segment]]) -> tuple[float, float]:
    """Seconds in which at least one channel speaks, and in which two or more do."""
    edges = sorted(
        (at, change)
        for segments in by_channel
        for segment in segments
        for at, change in ((segment.start_s, 1), (segment.end_s, -1))
    )
    any_s = several_s = 0.0
    speaking, before = 0, 0.0
    for at, change in edges:
        any_s += (at - before) * (speaking >= 1)
        several_s += (at - before) * (speaking >= 2)
        speaking, before = speaking + change, at
    return any_s, several_s
