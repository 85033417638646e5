"""The parts of a file: recordings that were appended to one another, and what is none.

A recorder that is paused, or a night's script that joins files, writes one recording behind the
other into one file. A decoder stops at the end of the first. `split` finds where each part begins
and ends, without decoding. A header that gives the size of its file (WAV, AIFF) says where the
next part begins; of the other formats the bytes are searched for the beginning of another file.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ser_core.audio import amr, formats, headers, mpeg, ogg
from ser_core.audio.formats import Container
from ser_core.audio.headers import Declared
from ser_core.audio.views import View

# A file may have this much of something else before its first part.
MAX_PREFIX_BYTES = 64 << 10
# More parts than this are not read.
MAX_PARTS = 10_000
# Fewer bytes than this are no speech and not worth a remark.
MIN_UNREAD_BYTES = 64
# What looks like the beginning of a file, such as the first page of Ogg, may be damaged.
_MAX_FALSE_STARTS = 100
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
    available_s : float or None
        Exact duration, where it was counted.
    has_xing_header : bool
        Whether it is an MP3 file with a count of its frames, so that libsndfile knows its length.
    damaged : tuple of (start, end)
        Bytes between its frames that are damaged and left out of `file`.
    """

    file: View
    start: int
    end: int
    header: bytes
    container: Container | None
    declared: Declared
    available_s: float | None = None
    has_xing_header: bool = False
    damaged: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Layout:
    """The parts of a file, at least one, and the spans of bytes that belong to none."""

    parts: tuple[Part, ...]
    unread: tuple[tuple[int, int], ...] = ()


def split(file: BinaryIO, size: int, *, start: int = 0) -> Layout:
    """Find the parts of a file of `size` bytes. Tags and padding between them are ignored."""
    parts: list[Part] = []
    unread: list[tuple[int, int]] = []
    at = start
    while at < size and len(parts) < MAX_PARTS:
        begin = start = _skip_tags(file, at, size)
        found = _parts_at(file, start, size)
        last = size if parts else min(size, MAX_PREFIX_BYTES)
        false_starts = 0
        while not found and false_starts < _MAX_FALSE_STARTS:
            next_start = _find_start(file, start + 1, last)
            if next_start is None:
                break
            start, found = next_start, _parts_at(file, next_start, size)
            false_starts += 1
        if not found:
            break
        if start > begin:
            unread.append((at, start))
        parts += found
        at = parts[-1].end
    if not parts:
        return Layout((_whole(file, size),))
    unread.append((at, size))
    # MP3 files joined: what lies between them.
    gaps = [(a.end, b.start) for a, b in itertools.pairwise(parts)]
    unread += [gap for gap in gaps if gap not in unread]
    return Layout(
        tuple(parts), tuple(sorted(span for span in unread if not is_negligible(file, *span)))
    )


def whole(file: BinaryIO, size: int) -> Layout:
    """A file as one part, whatever its bytes are."""
    return Layout((_whole(file, size),))


def headerless(file: BinaryIO, size: int) -> Layout:
    """A file without a header, up to where a file with one begins."""
    end = _find_start(file, 1, size, (formats.WAV, formats.FLAC))
    if end is None:
        return whole(file, size)
    header, _ = headers.peek(file)
    first = Part(View(file, [(0, end)]), 0, end, header, None, Declared())
    rest = split(file, size, start=end)
    return Layout((first, *rest.parts), rest.unread)


def first(file: BinaryIO, size: int) -> Layout:
    """A file as one part, of which only the header is read."""
    start = _skip_tags(file, 0, size)
    header = _read(file, start, headers.HEADER_BYTES)
    container = formats.container_of(header)
    if container is None:
        return whole(file, size)
    declared = container.declared(View(file, [(start, size)]), header, size - start)
    end = size if declared.end is None else start + declared.end
    view = View(file, [(start, end)], declared.patches)
    return Layout((Part(view, start, end, header, container, declared),))


def _whole(file: BinaryIO, size: int) -> Part:
    header, _ = headers.peek(file)
    container = formats.container_of(header)
    return Part(View(file, [(0, size)]), 0, size, header, container, Declared())


def _parts_at(file: BinaryIO, start: int, size: int) -> list[Part]:
    """The part that begins at an offset, or several; none where no format is recognised."""
    header = _read(file, start, headers.HEADER_BYTES)
    container = formats.container_of(header)
    if container is formats.AMR:
        return _until_another_file(_amr_parts, file, start, size)
    if container is formats.OGG:
        return _until_another_file(_ogg_parts, file, start, size)
    if container is None:
        if mpeg.begins(file, start, size):
            return _until_another_file(_mpeg_parts, file, start, size)
        return []
    tail = View(file, [(start, size)])
    declared = container.declared(tail, header, size - start)
    if declared.end is not None:
        end = start + declared.end
    else:
        followed_by = (container, *formats.followers(container))
        end = _find_start(file, start + headers.HEADER_BYTES, size, followed_by) or size
    view = View(file, [(start, end)], declared.patches)
    return [Part(view, start, end, header, container, declared)]


