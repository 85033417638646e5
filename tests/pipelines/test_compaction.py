"""`ser compact`: fewer files, the same rows for every reader, killed or not."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import compaction, forgetting, publishing
from pipelines.errors import NothingMatchedError, StoreError
from pipelines.storage import changes, erasing, published, sums, views
from tests.pipelines.outputs import add_run, call
from tests.pipelines.test_forgetting import Killed, dying, holds  # noqa: F401  (a fixture)

TABLES = ("runs", "recordings", "segments", "features")


def rows(out: Path) -> dict[str, list]:
    """The rows that count, with the schema of their file."""
    reader = published.open_reader(out)
    found = {}
    for table in TABLES:
        found[table] = [
            (row, tuple(file.schema_arrow.names), str(file.schema_arrow.metadata))
            for path in reader.paths(table)
            for file in [pq.ParquetFile(path)]
            for row in file.read().to_pylist()
        ]
        found[table].sort(
            key=lambda item: (
                item[0]["run_id"], item[0].get("uri", ""), item[0].get("start_s", 0)
            )
        )  # fmt: skip
    return found


def counts(out: Path) -> dict[str, int]:
    reader = published.open_reader(out)
    return {table: len(reader.paths(table)) for table in TABLES}


def compact(out: Path) -> compaction.Compacted:
    return compaction.compact(str(out), lambda line: None)


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "out"
    for i in range(4):
        add_run(folder, [call(f"/q/{i}-{k}.wav") for k in range(3)], parts=2)
    add_run(folder, [call("/q/0-0.wav")], labels=("sad", "happy", "fine"), model="m-2")
    add_run(folder, [call("/q/n.wav")], night=dt.date(2026, 3, 2), meta=())
    return folder


def test_one_file_a_night_table_and_schema(out):
    before, files_before = rows(out), counts(out)
    assert files_before == {"runs": 6, "recordings": 10, "segments": 10, "features": 10}
    assert compaction.preview(str(out)).line().startswith("36 files to 11 ")
    assert counts(out) == files_before
    found = compact(out)
    assert found.before == files_before
    # Another model's files keep to themselves; `runs` knows no model.
    assert counts(out) == {"runs": 2, "recordings": 3, "segments": 3, "features": 3} == found.after
    assert rows(out) == before
    for path in published.open_reader(out).paths("features"):
        column = pq.read_metadata(path).row_group(0).column(7)
        assert column.compression == "ZSTD"
        assert "BYTE_STREAM_SPLIT" in column.encodings


def test_a_second_time_does_nothing(out):
    compact(out)
    log = changes.read(str(out))
    found = compact(out)
    assert found.before == found.after
    assert changes.read(str(out)) == log
    assert not list((out / "_staging").iterdir())


def test_replaced_files_stay_for_an_hour(out, monkeypatch):
    old = {table: published.open_reader(out).paths(table) for table in TABLES}
    compact(out)
    replaced = [path for paths in old.values() for path in paths]
    assert all(Path(path).exists() for path in replaced)
    with publishing.opened(str(out), lambda line: None):
        assert all(Path(path).exists() for path in replaced)
    monkeypatch.setattr(changes, "GRACE", dt.timedelta(0))
    changes.expire(str(out), now=dt.datetime.now(dt.UTC), grace=dt.timedelta(0))
    live = [path for table in TABLES for path in published.open_reader(out).paths(table)]
    assert sorted(map(str, out.glob("*/date=*/run=*/*.parquet"))) == sorted(live)
    known = sums.read(str(out))
    assert {str(out / path) for path in known} >= set(live)
    assert all(sums.sha256_of(path) == known[str(Path(path).relative_to(out))] for path in live)


def test_row_groups_stay_small(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "GROUP_ROWS", 10)
    for i in range(8):
        add_run(tmp_path, [call(f"/{i}-{k}.wav", segments=3) for k in range(2)])
    before = rows(tmp_path)
    compact(tmp_path)
    [path] = published.open_reader(tmp_path).paths("segments")
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sizes == [6] * 8
    [path] = published.open_reader(tmp_path).paths("recordings")
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [10, 6]
    assert rows(tmp_path) == before


def test_large_files_are_left_and_no_file_gets_too_large(out, monkeypatch):
    monkeypatch.setattr(compaction, "FILE_BYTES", 4_000)
    monkeypatch.setattr(compaction, "CHANGE_BYTES", 1)
    before = rows(out)
    found = compact(out)
    assert found.after["recordings"] > 3
    assert len(changes.read(str(out))) > 2
    assert rows(out) == before
    monkeypatch.setattr(compaction, "LARGE_BYTES", 1)
    assert compact(out).before == found.after


def test_erased_also_from_replaced_files(out, monkeypatch):
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)
    compact(out)
    request = forgetting.Request("uri", forgetting.by_uri(["/q/1-1.wav"]))
    forgetting.forget(str(out), request, lambda line: None)
    assert not holds(out, "/q/1-1.wav")
    assert holds(out, "/q/1-2.wav")
    assert compact(out).before == counts(out)


def test_a_damaged_file_is_not_merged(out):
    """Its bytes differ, though Parquet reads it: merged, it would get a new hash."""
    before = counts(out)
    [path, *_] = published.open_reader(str(out)).paths("segments")
    metadata = pq.read_metadata(path)
    content = bytearray(Path(path).read_bytes())
    written_by = content.rindex(metadata.created_by.encode())
    content[written_by] ^= 1
    Path(path).write_bytes(content)
    pq.read_table(path)
    with pytest.raises(StoreError, match=r"have changed since.*ser check"):
        compact(out)
    assert counts(out) == before


def test_nothing_there(tmp_path):
    with pytest.raises(NothingMatchedError):
        compact(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_killed_at_any_step(tmp_path, monkeypatch, dying):  # noqa: F811
    # Views are made by tests of their own; they take most of the time.
    monkeypatch.setattr(views, "refresh", lambda output: None)
    step, finished = 0, False
    while not finished:
        out = tmp_path / f"out-{step}"
        for i in range(2):
            add_run(out, [call(f"/q/{i}.wav")])
        before = rows(out)
        with monkeypatch.context() as patch:
            try:
                with publishing.opened(str(out), lambda line: None):
                    pass
                dying(patch, step)
                compact(out)
                finished = True
            except Killed:
                pass
        assert rows(out) == before
        with publishing.opened(str(out), lambda line: None):
            pass
        assert rows(out) == before
        assert not list((out / "_staging").iterdir())
        replaced = {path for change in changes.read(str(out)) for path in change.replaced}
        live = {path for table in TABLES for path in published.open_reader(out).paths(table)}
        files = {str(path) for path in out.glob("*/date=*/run=*/*.parquet")}
        assert files == live | {str(out / path) for path in replaced}
        step += 2
    assert step > 6
