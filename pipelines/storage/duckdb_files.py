"""Files of an object store for DuckDB, read by the storage layer and never written."""

from __future__ import annotations

import datetime as dt
from typing import Any

from fsspec import AbstractFileSystem

from pipelines.storage import files


class StoreFiles(AbstractFileSystem):
    """Reads objects by their URLs."""

    protocol = ("s3", "gs")

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return path

    def open(self, path: str, mode: str = "rb", **settings: Any) -> Any:
        if mode != "rb":
            raise PermissionError(f"{path}: opened with mode {mode!r}, 'rb' expected")
        return files.read(path)

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
