"""The frames of an MPEG audio file (MP1, MP2, MP3).

Each frame begins with a header that gives its length, so the frames can be counted without decoding
them. That gives the exact duration of a file with a variable bit rate and no Xing header, finds
damage between the frames, and finds where one file was appended to another. The format is that of
ISO/IEC 11172-3 and 13818-3; MPEG 2.5 and the Xing header are de facto standards.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from ser_core.audio.views import View

_WINDOW_BYTES = 1 << 20
# A frame takes less: 2,881 bytes at 160 kbit/s, 8 kHz, layer II.
_MAX_FRAME_BYTES = 4096
# So many frames in a row are no coincidence.
_FRAMES_IN_A_ROW = 3
_KBITS = {  # by version (1, or 2 and 2.5) and layer; index 0 is "free format"
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# By the two bits of the version: MPEG 2.5, reserved, MPEG 2, MPEG 1.
_RATES_HZ = (
    (11_025, 12_000, 8_000),
    None,
    (22_050, 24_000, 16_000),
    (44_100, 48_000, 32_000),
)
_MAYBE_HEADER = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][\x10-\xef]")
_UNKNOWN_COUNT = 0x7FFFFFFF
_COUNT_TAGS = (b"Xing", b"Info")


@dataclass(frozen=True)
class Format:
    """What all frames of a stream have in common."""

    layer: int
    samples: int  # of a frame, per channel
    rate_hz: int
    channels: int


@dataclass
class Stream:
    """Frames of one format, in order.

    Parameters
    ----------
    format : Format
    spans : list of (start, end)
        Where the frames are in the file.
    frames : int
        Their number, without the one of the Xing header.
    promised_frames : int or None
        Their number by the Xing header; None where there is none.
    """

    format: Format
    spans: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    promised_frames: int | None = None

    @property
    def seconds(self) -> float:
        return self.frames * self.format.samples / self.format.rate_hz


@functools.cache
def _parse(version_and_layer: int, rates: int, mode: int) -> tuple[int, Format] | None:
    """Length in bytes and format of a frame, by bytes 1, 2 and 3 of its header; None if invalid."""
    version, layer = version_and_layer >> 3 & 3, 4 - (version_and_layer >> 1 & 3)
    bit_rate, rate = rates >> 4, rates >> 2 & 3
    rates_hz = _RATES_HZ[version]
    if version_and_layer < 0xE0 or rates_hz is None or layer == 4 or rate == 3:
        return None
    if bit_rate in (0, 15):
        return None
    mpeg_1 = version == 3
    bits_per_s = 1000 * _KBITS[1 if mpeg_1 else 2, layer][bit_rate]
    samples = {1: 384, 2: 1152, 3: 1152 if mpeg_1 else 576}[layer]
    slot = 4 if layer == 1 else 1
    length = slot * (samples // 8 // slot * bits_per_s // rates_hz[rate] + (rates >> 1 & 1))
    return length, Format(layer, samples, rates_hz[rate], 1 if mode >> 6 == 3 else 2)


def frame_at(data: bytes, at: int) -> tuple[int, Format] | None:
    """Length in bytes and format of the frame whose header is at `at`, None where none is."""
    if at + 4 > len(data) or data[at] != 0xFF:
        return None
    return _parse(data[at + 1], data[at + 2], data[at + 3] & 0xC0)


def xing_header(header: bytes, frames: int) -> bytes:
    """A frame that tells how many frames follow it, by the header of one of them.

    Without one, libsndfile ends where it expects the end by the bit rate of the first frames.
    """
    # No checksum, and a bit rate (112 kbit/s, or 64) that gives room enough.
    start = bytes([0xFF, header[1] | 1, header[2] & 0x0C | 0x80, header[3]])
    frame = frame_at(start, 0)
    assert frame is not None
    length, format = frame
    body = bytearray(start + bytes(length - 4))
    at = _xing_offset(format)
    body[at : at + 12] = b"Xing" + struct.pack(">II", 1, frames)
    return bytes(body)


def begins(file: BinaryIO | View, start: int, end: int) -> bool:
    """Whether MPEG frames begin at `start`."""
    data, i = _Window(file, end).at(start)
    return _follows(data, i, complete=start + len(data) - i >= end)


def streams(file: BinaryIO | View, start: int, end: int) -> list[Stream]:
    """The streams between two offsets of a file, in order.

    A stream ends where the format changes, where another Xing header comes, and where as many
    frames were met as its own Xing header promises. What lies between the spans of a stream is no
    frame: tags or damage.
    """
    found: list[Stream] = []
    for at, length, format, promised in _frames(file, start, end):
        stream = found[-1] if found else None
        if (
            stream is None
            or format != stream.format
            or promised is not None
            or (stream.promised_frames and stream.frames >= stream.promised_frames)
        ):
            stream = Stream(format, promised_frames=promised)
            found.append(stream)
        if stream.spans and stream.spans[-1][1] == at:
            stream.spans[-1] = (stream.spans[-1][0], at + length)
        else:
            stream.spans.append((at, at + length))
        stream.frames += promised is None
    if len(found) > 1 and found[-1].frames <= 1:
        found.pop()  # some encoders promise a frame less
    return found


def _frames(
    file: BinaryIO | View, start: int, end: int
) -> Iterator[tuple[int, int, Format, int | None]]:
    """(offset, length, format, frames that a Xing header in it promises) of each frame."""
    window = _Window(file, end)
    at, format = start, None
    held: tuple[int, int, Format, int | None] | None = None  # until the next one is found
    while True:
        data, i = window.at(at)
        frame = frame_at(data, i)
        if frame is None or frame[1] != format:
            # Bytes may be missing in the frame before, so that the next one begins in it.
            search_from = held[0] + 4 if held else at
            next_at = window.next_frame(at, search_from, format)
            if held and (next_at is None or next_at >= at):
                yield held
            held = None
            if next_at is None:
                return
            at = next_at
            data, i = window.at(at)
            frame = frame_at(data, i)
            if frame is None:
                return  # the file has changed
        length, format = frame
        if i + length > len(data):
            break  # the last frame is cut
        if held:
            yield held
        held = at, length, format, _promised_frames(data[i : i + length], format)
        at += length
    if held:
        yield held


class _Window:
    """The bytes around an offset of a file that ends at `end`."""

    def __init__(self, file: BinaryIO | View, end: int) -> None:
        self._file, self._end = file, end
        self._data, self._start = b"", 0

    def at(self, offset: int) -> tuple[bytes, int]:
        """Bytes that hold some frames from `offset` on, unless the file ends, and its index."""
        i = offset - self._start
        missing = i + _FRAMES_IN_A_ROW * _MAX_FRAME_BYTES > len(self._data)
        if i < 0 or (missing and self._start + len(self._data) < self._end):
            self._file.seek(offset)
            self._data = self._file.read(min(_WINDOW_BYTES, self._end - offset))
            self._start, i = offset, 0
        return self._data, i

    def next_frame(self, first: int, search_from: int, format: Format | None) -> int | None:
        """Offset of the next frame: `first` if one is there, else the first from `search_from`."""
        data, i = self.at(first)
        if _follows(data, i, complete=self._is_last, format=None):
            return first
        at = search_from
        while at < self._end:
            data, i = self.at(at)
            for match in _MAYBE_HEADER.finditer(data, i):
                if _follows(data, match.start(), complete=self._is_last, format=format):
                    return self._start + match.start()
            at = self._start + len(data)
            if self._is_last:
                return None
            at -= _FRAMES_IN_A_ROW * _MAX_FRAME_BYTES
        return None

    @property
    def _is_last(self) -> bool:
        return self._start + len(self._data) >= self._end


def _follows(data: bytes, at: int, *, complete: bool, format: Format | None = None) -> bool:
    """Whether frames of one format follow one another from `at` on.

    At the end of a file (`complete`) fewer will do, and a single one of the format expected.
    """
    first = format
    for count in range(_FRAMES_IN_A_ROW):
        if complete and at == len(data):
            return count >= (1 if format else 2)
        frame = frame_at(data, at)
        if frame is None or first not in (None, frame[1]):
            return False
        at, first = at + frame[0], frame[1]
    return True


def _xing_offset(format: Format) -> int:
    """Offset of a Xing header in its frame of layer III: behind the side information."""
    mpeg_1, mono = format.samples == 1152, format.channels == 1
    return 4 + ((17 if mono else 32) if mpeg_1 else (9 if mono else 17))


def _promised_frames(frame: bytes, format: Format) -> int | None:
    """Number of frames by the Xing header in a frame, 0 where it has no number; None without."""
    if format.layer != 3:
        return None
    at = _xing_offset(format)
    if frame[at : at + 4] not in _COUNT_TAGS:
        return None
    flags, count = struct.unpack_from(">II", frame, at + 4)
    return count if flags & 1 and count < _UNKNOWN_COUNT else 0
