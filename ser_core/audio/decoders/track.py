"""One audio track of a container: packets -> chunks -> samples at one rate, gaps filled.

Each track is read through an opened container of its own, so that tracks need not be interleaved
and no more than a few packets are held.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from ser_core.audio.decoders.timeline import Chunk, Timeline

# Fewer and shorter ones are padding at the end of a stream.
_MIN_DAMAGED, _MIN_DAMAGED_S = 5, 0.05
# Full scale of FFmpeg's integer sample formats.
_FULL_SCALE = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31, "s64": 1 << 63}
# Failures to read on, in a row, after which a damaged file counts as ended.
_MAX_FAILURES = 100
# Less may be a tag at the end of a file.
_MIN_SKIPPED_BYTES = 1024
# PyAV looks for the end of the planes where FFmpeg marks none if there are this many.
_MAX_PLANES = 8
# AVDISCARD_ALL of FFmpeg.
_DISCARD_ALL = 48
# One damaged packet counts as this much at most, whatever it says.
_MAX_PACKET_S = 1.0
_SILENCE_PIECE_S = 1.0


class Track:
    """One audio track, decoded in order.

    Parameters
    ----------
    container : av.container.InputContainer
        The track's own: closed with it.
    index : int
        Of the track among the audio tracks.
    timed : bool
        Whether timestamps tell where gaps are.
    may_mix : bool
        Whether the only channel of the track may become the mean of several.

    Attributes
    ----------
    rate_hz, channels : int
        Of the first chunk; what follows is brought to this number of channels.
    is_mixed : bool
        Whether some of the only channel was mixed of several, so far.
    """

    def __init__(self, container: Any, index: int, *, timed: bool, may_mix: bool) -> None:
        self._container = container
        self._stream = container.streams.audio[index]
        if self._stream.codec_context is None:
            raise ValueError(f"no decoder for audio track {index + 1}")
        for stream in container.streams:
            if stream is not self._stream:
                with suppress(AttributeError):  # older PyAV: they are read, and not used
                    stream.discard = _DISCARD_ALL
        self._timed, self._may_mix = timed, may_mix
        self.codec = self._stream.codec_context.name.removesuffix("float").removesuffix("fixed")
        self._damaged = self._damaged_bytes = self._bytes = 0
        self._damaged_s = self._left_out_s = 0.0
        self._first_byte: int | None = None
        self._ended_by: str | None = None
        chunks = self._decode()
        first = next(chunks, None)
        if first is None:
            self.rate_hz = self._stream.codec_context.sample_rate
            self.channels = self._stream.codec_context.channels
            if not self.rate_hz or not self.channels:
                raise ValueError(f"no sample rate or channels for audio track {index + 1}")
        else:
            self.rate_hz, self.channels = first.rate_hz, first.samples.shape[1]
        self._chunks = chain([first] if first else [], chunks)
        start_s = (self._container.start_time or 0) / 1e6
        self.timeline = Timeline(start_s)
        self.is_mixed = False
        self._rate_change: str | None = None
        self._changes: dict[str, tuple[float, float]] = {}  # kind -> first second, seconds

    @property
    def nothing_decoded(self) -> str | None:
        """Why there is no sample, once the track was read; None where there are samples."""
        if self.timeline.position_s > 0 or not self._damaged:
            return None
        return f"{self.codec}: none of {self._damaged:,} packets could be decoded"

    @property
    def missing_s(self) -> float:
        """Seconds in gaps, damaged or left out, so far."""
        return self.timeline.filled_s + self._damaged_s + self._left_out_s

    def declared_s(self) -> float | None:
        """Duration that the container stores for this track; None where it stores none."""
        return _declared_s(self._container, self._stream)

    def samples(self, rate_hz: int) -> Iterator[np.ndarray]:
        """Samples at one rate: float32 [m, channels], m >= 1."""
        resampler: _Resampler | None = None
        for silence_s, chunk in self.timeline.place(self._chunks):
            if resampler is None or resampler.rate_hz != chunk.rate_hz:
                if resampler:
                    self._note_rate(resampler.rate_hz, chunk)
                    yield from resampler.finish()
                resampler = _Resampler(chunk.rate_hz, rate_hz, self.channels)
            for piece in _silence(silence_s, chunk.rate_hz, self.channels):
                yield from resampler.feed(piece)
            yield from resampler.feed(self._with_channels(chunk))
        if resampler:
            yield from resampler.finish()

    def remarks(self) -> list[str]:
        """What was lost, left out or changed."""
        remarks = []
        if self._damaged >= _MIN_DAMAGED or self._damaged_s >= _MIN_DAMAGED_S:
            packets = "1 packet" if self._damaged == 1 else f"{self._damaged:,} packets"
            remarks.append(
                f"damaged: {packets} ({self._damaged_bytes:,} bytes, about "
                f"{max(self._damaged_s, self._seconds_of(self._damaged_bytes)):.1f} s) "
                "could not be decoded"
            )
        if (skipped := self._skipped_bytes()) >= _MIN_SKIPPED_BYTES:
            remarks.append(
                f"damaged: {skipped:,} bytes (about {self._seconds_of(skipped):.1f} s) were skipped"
            )
        if self._ended_by:
            remarks.append(
                f"damaged: reading ended after {self.timeline.position_s:.1f} s: {self._ended_by}"
            )
        if self._rate_change:
            remarks.append(self._rate_change)
        remarks += [
            f"{kind} ({seconds:.1f} s, first at {at_s:.1f} s)"
            for kind, (at_s, seconds) in self._changes.items()
        ]
        if self.timeline.ignored_s:
            remarks.append(
                f"gaps: timestamps that jump by {self.timeline.ignored_s:,.0f} s were not followed"
            )
        return remarks

    def close(self) -> None:
        self._container.close()

    def _skipped_bytes(self) -> int:
        """Bytes between the packets of a file that consists of packets only (ADTS)."""
        if self._container.format.name != "aac" or self._first_byte is None:
            return 0
        packets = self._bytes + self._damaged_bytes
        return self._container.size - self._first_byte - packets

    def _seconds_of(self, size: int) -> float:
        """Seconds of this many bytes at the mean bit rate."""
        decoded_s = self.timeline.position_s - self.timeline.filled_s - self._damaged_s
        return size * decoded_s / self._bytes if self._bytes else 0.0

    def _with_channels(self, chunk: Chunk) -> np.ndarray:
        """The chunk's samples with as many channels as the track."""
        found = chunk.samples.shape[1]
        if found == self.channels:
            return chunk.samples
        change = f"{found} channel{'s' if found > 1 else ''} instead of {self.channels}"
        if self.channels == 1 and self._may_mix:
            self.is_mixed = True
            self._note_change(f"{change}, mixed into one", chunk.seconds)
            return chunk.samples.mean(axis=1, keepdims=True)
        self._note_change(f"{change}, left out", chunk.seconds)
        self._left_out_s += chunk.seconds
        return np.zeros((len(chunk.samples), self.channels), dtype=np.float32)

    def _note_rate(self, before_hz: int, chunk: Chunk) -> None:
        if self._rate_change is None:
            at_s = self.timeline.position_s - chunk.seconds
            rates = f"from {before_hz:,} to {chunk.rate_hz:,} Hz"
            self._rate_change = f"the sample rate changes {rates} at {at_s:.1f} s"

    def _note_change(self, kind: str, seconds: float) -> None:
        end_s = self.timeline.position_s
        at_s, before_s = self._changes.get(kind, (end_s - seconds, 0.0))
        self._changes[kind] = (at_s, before_s + seconds)

    def _decode(self) -> Iterator[Chunk]:
        """Chunks of the track; what cannot be decoded is skipped and counted."""
        from av.error import FFmpegError

        lost_s = 0.0
        for packet in self._packets():
            try:
                chunks = [
                    self._chunk(frame)
                    for frame in packet.decode()
                    if frame.samples and frame.sample_rate
                ]
            except EOFError:
                return
            except (FFmpegError, ValueError):
                self._damaged += 1
                self._damaged_bytes += packet.size
                seconds = float((packet.duration or 0) * (packet.time_base or 0))
                self._damaged_s += min(seconds, _MAX_PACKET_S)
                lost_s += min(seconds, _MAX_PACKET_S)
                continue
            self._bytes += packet.size
            if self._first_byte is None:
                self._first_byte = packet.pos
            for chunk in chunks:
                yield replace(chunk, lost_s=lost_s) if lost_s else chunk
                lost_s = 0.0

    def _packets(self) -> Iterator[Any]:
        """Packets of the track; a failure to read is skipped where more can be read after it."""
        from av.error import FFmpegError

        failures = 0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    yield packet
                    failures = 0
                return
            except FFmpegError as error:
                failures += 1
                if failures == _MAX_FAILURES:
                    self._ended_by = error.strerror
                    return

    def _chunk(self, frame: Any) -> Chunk:
        start_s = None
        if self._timed and frame.pts is not None and frame.time_base:
            start_s = float(frame.pts * frame.time_base)
        return Chunk(_samples(frame), frame.sample_rate, start_s)


