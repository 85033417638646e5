"""An open recording, read block by block, and the limits that protect a night from it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np

from ser_core.audio import formats, headers, levels, parts
from ser_core.audio.chain import Chain
from ser_core.audio.decoders import open_decoder
from ser_core.audio.facts import LESS_THAN_HALF, Facts, Meter
from ser_core.audio.formats import RawFormat
from ser_core.audio.levels import Scale
from ser_core.audio.regular import open_regular
from ser_core.errors import AudioError

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
BLOCK_S = 10.0
# A header may declare this much more than is there before the recording is called cut.
CUT_TOLERANCE_S = 0.1
# Codecs whose samples may be outside [-1, 1] by mistake: FFmpeg's names are the longer ones.
FLOAT_CODECS = {"pcm_f32", "pcm_f64", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"}
_PATHS = (str, os.PathLike, int)


@dataclass(frozen=True)
class Limits:
    """Limits on a recording, which is rejected if it exceeds one.

    Parameters
    ----------
    max_duration_s : float > 0
        Length in seconds.
    max_bytes : int > 0
        Size of the file.
    max_channels : int > 0
    """

    max_duration_s: float = 4 * 3600.0
    max_bytes: int = 2 << 30
    max_channels: int = 8

    def check_size(self, size_bytes: int, uri: str) -> None:
        """Check the size of a file.

        Raises
        ------
        AudioError
            `too_large`.
        """
        if size_bytes > self.max_bytes:
            raise AudioError(
                "too_large", f"{size_bytes:,} bytes, at most {self.max_bytes:,} expected", uri
            )


@dataclass(frozen=True)
class Audio:
    """A decoded recording.

    Parameters
    ----------
    samples : np.ndarray [shape=(channels, n)], float32
        Full scale at 1.0.
    rate : int
        Sample rate in Hz.
    facts : Facts
    """

    samples: np.ndarray
    rate: int
    facts: Facts


class AudioStream:
    """An open recording; a context manager.

    Attributes
    ----------
    rate : int
        Sample rate in Hz.
    channels : int
    tracks : int
        Audio tracks; of several, each is a channel.
    codec : str
        Such as `mulaw`, `opus` or `pcm_s16`.
    declared_s : float or None
        Exact duration in seconds that the header declares; None if it declares none.
    available_s : float
        Seconds of it that are there, as far as it is known before decoding.
    """

    def __init__(
        self,
        open_chain: Callable[[], Chain],
        file: BinaryIO,
        *,
        size: int,
        uri: str,
        limits: Limits,
    ) -> None:
        self._open_chain = open_chain
        self._file = file
        self._size = size
        self._uri = uri
        self._limits = limits
        self._facts: Facts | None = None
        self._chain = chain = open_chain()
        self.rate, self.channels, self.codec = chain.rate_hz, chain.channels, chain.codec
        self.tracks = chain.tracks
        self.declared_s, self.available_s = chain.declared_s, chain.available_s

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self._chain.close()
        self._file.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode the samples, block by block and in order. It can be called once.

        Yields
        ------
        np.ndarray [shape=(channels, m)], float32
            `BLOCK_S` seconds, the last block less; in [-1, 1].

        Raises
        ------
        AudioError
            `corrupt`, `not_finite`, `out_of_range`, `too_long`, or `empty` where there is no
            sample.
        """
        scale = self._measure_scale()
        meter = Meter(self.rate, self.channels)
        max_samples = self._limits.max_duration_s * self.rate
        while (block := self._next_block(meter.seconds, scale)) is not None:
            meter.add(block)
            # Silence in gaps is no reason to reject what was recorded.
            if meter.count - self._chain.filled_s * self.rate > max_samples:
                raise _too_long(meter.seconds, self._limits, self._uri, "more than ")
            yield block
        if not meter.count:
            raise self._nothing_decoded()
        self._facts = meter.facts(self.codec, self._remark(meter.seconds, scale))

    @property
    def facts(self) -> Facts:
        """Measurements of the recording. They are known once all of `blocks` was read.

        Raises
        ------
        RuntimeError
            `blocks` was not read to its end.
        """
        if self._facts is None:
            raise RuntimeError("facts are known once all of blocks() was read")
        return self._facts

    @property
    def is_mixed(self) -> bool:
        """Whether the only channel was mixed, so far, of several that the recording has later."""
        return self._chain.is_mixed

    def _measure_scale(self) -> Scale:
        """The scale of samples in floating point, for which they are all read once before."""
        if self.codec not in FLOAT_CODECS:
            return Scale()
        try:
            return levels.measure(self._all_frames(), self._uri)
        finally:
            self._chain.close()
            self._chain = self._open_chain()

    def _all_frames(self) -> Iterator[np.ndarray]:
        while (frames := self._read(0.0)) is not None:
            yield frames

    def _read(self, start_s: float) -> np.ndarray | None:
        """The next samples, [m, channels]; None at the end."""
        try:
            frames = self._chain.read(int(BLOCK_S * self.rate))
        except (MemoryError, AudioError):
            raise
        except Exception as error:
            raise AudioError(
                "corrupt", f"decoding failed after {start_s:.1f} s: {error}", self._uri
            ) from error
        return frames if len(frames) else None

    def _next_block(self, start_s: float, scale: Scale) -> np.ndarray | None:
        """Decode the block that starts at `start_s`; None at the end."""
        frames = self._read(start_s)
        if frames is None:
            return None
        block = np.ascontiguousarray(frames.T)
        if not np.isfinite(block).all():
            raise AudioError(
                "not_finite",
                f"NaN or infinity between {start_s:.1f} and "
                f"{start_s + block.shape[1] / self.rate:.1f} s",
                self._uri,
            )
        if scale.full_scale != 1:
            block /= scale.full_scale
        # Lossy codecs overshoot.
        return np.clip(block, -1.0, 1.0, out=block)

    def _nothing_decoded(self) -> AudioError:
        if formats.is_framed(self.codec):
            return AudioError("corrupt", f"{self.codec}: no sample could be decoded", self._uri)
        promise = f" that promises {self.declared_s:.1f} s" if self.declared_s else ""
        return AudioError("empty", f"a header{promise}, and no samples", self._uri)

    def _remark(self, seconds: float, scale: Scale) -> str | None:
        remarks = [*([scale.remark] if scale.remark else []), *self._chain.remarks]
        declared_s = self.declared_s or 0.0
        if declared_s - seconds > CUT_TOLERANCE_S:
            remarks.insert(0, f"cut: {seconds:.1f} of {declared_s:.1f} s are there")
        present_s = seconds - self._chain.missing_s
        is_mostly_missing = present_s < max(seconds, declared_s) / 2
        missing = self._chain.missing_bytes
        unread = self._chain.unread_bytes + missing
        if is_mostly_missing or unread > (self._size + missing) / 2:
            remarks.append(LESS_THAN_HALF)
        return "; ".join(remarks) or None


