"""Opens files of bytes, and nothing else that a path may lead to.

A descriptor is opened like a path, as a file with a position of its own: a process that may open
nothing reads a recording that its parent has opened.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader, RawIOBase
from typing import Any

_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class _SharedFile(RawIOBase):
    """A file that another part of the program has open, and closes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        if base is None:
            base = os.fstat(self._descriptor).st_size
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a position before the start of the file")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count


def open_regular(path: str | os.PathLike | int) -> BufferedReader:
    """Open a regular file for reading. A pipe would wait for its writer, a device never end.

    Parameters
    ----------
    path : path, or int
        A descriptor is not closed with the file.

    Raises
    ------
    OSError
        It cannot be read, or it is no regular file.
    """
    _check(os.stat(path).st_mode, path)
    if isinstance(path, int):
        return BufferedReader(_SharedFile(path))
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115
    try:
        _check(os.fstat(file.fileno()).st_mode, path)
    except BaseException:
        file.close()
        raise
    return file


def _open_at_once(path: str, flags: int) -> int:
    # A pipe that has just taken the file's place would wait for its writer.
    return os.open(path, flags | os.O_NONBLOCK)


def _check(mode: int, path: str | os.PathLike | int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"{kind} found, a regular file expected", str(path))
