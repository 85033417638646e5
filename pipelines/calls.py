"""Calls with their segments, read through the views of an output folder."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from pipelines.errors import NothingMatchedError, UsageError
from ser_core.names import readable
from ser_core.report.call import Call, Channel, Segment
from ser_core.tables.schemas import META, PROBABILITY, QUARTERS

# Columns that a field of `Call` has the name of.
_SAME = {field.name for field in fields(Call)} - {"by_channel", "duration_s", "status"}
_SEGMENT = ("channel", "role", "start_s", "end_s", "label", "confidence", "unsure", "rms_db")


def find(db: Any, recording: str) -> str:
    """The URI of the recording with this URI or id; or whose id begins, or whose URI ends with it.

    Parameters
    ----------
    db : DuckDB connection
        Of `views.connect`.
    recording : str
        Four characters or more, unless it is a whole URI.

    Raises
    ------
    NothingMatchedError
        There is none.
    UsageError
        There are several.
    """
    given = readable(recording)
    found: list[tuple[str]] = []
    # A backslash is part of a name, or stands for a slash where Windows wrote the path.
    for wanted in dict.fromkeys((given, given.replace("\\", "/"))):
        path = readable(os.path.abspath(wanted))
        whole = db.execute(
            "SELECT uri FROM calls WHERE uri IN (?, ?) LIMIT 1", [wanted, path]
        ).fetchone()
        if whole:
            return whole[0]
        if len(wanted) >= 4 and not found:
            found = db.execute(
                "SELECT uri FROM calls WHERE starts_with(recording_id, ?) OR ends_with(uri, ?) "
                "ORDER BY uri LIMIT 4",
                [wanted, f"/{wanted.lstrip('/')}"],
            ).fetchall()
    if not found:
        raise NothingMatchedError(
            f"--recording {recording}: no id begins and no URI ends with this, in whole "
            "names of files and folders; "
            '`ser query "SELECT uri, recording_id FROM calls" --output OUT` lists them'
        )
    if len(found) > 1:
        listed = ", ".join(uri for (uri,) in found[:3])
        raise UsageError(
            f"--recording {recording}: {'more than 3' if len(found) > 3 else len(found)} "
            f"recordings match: {listed}{', …' if len(found) > 3 else ''}"
        )
    return found[0][0]


def read(db: Any, uris: Sequence[str]) -> Iterator[Call]:
    """Calls with their labelled segments, in the order of `uris`, but for those that are not there.

    Parameters
    ----------
    db : DuckDB connection
        Of `views.connect`.
    uris : sequence of str
    """
    rows = _rows(db, "SELECT * FROM calls WHERE uri IN (SELECT unnest(?::VARCHAR[]))", [list(uris)])
    calls = {row["uri"]: row for row in rows}
    dates = sorted({row["date"] for row in calls.values()})
    segments: dict[str, list[dict]] = defaultdict(list)
    for row in _rows(
        db,
        "SELECT * FROM segments WHERE list_contains(?, date) "
        "AND uri IN (SELECT unnest(?::VARCHAR[])) AND label IS NOT NULL "
        "ORDER BY uri, channel, start_s",
        [dates, list(calls)],
    ):
        segments[row["uri"]].append(row)
    for uri in uris:
        if uri in calls:
            yield _call(calls[uri], segments[uri])


def _rows(db: Any, sql: str, values: Sequence[Any]) -> Iterator[dict]:
    answer = db.execute(sql, values)
    names = [column[0] for column in answer.description]
    for row in answer.fetchall():
        yield dict(zip(names, row, strict=True))


def _call(row: dict, segments: Sequence[dict]) -> Call:
    """A call from its rows. Its labels are the columns that its model filled.

    Rows that were written by hand or damaged may contradict each other: what cannot be shown is
    left out and counted.
    """
    labels = tuple(
        name.removeprefix(PROBABILITY)
        for name, value in row.items()
        if name.startswith(PROBABILITY) and value is not None
    )
    values = {name: row[name] for name in _SAME if name in row}
    found = [
        Segment(
            **{name: segment[name] for name in _SEGMENT},
            probabilities=tuple(segment[f"{PROBABILITY}{label}"] for label in labels),
        )
        for segment in segments
        if _is_whole(segment, labels)
    ]
    return Call(
        **values,
        status=row["status"] or "unknown",
        duration_s=row["duration_s"] if _is_positive(row["duration_s"]) else None,
        meta={
            name.removeprefix(META): value
            for name, value in row.items()
            if name.startswith(META) and value is not None
        },
        quarters=tuple(row.get(name) for name in QUARTERS),
        by_channel=tuple(
            Channel(
                **channel
                | {
                    "role": channel["role"] or "unknown",
                    "speech_s": channel["speech_s"] or 0.0,
                }
            )
            for channel in row["by_channel"] or ()
            if channel is not None and channel["channel"] is not None
        ),
        labels=labels,
        segments=tuple(found),
        unusable_segments=len(segments) - len(found),
    )


def _is_whole(segment: dict, labels: Sequence[str]) -> bool:
    """Whether a segment has all that is shown of it, and a label of the call's model."""
    numbers = [segment["confidence"], *(segment[f"{PROBABILITY}{label}"] for label in labels)]
    return (
        segment["label"] in labels
        and all(value is not None and math.isfinite(value) for value in numbers)
        and segment["start_s"] is not None
        and segment["start_s"] >= 0
        and _is_positive(segment["end_s"])
        and segment["end_s"] > segment["start_s"]
        and segment["channel"] is not None
        and segment["role"] is not None
    )


def _is_positive(value: float | None) -> bool:
    """Whether it is a number above zero, and finite."""
    return value is not None and math.isfinite(value) and value > 0
