"""Drift: what of a night is unlike the training of its model, and unlike the nights before.

The view `drift` has the numbers: one row for each night, model, variable and group. `measure` reads
the rows of one night, and says in words what moved.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

# Nights before, of the same model, that a night is compared with; with fewer than the second, it is
# compared with the training alone.
NIGHTS, LEAST_NIGHTS = 28, 5

SQL = "SELECT * FROM drift WHERE night = ? AND model_id = ? ORDER BY variable, column_name, value"


@dataclass(frozen=True)
class Row:
    """A variable of a group of calls on one night, compared.

    Parameters
    ----------
    variable : str
        Such as `level`, `bandwidth`, `codec`, `p_angry`, or the name of a feature.
    column, value : str or None
        The group: calls whose `meta_<name>` (or segments whose `role`) has this value. None for
        all calls.
    calls : int
        Calls of the night that the variable is known of.
    psi_training : float or None
        Population stability index against the model's training; None where that does not know the
        variable.
    psi_before : float or None
        The same against the last 28 nights of the model; None with fewer than five.
    p : float or None
        Probability of a difference from these nights as large as this, if calls of one kind are
        drawn by chance; allows for the number of calls, and for how far nights differ anyway.
    moved : bool
        Whether the difference is an alarm: large, and not due to chance.
    """

    variable: str
    column: str | None
    value: str | None
    calls: int
    psi_training: float | None
    psi_before: float | None
    p: float | None
    moved: bool


@dataclass(frozen=True)
class Drift:
    """Drift of one night.

    Parameters
    ----------
    night : datetime.date
    model_id : str or None
        Of the latest run of this night; None without a model.
    calls : int
    nights_before : int
        Nights of the same model that it is compared with, at most 28.
    alarms : tuple of str
        What moved, a sentence each; empty on an ordinary night.
    remarks : tuple of str
        Sentences that are no alarm: too few nights, or an archive that is unlike the training.
    rows : tuple of Row
        What moved first, then all calls before groups, then by `psi_before`.
    sql : str
        The query that gives the rows.
    """

    night: dt.date
    model_id: str | None
    calls: int
    nights_before: int
    alarms: tuple[str, ...]
    remarks: tuple[str, ...]
    rows: tuple[Row, ...]
    sql: str = SQL


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
    return Drift(night, None, 0, 0, (), (), ())
