"""The pages of an Ogg file (RFC 3533)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from ser_core.audio.views import View

MAGIC = b"OggS"
_HEADER_BYTES = 27
MAX_PAGE_BYTES = _HEADER_BYTES + 255 + 255 * 255
_WINDOW_BYTES = 1 << 20
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def is_first_page(header: bytes) -> bool:
    """Whether a page begins a stream."""
    return header[:5] == MAGIC + b"\0" and header[5:6] in (b"\2", b"\6")


@dataclass
class Chain:
    """Pages of one file: from its first page to its last one.

    Parameters
    ----------
    start, end : int
    damaged : list of (start, end)
        Spans between that are no valid pages.
    """

    start: int
    end: int
    damaged: list[tuple[int, int]] = field(default_factory=list)


def chains(file: BinaryIO | View, start: int, end: int) -> list[Chain]:
    """The files that were appended to one another between two offsets."""
    found = [Chain(start, start)]
    window, base, at = b"", start, start
    among_first_pages = True
    while at < end:
        if at - base + MAX_PAGE_BYTES > len(window) and base + len(window) < end:
            file.seek(at)
            window, base = file.read(min(_WINDOW_BYTES, end - at)), at
            if not window:
                break
        i = at - base
        length = _page_length(window, i)
        if length:
            # A file of several streams begins with one first page for each of them.
            is_first = is_first_page(window[i : i + 6])
            if is_first and not among_first_pages:
                found.append(Chain(at, at))
            among_first_pages = is_first
            if at > found[-1].end:
                found[-1].damaged.append((found[-1].end, at))
            at += length
            found[-1].end = at
            continue
        next_i = window.find(MAGIC, i + 1)
        if next_i < 0:
            if base + len(window) >= end:
                break
            next_i = len(window) - len(MAGIC) + 1  # the magic may be across the end of the window
        at = base + next_i
    return [chain for chain in found if chain.end > chain.start]


def _page_length(data: bytes, at: int) -> int:
    """Length of the page at `at`; 0 where there is none, or one with a wrong checksum."""
    if data[at : at + 4] != MAGIC or at + _HEADER_BYTES > len(data):
        return 0
    segments = data[at + 26]
    length = _HEADER_BYTES + segments + sum(data[at + 27 : at + 27 + segments])
    if at + length > len(data):
        return 0
    page = data[at : at + length]
    expected = int.from_bytes(page[22:26], "little")
    return length if _checksum(page[:22] + bytes(4) + page[26:]) == expected else 0


def _checksum(data: bytes) -> int:
    """CRC-32 of Ogg: that of zlib, with the bits of each byte and of the result reversed."""
    crc = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)