class _Resampler:
    """Resamples a run of chunks with soxr HQ; hands them on where the rates are the same."""

    def __init__(self, rate_hz: int, new_rate_hz: int, channels: int) -> None:
        self.rate_hz, self._channels = rate_hz, channels
        self._soxr: Any = None
        if rate_hz != new_rate_hz:
            import soxr

            self._soxr = soxr.ResampleStream(
                rate_hz, new_rate_hz, channels, dtype="float32", quality="HQ"
            )

    def feed(self, samples: np.ndarray, last: bool = False) -> Iterator[np.ndarray]:
        if self._soxr:
            samples = self._soxr.resample_chunk(np.ascontiguousarray(samples), last=last)
            samples = samples.reshape(-1, self._channels)
        if len(samples):
            yield samples

    def finish(self) -> Iterator[np.ndarray]:
        yield from self.feed(np.empty((0, self._channels), dtype=np.float32), last=True)


def _silence(seconds: float, rate_hz: int, channels: int) -> Iterator[np.ndarray]:
    """Silence in pieces, so that a long gap takes no memory."""
    left, piece = round(seconds * rate_hz), max(1, round(_SILENCE_PIECE_S * rate_hz))
    while left > 0:
        yield np.zeros((min(left, piece), channels), dtype=np.float32)
        left -= piece


