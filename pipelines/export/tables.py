"""Segments as one CSV, for a spreadsheet or a program."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from pipelines.storage.view_statements import quoted
from pipelines.terminal import defuse
from ser_core.emotions import NEGATIVE
from ser_core.tables.schemas import META, PROBABILITY

_BATCH = 10_000


def write_csv(db: Any, uris: Sequence[str], file: IO[str]) -> int:
    """Write a row for each segment, with what is known of its call; returns their number.

    Parameters
    ----------
    db : DuckDB connection
        Of `views.connect`.
    uris : sequence of str
    file : text file
    """
    answer = db.execute(_sql(db), [list(uris)])
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column[0] for column in answer.description])
    count = 0
    while rows := answer.fetchmany(_BATCH):
        writer.writerows([_cell(value) for value in row] for row in rows)
        count += len(rows)
    return count


def _sql(db: Any) -> str:
    known = [name for name, *_ in db.execute("DESCRIBE segments").fetchall()]
    meta = [name for name, *_ in db.execute("DESCRIBE calls").fetchall() if name.startswith(META)]
    probabilities = [name for name in known if name.startswith(PROBABILITY)]
    negative = [
        f"coalesce(segment.{quoted(name)}::DOUBLE, 0)"
        for name in probabilities
        if name.removeprefix(PROBABILITY) in NEGATIVE
    ]
    columns = [
        "uri", "recording_id", "night::VARCHAR AS night", "call_time",
        *map(quoted, meta), "duration_s", "label AS call_label", "confidence AS call_confidence",
        "unsure AS call_unsure", "negativity AS call_negativity", "arc", "model_id",
    ]  # fmt: skip
    own = ["channel", "role", "start_s", "end_s", "label", "confidence", "unsure"]
    own += map(quoted, probabilities)
    listed = [f"call.{name}" for name in columns] + [f"segment.{name}" for name in own]
    if negative:
        listed.append(f"({' + '.join(negative)})::FLOAT AS negativity")
    listed.append("segment.rms_db")
    return (
        f"SELECT {', '.join(listed)} FROM segments AS segment "
        "JOIN calls AS call USING (run_id, uri) "
        "WHERE uri IN (SELECT unnest(?::VARCHAR[])) AND segment.label IS NOT NULL "
        "ORDER BY call.uri, segment.channel, segment.start_s"
    )


def _cell(value: Any) -> Any:
    """A value as CSV has it; a float that the tables hold in 32 bits with their digits."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = str(np.float32(value))
        return short if float(np.float32(short)) == value else repr(value)
    return defuse(value) if isinstance(value, str) else getattr(value, "isoformat", lambda: value)()
