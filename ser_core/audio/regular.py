"""Opens files of bytes, and nothing else that a path may lead to."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader

_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_regular(path: str | os.PathLike) -> BufferedReader:
    """Open a regular file for reading. A pipe would wait for its writer, a device never end.

    Raises
    ------
    OSError
        It cannot be read, or it is no regular file.
    """
    _check(os.stat(path).st_mode, path)
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


def _check(mode: int, path: str | os.PathLike) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"{kind} found, a regular file expected", os.fspath(path))
