"""The files that count: OUT/_changes.json."""

import datetime as dt
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import StoreError
from pipelines.storage import changes, published
from pipelines.storage.changes import COMPACT, FORGET, Change

NOW = dt.datetime(2026, 3, 1, 2, 15, tzinfo=dt.UTC)


def part(out, run: str, table: str = "recordings") -> str:
    """Write a published file of one row; returns its path relative to the output."""
    path = out / table / "date=2026-03-01" / f"run={run}" / "part-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"uri": ["a.wav"], "run_id": ["r1"]}), path)
    return path.relative_to(out).as_posix()


def live(out) -> list[str]:
    paths = published.open_reader(out).paths("recordings")
    return [path.removeprefix(f"{out}/") for path in paths]


def test_an_output_without_changes_has_none(tmp_path):
    old = part(tmp_path, "r1")
    assert changes.read(str(tmp_path)) == ()
    assert live(tmp_path) == [old]


def test_a_change_is_true_from_the_moment_its_file_is_written(tmp_path):
    old, other = part(tmp_path, "r1"), part(tmp_path, "r2")
    change = Change(changes.new_id(NOW), COMPACT, NOW, (old,))
    new = part(tmp_path, change.id)
    opened_before = published.open_reader(tmp_path)
    assert live(tmp_path) == [old, other]
    changes.add(str(tmp_path), change)
    assert live(tmp_path) == sorted([new, other])
    assert changes.read(str(tmp_path)) == (change,)
    # A reader that was opened before goes on with the old files.
    assert len(opened_before.paths("recordings")) == 2
    assert not any(change.id in path for path in opened_before.paths("recordings"))


def test_rows_keep_their_run_whatever_their_folder(tmp_path):
    change = Change(changes.new_id(NOW), COMPACT, NOW)
    part(tmp_path, change.id)
    changes.add(str(tmp_path), change)
    reader = published.open_reader(tmp_path)
    [rows] = reader.rows(reader.paths("recordings"), ["uri"])
    assert rows["run"].to_pylist() == ["r1"]


@pytest.mark.parametrize(
    ("kind", "minutes", "deleted"), [(COMPACT, 59, False), (COMPACT, 60, True), (FORGET, 0, True)]
)
def test_replaced_files_are_deleted_when_their_time_is_over(tmp_path, kind, minutes, deleted):
    old = part(tmp_path, "r1")
    first = Change(changes.new_id(NOW), kind, NOW, (old, "segments/date=2026-03-01/gone"))
    new = part(tmp_path, first.id)
    changes.add(str(tmp_path), first)
    found = changes.expire(str(tmp_path), now=NOW + dt.timedelta(minutes=minutes))
    assert found == ([f"{tmp_path}/{old}"] if deleted else [])
    assert (tmp_path / old).exists() is not deleted
    assert (tmp_path / old).parent.exists() is not deleted
    assert live(tmp_path) == [new]
    [kept] = changes.read(str(tmp_path))
    assert kept.replaced == (() if deleted else first.replaced)
    assert changes.expire(str(tmp_path), now=NOW + dt.timedelta(minutes=minutes)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be understood"),
        (json.dumps({"version": 1, "changes": [{"id": "c1"}]}), "cannot be understood"),
        (json.dumps({"version": 2}), "version 2 found, 1 expected"),
    ],
)
def test_a_file_that_cannot_be_understood_is_an_error(tmp_path, text, message):
    (tmp_path / changes.NAME).write_text(text)
    with pytest.raises(StoreError, match=message):
        published.open_reader(tmp_path)


def test_ids_of_changes_sort_by_time_and_before_those_of_runs():
    ids = [changes.new_id(NOW + dt.timedelta(seconds=i)) for i in range(3)]
    assert ids == sorted(ids)
    assert all(changes.is_change(change_id) and change_id < "r" for change_id in ids)
