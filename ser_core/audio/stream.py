"""An open recording, read block by block, and the limits that protect a night from it."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np

from ser_core.audio import formats, headers
from ser_core.audio.decoders import Decoder, open_decoder
from ser_core.audio.facts import Facts, Meter
from ser_core.errors import AudioError

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
BLOCK_S = 10.0
# A header may declare this much more than is there before the recording is called cut.
CUT_TOLERANCE_S = 0.1
_PATHS = (str, os.PathLike)


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
    codec : str
        Such as `mulaw`, `opus` or `pcm_s16`.
    declared_s : float or None
        Duration in seconds that the header declares; None if it declares none.
    """

    def __init__(
        self, decoder: Decoder, *, uri: str, limits: Limits, declared_s: float | None
    ) -> None:
        self._decoder = decoder
        self._uri = uri
        self._limits = limits
        self.declared_s = declared_s
        self._facts: Facts | None = None
        self.rate, self.channels, self.codec = decoder.rate_hz, decoder.channels, decoder.codec

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self._decoder.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode the samples, block by block and in order. It can be called once.

        Yields
        ------
        np.ndarray [shape=(channels, m)], float32
            `BLOCK_S` seconds, the last block less; full scale at 1.0.

        Raises
        ------
        AudioError
            `corrupt`, `not_finite`, `too_long`, or `empty` where there is no sample.
        """
        meter = Meter(self.rate, self.channels)
        max_samples = self._limits.max_duration_s * self.rate
        while (block := self._next_block(meter.seconds)) is not None:
            meter.add(block)
            if meter.count > max_samples:
                raise _too_long(meter.seconds, self._limits, self._uri, "more than ")
            yield block
        if not meter.count:
            raise self._nothing_decoded()
        self._facts = meter.facts(self.codec, self._remark(meter.seconds))

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

    def _next_block(self, start_s: float) -> np.ndarray | None:
        """Decode the block that starts at `start_s`; None at the end."""
        try:
            frames = self._decoder.read(int(BLOCK_S * self.rate))
        except (MemoryError, AudioError):
            raise
        except Exception as error:
            raise AudioError(
                "corrupt", f"decoding failed after {start_s:.1f} s: {error}", self._uri
            ) from error
        if not len(frames):
            return None
        block = np.ascontiguousarray(frames.T)
        if not np.isfinite(block).all():
            raise AudioError(
                "not_finite",
                f"NaN or infinity between {start_s:.1f} and "
                f"{start_s + block.shape[1] / self.rate:.1f} s",
                self._uri,
            )
        return block

    def _nothing_decoded(self) -> AudioError:
        if formats.is_framed(self.codec):
            return AudioError("corrupt", f"{self.codec}: no sample could be decoded", self._uri)
        promise = f" that promises {self.declared_s:.1f} s" if self.declared_s else ""
        return AudioError("empty", f"a header{promise}, and no samples", self._uri)

    def _remark(self, seconds: float) -> str | None:
        remarks = list(self._decoder.remarks)
        if self.declared_s is not None and self.declared_s - seconds > CUT_TOLERANCE_S:
            remarks.insert(0, f"cut: {seconds:.1f} of {self.declared_s:.1f} s are there")
        return "; ".join(remarks) or None


def open(
    file: str | os.PathLike | BinaryIO, uri: str = "", *, limits: Limits | None = None
) -> AudioStream:
    """Open a recording to read it block by block.

    Parameters
    ----------
    file : path, or binary file object that can seek
    uri : str
        For messages, and for the extension of a headerless file; the path unless given.
    limits : Limits, optional
        What a recording may not exceed.

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
    uri = uri or (os.fspath(file) if isinstance(file, _PATHS) else "")
    try:
        handle = builtins.open(file, "rb") if isinstance(file, _PATHS) else file  # noqa: SIM115
        header, size = headers.peek(handle)
    except OSError as error:
        raise AudioError("unreadable", error.strerror or str(error), uri) from error
    try:
        if size > limits.max_bytes:
            raise AudioError(
                "too_large", f"{size:,} bytes, at most {limits.max_bytes:,} expected", uri
            )
        if size == 0:
            raise AudioError("empty", "0 bytes", uri)
        declared = _declared(handle, header, size)
        if declared.rate_hz is not None:
            _check_rate(declared.rate_hz, uri)
        if declared.patch_at is not None:
            handle = cast(BinaryIO, headers.PatchedWav(handle, declared.patch_at))
        handle.seek(0)
        decoder = open_decoder(handle, header, uri)
    except BaseException:
        if isinstance(file, _PATHS):
            handle.close()
        raise
    try:
        declared_s = _check(decoder, declared.seconds, limits, uri)
    except BaseException:
        decoder.close()
        raise
    return AudioStream(decoder, uri=uri, limits=limits, declared_s=declared_s)


def decode(data: bytes, uri: str = "", *, limits: Limits | None = None) -> Audio:
    """Decode a whole recording from its bytes.

    Parameters
    ----------
    data : bytes
        The content of a file.
    uri : str
        For messages, and for the extension of a headerless file.
    limits : Limits, optional
        What a recording may not exceed.

    Returns
    -------
    Audio

    Raises
    ------
    AudioError
        As `open` and `AudioStream.blocks` raise it.
    """
    with open(io.BytesIO(data), uri, limits=limits) as stream:
        samples = np.concatenate(list(stream.blocks()), axis=1)
        return Audio(samples=samples, rate=stream.rate, facts=stream.facts)


def _declared(file: BinaryIO, header: bytes, size: int) -> headers.Declared:
    container = formats.container_of(header)
    return (container and container.declared(file, header, size)) or headers.Declared()


def _check(decoder: Decoder, declared_s: float | None, limits: Limits, uri: str) -> float | None:
    """Check an open file against the limits; the seconds that its header declares."""
    _check_rate(decoder.rate_hz, uri)
    if decoder.channels > limits.max_channels:
        raise AudioError(
            "too_many_channels",
            f"{decoder.channels} channels, at most {limits.max_channels} expected",
            uri,
        )
    if decoder.frames is None:
        return declared_s
    seconds = decoder.frames / decoder.rate_hz
    if seconds > limits.max_duration_s:
        raise _too_long(seconds, limits, uri)
    return seconds if declared_s is None else declared_s


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