def open(
    file: str | os.PathLike | int | BinaryIO,
    uri: str = "",
    *,
    limits: Limits | None = None,
    raw: Sequence[RawFormat] = (),
    header_only: bool = False,
) -> AudioStream:
    """Open a recording to read it block by block.

    Parameters
    ----------
    file : path, descriptor of an open file, or binary file object that can seek
    uri : str
        For messages, and for the extension of a headerless file; the path unless given.
    limits : Limits, optional
        What a recording may not exceed.
    raw : sequence of RawFormat
        Formats of files without a header, by extension.
    header_only : bool
        For those who decode nothing: only the beginning of the file is read, and parts that follow
        the first are not found.

    Returns
    -------
    AudioStream
        A context manager that closes the file.

    Raises
    ------
    AudioError
        `unreadable`, `too_large`, `empty`, `unsupported_format`, `corrupt`, `bad_sample_rate`,
        `too_many_channels`, `too_long`.
    """
    limits = limits or Limits()
    uri = uri or (str(file) if isinstance(file, _PATHS) else "")
    try:
        handle = open_regular(file) if isinstance(file, _PATHS) else file
        header, size = headers.peek(handle)
    except OSError as error:
        raise AudioError("unreadable", error.strerror or str(error), uri) from error
    try:
        limits.check_size(size, uri)
        if size == 0:
            raise AudioError("empty", "0 bytes", uri)
        is_headerless = not formats.container_of(header) and not formats.is_text(header)
        format = formats.raw_format(uri, raw) if is_headerless else None
        find_parts = parts.headerless if format else parts.first if header_only else parts.split
        layout = find_parts(handle, size)
        declared_rate_hz = layout.parts[0].declared.rate_hz
        if declared_rate_hz is not None:
            _check_rate(declared_rate_hz, uri)
        open_chain = partial(Chain, layout, partial(open_decoder, uri=uri, raw=format))
        stream = AudioStream(open_chain, handle, size=size, uri=uri, limits=limits)
        _check(stream, limits, uri)
    except BaseException:
        if isinstance(file, _PATHS):
            handle.close()
        raise
    return stream


def decode(
    data: bytes,
    uri: str = "",
    *,
    limits: Limits | None = None,
    raw: Sequence[RawFormat] = (),
) -> Audio:
    """Decode a whole recording from its bytes.

    Parameters
    ----------
    data : bytes
        The content of a file.
    uri : str
        For messages, and for the extension of a headerless file.
    limits : Limits, optional
        What a recording may not exceed.
    raw : sequence of RawFormat
        Formats of files without a header, by extension.

    Returns
    -------
    Audio

    Raises
    ------
    AudioError
        As `open` and `AudioStream.blocks` raise it.
    """
    with open(io.BytesIO(data), uri, limits=limits, raw=raw) as stream:
        samples = np.concatenate(list(stream.blocks()), axis=1)
        return Audio(samples=samples, rate=stream.rate, facts=stream.facts)


def _check(stream: AudioStream, limits: Limits, uri: str) -> None:
    """Check an open file against the limits."""
    _check_rate(stream.rate, uri)
    if stream.channels > limits.max_channels:
        raise AudioError(
            "too_many_channels",
            f"{stream.channels} channels, at most {limits.max_channels} expected",
            uri,
        )
    if stream.available_s > limits.max_duration_s:
        raise _too_long(stream.available_s, limits, uri)


def _check_rate(rate_hz: int, uri: str) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(
            "bad_sample_rate",
            f"{rate_hz:,} Hz, {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz expected",
            uri,
        )


def _too_long(seconds: float, limits: Limits, uri: str, more: str = "") -> AudioError:
    return AudioError(
        "too_long",
        f"{more}{seconds / 3600:.2f} h, at most {limits.max_duration_s / 3600:.2f} h expected",
        uri,
    )
