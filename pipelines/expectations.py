"""`--expect`: conditions in SQL that a night should meet, over its row of the view `nights`.

A condition is tried on a made-up row before the work, and judged after the night is published. One
that the values of a night break counts as not met; the others are judged all the same.
`queue=billing: CONDITION` is about the calls whose column `meta_queue` is `billing`. As in a CHECK
of SQL, a condition that is neither true nor false, since no call was labelled, counts as met.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import logs
from pipelines.beam_options import nearest
from pipelines.errors import UsageError
from pipelines.storage import views
from ser_core import temporary

_PART = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([^:]*[^:\s])\s*:\s+(.+)", re.S)
META = "meta_"
# The row of a part of a night's calls. What only a whole run counts, such as already_done, has no
# place here.
_ROW_OF_PART = """\
SELECT
    any_value(night) AS night,
    count(*) AS matched,
    count(*) FILTER (status = 'labelled') AS labelled,
    count(*) FILTER (status = 'extracted') AS extracted,
    count(*) FILTER (status = 'no_speech') AS no_speech,
    count(*) FILTER (status = 'rejected') AS rejected,
    avg(unsure::INT) FILTER (status = 'labelled') AS unsure_rate,
    sum(negativity * speech_s) FILTER (status = 'labelled')
        / nullif(sum(speech_s) FILTER (status = 'labelled'), 0) AS negativity,
    avg((arc = 'worse')::INT) FILTER (status = 'labelled') AS worse_rate,
    coalesce(sum(duration_s), 0) / 3600 AS audio_hours,
    coalesce(sum(speech_s), 0) / 3600 AS speech_hours
