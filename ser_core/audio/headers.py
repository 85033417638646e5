"""What the headers of files declare, and where these files end.

libsndfile reports the samples that a file still has; only the header tells how many it should have.
Some recorders write a WAV header before they know the size, as they do into a pipe. Such a size is
ignored, and replaced where libsndfile would not read to the end.

The byte rate in a WAV header is not used: many recorders fill it in wrongly. The format of WAV is
that of Microsoft's Multimedia Programming Interface 1.0, of RF64 that of EBU Tech 3306.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from ser_core.audio.views import View

# First bytes of a file that are enough to recognise its container.
HEADER_BYTES = 64
# Sizes from here on, and 0, were written before the size was known (to a pipe).
_UNKNOWN_SIZE = 0x7FFF0000
_EXTENSIBLE = 0xFFFE
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEADER_BYTES = 8 << 10
_RIFF_IDS = (b"RIFF", b"RF64", b"BW64", b"RIFX")
# Where a chunk should begin, these begin another file.
_NO_CHUNKS = (*_RIFF_IDS, b"FORM", b"OggS", b"fLaC")
_SAMPLE_BYTES = {1: 0, 3: 0, 6: 1, 7: 1}  # by format tag: PCM, float (by the bits), A-law, mu-law
# FFmpeg takes the bits of a sample of G.726 from the byte rate.
_G726 = (0x0045, 0x0064)
_BLOCK_CODECS = (0x0002, 0x0011, 0x0031)  # MS ADPCM, IMA ADPCM, GSM 06.10


@dataclass(frozen=True)
class Declared:
    """Content of a header; None where it says nothing.

    Parameters
    ----------
    seconds : float, optional
        Only an exact duration, never an estimate.
    rate_hz : int, optional
    wav_tag : int, optional
        Format tag of a WAV file.
    end : int, optional
        Offset at which the file ends by its own sizes. Bytes after it belong to something else.
    missing_bytes : int
        Bytes that the header promises and the file does not have.
    patches : mapping of int to bytes
        Bytes that replace sizes that are not true.
    """

    seconds: float | None = None
    rate_hz: int | None = None
    wav_tag: int | None = None
    end: int | None = None
    missing_bytes: int = 0
    patches: Mapping[int, bytes] = field(default_factory=dict)


def peek(file: BinaryIO | View) -> tuple[bytes, int]:
    """First bytes of a file, and its size in bytes."""
    file.seek(0)
    header = file.read(HEADER_BYTES)
    return header, file.seek(0, os.SEEK_END)


def is_wav(header: bytes) -> bool:
    """Whether a file is RIFF/WAVE, in any byte order or size."""
    return header[:4] in _RIFF_IDS and header[8:12] == b"WAVE"


def is_aiff(header: bytes) -> bool:
    """Whether a file is AIFF or AIFF-C."""
    return header[:4] == b"FORM" and header[8:12] in (b"AIFF", b"AIFC")


@dataclass(frozen=True)
class _Format:
    """The format chunk of a WAV file."""

    tag: int
    channels: int
    rate_hz: int
    block_bytes: int
    bits: int
    block_samples: int

    @classmethod
    def parse(cls, chunk: bytes, order: str) -> _Format:
        tag, channels, rate_hz, _, block_bytes, bits = struct.unpack_from(order + "HHIIHH", chunk)
        block_samples = 0
        if tag == _EXTENSIBLE and len(chunk) >= 26:
            (tag,) = struct.unpack_from(order + "H", chunk, 24)
        elif tag in _BLOCK_CODECS and len(chunk) >= 20:
            (block_samples,) = struct.unpack_from(order + "H", chunk, 18)
        return cls(tag, channels, rate_hz, block_bytes, bits, block_samples)

    def seconds(self, data_bytes: int) -> float | None:
        """Duration of so many bytes; None for codecs whose duration only a decoder knows."""
        if not self.rate_hz:
            return None
        if self.tag in _SAMPLE_BYTES:
            sample_bytes = _SAMPLE_BYTES[self.tag] or -(-self.bits // 8)
            block_bytes = self.block_bytes or self.channels * sample_bytes
            return data_bytes // block_bytes / self.rate_hz if block_bytes else None
        if self.block_samples and self.block_bytes:
            return data_bytes / self.block_bytes * self.block_samples / self.rate_hz
        return None


def declared_by_wav(file: BinaryIO | View, header: bytes, size: int) -> Declared:
    """Duration, sample rate, codec and end of a WAV file (RIFF, RIFX, RF64, BW64)."""
    order = ">" if header[:4] == b"RIFX" else "<"
    patches = {0: b"RF64"} if header[:4] == b"BW64" else {}
    format, sizes_64_at, data_64 = None, None, 0
    for name, length, at in _chunks(file, size, order):
        if name == b"ds64" and at + 16 <= size:
            file.seek(at + 8)
            sizes_64_at, (data_64,) = at, struct.unpack("<Q", file.read(8))
        if name == b"fmt " and at + 16 <= size:
            file.seek(at)
            format = _Format.parse(file.read(min(length, 40)), order) if length >= 16 else None
            if format and format.tag in _G726:
                bits_per_s = format.rate_hz * format.channels * format.bits
                patches[at + 8] = struct.pack(order + "I", min(bits_per_s // 8, 0xFFFFFFFF))
        if name != b"data":
            continue
        rate_hz, tag = (format.rate_hz, format.tag) if format else (None, None)
        if sizes_64_at is not None and length == 0xFFFFFFFF:
            length = data_64
        if _is_unknown(file, length, at, size, order):
            if sizes_64_at is None:
                patches[at - 4] = b"\xff" * 4
            else:
                block_bytes = (format and format.block_bytes) or 1
                numbers = size - 8, size - at, (size - at) // block_bytes
                patches |= {at - 4: b"\xff" * 4, sizes_64_at: struct.pack("<QQQ", *numbers)}
            return Declared(rate_hz=rate_hz, wav_tag=tag, patches=patches)
        return Declared(
            seconds=format.seconds(length) if format else None,
            rate_hz=rate_hz,
            wav_tag=tag,
            end=_end_of_chunks(file, size, order, at + length),
            missing_bytes=max(0, at + length - size),
            patches=patches,
        )
    return Declared(
        rate_hz=format.rate_hz if format else None,
        wav_tag=format.tag if format else None,
        patches=patches,
    )


def _is_unknown(file: BinaryIO | View, length: int, at: int, size: int, order: str) -> bool:
    """Whether the size of a data chunk was written before it was known."""
    if length == 0:
        return size > at and _end_of_chunks(file, size, order, at) < size
    return at + length > size and length >= _UNKNOWN_SIZE


def declared_by_aiff(file: BinaryIO | View, header: bytes, size: int) -> Declared:
    """Duration, sample rate and end of an AIFF file."""
    seconds = rate_hz = None
    for name, length, at in _chunks(file, size, ">"):
        if name == b"COMM" and at + 18 <= size:
            file.seek(at)
            _, frames, _, exponent, mantissa = struct.unpack(">hIhHQ", file.read(18))
            with suppress(OverflowError):  # the rate is an 80-bit float, or damaged bytes
                rate = math.ldexp(mantissa, exponent - 16383 - 63)
                if rate >= 1:
                    seconds, rate_hz = frames / rate, int(rate)
        if name == b"SSND" and length and rate_hz is not None:
            end = _end_of_chunks(file, size, ">", at + length)
            missing = max(0, at + length - size)
            return Declared(seconds=seconds, rate_hz=rate_hz, end=end, missing_bytes=missing)
    return Declared(seconds=seconds, rate_hz=rate_hz)


def declared_by_caf(file: BinaryIO | View, header: bytes, size: int) -> Declared:
    """End of a file in Apple's Core Audio Format, behind its last chunk."""
    at = 8
    while at + 12 <= size:
        file.seek(at)
        name, length = struct.unpack(">4sq", file.read(12))
        if length <= 0 and name == b"data":
            # It goes to the end. The size of an empty one is 4, for the count of its edits.
            return Declared(patches={at + 4: b"\xff" * 8})
        fits = 0 <= length <= size - at - 12 or name == b"data"
        if not (fits and all(32 <= byte < 127 for byte in name)) or name == b"caff":
            break
        at += 12 + length
    return Declared(end=min(at, size), missing_bytes=max(0, at - size))


