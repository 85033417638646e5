"""A DuckDB database for more rows than memory holds: it uses little memory, then the disk."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from ser_core import temporary

# Rows that travel between Python and DuckDB at a time.
ROWS = 20_000
MEMORY = "400MB"


@contextmanager
def connect() -> Iterator[Any]:
    """A new database, deleted at the end of the context."""
    import duckdb

    with temporary.folder() as folder:
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
    """Number of rows of a table."""
    # All rows are fetched, since DuckDB runs no other query while a result is open.
    return db.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]


def fill(db: Any, name: str, schema: pa.Schema, rows: Iterable[Any]) -> None:
    """Make a table from tuples or Arrow tables."""
    db.register("schema_of", schema.empty_table())
    db.execute(f"CREATE TABLE {name} AS FROM schema_of")
    for batch in _as_arrow(schema, rows):
        db.register("arrow_rows", batch)
        db.execute(f"INSERT INTO {name} FROM arrow_rows")


def _as_arrow(schema: pa.Schema, rows: Iterable[Any]) -> Iterator[pa.Table]:
    """Collect tuples in Arrow tables of up to `ROWS` rows; pass Arrow tables on."""
    rows = iter(rows)
    for first in rows:
        if isinstance(first, pa.Table):
            yield first
            continue
        batch = [first, *itertools.islice(rows, ROWS - 1)]
        columns = zip(zip(*batch, strict=True), schema, strict=True)
        yield pa.table([pa.array(values, field.type) for values, field in columns], schema=schema)


def fetch(db: Any, query: str, values: Sequence[Any] = ()) -> Iterator[tuple]:
    """Yield the rows of a query with these values, fetched in batches."""
    answer = db.execute(query, values)
    while batch := answer.fetchmany(ROWS):
        yield from batch


def keep_latest(db: Any, name: str, rows: str) -> None:
    """A new table with the latest row of each URI.

    Parameters
    ----------
    db
        From `connect`.
    name : str
        The new table.
    rows : str
        The table that holds all rows, with columns `uri` and `run`.
    """
    # Run ids sort by time.
    db.execute(
        f"CREATE TABLE {name} AS SELECT DISTINCT ON (uri) * FROM {rows} ORDER BY uri, run DESC"
    )
