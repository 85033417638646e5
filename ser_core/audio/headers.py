"""Duration and sample rate that the headers of WAV and AIFF files declare.

libsndfile reports the samples that a file still has; only the header tells how many it should have.
Some recorders write a WAV header to a pipe before they know the size. Such a size is ignored, and a
size of 0 is replaced while the file is read, so that libsndfile reads to the end.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

# First bytes of a file that are enough to recognise its container.
HEADER_BYTES = 64
# Sizes from here on, and 0, were written before the size was known (to a pipe).
_UNKNOWN_WAV_SIZE = 0x7FFF0000


@dataclass(frozen=True)
class Declared:
    """Content of a header; None where it says nothing.

    `patch_at` is the offset of a WAV data chunk's size that is 0 and should be "to the end".
    """

    seconds: float | None = None
    rate_hz: int | None = None
    patch_at: int | None = None


def peek(file: BinaryIO) -> tuple[bytes, int]:
    """First bytes of a file, and its size in bytes."""
    file.seek(0)
    header = file.read(HEADER_BYTES)
    return header, file.seek(0, os.SEEK_END)


def is_wav(header: bytes) -> bool:
    """Whether a file is RIFF/WAVE, in any byte order or size."""
    return header[:4] in (b"RIFF", b"RF64", b"RIFX") and header[8:12] == b"WAVE"


def is_aiff(header: bytes) -> bool:
    """Whether a file is AIFF or AIFF-C."""
    return header[:4] == b"FORM" and header[8:12] in (b"AIFF", b"AIFC")


def wav_tag(header: bytes) -> int | None:
    """Format tag of a WAV file, where its format chunk comes first."""
    if header[8:16] != b"WAVEfmt " or len(header) < 22:
        return None
    return struct.unpack("<H", header[20:22])[0]


def declared_by_wav(file: BinaryIO, header: bytes, size: int) -> Declared | None:
    """Duration and sample rate that a WAV header declares; only little-endian RIFF."""
    if header[:4] != b"RIFF":
        return None
    rate_hz = bytes_per_s = None
    for name, length, at in _chunks(file, size, "<"):
        if name == b"fmt " and at + 16 <= size:
            file.seek(at)
            _, _, rate_hz, bytes_per_s = struct.unpack("<HHII", file.read(12))
        if name == b"data":
            if length == 0 and size > at:
                return Declared(rate_hz=rate_hz, patch_at=at - 4)
            if length >= _UNKNOWN_WAV_SIZE or not bytes_per_s:
                return Declared(rate_hz=rate_hz)
            return Declared(seconds=length / bytes_per_s, rate_hz=rate_hz)
    return Declared(rate_hz=rate_hz)


def declared_by_aiff(file: BinaryIO, header: bytes, size: int) -> Declared:
    """Duration and sample rate that the common chunk of an AIFF file declares."""
    for name, _, at in _chunks(file, size, ">"):
        if name == b"COMM" and at + 18 <= size:
            file.seek(at)
            _, frames, _, exponent, mantissa = struct.unpack(">hIhHQ", file.read(18))
            with suppress(OverflowError):  # the rate is an 80-bit float, or damaged bytes
                rate_hz = math.ldexp(mantissa, exponent - 16383 - 63)
                if rate_hz >= 1:
                    return Declared(seconds=frames / rate_hz, rate_hz=int(rate_hz))
    return Declared()


def _chunks(file: BinaryIO, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """(id, length as written, offset of the content) of each chunk of a RIFF or IFF file."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack(order + "4sI", file.read(8))
        yield name, length, at + 8
        at += 8 + length + length % 2


class PatchedWav(io.RawIOBase):
    """A WAV file whose data chunk declares 0 bytes, read as one that declares "to the end".

    Parameters
    ----------
    file : binary file object
    at : int
        Offset of the four bytes of the size.
    """

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

    def readinto(self, buffer: Any) -> int:
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
