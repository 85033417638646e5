"""A part of a file, or several parts of it joined, read as a file of its own."""

from __future__ import annotations

import bisect
import io
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO


class View(io.RawIOBase):
    """Spans of a file, one after the other, with some bytes added or replaced. The file stays open.

    Parameters
    ----------
    file : binary file object
    spans : sequence of (start, end)
        Offsets in `file`.
    patches : mapping of int to bytes
        Offset in the view, and what is read there instead.
    prefix : bytes
        Read before the first span.

    Attributes
    ----------
    furthest : int
        Offset behind the last byte that was read.
    """

    def __init__(
        self,
        file: BinaryIO | View,
        spans: Sequence[tuple[int, int]],
        patches: Mapping[int, bytes] | None = None,
        prefix: bytes = b"",
    ) -> None:
        self._file = file
        self._spans = [(start, end) for start, end in spans if end > start]
        if prefix:
            self._spans.insert(0, (0, len(prefix)))
        # Where in the view each span begins; the last number is the size.
        self._offsets = [0, *itertools.accumulate(end - start for start, end in self._spans)]
        self._patches = {**(patches or {}), **({0: prefix} if prefix else {})}
        self._at = self.furthest = 0

    @property
    def size(self) -> int:
        return self._offsets[-1]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)  # damaged headers make libsndfile go to before the start
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        # Room is made for all that is asked for, which may be what a damaged header says.
        left = max(0, self.size - self._at)
        return super().read(left if size < 0 else min(size, left)) or b""

    def readinto(self, buffer: Any) -> int:
        start, target = self._at, memoryview(buffer).cast("B")
        count = 0
        while count < len(target) and self._at < self.size:
            i = bisect.bisect_right(self._offsets, self._at) - 1
            length = min(len(target) - count, self._offsets[i + 1] - self._at)
            self._file.seek(self._spans[i][0] + self._at - self._offsets[i])
            data = self._file.read(length)
            if not data:
                break
            target[count : count + len(data)] = data
            count += len(data)
            self._at += len(data)
        self.furthest = max(self.furthest, self._at)
        for at, patch in self._patches.items():
            first, last = max(at, start), min(at + len(patch), start + count)
            if first < last:
                target[first - start : last - start] = patch[first - at : last - at]
        return count
