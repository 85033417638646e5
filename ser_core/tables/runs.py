"""The columns of the table `runs`, which has one row per run.

They are the fields of three dataclasses: what is known when a run starts, what it counts, what it
cost; and the sketch of its calls. A new column is a field here, filled where the run knows its
value, and a line in docs/tables.md.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

import pyarrow as pa

from ser_core.tables.schemas import SCHEMA_VERSION, UTC
from ser_core.tables.sketch import SKETCH


@dataclass(frozen=True)
class RunStart:
    """What is known of a run when it starts."""

    run_id: str
    night: dt.date
    command: str
    versions: dict[str, str]
    model_id: str | None
    model_licence: str | None
    feature_set: str
    started: dt.datetime
    # Later fields have defaults: a run of an older version may wait to be published.
    analysed: tuple[str, ...] = ()
    lawful_basis: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    redo: tuple[str, ...] = ()
    redo_left: int = 0
    workers: int = 0


@dataclass(frozen=True)
class RunCounts:
    """Recordings by what became of them; files that were skipped; lines that warned the user."""

    matched: int = 0
    already_done: int = 0
    skipped: int = 0
    waiting: int = 0
    forgotten: int = 0
    labelled: int = 0
    extracted: int = 0
    no_speech: int = 0
    rejected: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    warnings: tuple[str, ...] = ()
    audio_hours: float = 0.0
    channel_hours: float = 0.0
    speech_hours: float = 0.0


@dataclass(frozen=True)
class RunCost:
    """What a run took, and what was closed round the processes that decoded; known at its end."""

    cpu_seconds: float
    peak_memory_mb: float
    ended: dt.datetime
    fence: str | None = None
    table_bytes: int = 0
    host: str | None = None


_ARROW_TYPES = {
    str: pa.string(),
    str | None: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    dt.date: pa.date32(),
    dt.datetime: UTC,
    dict[str, str]: pa.map_(pa.string(), pa.string()),
    Counter[str]: pa.map_(pa.string(), pa.int64()),
    tuple[str, ...]: pa.list_(pa.string()),
}
# In the order of the table; the times stand last.
_COLUMNS = {
    name: _ARROW_TYPES[annotation]
    for part in (RunStart, RunCounts, RunCost)
    for name, annotation in get_type_hints(part).items()
}
_COLUMNS["sketch"] = SKETCH
for _name in ("started", "ended"):
    _COLUMNS[_name] = _COLUMNS.pop(_name)


def runs_schema() -> pa.Schema:
    """The schema of `runs`."""
    return pa.schema(_COLUMNS, metadata={"schema_version": str(SCHEMA_VERSION)})


def run_row(
    start: RunStart,
    counts: RunCounts,
    cost: RunCost,
    sketch: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The row of a run. `sketch` has the elements of that column, as `Sketch.rows` gives them."""
    row = {
        item.name: getattr(part, item.name)
        for part, columns in ((start, RunStart), (counts, RunCounts), (cost, RunCost))
        for item in fields(columns)
    }
    return row | {"sketch": list(sketch)}
