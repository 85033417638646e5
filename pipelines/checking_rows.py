"""Verifying the rows of an output folder: the books of its runs, and what belongs together.

Only rows that count are judged: the latest of each URI. What later runs took the place of may be
incomplete; it is told, and nothing need be done about it. A run that was done again (`--redo
run=ID`, or `date=` with its date) need not have all rows of its books.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.storage import changes, forgotten, published
from ser_core import tables
from ser_core.tables import database, reader

_SPOKEN = (tables.LABELLED, tables.EXTRACTED)
# Runs that an advice lists.
_LISTED = 5


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


@dataclass(frozen=True)
class Damage:
    """A file of the tables that is not as it was written.

    Parameters
    ----------
    kind : str
        As that of a `Finding`.
    path : str
    text : str
        What was found.
    """

    kind: str
    path: str
    text: str


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
    superseded : list of str
        What is incomplete and need not be whole any more, since later runs did it again.
    """

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    without_hash: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    erased: int = 0
    superseded: list[str] = field(default_factory=list)

    def add(self, kind: str, text: str, advice: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(kind, text, advice))


_S = pa.string()
_RECORDINGS = pa.schema(
    [("run_id", _S), ("uri", _S), ("features_run_id", _S), ("status", _S), ("recording_id", _S),
     ("date", _S)]
)  # fmt: skip
_KEY = pa.schema([("uri", _S), ("run_id", _S)])
_COUNTED = pa.schema([("run_id", _S), ("uri", _S), ("n", pa.int64())])
_OUTCOMES = ("labelled", "extracted", "no_speech", "rejected")
_RUNS = pa.schema(
    [("run_id", _S), *((name, pa.int64()) for name in _OUTCOMES), ("redo", pa.list_(_S)),
     ("redo_left", pa.int64()), ("date", _S), ("path", _S)]
)  # fmt: skip
_DONE_AGAIN = "done again since"


def check_rows(
    readable: dict[str, list[str]],
    damaged: list[Damage],
    log: list[forgotten.Forgetting],
    checked: Checked,
) -> None:
    """Add what is wrong with the files and rows to the findings.

    Parameters
    ----------
    readable : dict of str to list of str
        Files that can be read, by table.
    damaged : list of Damage
        Files that are damaged; some of them can be read.
    log : list of Forgetting
    checked : Checked
    """
    checked.erased = sum(entry.counts.get("recordings", 0) for entry in log if entry.only is None)
    with database.connect() as db:
        _fill(db, readable)
        _find_superseded(db)
        for damage in damaged:
            _add_damage(db, damage, checked)
        _check_books(db, checked)
        _check_rows(db, log, checked)


def _fill(db: Any, readable: dict[str, list[str]]) -> None:
    database.fill(db, "all_rows", _RECORDINGS, _columns(readable["recordings"], _RECORDINGS))
    database.fill(db, "runs", _RUNS, _columns(readable["runs"], _RUNS))
    for table in ("segments", "features"):
        database.fill(db, table, _COUNTED, _counted(readable[table]))
        db.execute(
            f"CREATE TABLE {table}_of AS SELECT run_id, uri, sum(n) AS n FROM {table} GROUP BY ALL"
        )


def _columns(paths: list[str], schema: pa.Schema) -> Iterator[pa.Table]:
    for path in paths:
        place = {"path": path, "date": reader.night_of(path)}
        with published.open_parquet(path) as file:
            present = [name for name in schema.names if name in file.schema_arrow.names]
            for rows in reader.read_row_groups(file, present):
                columns = [
                    pa.array([place[item.name]] * len(rows), _S) if item.name in place
                    else rows[item.name] if item.name in present
                    else pa.nulls(len(rows), item.type)
                    for item in schema
                ]  # fmt: skip
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


def _find_superseded(db: Any) -> None:
    """Make the tables `latest`, `recordings` and `superseded` of rows, and `done_again` of runs."""
    # Run ids sort by time.
    db.execute("CREATE TABLE latest AS SELECT uri, max(run_id) AS run_id FROM all_rows GROUP BY 1")
    for name, join in (("recordings", "SEMI"), ("superseded", "ANTI")):
        db.execute(f"CREATE TABLE {name} AS FROM all_rows {join} JOIN latest USING (uri, run_id)")
    db.execute(
        "CREATE TABLE redone AS SELECT selection, max(run_id) AS by_run FROM (SELECT unnest(redo) "
        "AS selection, run_id FROM runs WHERE coalesce(redo_left, 0) = 0) GROUP BY selection"
    )
    db.execute(
        "CREATE TABLE done_again AS SELECT DISTINCT known.run_id FROM ("
        "SELECT run_id, date FROM runs UNION SELECT run_id, date FROM all_rows) AS known "
        "JOIN redone ON redone.selection IN ('run=' || known.run_id, 'date=' || known.date) "
        "AND redone.by_run > known.run_id"
    )


