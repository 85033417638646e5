"""Finding what there is to do: new recordings to examine, or stored ones to label again.

Both lists can be larger than the memory. DuckDB sorts and joins them and spills to the disk if it
must. On one machine the launcher reads the result chunk by chunk. On a cluster a worker does.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import redo
from pipelines.redo import Redo
from pipelines.storage import files, forgotten, inputs, published
from pipelines.storage.uri_patterns import to_regex
from pipelines.stored import Stored, elements, find_features
from pipelines.tried_with import TriedWith
from ser_core import tables
from ser_core.errors import TRIED_AGAIN
from ser_core.examine import Source
from ser_core.tables import database

_SOURCE = pa.schema([("uri", pa.string()), ("size_bytes", pa.int64()), ("modified_us", pa.int64())])
_URI = pa.schema([("uri", pa.string())])
_COVERED = pa.schema([*_SOURCE, ("kind", pa.string())])
_PAST = pa.schema([*_SOURCE, ("reason", pa.string()), ("again", pa.bool_())])
_SAME_FILE = (
    "past.uri = matched.uri AND past.size_bytes IS NOT DISTINCT FROM matched.size_bytes "
    "AND past.modified_us IS NOT DISTINCT FROM matched.modified_us"
)
_STORED = pa.schema(
    [("uri", pa.string()), ("run", pa.string()), ("path", pa.string()),
     ("features_run", pa.string()), ("spoke", pa.bool_()), ("rejected", pa.bool_()),
     ("by_model", pa.bool_())]
)  # fmt: skip
# A plan looks for files that vanished below so many patterns and lines of lists.
_PATTERNS = 100
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Matched:
    """Counts of what matched, and of what was left out: the books before anything is examined.

    Parameters
    ----------
    matched : int
        All recordings, done or not.
    already_done : int
        Recordings that were done before.
    waiting : int
        Recordings that are too young (`--min-age-s`); the next run meets them.
    forgotten : int
        Recordings that were forgotten (`ser forget`, `--keep-days`).
    skipped : int
        Files beside recordings, which are not among those that matched.
    rejected_earlier : Counter of str
        Recordings already done that were rejected then, by reason.
    warnings : tuple of str
        Lines for the user.
    redone : int
        Recordings that were done before and are to be done again (`--redo`).
    """

    matched: int
    already_done: int = 0
    waiting: int = 0
    forgotten: int = 0
    skipped: int = 0
    rejected_earlier: Counter[str] = field(default_factory=Counter)
    warnings: tuple[str, ...] = ()
    redone: int = 0

    @property
    def todo(self) -> int:
        """Number of recordings that are to be done now."""
        return self.matched - self.already_done - self.waiting - self.forgotten


@dataclass(frozen=True)
class Survey:
    """What a plan tells besides: how the archive compares with the tables.

    Parameters
    ----------
    changed : int
        Recordings to do whose file was replaced or touched since.
    tried_again : int
        Recordings to do that were rejected, and that a setting, an extra or a version may cure.
    vanished : int
        Recordings of the tables that the patterns cover and that are not there any more.
    first_vanished : str or None
    """

    changed: int = 0
    tried_again: int = 0
    vanished: int = 0
    first_vanished: str | None = None


@dataclass(frozen=True)
class Todo:
    """The recordings that a finder found.

    Parameters
    ----------
    counts : Matched
    elements : iterator of Source or Stored
        The recordings that are to be done, in the order of their URIs or features.
    """

    counts: Matched
    elements: Iterator[Any]
    survey: Survey = field(default_factory=Survey)


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
    were rejected are not done if the reason is one of `TRIED_AGAIN`, or if what may cure it has
    changed since.

    Parameters
    ----------
    patterns : tuple of str
    dates : tuple of datetime.date
        For `{date:…}` in the patterns.
    output : str
    tried_with : TriedWith, optional
        What may cure rejections; without it they are final.
    min_age_s : float
        Recordings that were changed later than this many seconds ago wait.
    redo : Redo, optional
        What is to be done again.
    with_survey : bool
        Compare the archive with the tables, too.
    """

    patterns: tuple[str, ...]
    dates: tuple[dt.date, ...]
    output: str
    tried_with: TriedWith | None = None
    min_age_s: float = 0.0
    redo: Redo | None = None
    with_survey: bool = False

    @contextmanager
    def found(self) -> Iterator[Todo]:
        """Match the patterns and leave out what is done.

        Raises
        ------
        NothingMatchedError
            What `--redo` names is not there, or not matched.
        UsageError, StoreError
            As `inputs.scan` and `published.open_reader`.
        """
        with database.connect() as db:
            files_found = (
                (item.source.uri, item.source.size_bytes, item.source.modified_us, item.kind)
                for item in self.matches()
            )
            database.fill(db, "covered", _COVERED, files_found)
            db.execute(
                "CREATE TABLE matched AS SELECT DISTINCT ON (uri) uri, size_bytes, modified_us "
                f"FROM covered WHERE kind = '{inputs.RECORDING}'"
            )
            database.fill(db, "past", _PAST, self._past())
            db.execute(
                "CREATE TABLE new AS SELECT * FROM matched WHERE NOT EXISTS (FROM past WHERE "
                f"NOT again AND {_SAME_FILE})"
            )
            remarks = self._add_redo(db)
            database.fill(db, "forgotten", _URI, self._forgotten(db))
            db.execute(
                f"CREATE TABLE todo AS SELECT * FROM new WHERE ({self._is_old_enough()}) "
                "AND NOT EXISTS (FROM forgotten WHERE forgotten.uri = new.uri)"
            )
            counts = self._counts(db, remarks)
            survey = self._survey(db) if self.with_survey else Survey()
            rows = database.fetch(
                db,
                "SELECT todo.*, rejected.uri IS NOT NULL FROM todo LEFT JOIN (SELECT DISTINCT uri "
                "FROM past WHERE reason IS NOT NULL) AS rejected USING (uri) ORDER BY todo.uri",
            )
            yield Todo(counts, (Source(*row) for row in rows), survey)

    def _survey(self, db: Any) -> Survey:
        """Compare what is matched with what is stored."""
        same = f"FROM past JOIN todo AS matched ON {_SAME_FILE}"
        (again,) = db.execute(f"SELECT count(DISTINCT past.uri) {same} WHERE again").fetchall()
        (changed,) = db.execute(
            "SELECT count(*) FROM todo SEMI JOIN past USING (uri) WHERE uri NOT IN "
            f"(SELECT past.uri {same})"
        ).fetchall()
        covered = [
            to_regex(pattern)
            for pattern in itertools.islice(inputs.expanded(self.patterns, self.dates), _PATTERNS)
        ]
        db.execute("CREATE TABLE covering AS SELECT unnest(?) AS regex", [covered])
        (vanished,) = db.execute(
            "SELECT count(*), min(uri) FROM (SELECT DISTINCT uri FROM past ANTI JOIN covered "
            "USING (uri)) WHERE EXISTS (FROM covering WHERE regexp_full_match(uri, regex))"
        ).fetchall()
        return Survey(changed[0], again[0], *vanished)

    def _is_old_enough(self) -> str:
        """A condition in SQL. A time that is far ahead is wrong: such files do not wait for it."""
        if not self.min_age_s:
            return "true"
        now_us = time.time_ns() // 1000
        young = f"BETWEEN {now_us - round(self.min_age_s * 1e6)} AND {now_us + _DAY_US}"
        return f"modified_us IS NULL OR modified_us NOT {young}"

    def matches(self) -> Iterator[inputs.Match]:
        """Files that the patterns cover. A file may come twice."""
        return inputs.scan(self.patterns, dates=self.dates, output=self.output)

    def _add_redo(self, db: Any) -> list[str]:
        """Add what is to be done again to `new`, and make the table `redo`; returns remarks."""
        if self.redo is None:
            db.execute("CREATE TABLE redo (uri VARCHAR)")
            return []
        redo.select(db, self.output, self.redo)
        db.execute(
            "INSERT INTO new SELECT matched.* FROM matched JOIN redo USING (uri) "
            "WHERE NOT EXISTS (FROM new WHERE new.uri = matched.uri)"
        )
        return redo.check_matched(db, self.redo)

    def _past(self) -> Iterator[pa.Table]:
        """Rows of recordings, one row group at a time, and whether each is tried again."""
        published_tables = published.open_reader(self.output)
        columns = ["uri", "size_bytes", "modified_at", "reason", "tried_with"]
        cures = self.tried_with.by_reason() if self.tried_with else {}
        for rows in published_tables.rows(published_tables.paths("recordings"), columns):
            again = pc.is_in(rows["reason"], value_set=pa.array(TRIED_AGAIN, pa.string()))
            for reason, text in cures.items():
                same = pc.fill_null(pc.equal(rows["tried_with"], text), False)
                rejected = pc.fill_null(pc.equal(rows["reason"], reason), False)
                again = pc.or_(again, pc.and_(rejected, pc.invert(same)))
            yield rows.append_column("again", again).select(_PAST.names).cast(_PAST)

    def _forgotten(self, db: Any) -> Iterator[tuple[str]]:
        """The URIs of new recordings that are marked as forgotten."""
        marks = forgotten.read_marks(self.output)
        if not marks:
            return
        # A cursor of its own, since rows are inserted meanwhile.
        new = db.cursor().execute("SELECT uri, size_bytes, modified_us FROM new")
        while batch := new.fetchmany(database.ROWS):
            yield from ((batch[i][0],) for i in np.flatnonzero(marks.has_files(batch)))

    def _counts(self, db: Any, remarks: Sequence[str]) -> Matched:
        matched, new, forgotten_, todo = (
            database.count(db, name) for name in ("matched", "new", "forgotten", "todo")
        )
        rejected = db.execute(
            "SELECT reason, count(DISTINCT uri) FROM (SELECT matched.uri, reason FROM matched "
            f"JOIN past ON {_SAME_FILE} WHERE reason IS NOT NULL AND NOT again AND NOT EXISTS ("
            "FROM past AS accepted WHERE accepted.reason IS NULL AND accepted.uri = matched.uri "
            "AND accepted.size_bytes IS NOT DISTINCT FROM matched.size_bytes AND "
            "accepted.modified_us IS NOT DISTINCT FROM matched.modified_us) AND NOT EXISTS ("
            "FROM new WHERE new.uri = matched.uri)) GROUP BY reason"
        ).fetchall()
        return Matched(
            matched=matched,
            already_done=matched - new,
            waiting=new - forgotten_ - todo,
            forgotten=forgotten_,
            skipped=_beside(db, inputs.SIDECAR)[0],
            rejected_earlier=Counter(dict(rejected)),
            warnings=(*_warnings(db), *remarks),
            redone=db.execute("SELECT count(*) FROM todo SEMI JOIN redo USING (uri)").fetchall()[0][
                0
            ],
        )


