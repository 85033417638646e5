"""What there is to do: matched recordings that no run has dealt with, stored ones to label anew.

Both can be far more than fits into memory: DuckDB sorts, joins and, where it must, spills to the
disk. On one machine the launcher reads the answer chunk by chunk; on a cluster a worker does.
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
        with database.connect() as db:
            database.fill(
                db,
                "named",
                _SOURCE,
                ((one.uri, one.size_bytes, one.modified_us) for one in self.sources()),
            )
            db.execute("CREATE TABLE matched AS SELECT DISTINCT ON (uri) * FROM named")
            database.fill(db, "done", _SOURCE, self._done())
            db.execute(
                "CREATE TABLE todo AS SELECT * FROM matched WHERE NOT EXISTS (FROM done WHERE "
                "done.uri = matched.uri AND done.size_bytes IS NOT DISTINCT FROM "
                "matched.size_bytes AND done.modified_us IS NOT DISTINCT FROM "
                "matched.modified_us)"
            )
            rows = database.fetch(db, "SELECT * FROM todo ORDER BY uri")
            sources = (Source(*row) for row in rows)
            yield Todo(database.count(db, "matched"), database.count(db, "todo"), sources)

    def sources(self) -> Iterator[Source]:
        """What the patterns name; one may come twice."""
        return inputs.match(self.patterns, date=self.date, output=self.output)

    def _done(self) -> Iterator[pa.Table]:
        """The ledger, a row group at a time."""
        published_tables = published.open_reader(self.output)
        columns = ["uri", "size_bytes", "modified_at", "reason"]
        for rows in published_tables.rows(published_tables.paths("recordings"), columns):
            again = pc.is_in(rows["reason"], value_set=pa.array(TRIED_AGAIN, pa.string()))
            yield rows.filter(pc.invert(again)).select(_SOURCE.names).cast(_SOURCE)


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
        with database.connect() as db:
            database.fill(db, "every", schema, self._rows(schema))
            database.keep_latest(db, "newest", "every")
            # Replaced by something that cannot be labelled, a recording is out.
            db.execute("DELETE FROM newest WHERE rejected")
            db.execute(
                "CREATE TABLE todo AS SELECT uri, path FROM newest WHERE NOT EXISTS (FROM every "
                "WHERE by_model AND every.uri = newest.uri AND every.size_bytes IS NOT DISTINCT "
                "FROM newest.size_bytes AND every.modified_us IS NOT DISTINCT FROM "
                "newest.modified_us)"
            )
            rows = database.fetch(db, "SELECT path, uri FROM todo ORDER BY path, uri")
            parts = (
                Stored(
                    path, tables.beside(path, "segments"), tables.beside(path, "features"),
                    tuple(uri for _, uri in some),
                )
                for path, some in itertools.groupby(rows, key=lambda row: row[0])
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
    """A file of the recordings that a run was given; call it with the URIs of an element."""
    with files.written(path) as file, tables.writer(file, LIST) as writer:
        held: list[str] = []

        def flush() -> None:
            writer.write_table(pa.table([pa.array(held, pa.string())], schema=LIST))
            held.clear()

        def add(some: Sequence[str]) -> None:
            held.extend(some)
            if len(held) >= database.ROWS:
                flush()

        yield add
        flush()
