"""What there is to do: matched recordings that no run has dealt with, stored ones to label anew.

Both can be far more than fits into memory: DuckDB sorts, joins and, where it must, spills to the
disk. On one machine the launcher reads the answer chunk by chunk; on a cluster a worker does.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage import files, inputs, store
from ser_core import tables
from ser_core.errors import TRIED_AGAIN
from ser_core.examine import Source

# Rows that travel between Python and DuckDB at a time.
ROWS = 20_000
MEMORY = "400MB"
_SOURCE = pa.schema([("uri", pa.string()), ("size_bytes", pa.int64()), ("modified_us", pa.int64())])


@dataclass(frozen=True)
class Todo:
    """What was found.

    Parameters
    ----------
    matched : int
        Recordings, done or not.
    todo : int
        Those that are not done.
    elements : iterator
        Each is, or names, some of these, in the order of their URIs or parts; see `uris`.
    """

    matched: int
    todo: int
    elements: Iterator[Any]


@dataclass(frozen=True)
class Stored:
    """Some recordings of one part: the files of this name in all three tables hold them."""

    recordings: str
    segments: str
    features: str
    uris: tuple[str, ...]


def beside(path: str, table: str) -> str:
    """The part of another table that holds the same recordings as a part of `recordings`."""
    root, _, date, run, name = path.rsplit("/", 4)
    return files.join(root, table, date, run, name)


class Finder(Protocol):
    """Finds what there is to do; travels to a worker."""

    def found(self) -> AbstractContextManager[Todo]:
        """Look; the elements can be had while the context lasts."""


def uris(element: Source | Stored) -> Sequence[str]:
    """Of the recordings of an element."""
    return element.uris if isinstance(element, Stored) else (element.uri,)


@dataclass(frozen=True)
class NewRecordings:
    """Recordings that patterns name, less those of the ledger.

    A recording is done where its URI, size and modified time stand in `recordings`; `unreadable`
    ones are tried again.

    Parameters
    ----------
    patterns : tuple of str
    date : datetime.date
    output : str
    """

    patterns: tuple[str, ...]
    date: dt.date
    output: str

    @contextmanager
    def found(self) -> Iterator[Todo]:
        """Raises what `inputs.match` and `Tables.files` do."""
        with database() as db:
            fill(
                db,
                "named",
                _SOURCE,
                ((one.uri, one.size_bytes, one.modified_us) for one in self.sources()),
            )
            db.execute("CREATE TABLE matched AS SELECT DISTINCT ON (uri) * FROM named")
            fill(db, "done", _SOURCE, self._done())
            db.execute(
                "CREATE TABLE todo AS SELECT * FROM matched WHERE NOT EXISTS (FROM done WHERE "
                "done.uri = matched.uri AND done.size_bytes IS NOT DISTINCT FROM "
                "matched.size_bytes AND done.modified_us IS NOT DISTINCT FROM "
                "matched.modified_us)"
            )
            rows = _rows(db, "SELECT * FROM todo ORDER BY uri")
            yield Todo(count(db, "matched"), count(db, "todo"), (Source(*row) for row in rows))

    def sources(self) -> Iterator[Source]:
        """What the patterns name; one may come twice."""
        return inputs.match(self.patterns, date=self.date, output=self.output)

    def _done(self) -> Iterator[pa.Table]:
        """The ledger, a row group at a time."""
        for path in store.Tables(self.output).files("recordings"):
            for rows in row_groups(path, ["uri", "size_bytes", "modified_at", "reason"]):
                again = pc.is_in(rows["reason"], value_set=pa.array(TRIED_AGAIN, pa.string()))
                rows = rows.filter(pc.invert(again))
                times = rows["modified_at"].cast(pa.int64())
                yield pa.table([rows["uri"], rows["size_bytes"], times], schema=_SOURCE)


@dataclass(frozen=True)
class StoredRecordings:
    """The newest row of every recording that a model has not labelled yet, by part.

    Parameters
    ----------
    output : str
    model_id : str
    """

    output: str
    model_id: str

    @contextmanager
    def found(self) -> Iterator[Todo]:
        """Raises what `Tables.files` does."""
        schema = pa.schema(
            [*_SOURCE, ("rejected", pa.bool_()), ("by_model", pa.bool_()),
             ("path", pa.string()), ("run", pa.string())]
        )  # fmt: skip
        with database() as db:
            fill(db, "every", schema, self._rows(schema))
            # Replaced by something that cannot be labelled, a recording is out.
            db.execute(
                "CREATE TABLE newest AS SELECT * FROM (SELECT DISTINCT ON (uri) * FROM every "
                "ORDER BY uri, run DESC) WHERE NOT rejected"
            )
            db.execute(
                "CREATE TABLE todo AS SELECT uri, path FROM newest WHERE NOT EXISTS (FROM every "
                "WHERE by_model AND every.uri = newest.uri AND every.size_bytes IS NOT DISTINCT "
                "FROM newest.size_bytes AND every.modified_us IS NOT DISTINCT FROM "
                "newest.modified_us)"
            )
            rows = _rows(db, "SELECT path, uri FROM todo ORDER BY path, uri")
            parts = (
                Stored(
                    path, beside(path, "segments"), beside(path, "features"),
                    tuple(uri for _, uri in some),
                )
                for path, some in itertools.groupby(rows, key=lambda row: row[0])
            )  # fmt: skip
            yield Todo(count(db, "newest"), count(db, "todo"), parts)

    def _rows(self, schema: pa.Schema) -> Iterator[pa.Table]:
        columns = ["uri", "size_bytes", "modified_at", "status", "model_id"]
        for path in store.Tables(self.output).files("recordings"):
            run = path.split("/")[-2]
            for rows in row_groups(path, columns):
                n = len(rows)
                rejected = pc.equal(rows["status"], tables.REJECTED)
                by_model = pc.fill_null(pc.equal(rows["model_id"], self.model_id), False)
                yield pa.table(
                    [
                        rows["uri"],
                        rows["size_bytes"],
                        rows["modified_at"].cast(pa.int64()),
                        rejected,
                        pc.and_(by_model, pc.invert(rejected)),
                        pa.array([path] * n, pa.string()),
                        pa.array([run] * n, pa.string()),
                    ],
                    schema=schema,
                )


# ---------------------------------------------------------------- DuckDB, within bounds


@contextmanager
def database() -> Iterator[Any]:
    """A database of its own that takes little memory, and the disk beyond."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="ser-") as folder:
        db = duckdb.connect(os.path.join(folder, "db"))
        try:
            db.execute(f"SET memory_limit = '{MEMORY}'")
            db.execute(f"SET temp_directory = '{folder}'")
            db.execute("SET threads = 1")
            db.execute("SET preserve_insertion_order = false")
            yield db
        finally:
            db.close()


