"""Recordings: bytes -> samples by channel, with the facts that tables carry.

`open` gives a recording block by block, so that a call of hours takes the memory of
seconds; `decode` is built on it. soundfile decodes WAV, FLAC, Ogg, MP3, AIFF and
headerless telephone files; PyAV, where installed, the rest. Whatever cannot be decoded
raises `AudioError` with a reason; a cut recording gives what is there, with a remark.
"""

from __future__ import annotations

import builtins
import io
import math
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol, cast

import numpy as np
import scipy.fft

from ser_core.errors import AudioError

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
BLOCK_S = 10.0
_PATHS = (str, os.PathLike)

# Headerless telephone files by extension: one channel at 8,000 Hz.
HEADERLESS_RATE_HZ = 8_000
HEADERLESS = {".ulaw": "ULAW", ".ul": "ULAW", ".alaw": "ALAW", ".al": "ALAW", ".gsm": "GSM610"}

# Names of libsndfile's subtypes as other tools write them.
CODECS = {
    "PCM_U8": "pcm_u8", "PCM_S8": "pcm_s8", "PCM_16": "pcm_s16", "PCM_24": "pcm_s24",
    "PCM_32": "pcm_s32", "FLOAT": "pcm_f32", "DOUBLE": "pcm_f64", "ULAW": "mulaw",
    "ALAW": "alaw", "GSM610": "gsm", "IMA_ADPCM": "adpcm_ima", "MS_ADPCM": "adpcm_ms",
    "VORBIS": "vorbis", "OPUS": "opus", "MPEG_LAYER_I": "mp1", "MPEG_LAYER_II": "mp2",
    "MPEG_LAYER_III": "mp3",
}  # fmt: skip

# A sample within 2 % of full scale counts as clipped: mu-law and A-law end at 0.980 and 0.984.
CLIPPED_FROM = 0.98
# The highest frequency whose average power is within this of the loudest.
BANDWIDTH_RANGE_DB = 55.0
# Levels of 20 ms frames: the loud end against the quiet end, as a signal-to-noise estimate.
LEVEL_FRAME_S = 0.02
SNR_LOUD_PERCENTILE, SNR_QUIET_PERCENTILE = 95, 10
SNR_MAX_DB = 100.0
# Below this a frame holds nothing, not even the rounding of 16 bit.
SILENT_DB = -100.0
# A header may promise this much more than is there before the recording is called cut.
CUT_TOLERANCE_S = 0.1


@dataclass(frozen=True)
class Limits:
    """What is refused before it can hurt.

    Parameters
    ----------
    max_duration_s : float > 0
    max_bytes : int > 0
    max_channels : int > 0
    """

    max_duration_s: float = 4 * 3600.0
    max_bytes: int = 2 << 30
    max_channels: int = 8


@dataclass(frozen=True)
class Facts:
    """What was measured of a recording; tuples hold a value a channel.

    `clipping_ratio` is the share of samples at full scale, `bandwidth_hz` the highest
    frequency with content, `snr_db` the loud frames' level over the quiet frames' level
    (None where nothing sounds). `remark` says that the recording is cut, where it can be told.
    """

    rate_hz: int
    channels: int
    codec: str
    duration_s: float
    clipping_ratio: tuple[float, ...]
    bandwidth_hz: tuple[float | None, ...]
    snr_db: tuple[float | None, ...]
    remark: str | None = None


@dataclass(frozen=True)
class Audio:
    """A decoded recording: samples float32 [channels, n] in [-1, 1], rate in Hz, facts."""

    samples: np.ndarray
    rate: int
    facts: Facts


class _Decoder(Protocol):
    rate: int
    channels: int
    codec: str
    frames: int | None  # as the header says; None where it says nothing

    def read(self, frames: int) -> np.ndarray: ...  # float32 [m, channels]; m == 0 at the end
    def close(self) -> None: ...


