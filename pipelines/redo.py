"""`--redo`: recordings of the tables that are to be examined again, although they are done.

They are selected by the latest row of each URI. Their new rows are of a later run, so they take
the place of the old ones; nothing is deleted. A redo that was killed goes on where it stopped: what
its own runs have done is not selected again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import NothingMatchedError
from pipelines.storage import changes, files, published
from pipelines.storage.uri_patterns import to_regex
from ser_core import tables
from ser_core.tables import Reader, database
from ser_core.tables.reader import night_of, run_of

REJECTED, RUN, DATE = "rejected", "run", "date"
_LATEST = pa.schema(
    [("uri", pa.string()), ("run", pa.string()), ("night", pa.string()),
     ("examined", pa.string()), ("rejected", pa.bool_())]
)  # fmt: skip
# Runs or nights that a message lists.
_LISTED = 5


@dataclass(frozen=True)
class Redo:
    """What is to be done again.

    Parameters
    ----------
    selections : tuple of str
        Each `rejected`, `run=ID`, `date=YYYY-MM-DD`, or a URI or a pattern of URIs.
    settings : dict
        With which it is done again, as in the column `settings` of `runs`.
    model_id : str or None
    in_backfill : bool
        Other nights of the same command may match what this one does not.
    """

    selections: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    model_id: str | None = None
    in_backfill: bool = False


def select(db: Any, output: str, redo: Redo) -> None:
    """Make the table `redo` with the URIs that are selected.

    Parameters
    ----------
    db
        From `database.connect`.
    output : str
    redo : Redo

    Raises
    ------
    NothingMatchedError
        A part of `redo` names what the tables never held.
    """
    reader = published.open_reader(output)
    database.fill(db, "all_rows", _LATEST, _rows(reader))
    database.keep_latest(db, "latest", "all_rows")
    db.execute("CREATE TABLE nights AS SELECT run, min(night) AS night FROM all_rows GROUP BY run")
    db.execute(
        "CREATE TABLE candidates AS SELECT latest.*, nights.night AS examined_night FROM latest "
        "LEFT JOIN nights ON nights.run = latest.examined"
    )
    db.execute("CREATE TABLE redo (uri VARCHAR)")
    for text in redo.selections:
        condition, values = _condition(db, text)
        db.execute(f"INSERT INTO redo SELECT uri FROM candidates WHERE {condition}", values)
        if not database.count(db, "redo"):
            _check_exists(db, reader, text)
    done = _runs_of_unfinished(reader, redo)
    if done:
        db.execute(
            "DELETE FROM redo WHERE uri IN (SELECT uri FROM latest WHERE list_contains(?, run))",
            [done],
        )
    db.execute("CREATE OR REPLACE TABLE redo AS SELECT DISTINCT uri FROM redo")
    for name in ("all_rows", "latest", "nights", "candidates"):
        db.execute(f"DROP TABLE {name}")


def _rows(reader: Reader) -> Iterator[pa.Table]:
    columns = ["uri", "status", "features_run_id"]
    for rows in reader.rows(reader.paths("recordings"), columns):
        night = night_of(rows["path"][0].as_py()) if len(rows) else ""
        examined = rows["features_run_id"].cast(pa.string())
        yield pa.table(
            [
                rows["uri"],
                rows["run"],
                pa.array([night] * len(rows), pa.string()),
                pc.coalesce(examined, rows["run"]),
                pc.equal(rows["status"], tables.REJECTED),
            ],
            schema=_LATEST,
        )


def _condition(db: Any, text: str) -> tuple[str, list[str]]:
    """A condition on `candidates` in SQL, and its values."""
    kind, equals, value = text.partition("=")
    if text == REJECTED:
        return "rejected", []
    if equals and kind == RUN:
        # What `ser label` labelled since is that run's examination still.
        return "run = ? OR examined = ?", [value, value]
    if equals and kind == DATE:
        return "night = ? OR examined_night = ?", [value, value]
    for uri in (text, files.absolute(text)):  # names may have brackets
        if db.execute("SELECT 1 FROM candidates WHERE uri = ? LIMIT 1", [uri]).fetchall():
            return "uri = ?", [uri]
    return "regexp_full_match(uri, ?)", [to_regex(text)]


def _check_exists(db: Any, reader: Reader, text: str) -> None:
    """Raise an error if a selection names what the tables never held."""
    kind, equals, value = text.partition("=")
    if text == REJECTED:
        return
    if equals and kind in (RUN, DATE):
        column = "run" if kind == RUN else "night"
        known = [row[0] for row in db.execute(
            f"SELECT DISTINCT {column} FROM all_rows ORDER BY 1 DESC"
        ).fetchall()]  # fmt: skip
        # All of it was done again since, or its rows of recordings are lost.
        if value in known or _is_recorded(reader, kind, value):
            return
        words = "runs" if kind == RUN else "dates"
        listed = ", ".join(known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
        raise NothingMatchedError(
            f"--redo {text}: nothing of it in the tables; the latest {words} with recordings are "
            f"{listed or 'none: the tables are empty'}"
        )
    example = db.execute("SELECT min(uri) FROM latest").fetchall()[0][0]
    raise NothingMatchedError(
        f"--redo {text}: no URI in the tables matches; they are as "
        f"{example or 'nothing: the tables are empty'}; `rejected`, run=ID, date=YYYY-MM-DD, a URI "
        "or a pattern of URIs expected"
    )


def _is_recorded(reader: Reader, kind: str, value: str) -> bool:
    """Whether a table but `recordings` knows a run or a date."""
    of = {RUN: run_of, DATE: night_of}[kind]
    paths = [path for table in ("runs", "segments", "features") for path in reader.paths(table)]
    if value in map(of, paths):
        return True
    # Compacted files hold several runs.
    merged = [path for path in paths if changes.is_change(run_of(path))]
    return kind == RUN and any(
        pc.any(pc.equal(rows["run_id"], value)).as_py()
        for path in merged
        for rows in published.read_row_groups(path, ["run_id"])
    )


def _runs_of_unfinished(reader: Reader, redo: Redo) -> list[str]:
    """The runs of the same redo, if the last of them left something to do."""
    columns = ["run_id", "redo", "redo_left", "settings", "model_id"]
    found = []
    for path in reader.paths("runs"):
        with reader.open_file(path) as file:
            if not set(columns) <= set(file.schema_arrow.names):
                continue
            found += file.read(columns=columns).to_pylist()
    same = [
        row
        for row in sorted(found, key=lambda row: row["run_id"], reverse=True)
        if tuple(row["redo"] or ()) == redo.selections
        and dict(row["settings"] or ()) == redo.settings
        and row["model_id"] == redo.model_id
    ]
    runs = []
    for row in same:
        if not row["redo_left"]:
            break
        runs.append(row["run_id"])
    return runs


def check_matched(db: Any, redo: Redo) -> list[str]:
    """Remarks on what is selected and not matched. The table `matched` holds what is matched.

    Raises
    ------
    NothingMatchedError
        Something is selected, and nothing of it is matched, on the only night.
    """
    selected, matched, first = db.execute(
        "SELECT count(*), count(matched.uri), min(redo.uri) FILTER (matched.uri IS NULL) "
        "FROM redo LEFT JOIN matched USING (uri)"
    ).fetchall()[0]
    text = " ".join(f"--redo {selection}" for selection in redo.selections)
    if selected and not matched and redo.in_backfill:
        return [f"{text}: none of {selected:,} recordings selected is matched on this night"]
    if selected and not matched:
        raise NothingMatchedError(
            f"{text}: {selected:,} recordings selected, and --input matches none of them, the "
            f"first: {first}; give an --input (and a --date) that matches them"
        )
    if selected > matched and not redo.in_backfill:
        return [
            f"{text}: {selected - matched:,} of {selected:,} recordings selected are not matched "
            f"by --input and keep their rows, the first: {first}"
        ]
    if not selected:
        return [f"{text}: nothing left to do again"]
    return []