def count(db: Any, table: str) -> int:
    """Rows of a table."""
    # All rows are fetched: an answer that is open keeps DuckDB from taking anything else.
    return db.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]


def fill(db: Any, name: str, schema: pa.Schema, rows: Iterable[Any]) -> None:
    """A new table of tuples, or of Arrow tables."""
    db.register("schema_of", schema.empty_table())
    db.execute(f"CREATE TABLE {name} AS FROM schema_of")
    for some in _as_arrow(schema, rows):
        db.register("arrow_rows", some)
        db.execute(f"INSERT INTO {name} FROM arrow_rows")


def _as_arrow(schema: pa.Schema, rows: Iterable[Any]) -> Iterator[pa.Table]:
    """Tuples as Arrow tables of some length; Arrow tables as they are."""
    rows = iter(rows)
    for first in rows:
        if isinstance(first, pa.Table):
            yield first
            continue
        some = [first, *itertools.islice(rows, ROWS - 1)]
        columns = zip(zip(*some, strict=True), schema, strict=True)
        yield pa.table([pa.array(values, one.type) for values, one in columns], schema=schema)


def _rows(db: Any, query: str) -> Iterator[tuple]:
    answer = db.execute(query)
    while some := answer.fetchmany(ROWS):
        yield from some


def row_groups(path: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns of a Parquet file, a row group at a time."""
    with store.parquet(path) as file:
        for i in range(file.num_row_groups):
            yield file.read_row_group(i, columns=columns)


# ---------------------------------------------------------------- the list that the books compare


LIST = pa.schema([("uri", pa.string())])


@contextmanager
def listing(path: str) -> Iterator[Any]:
    """A file of the recordings that a run was given; call it with the URIs of an element."""
    with files.written(path) as file, tables.writer(file, LIST) as writer:
        held: list[str] = []

        def flush() -> None:
            writer.write_table(pa.table([pa.array(held, pa.string())], schema=LIST))
            held.clear()

        def add(some: Sequence[str]) -> None:
            held.extend(some)
            if len(held) >= ROWS:
                flush()

        yield add
        flush()