class AudioStream:
    """An open recording; a context manager.

    Attributes
    ----------
    rate : int
        Hz.
    channels : int
    codec : str
    declared_s : float or None
        Seconds that the header promises, where it says.
    """

    def __init__(
        self, decoder: _Decoder, *, uri: str, limits: Limits, declared_s: float | None
    ) -> None:
        self._decoder = decoder
        self._uri = uri
        self._limits = limits
        self.declared_s = declared_s
        self._facts: Facts | None = None
        self.rate, self.channels, self.codec = decoder.rate, decoder.channels, decoder.codec

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(self, *exc) -> None:
        self._decoder.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """Give the samples once, in order: float32 [channels, m], `BLOCK_S` seconds each.

        Raises
        ------
        AudioError
            `corrupt`, `not_finite`, `too_long`, or `empty` where there is no sample.
        """
        meter = _Meter(self.rate, self.channels)
        most = self._limits.max_duration_s * self.rate
        while True:
            try:
                block = self._decoder.read(int(BLOCK_S * self.rate))
            except (MemoryError, AudioError):
                raise
            except Exception as error:
                raise AudioError(
                    "corrupt", f"decoding failed after {meter.seconds:.1f} s: {error}", self._uri
                ) from error
            if not len(block):
                break
            block = np.ascontiguousarray(block.T)
            if not np.isfinite(block).all():
                raise AudioError(
                    "not_finite",
                    f"NaN or infinity between {meter.seconds:.1f} and "
                    f"{meter.seconds + block.shape[1] / self.rate:.1f} s",
                    self._uri,
                )
            meter.add(block)
            if meter.count > most:
                raise _too_long(meter.seconds, self._limits, self._uri, "more than ")
            yield block
        if not meter.count:
            raise _nothing_decoded(self._decoder, self.declared_s, self._uri)
        self._facts = meter.facts(self.codec, self._remark(meter.seconds))

    @property
    def facts(self) -> Facts:
        """Known once `blocks` has come to its end."""
        if self._facts is None:
            raise RuntimeError("facts are known once all of blocks() was read")
        return self._facts

    def _remark(self, seconds: float) -> str | None:
        if self.declared_s is not None and self.declared_s - seconds > CUT_TOLERANCE_S:
            return f"cut: {seconds:.1f} of {self.declared_s:.1f} s are there"
        return None


def open(
    file: str | os.PathLike | BinaryIO, uri: str = "", *, limits: Limits | None = None
) -> AudioStream:
    """Open a recording to read it block by block.

    Parameters
    ----------
    file : path, or binary file object that can seek
    uri : str
        For messages, and for the extension of a headerless file; the path where it is left out.
    limits : Limits, optional

    Raises
    ------
    AudioError
        `unreadable`, `too_large`, `empty`, `unsupported_format`, `corrupt`, `bad_sample_rate`,
        `too_many_channels`, `too_long`.
    """
    limits = limits or Limits()
    ours = isinstance(file, _PATHS)
    uri = uri or (os.fspath(file) if isinstance(file, _PATHS) else "")
    try:
        handle = builtins.open(file, "rb") if isinstance(file, _PATHS) else file  # noqa: SIM115
        header, size = _peek(handle)
    except OSError as error:
        raise AudioError("unreadable", error.strerror or str(error), uri) from error
    try:
        if size > limits.max_bytes:
            raise AudioError(
                "too_large", f"{size:,} bytes, at most {limits.max_bytes:,} expected", uri
            )
        if size == 0:
            raise AudioError("empty", "0 bytes", uri)
        chunk = _declared(handle, header, size)
        if chunk and chunk.rate is not None:
            _check_rate(chunk.rate, uri)
        if chunk and chunk.patch_at is not None:
            handle = cast(BinaryIO, _Patched(handle, chunk.patch_at))
        handle.seek(0)
        decoder = _decoder(handle, header, uri)
    except BaseException:
        if ours:
            handle.close()
        raise
    try:
        _check_rate(decoder.rate, uri)
        if decoder.channels > limits.max_channels:
            raise AudioError(
                "too_many_channels",
                f"{decoder.channels} channels, at most {limits.max_channels} expected",
                uri,
            )
        declared_s = chunk.seconds if chunk else None
        if decoder.frames is not None:
            seconds = decoder.frames / decoder.rate
            if seconds > limits.max_duration_s:
                raise _too_long(seconds, limits, uri)
            if declared_s is None:
                declared_s = seconds
    except BaseException:
        decoder.close()
        raise
    return AudioStream(decoder, uri=uri, limits=limits, declared_s=declared_s)


