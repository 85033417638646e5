"""Verifying the rows of an output folder: the books of its runs, and what belongs together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.storage import forgotten, published
from ser_core import tables
from ser_core.tables import database, reader

_SPOKEN = (tables.LABELLED, tables.EXTRACTED)


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Parameters
    ----------
    kind : str
        Stable name: `file`, `hash`, `schema`, `books`, `rows`, `forgotten`, `views`, `log`.
    text : str
        What was found.
    advice : str
        What to do.
    """

    kind: str
    text: str
    advice: str


@dataclass
class Checked:
    """The result of a check.

    Parameters
    ----------
    findings : list of Finding
    files, without_hash : int
        Files of tables that were read, and those among them that have no hash.
    rows : dict of str to int
        By table.
    erased : int
        Rows of recordings that the books hold and that were forgotten.
    """

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    without_hash: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    erased: int = 0

    def add(self, kind: str, text: str, advice: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(kind, text, advice))


_S = pa.string()
_RECORDINGS = pa.schema(
    [("run_id", _S), ("uri", _S), ("features_run_id", _S), ("status", _S), ("recording_id", _S)]
)
_COUNTED = pa.schema([("run_id", _S), ("uri", _S), ("n", pa.int64())])
_OUTCOMES = ("labelled", "extracted", "no_speech", "rejected")
_RUNS = pa.schema([("run_id", _S), *((name, pa.int64()) for name in _OUTCOMES)])


def check_rows(
    readable: dict[str, list[str]], log: list[forgotten.Forgetting], checked: Checked
) -> None:
    """Add what is wrong with the rows to the findings.

    Parameters
    ----------
    readable : dict of str to list of str
        Files that can be read, by table.
    log : list of Forgetting
    checked : Checked
    """
    checked.erased = sum(entry.counts.get("recordings", 0) for entry in log if entry.only is None)
    with database.connect() as db:
        _fill(db, readable)
        _check_books(db, checked)
        _check_rows(db, log, checked)


def _fill(db: Any, readable: dict[str, list[str]]) -> None:
    database.fill(db, "recordings", _RECORDINGS, _columns(readable["recordings"], _RECORDINGS))
    database.fill(db, "runs", _RUNS, _columns(readable["runs"], _RUNS))
    for table in ("segments", "features"):
        database.fill(db, table, _COUNTED, _counted(readable[table]))
        db.execute(
            f"CREATE TABLE {table}_of AS SELECT run_id, uri, sum(n) AS n FROM {table} GROUP BY ALL"
        )


def _columns(paths: list[str], schema: pa.Schema) -> Iterator[pa.Table]:
    for path in paths:
        with published.open_parquet(path) as file:
            present = [name for name in schema.names if name in file.schema_arrow.names]
            for rows in reader.read_row_groups(file, present):
                columns = [
                    rows[item.name] if item.name in present else pa.nulls(len(rows), item.type)
                    for item in schema
                ]
                yield pa.table(columns, names=schema.names).cast(schema)


def _counted(paths: list[str]) -> Iterator[pa.Table]:
    for path in paths:
        for rows in published.read_row_groups(path, ["run_id", "uri"]):
            grouped = rows.group_by(["run_id", "uri"]).aggregate([("uri", "count")])
            yield (
                grouped.select(["run_id", "uri", "uri_count"])
                .rename_columns(_COUNTED.names)
                .cast(_COUNTED)
            )


