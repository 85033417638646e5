"""Temporary folders that nobody else may read, and that are gone even after a crash.

A folder is made private (0700). Its owner holds a lock in it, which the kernel frees when the
process ends, however it ends. `sweep` deletes the folders whose lock nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "ser-work-"
_LOCK = ".held"


@contextmanager
def folder() -> Iterator[str]:
    """A private temporary folder, deleted at the end of the context."""
    path, lock = _held()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _held() -> tuple[str, int]:
    """A new folder and the descriptor of its lock."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX)
        lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)  # another process swept it before it was held


def sweep() -> int:
    """Delete what killed processes of this user have left; returns the number of folders."""
    swept = 0
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = path.lstat()
            # Without its lock it may be being made at this moment.
            if not path.is_dir() or path.is_symlink() or found.st_uid != os.getuid():
                continue
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
                swept += 1
            finally:
                os.close(lock)
    return swept
