"""Clearly negative calls by hour, and by the values of the columns `meta_…`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.report import statements
from pipelines.report.statements import Window
from pipelines.storage.view_statements import quoted
from ser_core.report import shares
from ser_core.report.morning import Answer, Group, Share
from ser_core.tables.schemas import META

# A column with more values than this share of the calls names calls, and groups nothing.
_MOST_VALUES = 0.5
_NO_VALUE = "(none)"


def measure(
    db: Any, window: Window, meta: Sequence[str], tests: Sequence[shares.ErrorRates]
) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """The shares by column, and in words which columns are left out.

    Parameters
    ----------
    db : duckdb.DuckDBPyConnection
    window : Window
    meta : sequence of str
        Columns `meta_…`.
    tests : sequence of ErrorRates
        Of the model.
    """
    calls, *counts = db.execute(statements.levels(window.night, [*meta, "call_time"])).fetchone()
    found: list[Group] = []
    left_out: list[str] = []
    for column, count in zip(meta, counts, strict=False):
        title = column.removeprefix(META)
        if count > max(2, _MOST_VALUES * calls):
            left_out.append(f"{title}: nearly every call has its own")
        elif count:
            found.append(_group(db, window, title, quoted(column), count, tests))
    # Queues before others, whatever the order of the columns.
    found.sort(key=lambda group: (group.column != "queue", len(group.shares) == 1))
    if counts[-1]:
        found.append(_group(db, window, "hour", window.hour, 24, tests))
    elif calls:
        left_out.append("hour: the time of no call is known (--uri-fields)")
    return tuple(found), tuple(left_out)


def _group(db: Any, window: Window, title: str, column: str, count: int, tests: Any) -> Group:
    sql = statements.compared(window, statements.CLEAR, group=column)
    comparisons = sum(item.verdict is not None for item in shares_of(_ask(db, title, sql)))
    if comparisons > 1:
        sql = statements.compared(window, statements.CLEAR, group=column, comparisons=comparisons)
    answer = _ask(db, title, sql)
    found = shares_of(answer, tests)
    if title == "hour":
        found = sorted(found, key=lambda item: (item.name == _NO_VALUE, item.name))
    remark = ""
    if count > statements.VALUES:
        remark = f"The {statements.VALUES} with the most calls, of {count:,}."
    return Group(f"By {title}", title, answer, tuple(found), remark)


def _ask(db: Any, title: str, sql: str) -> Answer:
    cursor = db.execute(sql)
    columns = tuple(item[0] for item in cursor.description)
    return Answer(f"by-{title}", sql, columns, tuple(cursor.fetchall()))


def shares_of(
    answer: Answer,
    tests: Sequence[shares.ErrorRates] = (),
    *,
    least_calls: int = shares.LEAST_CALLS,
) -> list[Share]:
    """The rows of `statements.compared`, with intervals.

    Parameters
    ----------
    answer : Answer
    tests : sequence of ErrorRates
        What corrects for the model's errors; nothing does without.
    least_calls : int
        Groups with fewer calls are not compared.
    """
    rows = answer.dicts()
    if not rows:
        return []
    calls = [row["calls"] for row in rows]
    ends = shares.intervals([row["counted"] for row in rows], calls)
    fair = shares.corrected([row["negative"] for row in rows], calls, tests) if tests else None
    found = []
    for i, row in enumerate(rows):
        compared = row["calls"] >= least_calls
        found.append(
            Share(
                row=i,
                name=_named(row["value"]),
                calls=row["calls"],
                share=row["share"],
                low=float(ends[i, 0]),
                high=float(ends[i, 1]),
                usual=row["usual"] if compared else None,
                usual_low=row["low"] if compared else None,
                usual_high=row["high"] if compared else None,
                corrected=None if fair is None else (float(fair[i, 0]), float(fair[i, 1])),
            )
        )
    return found


def _named(value: Any) -> str:
    if value is None:
        return _NO_VALUE
    return f"{value:02d}" if isinstance(value, int) else str(value)
