"""OUT/ser.duckdb: the views of an output folder, for whoever reads.

`refresh` writes it after every publication and every change, with OUT/_views.sql, its text, beside
it. Each is replaced by one rename and never opened for writing in place. So a reader sees the
output before a run or after it. The views name files by absolute paths: `refresh_if_moved` writes
them anew after the folder was moved. `connect` makes the same views in memory. So an object store
needs no file.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pipelines.storage import changes, files, published
from pipelines.storage.view_statements import (
    ON_FILES,
    TABLES,
    VIEWS,
    as_pattern,
    statements,
    text,
)  # fmt: skip
from ser_core import __version__, temporary
from ser_core.tables import Reader

__all__ = [
    "DATABASE", "SQL", "VIEWS", "as_pattern", "connect", "refresh", "refresh_if_moved",
    "refresh_if_stale", "text",
]  # fmt: skip

DATABASE, SQL = "ser.duckdb", "_views.sql"
_STAGING = "_staging"
_MEMORY = "1GB"
# Unfinished files of `refresh_if_moved` in OUT, without their ending.
UNFINISHED = re.compile(rf"({re.escape(DATABASE)}|{re.escape(SQL)})-[0-9a-f]{{32}}")
_FILE = re.compile(rf"'((?:[^']|'')*)/(?:{'|'.join(TABLES)})/date=[^'/]*/run=[^'/]*/part-[^'/]*'")


def refresh(output: str | os.PathLike) -> None:
    """Replace OUT/ser.duckdb and OUT/_views.sql. The caller holds the output.

    An object store has neither.

    Raises
    ------
    StoreError
        They cannot be written, or a table cannot be read.
    """
    root = files.absolute(output)
    if files.is_remote(root):
        return
    reader = published.open_reader(root)
    sql = _sql(reader, _Listing.of(reader))
    with files.naming(f"--output {root}"):
        os.makedirs(files.join(root, _STAGING), exist_ok=True)
        _replace(root, sql, files.join(root, _STAGING, DATABASE), files.join(root, SQL))


def _replace(root: str, sql: str, new: str, new_sql: str) -> None:
    """Replace both files of the views; the new ones are written under other names first.

    Parameters
    ----------
    root, sql : str
    new, new_sql : str
        Paths of the new files, the second without its ending `.tmp`.
    """
    path, unfinished = files.join(root, DATABASE), new_sql + files.UNFINISHED
    with temporary.folder() as folder:
        # Not in OUT, since DuckDB cannot write to every path, such as one with a question mark.
        made = files.join(folder, DATABASE)
        with _database(made) as db:
            db.execute(sql)
        with suppress(FileNotFoundError):
            os.unlink(new)  # of a command that was killed
        with open(made, "rb") as source, files.written(new) as target:
            shutil.copyfileobj(source, target)
        # Whoever opens it for writing is refused, since the next run replaces it.
        os.chmod(new, os.stat(new).st_mode & 0o444)
        os.replace(new, path)
        files.sync(root)
        with suppress(FileNotFoundError):
            # Of somebody who wrote to an earlier file all the same.
            os.unlink(f"{path}.wal")
        with files.written(unfinished) as text_file:
            text_file.write(sql.encode("utf-8"))
        os.replace(unfinished, files.join(root, SQL))
        files.sync(root)


def refresh_if_moved(output: str | os.PathLike) -> None:
    """Replace the files of the views if they name another folder, or are missing.

    Nothing need be held. A command that holds the output may replace them at the same time: the
    files here have names of their own until they are whole, and if a table has changed meanwhile,
    they are made once more.

    Raises
    ------
    OSError, StoreError, duckdb.Error
        They cannot be written, or a table cannot be read.
    """
    root = files.absolute(output)
    if files.is_remote(root):
        return
    reader, listing = _read_listing(root)
    if not any(listing.paths.values()) or not _is_moved(root):
        return
    before = None
    while before != listing.mark:
        before, own = listing.mark, uuid.uuid4().hex
        new, new_sql = (files.join(root, f"{name}-{own}") for name in (DATABASE, SQL))
        unfinished = [f"{name}{files.UNFINISHED}" for name in (new, new_sql)]
        try:
            _replace(root, _sql(reader, listing), unfinished[0], new_sql)
        finally:
            for path in unfinished:
                with suppress(OSError):
                    os.unlink(path)
        reader, listing = _read_listing(root)


def _is_moved(root: str) -> bool:
    """Whether a file of the views is missing, or names files of another folder."""
    try:
        found = _FILE.search(files.read_text(files.join(root, SQL)))
    except (OSError, ValueError):
        return True
    if not os.path.exists(files.join(root, DATABASE)):
        return True
    # As `as_pattern` and `text` have written it.
    named = re.sub(r"\[([*?[])\]", r"\1", found[1].replace("''", "'")) if found else root
    with suppress(OSError):
        return not os.path.samefile(named, root)
    return True


def refresh_if_stale(output: str | os.PathLike) -> None:
    """Replace the files of the views if the tables changed, or the folder was moved.

    Raises
    ------
    StoreError
        As `refresh`.
    """
    root = files.absolute(output)
    if files.is_remote(root):
        return
    listing = _Listing.of(published.open_reader(root))
    fresh = listing.recorded() is not None and os.path.exists(files.join(root, DATABASE))
    if any(listing.paths.values()) and not fresh:
        refresh(root)


def is_stale(output: str | os.PathLike) -> bool:
    """Whether the files of the views are there and not those of the tables as they are now.

    Raises
    ------
    StoreError
        A table cannot be read.
    """
    root = files.absolute(output)
    database, sql = files.join(root, DATABASE), files.join(root, SQL)
    if files.is_remote(root) or not (os.path.exists(database) or os.path.exists(sql)):
        return False
    import duckdb

    reader = published.open_reader(root)
    expected = _sql(reader, _Listing.of(reader))
    try:
        if files.read_text(sql) != expected:
            return True
        with duckdb.connect(database, read_only=True) as db:
            for name in VIEWS:
                db.execute(f"SELECT * FROM {name} LIMIT 0")
    except (OSError, ValueError, duckdb.Error):
        return True
    return False


@contextmanager
def connect(output: str | os.PathLike) -> Iterator[Any]:
    """A DuckDB connection, in memory, with the views of an output folder as it is now.

    It uses up to 1 GB of memory, then the disk. Nothing need be held. Times are in UTC.

    Raises
    ------
    StoreError
        A table cannot be read.
    """
    reader, listing = _read_listing(files.absolute(output))
    with _database(":memory:") as db:
        if files.is_remote(reader.root):
            from pipelines.storage.duckdb_files import StoreFiles

            db.register_filesystem(StoreFiles())
        db.execute(listing.recorded() or _sql(reader, listing))
        yield db


TRACEBACK = "Traceback (most recent call last)"


def unread(error: Exception) -> str | None:
    """Why a file could not be read, in a line; None where the statement is at fault.

    DuckDB has an error for its own files. An exception of those of an object store comes as a plain
    error with the traceback.
    """
    import duckdb

    text = str(error).strip()
    if TRACEBACK in text:
        return text.splitlines()[-1]
    return text.partition("\n")[0] if isinstance(error, duckdb.IOException) else None


@contextmanager
def _database(path: str) -> Iterator[Any]:
    import duckdb

    with temporary.folder() as folder:
        db = duckdb.connect(path)
        try:
            db.execute(f"SET memory_limit = '{_MEMORY}'")
            db.execute(f"SET temp_directory = {text(folder)}")
            db.execute("SET TimeZone = 'UTC'")
            yield db
        finally:
            db.close()


@dataclass(frozen=True)
class _Listing:
    """The files of the tables that count, at one moment."""

    root: str
    paths: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, reader: Reader) -> _Listing:
        return cls(reader.root, {table: reader.paths(table) for table in TABLES})

    @property
    def mark(self) -> str:
        """The first line of the views over these files. Published files never change."""
        digest = hashlib.sha256("\n".join([__version__, *ON_FILES]).encode())
        for table in TABLES:
            for path in self.paths[table]:
                digest.update(os.fsencode(path) + b"\0")
        return f"-- {digest.hexdigest()}"

    def recorded(self) -> str | None:
        """The text of OUT/_views.sql, if it is over these files."""
        if not files.is_remote(self.root):
            with suppress(OSError, ValueError):
                sql = files.read_text(files.join(self.root, SQL))
                if sql.startswith(self.mark + "\n"):
                    return sql
        return None


def _read_listing(root: str) -> tuple[Reader, _Listing]:
    """The files that count. Nothing is held, so a change that came true meanwhile is listed, too.

    Else the files that it replaced might be gone already, and those that replace them not known.
    """
    before = changes.read(root)
    while True:
        reader = published.open_reader(root)
        listing = _Listing.of(reader)
        after = changes.read(root)
        if after == before:
            return reader, listing
        before = after


def _sql(reader: Reader, listing: _Listing) -> str:
    written = [f"{statement};" for statement in statements(reader, listing.paths)]
    return "\n\n".join([listing.mark, *written]) + "\n"