def _add_damage(db: Any, damage: Damage, checked: Checked) -> None:
    run, date = reader.run_of(damage.path), reader.night_of(damage.path)
    if changes.is_change(run):  # its file may hold several runs of the date
        selection = f"date={date}"
        # Ids sort by time behind their first letter.
        query = "SELECT 1 FROM redone WHERE selection = ? AND by_run[2:] > ?"
        found = db.execute(query, [selection, run[1:]]).fetchall()
    else:
        selection = f"run={run}"
        found = db.execute("SELECT 1 FROM done_again WHERE run_id = ?", [run]).fetchall()
        found += db.execute(
            "SELECT 1 FROM superseded WHERE run_id = $1 AND NOT EXISTS (FROM recordings WHERE "
            "run_id = $1) LIMIT 1", [run],
        ).fetchall()  # fmt: skip
    if found:
        checked.add(
            damage.kind,
            f"{damage.path}: {damage.text}; its calls were {_DONE_AGAIN}",
            "move it elsewhere, then ser compact: nobody needs it any more",
        )
    else:
        checked.add(
            damage.kind,
            f"{damage.path}: {damage.text}",
            "restore it from a backup; without one, move it elsewhere and do its calls again: ser "
            f"run --redo {selection}, with an --input that matches them",
        )


def _redo(runs: Iterable[str]) -> str:
    """A command that does runs again, given the one first of which most is missing."""
    named = list(dict.fromkeys(runs))
    options = " ".join(f"--redo run={run}" for run in named[:_LISTED])
    text = f"ser run {options}, with an --input that matches them"
    if len(named) > _LISTED:
        text += f"; ser check then names the next of {len(named):,} runs"
    return text


def _check_books(db: Any, checked: Checked) -> None:
    """Rows of each run, compared with its row in `runs`, less what was forgotten."""
    sums_of = ", ".join(f"count(*) FILTER (status = '{name}') AS {name}" for name in _OUTCOMES)
    db.execute(f"CREATE TABLE found AS SELECT run_id, {sums_of} FROM all_rows GROUP BY run_id")
    less = " OR ".join(
        f"coalesce(found.{name}, 0) <> coalesce(runs.{name}, 0)" for name in _OUTCOMES
    )
    missing: Counter[str] = Counter()
    done_again = {run for (run,) in db.execute("FROM done_again").fetchall()}
    left = 0
    for run_id, expected, found, more in db.execute(
        f"SELECT runs.run_id, {_total('runs')}, {_total('found')}, "
        + " OR ".join(f"coalesce(found.{name}, 0) > coalesce(runs.{name}, 0)" for name in _OUTCOMES)
        + f" FROM runs LEFT JOIN found USING (run_id) WHERE {less} ORDER BY 1"
    ).fetchall():
        if run_id in done_again:
            left += 1
            continue
        missing[run_id] = expected - found
        if more or not checked.erased:
            checked.add(
                "books",
                f"run {run_id}: {found:,} rows in recordings, {expected:,} in its books, by status",
                "restore the files of this run from a backup, or do it again: " + _redo([run_id]),
            )
    # More were forgotten where calls of a run that was done again are among them.
    if checked.erased and missing.total() > checked.erased:
        checked.add(
            "books",
            f"{missing.total():,} rows of recordings are missing from the runs, and "
            f"{checked.erased:,} were forgotten",
            "restore the missing files from a backup, or do the runs again: "
            + _redo(run for run, count in missing.most_common() if count > 0),
        )
    for run_id, count in db.execute(
        "SELECT run_id, count(*) FROM all_rows WHERE NOT EXISTS (FROM runs WHERE "
        "runs.run_id = all_rows.run_id) GROUP BY run_id ORDER BY 1"
    ).fetchall():
        if run_id in done_again:
            left += 1
            continue
        checked.add(
            "books",
            f"run {run_id}: {count:,} rows in recordings, and no row in runs",
            "restore its file of runs from a backup, or do it again: " + _redo([run_id]),
        )
    if left and not checked.erased:
        checked.superseded.append(
            f"{left:,} runs have other rows than their books; they were {_DONE_AGAIN}"
        )
    for run_id, paths in db.execute(
        "SELECT run_id, list(path ORDER BY path) FROM runs GROUP BY run_id HAVING count(*) > 1 "
        "ORDER BY 1"
    ).fetchall():
        # A change writes anew what runs and earlier changes wrote.
        oldest = min(paths, key=lambda path: (changes.is_change(reader.run_of(path)), path))
        checked.add(
            "books",
            f"run {run_id}: {len(paths)} rows in runs, in {', '.join(dict.fromkeys(paths))}",
            f"move {oldest} elsewhere, then ser compact",
        )