def _until_another_file(
    find_parts: Callable[[BinaryIO, int, int], list[Part]], file: BinaryIO, start: int, size: int
) -> list[Part]:
    """Parts that consist of frames or pages, up to where a file of another format begins."""
    parts = find_parts(file, start, size)
    between = [(a.end, b.start) for a, b in itertools.pairwise(parts)]
    damaged = [span for part in parts for span in part.damaged]
    last = [(parts[-1].end, size)] if parts else []
    for gap in sorted(between + damaged + last):
        next_start = _find_start(file, *gap)
        if next_start is not None:
            return find_parts(file, start, next_start)
    return parts


def _amr_parts(file: BinaryIO, start: int, end: int) -> list[Part]:
    spans = amr.spans(file, start, end)
    gaps = [(a[1], b[0]) for a, b in itertools.pairwise(spans)]
    header = _read(file, start, headers.HEADER_BYTES)
    damaged = _without_tags(file, gaps)
    last = spans[-1][1]
    view = View(file, spans)
    return [Part(view, start, last, header, formats.AMR, Declared(), damaged=damaged)]


def _ogg_parts(file: BinaryIO, start: int, end: int) -> list[Part]:
    parts = []
    for chain in ogg.chains(file, start, end):
        header = _read(file, chain.start, headers.HEADER_BYTES)
        view = View(file, [(chain.start, chain.end)])
        damaged = _without_tags(file, chain.damaged)
        part = Part(view, chain.start, chain.end, header, formats.OGG, Declared(), damaged=damaged)
        parts.append(part)
    return parts


def _mpeg_parts(file: BinaryIO, start: int, end: int) -> list[Part]:
    parts = []
    for stream in mpeg.streams(file, start, end):
        first, last = stream.spans[0][0], stream.spans[-1][1]
        gaps = [(a[1], b[0]) for a, b in itertools.pairwise(stream.spans)]
        header = _read(file, first, headers.HEADER_BYTES)
        is_mp3 = stream.format.layer == 3
        prefix = b""
        if is_mp3 and not stream.promised_frames:
            prefix = mpeg.xing_header(header, stream.frames)
        parts.append(
            Part(
                View(file, stream.spans, prefix=prefix),
                first,
                last,
                header,
                formats.MPEG,
                Declared(None if is_mp3 else stream.seconds, stream.format.rate_hz),
                stream.seconds,
                is_mp3,
                _without_tags(file, gaps),
            )
        )
    return parts


def _find_start(
    file: BinaryIO,
    first: int,
    end: int,
    containers: Sequence[Container] = formats.CONTAINERS,
) -> int | None:
    """Offset of the next file of one of the containers that begins from `first` on."""
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
            if candidate.is_start(header) and (
                candidate is not formats.OGG or ogg.is_first_page(header)
            ):
                return start
        at += max(1, len(window) - longest) if at + len(window) < end else len(window)
    return None


def _find(window: bytes, magic: bytes) -> Iterator[int]:
    i = window.find(magic)
    while i >= 0:
        yield i
        i = window.find(magic, i + 1)


def _skip_tags(file: BinaryIO | View, at: int, end: int) -> int:
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


def _without_tags(file: BinaryIO, gaps: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The gaps between frames that hold something else than tags: few bytes may stand for many."""
    return tuple(gap for gap in gaps if _skip_tags(file, *gap) < gap[1])


def is_negligible(file: BinaryIO | View, start: int, end: int) -> bool:
    """Whether bytes between or behind recordings are tags, padding, or too few to matter."""
    start = _skip_tags(file, start, end)
    if end - start < MIN_UNREAD_BYTES:
        return True
    cut = mpeg.frame_at(_read(file, start, 4), 0)
    if cut is not None and end - start < cut[0]:
        return True  # the last frame of a stream that was ended anywhere
    if _read(file, start, 4) == ogg.MAGIC and end - start < ogg.MAX_PAGE_BYTES:
        return True  # the last page
    while start < end:
        window = _read(file, start, min(_WINDOW_BYTES, end - start))
        if not window or window.count(window[0]) < len(window):
            return not window
        start += len(window)
    return True


def _read(file: BinaryIO | View, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)