def decode(data: bytes, uri: str = "", *, limits: Limits | None = None) -> Audio:
    """Decode a whole recording from its bytes.

    Raises
    ------
    AudioError
        As `open` and `AudioStream.blocks` do.
    """
    with open(io.BytesIO(data), uri, limits=limits) as stream:
        samples = np.concatenate(list(stream.blocks()), axis=1)
        return Audio(samples=samples, rate=stream.rate, facts=stream.facts)


# ---------------------------------------------------------------- decoders


def _decoder(handle: BinaryIO, header: bytes, uri: str) -> _Decoder:
    import soundfile

    raw = HEADERLESS.get(PurePosixPath(uri.lower()).suffix)
    known = _known_container(header)
    try:
        if raw and not known:
            return _SoundFile(
                soundfile.SoundFile(handle, "r", HEADERLESS_RATE_HZ, 1, raw, format="RAW"),
                handle,
            )
        return _SoundFile(soundfile.SoundFile(handle), handle)
    except soundfile.LibsndfileError as error:
        refusal = str(error.error_string).strip().rstrip(".")
    except (TypeError, ValueError) as error:
        refusal = str(error)
    if known and not known.maybe_other:
        raise AudioError("corrupt", f"{known.name}: {refusal}", uri)
    try:
        import av
    except ImportError:
        raise AudioError(
            "unsupported_format",
            f"{_looks_like(header)}; M4A, AMR, WMA and others need the extra 'av': "
            "pip install 'ser-pipeline[av]'",
            uri,
        ) from None
    handle.seek(0)
    try:
        return _PyAV(av, handle)
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        raise AudioError(
            "unsupported_format",
            f"{_looks_like(header)}; neither libsndfile ({refusal}) nor FFmpeg "
            f"({getattr(error, 'strerror', None) or error}) reads it",
            uri,
        ) from error


class _SoundFile:
    def __init__(self, file, handle: BinaryIO) -> None:
        self._file, self._handle = file, handle
        self.rate, self.channels = file.samplerate, file.channels
        self.codec = CODECS.get(file.subtype, file.subtype.lower())
        # What libsndfile says of a cut Ogg file is what is there; the header says nothing.
        self.frames = file.frames if 0 < file.frames < 2**62 else None

    def read(self, frames: int) -> np.ndarray:
        return self._file.read(frames, dtype="float32", always_2d=True)

    def close(self) -> None:
        self._file.close()
        self._handle.close()


class _PyAV:
    def __init__(self, av, handle: BinaryIO) -> None:
        self._handle = handle
        self._container = av.open(handle, mode="r")
        if not self._container.streams.audio:
            raise ValueError("no audio stream in it")
        stream = self._container.streams.audio[0]
        if stream.codec_context is None:
            raise ValueError("no decoder for the audio in it")
        self.rate, self.channels = stream.codec_context.sample_rate, stream.codec_context.channels
        self.codec = stream.codec_context.name.removesuffix("float").removesuffix("fixed")
        self.frames = None
        if stream.duration and stream.time_base:
            self.frames = int(stream.duration * stream.time_base * self.rate)
        layout = stream.codec_context.layout.name
        self._resampler = av.AudioResampler(format="flt", layout=layout, rate=self.rate)
        self._frames = self._container.decode(stream)
        self._held = np.empty((0, self.channels), dtype=np.float32)

    def read(self, frames: int) -> np.ndarray:
        held, count = [self._held], len(self._held)
        while count < frames:
            frame = next(self._frames, None)
            if frame is None:
                break
            for part in self._resampler.resample(frame):
                held.append(part.to_ndarray().reshape(-1, self.channels))
                count += len(held[-1])
        together = np.concatenate(held)
        self._held = together[frames:]
        return together[:frames]

    def close(self) -> None:
        self._container.close()
        self._handle.close()


class _Patched(io.RawIOBase):
    """A WAV file whose data chunk says 0 bytes, seen as one that says 'until the end'."""

    def __init__(self, file: BinaryIO, at: int) -> None:
        self._file, self._at = file, at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer) -> int:
        start = self._file.tell()
        data = bytearray(self._file.read(len(buffer)))
        for i in range(4):
            if 0 <= self._at + i - start < len(data):
                data[self._at + i - start] = 0xFF
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


