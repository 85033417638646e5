"""The calls to listen to first."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from pipelines.report import statements
from pipelines.report.statements import Window
from ser_core.report.morning import Answer, Heard
from ser_core.tables.schemas import META

# Columns `meta_…` that are told of each call.
_FIELDS = 3


def find(
    db: Any,
    window: Window,
    meta: Sequence[str],
    labels: Sequence[str],
    dates: Sequence[dt.date],
) -> tuple[Answer, tuple[Heard, ...]]:
    """The calls to listen to, the first one first.

    Parameters
    ----------
    db : duckdb.DuckDBPyConnection
    window : Window
    meta, labels : sequence of str
        Columns `meta_…`, and the emotions.
    dates : sequence of datetime.date
        Of the runs whose rows count.
    """
    told = sorted(meta, key=lambda column: column != f"{META}queue")[:_FIELDS]
    sql = statements.listen(window, told, labels, dates)
    cursor = db.execute(sql)
    columns = tuple(item[0] for item in cursor.description)
    answer = Answer("listen", sql, columns, tuple(cursor.fetchall()))
    rows = answer.dicts()
    segments = defaultdict(list)
    if rows:
        drawn = statements.arcs(window, labels, dates, [row["uri"] for row in rows])
        for uri, start_s, end_s, negativity in db.execute(drawn).fetchall():
            segments[uri].append((start_s, end_s, negativity))
    zone = ZoneInfo(window.time_zone)
    heard = []
    for i, row in enumerate(rows):
        name = row["uri"].rpartition("/")[2] or row["uri"]
        place = [str(row[column]) for column in told if row[column] and row[column] not in name]
        if row["call_time"] is not None:
            place.append(f"{row['call_time'].astimezone(zone):%H:%M}")
        heard.append(Heard(i, name, ", ".join(place), None, tuple(segments[row["uri"]])))
    return answer, tuple(heard)