def _beside(db: Any, kind: str) -> tuple[int, str | None]:
    """How many files of a kind were covered and are not among those that matched; the first."""
    return db.execute(
        f"SELECT count(DISTINCT uri), min(uri) FROM covered WHERE kind = '{kind}' AND NOT EXISTS "
        "(FROM matched WHERE matched.uri = covered.uri)"
    ).fetchall()[0]


def _warnings(db: Any) -> Iterator[str]:
    count, first = _beside(db, inputs.OTHER_CASE)
    if first is not None:
        extension = os.path.splitext(first)[1][1:]
        both = "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in extension)
        yield (
            f"{count:,} files were not read: small and capital letters differ between their names "
            f"and --input, the first: {first}; write both cases, such as "
            f"*.{both or '[wW][aA][vV]'}, or add a pattern"
        )
    count, first = _beside(db, inputs.NOTHING)
    if first is not None:
        yield f"{count:,} of the patterns of --input match nothing, the first: {first}"


@dataclass(frozen=True)
class StoredRecordings:
    """The newest row of each recording, if a model has not labelled it yet.

    Recordings whose features were erased are left out.

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
        reader = published.open_reader(self.output)
        with database.connect() as db:
            database.fill(db, "stored", _STORED, self._rows(reader))
            database.keep_latest(db, "newest", "stored")
            db.execute("DROP TABLE stored")
            # A recording that was replaced by an unreadable one has nothing to label.
            db.execute("DELETE FROM newest WHERE rejected")
            db.execute("CREATE TABLE todo AS SELECT * FROM newest WHERE NOT by_model")
            newest, todo = database.count(db, "newest"), database.count(db, "todo")
            missing, paths = find_features(db, reader, "todo")
            counts = Matched(
                newest - missing, already_done=newest - todo, warnings=_without_features(missing)
            )
            yield Todo(counts, elements(db, reader, paths))

    def _rows(self, reader: tables.Reader) -> Iterator[pa.Table]:
        columns = ["uri", "status", "model_id", "features_run_id"]
        for rows in reader.rows(reader.paths("recordings"), columns):
            status, model = rows["status"], rows["model_id"].cast(pa.string())
            examined = rows["features_run_id"].cast(pa.string())
            found = {
                "rejected": pc.equal(status, tables.REJECTED),
                "by_model": pc.fill_null(pc.equal(model, self.model_id), False),
                "spoke": pc.is_in(status, pa.array([tables.LABELLED, tables.EXTRACTED])),
                # Outputs of older versions hold features with every label.
                "features_run": pc.coalesce(examined, rows["run"]),
            }
            for name, values in found.items():
                rows = rows.append_column(name, values)
            yield rows.select(_STORED.names).cast(_STORED)


def _without_features(count: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (
        f"{count:,} recordings have no stored features (erased by --keep-features-days or "
        "`ser forget`) and are left out",
    )


# ---------------------------------------------------------------- the list that the books compare


LIST = pa.schema([("uri", pa.string()), ("rejected_before", pa.bool_())])


@contextmanager
def listing(path: str) -> Iterator[Any]:
    """Write the list of a run's recordings. Call the result with an element to add it."""
    with files.written(path) as file, tables.writer(file, LIST) as writer:
        held: list[dict] = []

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(held, schema=LIST))
            held.clear()

        def add(element: Source | Stored) -> None:
            before = isinstance(element, Source) and element.rejected_before
            held.extend({"uri": uri, "rejected_before": before} for uri in uris(element))
            if len(held) >= database.ROWS:
                flush()

        yield add
        flush()
