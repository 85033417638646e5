"""Recordings of the tables whose features are read again: to label them, to fit or compare models.

The features of a recording are the rows of `features` with its URI and its `features_run_id`. They
may lie in a file of that run, or in one that `ser compact` or `ser forget` wrote. So they are
looked up, and each element names one file of features and the row groups that hold its rows.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.storage import changes, published
from ser_core.tables import Reader, beside, database
from ser_core.tables.reader import RUN, night_of, run_of

# Recordings of an element at most: a worker holds their rows, but not their features, in memory.
ELEMENT = 500
_INDEX = pa.schema(
    [("uri", pa.string()), ("run", pa.string()), ("file", pa.int32()), ("first", pa.int32()),
     ("last", pa.int32())]
)  # fmt: skip


class Key(NamedTuple):
    """A row of `recordings`: its URI, its run, and the run whose features belong to it."""

    uri: str
    run_id: str
    features_run_id: str


@dataclass(frozen=True)
class Stored:
    """Recordings of the tables whose features lie in one file.

    Parameters
    ----------
    keys : tuple of Key
    recordings, segments : tuple of str
        Files that hold their rows, and perhaps others.
    features : str or None
        The file of their features; None if none of them has speech.
    row_groups : tuple of int
        Row groups of that file that hold their rows.
    """

    keys: tuple[Key, ...]
    recordings: tuple[str, ...]
    segments: tuple[str, ...]
    features: str | None = None
    row_groups: tuple[int, ...] = ()

    @property
    def uris(self) -> tuple[str, ...]:
        """URIs of the recordings."""
        return tuple(key.uri for key in self.keys)


def find_features(db: Any, reader: Reader, rows: str) -> tuple[int, list[str]]:
    """Make the table `placed`: rows, each with the file and row groups of its features.

    Parameters
    ----------
    db
        From `database.connect`.
    reader : Reader
    rows : str
        Name of a table with the columns `uri`, `run`, `path`, `features_run` and `spoke` (whether
        it has features).

    Returns
    -------
    int
        Rows that are left out, since their features were erased.
    list of str
        Files of features, by the number that stands in `placed`.
    """
    wanted = {run for (run,) in db.execute(
        f"SELECT DISTINCT features_run FROM {rows} WHERE spoke"
    ).fetchall()}  # fmt: skip
    paths = [
        path
        for path in reader.paths("features")
        if run_of(path) in wanted or changes.is_change(run_of(path))
    ]
    database.fill(db, "feature_rows", _INDEX, _index(paths))
    db.execute(
        "CREATE TABLE feature_places AS SELECT uri, run, min(file) AS file, min(first) AS first, "
        "max(last) AS last FROM feature_rows GROUP BY uri, run"
    )
    db.execute("DROP TABLE feature_rows")
    db.execute(
        f"CREATE TABLE placed AS SELECT {rows}.uri, {rows}.run, {rows}.path, features_run, spoke, "
        f"file, first, last FROM {rows} LEFT JOIN feature_places AS places ON spoke AND "
        f"places.uri = {rows}.uri AND places.run = features_run"
    )
    missing = db.execute("SELECT count(*) FROM placed WHERE spoke AND file IS NULL").fetchall()
    db.execute("DELETE FROM placed WHERE spoke AND file IS NULL")
    return missing[0][0], paths


def _index(paths: Sequence[str]) -> Iterator[pa.Table]:
    """Which recordings a row group holds, one row group at a time."""
    for number, path in enumerate(paths):
        for group, rows in enumerate(published.read_row_groups(path, ["uri", RUN])):
            found = rows.group_by(["uri", RUN]).aggregate([])
            count = len(found)
            columns = [found["uri"], found[RUN]]
            columns += [pa.array([value] * count, pa.int32()) for value in (number, group, group)]
            yield pa.table(columns, schema=_INDEX)


def elements(db: Any, reader: Reader, paths: Sequence[str]) -> Iterator[Stored]:
    """The rows of `placed` in elements of up to `ELEMENT` recordings, in the order of features.

    Parameters
    ----------
    db, reader
    paths : sequence of str
        From `find_features`.
    """
    beside_of = Beside(reader, "segments")
    rows = database.fetch(
        db,
        "SELECT file, uri, run, features_run, path, first, last FROM placed "
        "ORDER BY file NULLS LAST, first, path, uri",
    )
    for file, of_file in itertools.groupby(rows, key=lambda row: row[0]):
        while batch := list(itertools.islice(of_file, ELEMENT)):
            recordings = tuple(dict.fromkeys(row[4] for row in batch))
            segments = dict.fromkeys(path for name in recordings for path in beside_of(name))
            yield Stored(
                keys=tuple(Key(*row[1:4]) for row in batch),
                recordings=recordings,
                segments=tuple(segments),
                features=None if file is None else paths[file],
                row_groups=(
                    ()
                    if file is None
                    else tuple(range(min(r[5] for r in batch), max(r[6] for r in batch) + 1))
                ),
            )


class Beside:
    """Files of a table that may hold the rows of the recordings of a file."""

    def __init__(self, reader: Reader, table: str) -> None:
        self._table = table
        self._by_night: dict[str, list[str]] = defaultdict(list)
        for path in reader.paths(table):
            self._by_night[night_of(path)].append(path)

    def __call__(self, recordings: str) -> Sequence[str]:
        night = self._by_night.get(night_of(recordings), [])
        path = beside(recordings, self._table)
        if path in night and not changes.is_change(run_of(path)):
            return [path]
        # `ser compact` and `ser forget` keep rows in their night.
        return night


def to_matrix(vectors: pa.ChunkedArray) -> np.ndarray:
    """A column of vectors as float32 [n, d]."""
    column = vectors.combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), column.type.list_size)