FROM calls WHERE night = ?"""
# Plausible values by type, on which a condition is tried.
_EXAMPLES = {
    "BIGINT": "100",
    "DOUBLE": "0.5",
    "VARCHAR": "'calls-3e1f2a90'",
    "DATE": "DATE '2026-03-01'",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ '2026-03-02 01:30:00Z'",
}


@dataclass(frozen=True)
class Expectation:
    """A condition, for a night or for a part of its calls.

    Parameters
    ----------
    text : str
        As it was given.
    condition : str
        In SQL.
    column, value : str or None
        Only calls whose column `meta_<name>` has this value; None for all.
    """

    text: str
    condition: str
    column: str | None = None
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> Expectation:
        """Split `queue=billing: CONDITION`.

        Examples
        --------
        >>> Expectation.parse("queue=billing: labelled > 3").column
        'meta_queue'
        >>> Expectation.parse("labelled > 0.9 * matched").column is None
        True
        """
        found = _PART.fullmatch(text)
        if found is None:
            return cls(text, text)
        name, value, condition = found.groups()
        return cls(text, condition, META + name.removeprefix(META), value)


@dataclass(frozen=True)
class Verdict:
    """What became of an expectation.

    Parameters
    ----------
    expect, night : str
    met : bool
    found : dict
        The columns that the condition names, with their values.
    error : str or None
        Why it could not be evaluated; then it is not met.
    """

    expect: str
    night: str
    met: bool
    found: dict[str, Any]
    error: str | None = None

    def line(self) -> str:
        """The verdict as a line of text."""
        found = ", ".join(f"{name} = {_shown(value)}" for name, value in self.found.items())
        outcome = "met" if self.met else "not met"
        if self.error is not None:
            outcome += f", it cannot be evaluated: {self.error}"
        return f"expected of {self.night}: {self.expect}: {outcome}" + f" ({found})" * bool(found)


def read(texts: Sequence[str], meta: Collection[str]) -> list[Expectation]:
    """Parse conditions and check them, before the work.

    Parameters
    ----------
    texts : sequence of str
        Of --expect.
    meta : collection of str
        Names that --uri-fields reads from paths.

    Raises
    ------
    UsageError
        A condition is no SQL, names a column that there is not, or cannot be evaluated.
    """
    expectations = [Expectation.parse(text) for text in texts]
    if not expectations:
        return []
    # The views of an empty folder have all columns but meta_….
    with temporary.folder() as folder, views.connect(folder) as db:
        for expectation in expectations:
            _check(db, expectation, meta)
    return expectations


def _check(db: Any, expectation: Expectation, meta: Collection[str]) -> None:
    import duckdb

    column, option = expectation.column, f"--expect {expectation.text!r}"
    if column is not None and column.removeprefix(META) not in meta:
        name = column.removeprefix(META)
        near = nearest(name, meta)
        raise UsageError(
            f"{option}: --uri-fields reads no {name!r}; "
            + (f"did you mean {near}?" if near else "a group of that name expected")
        )
    if not expectation.condition.strip():
        raise UsageError(f'{option}: empty; a condition such as "unsure_rate < 0.6" expected')
    rows = "nights" if column is None else f"({_ROW_OF_PART.replace('?', 'NULL')})"
    kinds = {
        name: kind for name, kind, *_ in db.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()
    }
    try:
        db.execute(_evaluation(expectation, _example(kinds))).fetchone()
    except duckdb.Error as error:
        message = _first_line(error)
        if unknown := re.search(r'column "?([\w.]+)"? not found', message):
            near = nearest(unknown[1], kinds)
            hint = f"did you mean {near}?" if near else f"one of {', '.join(kinds)} expected"
            raise UsageError(f"{option}: no column {unknown[1]!r}; {hint}") from None
        raise UsageError(
            f"{option}: no condition in SQL: {message}; one over the columns of a single row "
            'expected, such as "unsure_rate < 0.6"'
        ) from None


def _evaluation(expectation: Expectation, rows: str) -> str:
    """The query that evaluates a condition: whether it is true, and the columns of the row."""
    return f"SELECT CAST((\n{expectation.condition}\n) AS BOOLEAN), * FROM ({rows})"


def _example(kinds: Mapping[str, str]) -> str:
    """A query for one row of plausible values; a list is empty."""
    values = (
        f"{_EXAMPLES.get(kind, '[]' if kind.endswith(']') else 'NULL')}::{kind} AS {name}"
        for name, kind in kinds.items()
    )
    return f"SELECT {', '.join(values)}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def judge(
    output: str, expectations: Sequence[Expectation], nights: Iterable[dt.date]
) -> list[Verdict]:
    """Judge the nights that were published, one verdict for each expectation and night.

    An expectation that cannot be evaluated is not met.

    Raises
    ------
    StoreError
        The tables cannot be read.
    """
    if not expectations:
        return []
    with views.connect(output) as db:
        return [_judge(db, expectation, night) for night in nights for expectation in expectations]


def _judge(db: Any, expectation: Expectation, night: dt.date) -> Verdict:
    import duckdb

    try:
        names, row = _row(db, expectation, night)
    except duckdb.Error as error:
        # It may name a value, such as the path of a recording.
        problem = logs.cleaned(views.unread(error) or _first_line(error))
        return Verdict(expectation.text, night.isoformat(), False, {}, problem)
    words = set(re.findall(r"\w+", expectation.condition.lower()))
    met = row is not None and row[0] is not False
    found = dict(zip(names, row[1:], strict=True)) if row else {}
    found = {name: value for name, value in found.items() if name in words}
    return Verdict(expectation.text, night.isoformat(), met, found)


def _row(db: Any, expectation: Expectation, night: dt.date) -> tuple[list[str], Any]:
    """The names of the columns of a night, and its row behind what the condition gives."""
    values: list[Any]
    if expectation.column is None:
        rows, values = "SELECT * FROM nights WHERE night = ?", [night]
    else:
        columns = [name for name, *_ in db.execute("DESCRIBE calls").fetchall()]
        # No call of this output has the field.
        column = f'"{expectation.column}"' if expectation.column in columns else "NULL"
        rows, values = f"{_ROW_OF_PART} AND {column} = ?", [night, expectation.value]
    cursor = db.execute(_evaluation(expectation, rows), values)
    return [item[0] for item in cursor.description][1:], cursor.fetchone()


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
