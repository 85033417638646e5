"""The one reader of published tables: which file is whose, what its schema tells, the latest rows.

A file is published as `<table>/date=<night>/run=<run id>/part-….parquet`. Files of one name and
run belong together: those of `segments` and `features` hold the recordings of the one of
`recordings`. A URI may have rows of several runs; the latest run's counts. Where the files lie
and how they are opened is the caller's, so that an object store reads like a folder.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_core.tables.schemas import META, PROBABILITY

PATTERN = "date=*/run=*/part-*.parquet"


def run_of(path: str) -> str:
    """Run id of a published file."""
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


def label_names(schema: pa.Schema) -> tuple[str, ...]:
    """The labels that have a column of probabilities, in the bundle's order."""
    return _names_after(PROBABILITY, schema)


def meta_names(schema: pa.Schema) -> tuple[str, ...]:
    """The named groups of --uri-fields that have a column."""
    return _names_after(META, schema)


def _names_after(prefix: str, schema: pa.Schema) -> tuple[str, ...]:
    return tuple(name.removeprefix(prefix) for name in schema.names if name.startswith(prefix))


def feature_set_of(schema: pa.Schema) -> tuple[str, str]:
    """Name and fingerprint of the feature set that a file was made with; empty if not stated."""
    metadata = schema.metadata or {}
    return metadata.get(b"feature_set", b"").decode(), metadata.get(b"fingerprint", b"").decode()


def read_row_groups(file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns of a file, a row group at a time."""
    for i in range(file.num_row_groups):
        yield file.read_row_group(i, columns=list(columns))


@dataclass(frozen=True)
class Reader:
    """Reads the published tables of one folder.

    Parameters
    ----------
    root : str
        A folder of this machine, unless the two below look elsewhere.
    list_files : callable, optional
        Gives the published files of a table.
    open_file : callable, optional
        Opens one as a `pyarrow.parquet.ParquetFile`.

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
        """All published files of a table, those of the newest run first, whatever its night."""
        return sorted(self.paths(table), key=lambda path: (run_of(path), path), reverse=True)

    def schema(self, path: str) -> pa.Schema:
        """The schema of a published file."""
        with self.open_file(path) as file:
            return file.schema_arrow

    def meta_names(self) -> tuple[str, ...]:
        """All names of `meta_` columns that any run wrote, in the order of their appearance."""
        names = [
            name for path in self.paths("recordings") for name in meta_names(self.schema(path))
        ]
        return tuple(dict.fromkeys(names))

    def rows(self, paths: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of published files, with `path` and `run`, a row group at a time.

        A column that a file lacks is null there. `modified_at` comes as `modified_us`, an integer
        that compares exactly.
        """
        for path in paths:
            with self.open_file(path) as file:
                present = [name for name in columns if name in file.schema_arrow.names]
                for group in read_row_groups(file, present):
                    yield _with_place(group, columns, path)


def _with_place(rows: pa.Table, columns: Sequence[str], path: str) -> pa.Table:
    count = len(rows)
    found: dict[str, Any] = {
        name: rows[name] if name in rows.schema.names else pa.nulls(count, pa.string())
        for name in columns
    }
    if "modified_at" in found:
        found["modified_us"] = found.pop("modified_at").cast(pa.int64())
    for name, value in (("path", path), ("run", run_of(path))):
        found[name] = pa.array([value] * count, pa.string())
    return pa.table(found)