def _check_books(db: Any, checked: Checked) -> None:
    """Rows of each run, compared with its row in `runs`, less what was forgotten."""
    sums_of = ", ".join(f"count(*) FILTER (status = '{name}') AS {name}" for name in _OUTCOMES)
    db.execute(f"CREATE TABLE found AS SELECT run_id, {sums_of} FROM recordings GROUP BY run_id")
    less = " OR ".join(
        f"coalesce(found.{name}, 0) <> coalesce(runs.{name}, 0)" for name in _OUTCOMES
    )
    missing = 0
    for run_id, expected, found, more in db.execute(
        f"SELECT runs.run_id, {_total('runs')}, {_total('found')}, "
        + " OR ".join(f"coalesce(found.{name}, 0) > coalesce(runs.{name}, 0)" for name in _OUTCOMES)
        + f" FROM runs LEFT JOIN found USING (run_id) WHERE {less} ORDER BY 1"
    ).fetchall():
        missing += expected - found
        if more or not checked.erased:
            checked.add(
                "books",
                f"run {run_id}: {found:,} rows in recordings, {expected:,} in its books, by status",
                "restore the files of this run from a backup, or do it again: ser run --redo "
                f"run={run_id}",
            )
    if checked.erased and missing != checked.erased:
        checked.add(
            "books",
            f"{missing:,} rows of recordings are missing from the runs, and {checked.erased:,} "
            "were forgotten",
            "restore the missing files from a backup, or do the calls again from their audio",
        )
    for run_id, count in db.execute(
        "SELECT run_id, count(*) FROM recordings WHERE NOT EXISTS (FROM runs WHERE "
        "runs.run_id = recordings.run_id) GROUP BY run_id ORDER BY 1"
    ).fetchall():
        checked.add(
            "books",
            f"run {run_id}: {count:,} rows in recordings, and no row in runs",
            "restore its file of runs from a backup",
        )
    for run_id, count in db.execute(
        "SELECT run_id, count(*) FROM runs GROUP BY run_id HAVING count(*) > 1 ORDER BY 1"
    ).fetchall():
        checked.add("books", f"run {run_id}: {count} rows in runs", "delete the files that differ")


def _total(table: str) -> str:
    return " + ".join(f"coalesce({table}.{name}, 0)" for name in _OUTCOMES)


def _check_rows(db: Any, log: list[forgotten.Forgetting], checked: Checked) -> None:
    """Each recording with its segments and features, and nothing without a recording."""
    spoken = ", ".join(f"'{status}'" for status in _SPOKEN)
    _report(
        db, checked, "rows of recordings are there twice",
        "SELECT any_value(uri) FROM recordings GROUP BY run_id, uri HAVING count(*) > 1",
    )  # fmt: skip
    _report(
        db, checked, "recordings with speech have no segments",
        f"SELECT uri FROM recordings ANTI JOIN segments_of USING (run_id, uri) "
        f"WHERE status IN ({spoken})",
    )  # fmt: skip
    _report(
        db, checked, "recordings without speech have segments",
        f"SELECT uri FROM recordings SEMI JOIN segments_of USING (run_id, uri) "
        f"WHERE status NOT IN ({spoken})",
    )  # fmt: skip
    for table in ("segments", "features"):
        _report(
            db, checked, f"recordings have {table} and no row in recordings",
            f"SELECT uri FROM {table}_of ANTI JOIN recordings USING (run_id, uri)",
        )  # fmt: skip
    marks = forgotten.marks(log, only=forgotten.FEATURES)
    rows = database.fetch(
        db,
        "SELECT r.uri, r.recording_id, f.n FROM recordings AS r JOIN segments_of AS s "
        "ON s.run_id = r.run_id AND s.uri = r.uri LEFT JOIN features_of AS f "
        "ON f.run_id = coalesce(r.features_run_id, r.run_id) AND f.uri = r.uri "
        f"WHERE r.status IN ({spoken}) AND s.n IS DISTINCT FROM f.n",
    )
    wrong: list[str] = []
    for uri, recording_id, count in rows:
        if count is not None or not marks.has_recordings([recording_id])[0]:
            wrong.append(uri)
    if wrong:
        checked.add(
            "rows",
            f"{len(wrong):,} recordings have other numbers of features than of segments, the "
            f"first: {min(wrong)}",
            "restore the files of features from a backup, or do the calls again: ser run --redo",
        )


def _report(db: Any, checked: Checked, text: str, query: str) -> None:
    [(count, first)] = db.execute(f"SELECT count(*), min(uri) FROM ({query}) AS t(uri)").fetchall()
    if count:
        checked.add(
            "rows",
            f"{count:,} {text}, the first: {first}",
            "restore the files that are missing from a backup, or do the calls again: "
            "ser run --redo",
        )
