"""Files of an object store for DuckDB, read by the storage layer and never written."""

from __future__ import annotations

import datetime as dt
import io
import threading
from typing import Any

from fsspec import AbstractFileSystem

from pipelines.storage import files


class ThreadsFile:
    """A file with a position for each thread.

    DuckDB seeks and then reads, in several threads at once over one file. With one position a
    thread would read what another one looked for.

    Parameters
    ----------
    file : file object
        Can be read and sought.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._own = threading.local()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._lock:
            if whence == io.SEEK_CUR:
                offset, whence = self.tell() + offset, io.SEEK_SET
            self._own.position = self._file.seek(offset, whence)
        return self._own.position

    def tell(self) -> int:
        return getattr(self._own, "position", 0)

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            self._file.seek(self.tell())
            data = self._file.read(size)
        self._own.position = self.tell() + len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class StoreFiles(AbstractFileSystem):
    """Reads objects by their URLs."""

    protocol = ("s3", "gs")

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return path

    def open(self, path: str, mode: str = "rb", **settings: Any) -> Any:
        if mode != "rb":
            raise PermissionError(f"{path}: opened with mode {mode!r}, 'rb' expected")
        return ThreadsFile(files.read(path))

    def exists(self, path: str, **settings: Any) -> bool:
        return files.exists(path)

    def glob(self, path: str, **settings: Any) -> list[str]:
        # Only whole paths are asked for.
        return [path]

    def modified(self, path: str) -> dt.datetime:
        """DuckDB asks for it to keep what it has read; a published file never changes."""
        return dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

    def info(self, path: str, **settings: Any) -> dict[str, Any]:
        with files.read(path) as file:
            return {"name": path, "type": "file", "size": file.seek(0, 2)}
