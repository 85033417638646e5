"""What a recording tells before it is decoded.

`ServedFile` is for a child process that reads a file which only its parent can open.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from ser_core import audio
from ser_core.errors import AudioError

# One request fetches at least this much: an object store answers slowly, whatever the size.
_READ_BYTES, _MOST_READ_BYTES = 256 << 10, 64 << 20
_LAST_OFFSET = 1 << 62


@dataclass(frozen=True)
class Header:
    """What a recording tells before it is decoded; `reason` is None unless it is rejected."""

    channels: int = 0
    tracks: int = 1
    declared_s: float | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Opening:
    """How recordings are opened: the arguments of `audio.open`."""

    limits: audio.Limits
    raw: tuple[audio.RawFormat, ...] = ()


def read_header(file: str | int | ServedFile, uri: str, opening: Opening) -> Header:
    """Open a recording and tell what its header says."""
    try:
        with audio.open(
            cast(str | int | BinaryIO, file),
            uri,
            limits=opening.limits,
            raw=opening.raw,
            header_only=True,
        ) as stream:
            return Header(stream.channels, stream.tracks, stream.declared_s)
    except AudioError as error:
        return Header(reason=error.reason, detail=error.detail)
    except MemoryError:
        return Header(reason="crashed", detail="it needed more memory than --memory-mb")
    except Exception as error:  # our bug or a library's costs one recording, not the plan
        return Header(reason="crashed", detail=f"{type(error).__name__}: {error}")


class ServedFile(io.RawIOBase):
    """The child's end: a binary file object that asks the parent for each piece.

    Parameters
    ----------
    ask : callable
        Asks for the bytes from an offset on, at most so many; for the size without an offset.
        The parent's `answer` comes back.
    """

    def __init__(self, ask: Callable[[int | None, int], Any]) -> None:
        self._ask = ask
        self._at = 0
        self._size: int | None = None
        self._piece_at, self._piece = 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            if self._size is None:
                self._size = int(self._ask(None, 0))
            offset += self._size
        elif whence == os.SEEK_CUR:
            offset += self._at
        self._at = max(0, offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        start = self._at - self._piece_at
        if not 0 <= start < len(self._piece):
            self._piece_at, start = self._at, 0
            self._piece = self._ask(self._at, max(len(buffer), _READ_BYTES))
        data = self._piece[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def answer(file: BinaryIO, offset: int | None, length: int) -> bytes | int:
    """The parent's answer: the bytes from an offset on, at most so many; the size for no offset.

    Raises
    ------
    OSError
    """
    if offset is None:
        return file.seek(0, os.SEEK_END)
    file.seek(min(max(0, offset), _LAST_OFFSET))
    return file.read(min(max(0, length), _MOST_READ_BYTES))
