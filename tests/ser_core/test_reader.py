"""The one reader of published tables, and the rows of `runs`."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from ser_core.tables import (
    Reader,
    RunCost,
    RunCounts,
    RunStart,
    database,
    run_row,
    runs_schema,
)  # fmt: skip
from ser_core.tables.reader import feature_set_of, label_names, meta_names, night_of, run_of

SCHEMA = pa.schema([("uri", pa.string()), ("meta_queue", pa.string()), ("run", pa.string())])


def publish(folder, night: str, run: str, rows: dict, **metadata: str) -> None:
    path = folder / "recordings" / f"date={night}" / f"run={run}" / "part-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    table = pa.table(rows | {"run_id": [run] * len(rows["uri"])})
    pq.write_table(table.replace_schema_metadata(metadata or None), path)


def test_the_latest_row_of_a_uri_is_that_of_the_latest_run_whatever_its_night(tmp_path):
    publish(tmp_path, "2026-03-02", "r1", {"uri": ["a", "b"], "meta_queue": ["x", "x"]})
    publish(tmp_path, "2026-03-01", "r2", {"uri": ["a"], "meta_team": ["y"]})
    reader = Reader(str(tmp_path))
    first, second = reader.paths("recordings")
    assert (night_of(first), run_of(first)) == ("2026-03-01", "r2")
    assert reader.newest_first("recordings") == [first, second]
    assert reader.meta_names() == ("team", "queue")
    with database.connect() as db:
        rows = (
            table.select(SCHEMA.names) for table in reader.rows([first, second], SCHEMA.names[:2])
        )
        database.fill(db, "all_rows", SCHEMA, rows)
        database.keep_latest(db, "newest", "all_rows")
        newest = db.execute("FROM newest ORDER BY uri").fetchall()
    assert newest == [("a", None, "r2"), ("b", "x", "r1")]


def test_what_a_schema_tells(tmp_path):
    rows = {"uri": ["a"], "p_calm": [0.5], "meta_queue": ["x"], "p_angry": [0.5]}
    publish(tmp_path, "2026-03-01", "r1", rows, feature_set="test", fingerprint="f1")
    reader = Reader(str(tmp_path))
    schema = reader.schema(reader.paths("recordings")[0])
    assert label_names(schema) == ("calm", "angry")
    assert meta_names(schema) == ("queue",)
    assert feature_set_of(schema) == ("test", "f1")
    assert feature_set_of(pa.schema([])) == ("", "")


def test_a_run_as_a_row_and_back():
    started = dt.datetime(2026, 3, 1, 20, tzinfo=dt.UTC)
    row = run_row(
        RunStart("r1", started.date(), "ser run", {"numpy": "2"}, None, None, "test", started),
        RunCounts(matched=3, rejected=2, by_reason=Counter(empty=2), warnings=("a", "b")),
        RunCost(cpu_seconds=1.5, peak_memory_mb=20.0, ended=started, fence="none"),
    )
    table = pa.Table.from_pylist([row], schema=runs_schema())
    assert table.schema.names[-2:] == ["started", "ended"]
    [back] = table.to_pylist(maps_as_pydicts="strict")
    assert back == {k: list(v) if isinstance(v, tuple) else v for k, v in row.items()}