def _samples(frame: Any) -> np.ndarray:
    """Samples of PyAV's frame: float32 [n, channels], full scale at 1."""
    if frame.format.is_planar and frame.layout.nb_channels >= _MAX_PLANES:
        frame = _packed(frame)
    samples, name = frame.to_ndarray(), frame.format.name
    samples = samples.T if name.endswith("p") else samples.reshape(frame.samples, -1)
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    full_scale = _FULL_SCALE[name.removesuffix("p")]
    centred = samples.astype(np.float32) - (full_scale if name[0] == "u" else 0)
    return centred / np.float32(full_scale)


def _packed(frame: Any) -> Any:
    """The frame with all channels in one plane."""
    from av import AudioResampler

    resampler = AudioResampler(frame.format.packed, frame.layout, frame.sample_rate)
    [packed] = resampler.resample(frame)
    return packed


def _declared_s(container: Any, stream: Any) -> float | None:
    """Duration by the container's header, where that stores one and does not estimate it."""
    names = container.format.name.split(",")
    track_s = float(stream.duration * stream.time_base) if stream.duration else None
    whole_s = container.duration / 1e6 if container.duration else None
    start_s, codec = (container.start_time or 0) / 1e6, stream.codec_context.name
    if len(container.streams) > len(container.streams.audio) and "mov" not in names:
        whole_s = None  # of the video, perhaps
    if "mov" in names:
        return min((seconds for seconds in (track_s, whole_s) if seconds), default=None)
    if "matroska" in names:
        with suppress(KeyError, ValueError):
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            track_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            # The time of its end is what is stored, with the padding of MP3: at most two frames.
            rate_hz = stream.codec_context.sample_rate or 8_000
            padding_s = 2 * 576 / rate_hz if "mp3" in codec else 0.0
            return max(0.0, track_s - start_s - padding_s)
    if whole_s and ("matroska" in names or "flv" in names):
        return max(0.0, whole_s - start_s)
    return None