# ---------------------------------------------------------------- what headers say


@dataclass(frozen=True)
class _Container:
    name: str
    maybe_other: bool = False  # the container can hold codecs that only PyAV knows


@dataclass(frozen=True)
class _Declared:
    seconds: float | None = None
    rate: int | None = None
    patch_at: int | None = None


# WAVE format tags that libsndfile decodes.
_WAV_TAGS = {0x0001, 0x0002, 0x0003, 0x0006, 0x0007, 0x0011, 0x0031, 0xFFFE}
# Sizes from here on, and 0, were written before the size was known (to a pipe).
_WAV_UNKNOWN_SIZE = 0x7FFF0000


def _peek(handle: BinaryIO) -> tuple[bytes, int]:
    handle.seek(0)
    header = handle.read(64)
    return header, handle.seek(0, os.SEEK_END)


def _known_container(header: bytes) -> _Container | None:
    if header[:4] in (b"RIFF", b"RF64", b"RIFX") and header[8:12] == b"WAVE":
        tag = _wav_tag(header)
        return _Container("WAV", maybe_other=tag is not None and tag not in _WAV_TAGS)
    if header[:4] == b"FORM" and header[8:12] in (b"AIFF", b"AIFC"):
        return _Container("AIFF")
    if header[:4] == b"fLaC":
        return _Container("FLAC")
    if header[:4] == b"OggS":
        return _Container("Ogg", maybe_other=b"Speex" in header)
    if header[:3] == b"ID3":
        return _Container("MP3")
    return None


def _wav_tag(header: bytes) -> int | None:
    if header[8:16] != b"WAVEfmt " or len(header) < 22:
        return None
    return struct.unpack("<H", header[20:22])[0]


def _looks_like(header: bytes) -> str:
    tag = _wav_tag(header)
    if tag is not None:
        return f"WAV with the format tag 0x{tag:04x}"
    if header[4:8] == b"ftyp":
        return "MP4 or M4A"
    if header[:5] == b"#!AMR":
        return "AMR"
    if header[:4] == bytes.fromhex("3026b275"):
        return "WMA"
    if header.strip() and all(32 <= byte < 127 or byte in b"\r\n\t" for byte in header):
        return f"text, not audio ({header[:24].decode()!r})"
    return f"not a format that is known (begins with {header[:8].hex(' ')})"


def _declared(handle: BinaryIO, header: bytes, size: int) -> _Declared | None:
    """What a WAV or AIFF header promises, where it can be relied on."""
    if header[:4] == b"RIFF" and header[8:12] == b"WAVE":
        return _declared_wav(handle, size)
    if header[:4] == b"FORM" and header[8:12] in (b"AIFF", b"AIFC"):
        return _declared_aiff(handle, size)
    return None


