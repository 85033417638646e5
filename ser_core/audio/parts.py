"""The parts of a file: recordings that were appended to one another, and what is none.

A recorder that is paused, or a night's script that joins files, writes one recording behind the
other into one file. A decoder stops at the end of the first. `split` finds where each part begins
and ends, without decoding. A header that gives the size of its file (WAV, AIFF) says where the
next part begins; of the other formats the bytes are searched for the beginning of another file.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ser_core.audio import formats, headers, mpeg
from ser_core.audio.formats import Container
from ser_core.audio.headers import Declared
from ser_core.audio.views import View

# A file may have this much of something else before its first part.
MAX_PREFIX_BYTES = 64 << 10
# More parts than this are not read.
MAX_PARTS = 10_000
# Fewer bytes than this are no speech and not worth a remark.
MIN_UNREAD_BYTES = 64
_WINDOW_BYTES = 1 << 20
_ID3V1_BYTES = 128


@dataclass(frozen=True)
class Part:
    """A recording within a file.

    Parameters
    ----------
    file : View
        Its bytes.
    start, end : int
        Where it is in the whole file.
    header : bytes
        Its first `headers.HEADER_BYTES` bytes.
    container : Container or None
        None where no format is recognised.
    declared : Declared
    damaged : tuple of (start, end)
        Bytes between its frames that are damaged and left out of `file`.
    """

    file: View
    start: int
    end: int
    header: bytes
    container: Container | None
    declared: Declared
    damaged: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Layout:
    """The parts of a file, at least one, and the spans of bytes that belong to none."""

    parts: tuple[Part, ...]
    unread: tuple[tuple[int, int], ...] = ()


def split(file: BinaryIO, size: int) -> Layout:
    """Find the parts of a file of `size` bytes. Tags and padding between them are ignored."""
    parts: list[Part] = []
    unread: list[tuple[int, int]] = []
    at = 0
    while at < size and len(parts) < MAX_PARTS:
        start = _skip_tags(file, at, size)
        found = _parts_at(file, start, size)
        if not found:
            last = size if parts else min(size, MAX_PREFIX_BYTES)
            next_start = _find_start(file, start + 1, last)
            if next_start is None:
                break
            unread.append((at, next_start))
            found = _parts_at(file, next_start, size)
        parts += found
        at = parts[-1].end
    if not parts:
        return Layout((_whole(file, size),))
    unread.append((at, size))
    # MP3 files joined: what lies between them.
    gaps = [(a.end, b.start) for a, b in itertools.pairwise(parts)]
    unread += [gap for gap in gaps if gap not in unread]
    return Layout(
        tuple(parts), tuple(sorted(span for span in unread if not _is_negligible(file, *span)))
    )


def headerless(file: BinaryIO, size: int) -> Layout:
    """A file without a header: one part, whatever its bytes are."""
    return Layout((_whole(file, size),))


def _whole(file: BinaryIO, size: int) -> Part:
    header, _ = headers.peek(file)
    return Part(View(file, [(0, size)]), 0, size, header, None, Declared())


def _parts_at(file: BinaryIO, start: int, size: int) -> list[Part]:
    """The part that begins at an offset, or several of MP3; none where no format is recognised."""
    header = _read(file, start, headers.HEADER_BYTES)
    container = formats.container_of(header)
    if container is None:
        if not mpeg.begins(file, start, size):
            return []
        return _mpeg_parts(file, start, _find_start(file, start + 1, size) or size)
    tail = View(file, [(start, size)])
    declared = container.declared(tail, header, size - start)
    if declared.end is not None:
        end = start + declared.end
    else:
        end = _next_start(file, container, start, size)
    view = View(file, [(start, end)], declared.patches)
    return [Part(view, start, end, header, container, declared)]


def _next_start(file: BinaryIO, container: Container, start: int, size: int) -> int:
    """Where the next part begins, behind a part that does not say how long it is."""
    search_from = start + headers.HEADER_BYTES
    if container.name == "Ogg":
        # A file of several streams begins with one first page for each of them.
        search_from = start
        while formats.is_ogg_start(page := _read(file, search_from, 27 + 255)):
            search_from += 27 + page[26] + sum(page[27 : 27 + page[26]])
    only = container if container.holds_others else None
    return _find_start(file, search_from, size, only) or size


def _mpeg_parts(file: BinaryIO, start: int, end: int) -> list[Part]:
    parts = []
    for stream in mpeg.streams(file, start, end):
        first, last = stream.spans[0][0], stream.spans[-1][1]
        gaps = [(a[1], b[0]) for a, b in itertools.pairwise(stream.spans)]
        parts.append(
            Part(
                View(file, stream.spans),
                first,
                last,
                _read(file, first, headers.HEADER_BYTES),
                formats.MPEG,
                # By a Xing header, libsndfile knows the length, and leaves out the padding.
                Declared(
                    seconds=None if stream.promised_frames else stream.seconds,
                    rate_hz=stream.format.rate_hz,
                ),
                tuple(gap for gap in gaps if not _is_negligible(file, *gap)),
            )
        )
    return parts


def _find_start(
    file: BinaryIO, first: int, end: int, container: Container | None = None
) -> int | None:
    """Offset of the next file that begins from `first` on; of one container, or of any."""
    containers = (container,) if container else formats.CONTAINERS
    longest = max(len(magic) for c in containers for magic in c.magics)
    at = first
    while at < end:
        window = _read(file, at, min(_WINDOW_BYTES, end - at))
        if not window:
            return None
        candidates = [
            (at + i - candidate.magic_at, candidate)
            for candidate in containers
            for magic in candidate.magics
            for i in _find(window, magic)
        ]
        for start, candidate in sorted(candidates, key=operator.itemgetter(0)):
            if start < first:
                continue
            header = _read(file, start, headers.HEADER_BYTES)
            if candidate.is_start(header) and candidate.begins_part(header):
                return start
        at += max(1, len(window) - longest) if at + len(window) < end else len(window)
    return None


def _find(window: bytes, magic: bytes) -> Iterator[int]:
    i = window.find(magic)
    while i >= 0:
        yield i
        i = window.find(magic, i + 1)


def _skip_tags(file: BinaryIO, at: int, end: int) -> int:
    """Offset behind the tags (ID3v2, ID3v1, APE) that begin at `at`."""
    while True:
        header = _read(file, at, 32)
        if header[:3] in (b"ID3", b"3DI") and len(header) >= 10 and max(header[6:10]) < 128:
            length = 0
            for byte in header[6:10]:
                length = length << 7 | byte
            at += 10 + length + (10 if header[5] & 0x10 else 0)
        elif header.startswith(b"TAG"):
            at += _ID3V1_BYTES
        elif header.startswith(b"APETAGEX") and len(header) == 32:
            at += 32 + int.from_bytes(header[12:16], "little")
        else:
            return min(at, end)


def _is_negligible(file: BinaryIO, start: int, end: int) -> bool:
    """Whether bytes between or behind recordings are tags, padding, or too few to matter."""
    start = _skip_tags(file, start, end)
    if end - start < MIN_UNREAD_BYTES:
        return True
    cut = mpeg.frame_at(_read(file, start, 4), 0)
    if cut is not None and end - start < cut[0]:
        return True  # the last frame of a stream that was ended anywhere
    while start < end:
        window = _read(file, start, min(_WINDOW_BYTES, end - start))
        if not window or window.count(window[0]) < len(window):
            return not window
        start += len(window)
    return True


def _read(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)
