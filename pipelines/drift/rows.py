"""The drift of a night: its rows of the view `drift`, and sentences about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SUMMARY = ("variable", "column", "value", "calls", "psi_training", "psi_before", "p", "moved")


@dataclass(frozen=True)
class Row:
    """A variable of a group of calls on one night, compared.

    Parameters
    ----------
    variable : str
        Such as `level_db`, `codec`, `p_angry`, or the name of a feature.
    column, value : str or None
        The group: calls whose `meta_<name>`, or segments whose `role`, has this value. None for
        all calls.
    calls : int
        Calls of the night in which the variable is known.
    psi_training : float or None
        Population stability index against the model's training; None where that does not know the
        variable.
    psi_before : float or None
        The same against the last 28 nights of the model; None with fewer than five.
    p : float or None
        Probability of a difference from these nights as large as this by chance. Allows for the
        number of calls, and for how far the nights differ anyway.
    moved : bool
        Whether the difference is large, and not due to chance.
    shares, shares_before : mapping of str to float
        Share of the calls by bin, on this night and before. A bin of numbers is named by its lower
        edge, the lowest by "-inf".
    """

    variable: str
    column: str | None
    value: str | None
    calls: int
    psi_training: float | None
    psi_before: float | None
    p: float | None
    moved: bool
    shares: Mapping[str, float]
    shares_before: Mapping[str, float]

    @property
    def group(self) -> str | None:
        """The group as people read it, such as "queue=billing"; None for all calls."""
        return None if self.column is None else f"{self.column.removeprefix('meta_')}={self.value}"


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
    calls: int = 0
    nights_before: int = 0
    alarms: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    sql: str = ""

    def summary(self, *, most: int = 50) -> dict[str, Any]:
        """What `--summary` has of it: rows of all calls, and those of groups that moved."""
        kept = [row for row in self.rows if row.moved or row.column is None]
        return {
            "night": self.night.isoformat(),
            "model_id": self.model_id,
            "calls": self.calls,
            "nights_before": self.nights_before,
            "alarms": list(self.alarms),
            "remarks": list(self.remarks),
            "rows": [{name: getattr(row, name) for name in _SUMMARY} for row in kept[:most]],
        }