def declared_by_w64(file: BinaryIO | View, header: bytes, size: int) -> Declared:
    """End of a Wave64 file."""
    return _declared_by_size(int.from_bytes(header[16:24], "little"), size)


def declared_by_au(file: BinaryIO | View, header: bytes, size: int) -> Declared:
    """End of a file in Sun's AU format."""
    offset, length = struct.unpack_from(">II", header, 4)
    return _declared_by_size(offset + length if length else 0, size)


def declared_by_asf(file: BinaryIO | View, header: bytes, size: int) -> Declared:
    """End of a WMA file, by its file properties object."""
    file.seek(0)
    start = file.read(_ASF_HEADER_BYTES)
    at = start.find(_ASF_FILE_PROPERTIES)
    return _declared_by_size(
        int.from_bytes(start[at + 40 : at + 48], "little") if at > 0 else 0, size
    )


def _declared_by_size(length: int, size: int) -> Declared:
    """What a header declares that gives the size of the file; 0 or far too much is unknown."""
    if length < HEADER_BYTES or length >= _UNKNOWN_SIZE:
        return Declared()
    return Declared(end=min(length, size), missing_bytes=max(0, length - size))


def _chunks(
    file: BinaryIO | View, size: int, order: str, at: int = 12
) -> Iterator[tuple[bytes, int, int]]:
    """(id, length as written, offset of the content) of each chunk of a RIFF or IFF file."""
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack(order + "4sI", file.read(8))
        yield name, length, at + 8
        at += 8 + length + length % 2


def _end_of_chunks(file: BinaryIO | View, size: int, order: str, at: int) -> int:
    """Offset at which chunks end, from the end of one of them; at most the size of the file."""
    end = at
    # A chunk of odd length should be padded to an even one. Some writers forget it.
    for start in (at + at % 2, at):
        for name, length, content_at in _chunks(file, size, order, start):
            is_chunk = all(32 <= byte < 127 for byte in name) and not name.startswith(_NO_CHUNKS)
            if not is_chunk or content_at + length > size:
                break
            end = content_at + length
        if end > at:
            break
    return min(end, size)
