"""Finding what there is to do: new recordings to examine, or stored ones to label again.

Both lists can be larger than the memory. DuckDB sorts and joins them and spills to the disk if it
must. On one machine the launcher reads the result chunk by chunk. On a cluster a worker does.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage import files, inputs, published
from ser_core import tables
from ser_core.errors import TRIED_AGAIN
from ser_core.examine import Source
from ser_core.tables import database

_SOURCE = pa.schema([("uri", pa.string()), ("size_bytes", pa.int64()), ("modified_us", pa.int64())])


@dataclass(frozen=True)
class Todo:
    """The recordings that a finder found.

    Parameters
    ----------
    matched : int
        All recordings, done or not.
    todo : int
        Recordings that are not done.
    elements : iterator of Source or Stored
        The recordings that are not done, in the order of their URIs or parts.
    """

    matched: int
    todo: int
    elements: Iterator[Any]


@dataclass(frozen=True)
class Stored:
    """Recordings of one part.

    Parameters
    ----------
    recordings, segments, features : str
        The part's file in each table.
    uris : tuple of str
    """

    recordings: str
    segments: str
    features: str
    uris: tuple[str, ...]


class Finder(Protocol):
    """Finds what there is to do. It is pickled when a worker is to find it."""

    def found(self) -> AbstractContextManager[Todo]:
        """Start the search. The elements can be read while the context lasts."""


def uris(element: Source | Stored) -> Sequence[str]:
    """URIs of the recordings of an element."""
    return element.uris if isinstance(element, Stored) else (element.uri,)


@dataclass(frozen=True)
class NewRecordings:
    """Recordings that match the patterns and have not been done.

    A recording is done if its URI, size and modified time stand in `recordings`. Recordings that
    were rejected for a reason in `TRIED_AGAIN` are not done.

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
        """Match the patterns and leave out what is done.

        Raises
        ------
        UsageError, StoreError
            As `inputs.match` and `published.open_reader`.
        """
        with database.connect() as db:
            sources = ((s.uri, s.size_bytes, s.modified_us) for s in self.sources())
            database.fill(db, "named", _SOURCE, sources)
            db.execute("CREATE TABLE matched AS SELECT DISTINCT ON (uri) * FROM named")
            database.fill(db, "done", _SOURCE, self._done())
            db.execute(
                "CREATE TABLE todo AS SELECT * FROM matched WHERE NOT EXISTS (FROM done WHERE "
                "done.uri = matched.uri AND done.size_bytes IS NOT DISTINCT FROM "
                "matched.size_bytes AND done.modified_us IS NOT DISTINCT FROM "
                "matched.modified_us)"
            )
            rows = database.fetch(db, "SELECT * FROM todo ORDER BY uri")
            elements = (Source(*row) for row in rows)
            yield Todo(database.count(db, "matched"), database.count(db, "todo"), elements)

    def sources(self) -> Iterator[Source]:
        """Recordings that match the patterns. A recording may come twice."""
        return inputs.match(self.patterns, date=self.date, output=self.output)

    def _done(self) -> Iterator[pa.Table]:
        """Rows of recordings that are done, one row group at a time."""
        published_tables = published.open_reader(self.output)
        columns = ["uri", "size_bytes", "modified_at", "reason"]
        for rows in published_tables.rows(published_tables.paths("recordings"), columns):
            again = pc.is_in(rows["reason"], value_set=pa.array(TRIED_AGAIN, pa.string()))
            yield rows.filter(pc.invert(again)).select(_SOURCE.names).cast(_SOURCE)


@dataclass(frozen=True)
class StoredRecordings:
    """The newest row of each recording that a model has not labelled yet, by part.

    Parameters
    ----------
    output : str
    model_id : str
    """

    output: str
    model_id: str

    @contextmanager
    def found(self) -> Iterator[Todo]:
        """Read the ledger and leave out what the model has labelled.

        Raises
        ------
        StoreError
            As `published.open_reader`.
        """
        schema = pa.schema(
            [*_SOURCE, ("rejected", pa.bool_()), ("by_model", pa.bool_()),
             ("path", pa.string()), ("run", pa.string())]
        )  # fmt: skip
        with database.connect() as db:
            database.fill(db, "stored", schema, self._rows(schema))
            database.keep_latest(db, "newest", "stored")
            # A recording that was replaced by an unreadable one has nothing to label.
            db.execute("DELETE FROM newest WHERE rejected")
            db.execute(
                "CREATE TABLE todo AS SELECT uri, path FROM newest WHERE NOT EXISTS (FROM stored "
                "WHERE by_model AND stored.uri = newest.uri AND stored.size_bytes IS NOT DISTINCT "
                "FROM newest.size_bytes AND stored.modified_us IS NOT DISTINCT FROM "
                "newest.modified_us)"
            )
            rows = database.fetch(db, "SELECT path, uri FROM todo ORDER BY path, uri")
            parts = (
                Stored(
                    path, tables.beside(path, "segments"), tables.beside(path, "features"),
                    tuple(uri for _, uri in part_rows),
                )
                for path, part_rows in itertools.groupby(rows, key=lambda row: row[0])
            )  # fmt: skip
            yield Todo(database.count(db, "newest"), database.count(db, "todo"), parts)

    def _rows(self, schema: pa.Schema) -> Iterator[pa.Table]:
        published_tables = published.open_reader(self.output)
        columns = ["uri", "size_bytes", "modified_at", "status", "model_id"]
        for rows in published_tables.rows(published_tables.paths("recordings"), columns):
            rejected = pc.equal(rows["status"], tables.REJECTED)
            by_model = pc.fill_null(pc.equal(rows["model_id"], self.model_id), False)
            rows = rows.append_column("rejected", rejected)
            rows = rows.append_column("by_model", pc.and_(by_model, pc.invert(rejected)))
            yield rows.select(schema.names).cast(schema)


# ---------------------------------------------------------------- the list that the books compare


LIST = pa.schema([("uri", pa.string())])


@contextmanager
def listing(path: str) -> Iterator[Any]:
    """Write the list of a run's recordings. Call the result with URIs to add them."""
    with files.written(path) as file, tables.writer(file, LIST) as writer:
        held: list[str] = []

        def flush() -> None:
            writer.write_table(pa.table([pa.array(held, pa.string())], schema=LIST))
            held.clear()

        def add(uris: Sequence[str]) -> None:
            held.extend(uris)
            if len(held) >= database.ROWS:
                flush()

        yield add
        flush()
