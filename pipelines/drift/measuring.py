"""The rows of one night, from the views."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from pipelines.drift import words
from pipelines.drift.rows import Drift, Row
from pipelines.storage import drift_statements, views
from pipelines.storage.drift_statements import NIGHTS

_COLUMNS = (
    "variable, column_name, value, calls, psi_training, psi_before, p, moved, shares, shares_before"
)
_SKETCHES = "sketches_of_a_night"
# A night is compared with the nights before, and these with those before them.
_LAST = f"""\
CREATE OR REPLACE TEMP TABLE {_SKETCHES} AS
SELECT * FROM files.sketches
WHERE model_id = $model AND night IN (
    SELECT DISTINCT night FROM files.sketches
    WHERE model_id = $model AND night <= $night
    ORDER BY night DESC LIMIT {2 * NIGHTS + 1}
)"""


def measure(db: Any, night: dt.date) -> Drift:
    """Measure the drift of a night.

    Parameters
    ----------
    db : duckdb.DuckDBPyConnection
        As `pipelines.storage.views.connect` gives it.
    night : datetime.date

    Returns
    -------
    Drift
        Without rows for a night that has no sketch: of a version before 0.3.0, or without calls.
    """
    found = db.execute(
        "SELECT arg_max(coalesce(model_id, ''), run_id) FROM files.runs "
        "WHERE night = ? AND len(sketch) > 0 AND coalesce(len(redo), 0) = 0",
        [night],
    ).fetchone()
    if found is None or found[0] is None:
        return Drift(night, None)
    model_id = found[0] or None
    db.execute(_LAST, {"model": found[0], "night": night})
    try:
        cursor = db.execute(
            f"SELECT {_COLUMNS}, nights_before, night FROM "
            f"({drift_statements.rows(_SKETCHES)}) WHERE night = ? OR moved",
            [night],
        )
        records = cursor.fetchall()
        nights = [row[0] for row in db.execute(
            f"SELECT DISTINCT night FROM {_SKETCHES} ORDER BY night DESC"
        ).fetchall()]  # fmt: skip
    finally:
        db.execute(f"DROP TABLE IF EXISTS {_SKETCHES}")
    rows = tuple(
        Row(*(*record[:8], record[8] or {}, record[9] or {}))
        for record in records
        if record[-1] == night
    )
    alarms = words.alarms(rows)
    since = _since(nights, {record[-1] for record in records if record[7]})
    if alarms and since != night:
        alarms = tuple(f"{alarm[:-1]} (nights with alarms since {since})." for alarm in alarms)
    nights_before = max((record[-2] for record in records if record[-1] == night), default=0)
    return Drift(
        night=night,
        model_id=model_id,
        calls=max((row.calls for row in rows if row.column is None), default=0),
        nights_before=nights_before,
        alarms=alarms,
        remarks=words.remarks(rows, model_id, nights_before),
        rows=rows,
        sql=_sql(night, model_id),
    )


def measure_nights(output: str, nights: Iterable[dt.date]) -> list[Drift]:
    """Measure nights of an output folder that have a sketch.

    Raises
    ------
    StoreError
        The tables cannot be read.
    """
    with views.connect(output) as db:
        found = [measure(db, night) for night in nights]
    return [drift for drift in found if drift.rows]


def _since(nights: list[dt.date], moved: set[dt.date]) -> dt.date:
    """The first night of the latest row of nights that moved; `nights` from the latest on."""
    since = nights[0]
    for night in nights:
        if night not in moved:
            break
        since = night
    return since


def _sql(night: dt.date, model_id: str | None) -> str:
    model = "IS NULL" if model_id is None else f"= '{model_id}'"
    return f"SELECT {_COLUMNS}\nFROM drift\nWHERE night = DATE '{night}' AND model_id {model}"
