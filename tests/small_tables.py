"""Published tables without a night: rows of the real schemas, written in milliseconds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_core import tables
from ser_core.tables.schemas import features_columns, recordings_columns, segments_columns

LABELS = ("calm", "angry")
DIMENSIONS = 2
TIME = dt.datetime(2026, 3, 1, 2, 15, tzinfo=dt.UTC)


def schema(table: str, labels: Sequence[str] = LABELS, meta: Sequence[str] = ()) -> pa.Schema:
    """The schema of `recordings`, `segments` or `features`."""
    columns = {
        "recordings": recordings_columns(labels, meta),
        "segments": segments_columns(labels),
        "features": features_columns(pa.list_(pa.float32(), DIMENSIONS)),
    }
    return pa.schema(columns[table])


def rows(table: str, values: Sequence[dict[str, Any]], **settings: Any) -> pa.Table:
    """Rows of a table; what is not given is null."""
    return pa.Table.from_pylist(list(values), schema=schema(table, **settings))


def part(table: str, uri: str, run_id: str) -> pa.Table:
    """A row of one recording."""
    return rows(table, [{"uri": uri, "run_id": run_id}])


def runs(run_id: str, night: dt.date, **values: Any) -> pa.Table:
    """The row of a run."""
    row = {
        "run_id": run_id, "night": night, "warnings": [], "started": TIME, "ended": TIME,
    } | values  # fmt: skip
    return pa.Table.from_pylist([row], schema=tables.runs_schema())


def write(out: Path, table: str, content: pa.Table, *, date: dt.date, run: str) -> str:
    """Put a file of a table where a run or a change publishes it; its path relative to `out`."""
    folder = Path(out, table, f"date={date}", f"run={run}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"part-{len(list(folder.iterdir())):05d}-of-00009.parquet"
    pq.write_table(content, path)
    return path.relative_to(out).as_posix()


def calls(
    uris: Sequence[str], run_id: str, *, features_run_id: str | None = None, **values: Any
) -> dict[str, pa.Table]:
    """Labelled calls of a second of speech each, with one segment, in all tables."""
    features_run_id = features_run_id or run_id
    keys = [{"uri": uri, "recording_id": f"id-{uri}", "run_id": run_id} for uri in uris]
    common = {
        "features_run_id": features_run_id, "label": "calm", "confidence": 0.75, "unsure": False,
    }  # fmt: skip
    place = {"channel": 1, "role": "customer", "start_s": 0.0, "end_s": 1.0}
    recording = {
        "status": "labelled", "size_bytes": 100, "modified_at": TIME, "duration_s": 36.0,
        "speech_s": 1.0, "negativity": 0.25, "arc": "level", "model_id": "m1",
        "by_channel": [{"channel": 1, "role": "customer", "analysed": True, "speech_s": 1.0}],
    } | values  # fmt: skip
    found = {
        "recordings": rows("recordings", [key | common | recording for key in keys]),
        "segments": rows("segments", [key | common | place for key in keys]),
    }
    if features_run_id == run_id:
        vector = {"vector": [0.5] * DIMENSIONS}
        found["features"] = rows("features", [key | place | vector for key in keys])
    return found


def publish(
    out: Path, run_id: str, uris: Sequence[str], *, date: dt.date, **values: Any
) -> dict[str, str]:
    """Publish a run of labelled calls; the path of its file in each table."""
    paths = {
        table: write(out, table, content, date=date, run=run_id)
        for table, content in sorted(calls(uris, run_id, **values).items())
    }
    content = runs(run_id, date, matched=len(uris), labelled=len(uris), already_done=0)
    return paths | {"runs": write(out, "runs", content, date=date, run=run_id)}