def _chunks(handle: BinaryIO, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """(id, length as written, offset of the content) of each chunk of a RIFF or IFF file."""
    at = 12
    while at + 8 <= size:
        handle.seek(at)
        name, length = struct.unpack(order + "4sI", handle.read(8))
        yield name, length, at + 8
        at += 8 + length + length % 2


def _declared_wav(handle: BinaryIO, size: int) -> _Declared:
    rate = bytes_per_s = None
    for name, length, at in _chunks(handle, size, "<"):
        if name == b"fmt " and at + 16 <= size:
            handle.seek(at)
            _, _, rate, bytes_per_s = struct.unpack("<HHII", handle.read(12))
        if name == b"data":
            if length == 0 and size > at:
                return _Declared(rate=rate, patch_at=at - 4)
            if length >= _WAV_UNKNOWN_SIZE or not bytes_per_s:
                return _Declared(rate=rate)
            return _Declared(seconds=length / bytes_per_s, rate=rate)
    return _Declared(rate=rate)


def _declared_aiff(handle: BinaryIO, size: int) -> _Declared:
    for name, _, at in _chunks(handle, size, ">"):
        if name == b"COMM" and at + 18 <= size:
            handle.seek(at)
            _, frames, _, exponent, mantissa = struct.unpack(">hIhHQ", handle.read(18))
            with suppress(OverflowError):  # an 80 bit float, or what damage made of it
                rate = math.ldexp(mantissa, exponent - 16383 - 63)
                if rate >= 1:
                    return _Declared(seconds=frames / rate, rate=int(rate))
    return _Declared()


def _check_rate(rate: int, uri: str) -> None:
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise AudioError(
            "bad_sample_rate", f"{rate:,} Hz, {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz expected", uri
        )


def _too_long(seconds: float, limits: Limits, uri: str, more: str = "") -> AudioError:
    return AudioError(
        "too_long",
        f"{more}{seconds / 3600:.2f} h, at most {limits.max_duration_s / 3600:.2f} h expected",
        uri,
    )


def _nothing_decoded(decoder: _Decoder, declared_s: float | None, uri: str) -> AudioError:
    if decoder.codec in ("vorbis", "opus", "mp3", "flac"):
        return AudioError("corrupt", f"{decoder.codec}: no sample could be decoded", uri)
    promise = f" that promises {declared_s:.1f} s" if declared_s else ""
    return AudioError("empty", f"a header{promise}, and no samples", uri)


# ---------------------------------------------------------------- facts


class _Meter:
    """Adds up what `Facts` tell, block by block, in memory that grows by 200 B a second."""

    def __init__(self, rate: int, channels: int) -> None:
        self.rate, self.channels, self.count = rate, channels, 0
        self._clipped = np.zeros(channels, dtype=np.int64)
        self._hop = max(1, round(LEVEL_FRAME_S * rate))
        self._levels: list[np.ndarray] = []
        # About 31 Hz a bin: a power of two near 32 ms.
        self._n_fft = 1 << max(7, round(np.log2(rate * 0.032)))
        self._window = np.hanning(self._n_fft).astype(np.float32)
        self._spectrum = np.zeros((channels, self._n_fft // 2 + 1))

    @property
    def seconds(self) -> float:
        return self.count / self.rate

    def add(self, block: np.ndarray) -> None:
        length = block.shape[1]
        self.count += length
        self._clipped += (np.abs(block) >= CLIPPED_FROM).sum(axis=1)
        whole = length // self._hop * self._hop or length
        frames = block[:, :whole].reshape(self.channels, -1, min(self._hop, whole))
        centred = frames - frames.mean(axis=2, keepdims=True)
        self._levels.append(np.einsum("cfn,cfn->cf", centred, centred) / frames.shape[2])
        # A quarter of the frames tells the long-term spectrum as well as all of them.
        if length >= self._n_fft:
            pieces = np.lib.stride_tricks.sliding_window_view(block, self._n_fft, axis=1)
            spectra = scipy.fft.rfft(pieces[:, :: 4 * self._n_fft] * self._window, axis=2)
            self._spectrum += (np.square(spectra.real) + np.square(spectra.imag)).sum(axis=1)

    def facts(self, codec: str, remark: str | None) -> Facts:
        power = np.concatenate(self._levels, axis=1)
        return Facts(
            rate_hz=self.rate,
            channels=self.channels,
            codec=codec,
            duration_s=self.seconds,
            clipping_ratio=tuple(float(c) / self.count for c in self._clipped),
            bandwidth_hz=tuple(self._bandwidth(row) for row in self._spectrum),
            snr_db=tuple(_snr_db(row) for row in power),
            remark=remark,
        )

    def _bandwidth(self, spectrum: np.ndarray) -> float | None:
        smooth = np.convolve(spectrum[1:], np.ones(3) / 3, mode="same")
        if not smooth.max() > 0:
            return None
        loud = np.flatnonzero(smooth >= smooth.max() * 10 ** (-BANDWIDTH_RANGE_DB / 10))
        return float((loud[-1] + 1) * self.rate / self._n_fft)


def _snr_db(power: np.ndarray) -> float | None:
    levels = 10 * np.log10(np.maximum(power, 10 ** (SILENT_DB / 10)))
    loud, quiet = np.percentile(levels, [SNR_LOUD_PERCENTILE, SNR_QUIET_PERCENTILE])
    if loud <= SILENT_DB:
        return None
    return float(min(loud - quiet, SNR_MAX_DB))