def _total(table: str) -> str:
    return " + ".join(f"coalesce({table}.{name}, 0)" for name in _OUTCOMES)


# Each recording with its segments, and nothing without a recording. `rows` stands for the table.
_SPOKE = ", ".join(f"'{status}'" for status in _SPOKEN)
_RULES = {
    "rows of recordings are there twice": (
        "SELECT uri, run_id FROM {rows} GROUP BY run_id, uri HAVING count(*) > 1"
    ),
    "recordings with speech have no segments": (
        "SELECT uri, run_id FROM {rows} ANTI JOIN segments_of USING (run_id, uri) "
        f"WHERE status IN ({_SPOKE})"
    ),
    "recordings without speech have segments": (
        "SELECT uri, run_id FROM {rows} SEMI JOIN segments_of USING (run_id, uri) "
        f"WHERE status NOT IN ({_SPOKE})"
    ),
}


def _check_rows(db: Any, log: list[forgotten.Forgetting], checked: Checked) -> None:
    db.execute("CREATE TABLE incomplete (uri VARCHAR)")
    for text, rule in _RULES.items():
        _report(db, checked, text, rule.format(rows="recordings"))
        _note_superseded(db, rule.format(rows="superseded"))
    for table in ("segments", "features"):
        orphans = (
            f"SELECT t.uri, t.run_id FROM {table}_of AS t ANTI JOIN all_rows USING (run_id, uri) "
            "LEFT JOIN latest ON latest.uri = t.uri AND latest.run_id > t.run_id WHERE latest.uri"
        )
        text = f"recordings have {table} and no row in recordings"
        _report(db, checked, text, f"{orphans} IS NULL")
        _note_superseded(db, f"{orphans} IS NOT NULL")
    for rows in ("recordings", "superseded"):
        database.fill(db, f"other_{rows}", _KEY, _other_features(db, rows, log))
    text = "recordings have other numbers of features than of segments"
    _report(db, checked, text, "FROM other_recordings")
    _note_superseded(db, "FROM other_superseded")
    [(count,)] = db.execute("SELECT count(DISTINCT uri) FROM incomplete").fetchall()
    if count:
        checked.superseded.append(
            f"{count:,} recordings have older rows that are incomplete; they were {_DONE_AGAIN}"
        )


def _other_features(
    db: Any, name: str, log: list[forgotten.Forgetting]
) -> Iterator[tuple[str, str]]:
    """URI and run of rows that have other features than segments, unless these were erased."""
    marks = forgotten.marks(log, only=forgotten.FEATURES)
    rows = database.fetch(
        # A cursor of its own, since rows are inserted meanwhile.
        db.cursor(),
        f"SELECT r.uri, r.run_id, r.recording_id, f.n FROM {name} AS r JOIN segments_of AS s "
        "ON s.run_id = r.run_id AND s.uri = r.uri LEFT JOIN features_of AS f "
        "ON f.run_id = coalesce(r.features_run_id, r.run_id) AND f.uri = r.uri "
        f"WHERE r.status IN ({_SPOKE}) AND s.n IS DISTINCT FROM f.n",
    )
    for uri, run_id, recording_id, count in rows:
        if count is not None or not marks.has_recordings([recording_id])[0]:
            yield uri, run_id


def _note_superseded(db: Any, query: str) -> None:
    db.execute(f"INSERT INTO incomplete SELECT uri FROM ({query})")


def _report(db: Any, checked: Checked, text: str, query: str) -> None:
    """Add a finding of the rows that a query finds, each with `uri` and `run_id`."""
    runs = db.execute(
        f"SELECT run_id, count(*), min(uri) FROM ({query}) GROUP BY run_id ORDER BY 2 DESC, 1"
    ).fetchall()
    if runs:
        checked.add(
            "rows",
            f"{sum(count for _, count, _ in runs):,} {text}, the first: "
            f"{min(uri for *_, uri in runs)}",
            "restore the files that are missing from a backup, or do the calls again: "
            + _redo(run for run, *_ in runs),
        )
