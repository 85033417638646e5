"""The one reader of published tables: paths, schemas and rows.

A file is published as `<table>/date=<night>/run=<id>/part-….parquet`. The id is that of the run
that wrote it, or of the change that merged files or erased rows. So the run of a row is its column
`run_id`, and rows of the tables belong together by `run_id` and `uri`, never by their files. A URI
may have rows of several runs; that of the latest run counts (`latest_rows`, or
`database.keep_latest` for more rows than memory holds). The caller says how files are listed and
opened, so that an object store reads like a folder.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_core.errors import TableError
from ser_core.tables.schemas import META, PROBABILITY

PATTERN = "date=*/run=*/part-*.parquet"
RUN = "run_id"


def run_of(path: str) -> str:
    """Id of the run, or of the change, that wrote a published file."""
    return path.split("/")[-2].partition("=")[2]


def night_of(path: str) -> str:
    """Night of a published file, YYYY-MM-DD."""
    return path.split("/")[-3].partition("=")[2]


def beside(path: str, table: str) -> str:
    """The file of another table that holds the same recordings.

    Examples
    --------
    >>> beside("out/recordings/date=2026-03-01/run=r1/part-0.parquet", "segments")
    'out/segments/date=2026-03-01/run=r1/part-0.parquet'
    """
    root, _, date, run, name = path.rsplit("/", 4)
    return "/".join([root, table, date, run, name])


def latest_rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The row of the latest run of each URI, by URI. Rows have `uri` and `run`.

    Examples
    --------
    >>> latest_rows([{"uri": "a.wav", "run": "r2"}, {"uri": "a.wav", "run": "r1"}])
    {'a.wav': {'uri': 'a.wav', 'run': 'r2'}}
    """
    # Run ids sort by time.
    return {row["uri"]: row for row in sorted(rows, key=lambda row: row["run"])}


def label_names(schema: pa.Schema) -> tuple[str, ...]:
    """The labels that have a column of probabilities, in the bundle's order."""
    return _names_after(PROBABILITY, schema)


def meta_names(schema: pa.Schema) -> tuple[str, ...]:
    """The named groups of --uri-fields that have a column."""
    return _names_after(META, schema)


def _names_after(prefix: str, schema: pa.Schema) -> tuple[str, ...]:
    return tuple(name.removeprefix(prefix) for name in schema.names if name.startswith(prefix))


def feature_set_of(schema: pa.Schema) -> tuple[str, str]:
    """Name and fingerprint of the feature set in a file's metadata; empty strings without them."""
    metadata = schema.metadata or {}
    return metadata.get(b"feature_set", b"").decode(), metadata.get(b"fingerprint", b"").decode()


def read_row_groups(
    file: pq.ParquetFile,
    columns: Sequence[str],
    path: str = "",
    groups: Sequence[int] | None = None,
) -> Iterator[pa.Table]:
    """Columns of a file, one row group at a time; of all of them, or of some numbers.

    Raises
    ------
    TableError
        It is damaged.
    """
    for i in range(file.num_row_groups) if groups is None else groups:
        with naming_damage(path):
            rows = file.read_row_group(i, columns=list(columns))
            rows.validate(full=True)
        yield rows


@contextmanager
def naming_damage(path: str) -> Iterator[None]:
    """Turn what pyarrow raises on a damaged file into an error that names the file.

    Raises
    ------
    TableError
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, ConnectionError | FileNotFoundError | PermissionError):
            raise
        cause = str(error).partition("\n")[0]
        raise TableError(
            f"{path or 'a table'}: no whole Parquet file of this program ({cause}); restore it "
            "from a backup, or do as `ser check` advises"
        ) from error


@dataclass(frozen=True)
class Reader:
    """Reads the published tables of one output folder.

    Parameters
    ----------
    root : str
        The folder.
    list_files : callable, optional
        Lists the published files of a table; by default those of a local folder.
    open_file : callable, optional
        Opens a file; by default a local one.

    Examples
    --------
    >>> Reader("no/such/folder").paths("recordings")
    []
    """

    root: str
    list_files: Callable[[str], list[str]] | None = None
    open_file: Callable[[str], pq.ParquetFile] = pq.ParquetFile

    def paths(self, table: str) -> list[str]:
        """All published files of a table, oldest night first, and oldest run within a night."""
        if self.list_files is not None:
            return self.list_files(table)
        return sorted(glob.glob(os.path.join(glob.escape(self.root), table, PATTERN)))

    def newest_first(self, table: str) -> list[str]:
        """All published files of a table, those of the newest run first, changed ones last."""
        return sorted(self.paths(table), key=lambda path: (run_of(path), path), reverse=True)

    def schema(self, path: str) -> pa.Schema:
        """The schema of a published file."""
        with naming_damage(path), self.open_file(path) as file:
            return file.schema_arrow

    def meta_names(self) -> tuple[str, ...]:
        """All names of `meta_` columns that any run wrote, in the order of their appearance."""
        names = [
            name for path in self.paths("recordings") for name in meta_names(self.schema(path))
        ]
        return tuple(dict.fromkeys(names))

    def rows(self, paths: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
        """Columns of published files, with `path` and `run` added, one row group at a time.

        `path` is the row's file, and `run` its run, from the column `run_id`. A column that a file
        lacks is null. `modified_at` becomes the integer `modified_us`, which compares exactly.
        """
        for path in paths:
            with naming_damage(path):
                opened = self.open_file(path)
            with opened as file:
                wanted = dict.fromkeys([*columns, RUN])
                present = [name for name in wanted if name in file.schema_arrow.names]
                if RUN not in present:
                    raise TableError(f"{path}: no column {RUN} in it; a published table expected")
                for group in read_row_groups(file, present, path):
                    with naming_damage(path):
                        rows = _with_place(group, columns, path)
                    yield rows


def _with_place(rows: pa.Table, columns: Sequence[str], path: str) -> pa.Table:
    nulls = pa.nulls(len(rows), pa.string())
    found: dict[str, Any] = {
        name: rows[name] if name in rows.schema.names else nulls for name in columns
    }
    if "modified_at" in found:
        found["modified_us"] = found.pop("modified_at").cast(pa.int64())
    found["path"] = pa.array([path] * len(rows), pa.string())
    found["run"] = rows[RUN]
    return pa.table(found)
