"""The views: one row a call, whatever happened to the files."""

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.storage import changes, files, published, store, views
from pipelines.storage.changes import COMPACT, FORGET, Change
from tests import small_tables

FIRST, SECOND = dt.date(2026, 3, 1), dt.date(2026, 3, 2)
R1, R2, R3 = (f"r2026030{i}T021500-aaaaaa" for i in (1, 2, 3))


def ask(out, sql: str) -> list[tuple]:
    """The answer by OUT/ser.duckdb; that in memory is the same."""
    with duckdb.connect(f"{out}/{views.DATABASE}", read_only=True) as db:
        answer = db.execute(sql).fetchall()
    with views.connect(out) as db:
        assert db.execute(sql).fetchall() == answer
    return answer


@pytest.fixture
def out(tmp_path):
    """Two nights. Of the first, b.wav was replaced in the second."""
    small_tables.publish(tmp_path, R1, ["a.wav", "b.wav"], date=FIRST)
    later = {"size_bytes": 200, "negativity": 0.75, "unsure": True}
    small_tables.publish(tmp_path, R2, ["b.wav", "c.wav"], date=SECOND, **later)
    views.refresh(tmp_path)
    return tmp_path


def test_the_latest_row_of_a_uri_counts(out):
    rows = ask(out, "SELECT uri, run_id, date, night, negativity FROM calls ORDER BY uri")
    assert rows == [
        ("a.wav", R1, FIRST, FIRST, 0.25),
        ("b.wav", R2, SECOND, SECOND, 0.75),
        ("c.wav", R2, SECOND, SECOND, 0.75),
    ]
    for view in ("segments", "features"):
        rows = ask(out, f"SELECT uri, run_id, features_run_id, night FROM {view} ORDER BY uri")
        assert rows == [
            ("a.wav", R1, R1, FIRST), ("b.wav", R2, R2, SECOND), ("c.wav", R2, R2, SECOND),
        ]  # fmt: skip
    assert ask(out, "SELECT uri, night FROM history ORDER BY uri, run_id") == [
        ("a.wav", FIRST), ("b.wav", FIRST), ("b.wav", SECOND), ("c.wav", SECOND),
    ]  # fmt: skip


def test_a_new_model_refers_to_the_features_and_keeps_the_night(out):
    small_tables.publish(
        out, R3, ["a.wav"], date=dt.date(2026, 3, 3), features_run_id=R1, model_id="m2"
    )
    views.refresh(out)
    [row] = ask(out, "SELECT run_id, features_run_id, date, night FROM calls WHERE model_id = 'm2'")
    assert row == (R3, R1, dt.date(2026, 3, 3), FIRST)
    query = (
        "SELECT segments.run_id, features.run_id, features.features_run_id, len(vector) FROM "
        "segments JOIN features USING (run_id, uri, channel, start_s) WHERE uri = 'a.wav'"
    )
    assert ask(out, query) == [(R3, R3, R1, small_tables.DIMENSIONS)]


def test_nights(out):
    rejected = {"status": "rejected", "reason": "corrupt", "label": None, "unsure": None}
    small_tables.publish(out, R3, ["a.wav"], date=SECOND, size_bytes=1, **rejected)
    content = small_tables.runs("r4", SECOND, already_done=3, waiting=2, skipped=1, cpu_seconds=2.5)
    small_tables.write(out, "runs", content, date=SECOND, run="r4")
    views.refresh(out)
    with views.connect(out) as db:
        before, row = db.sql("FROM nights").to_arrow_table().to_pylist()
    assert (before["night"], before["runs"], before["labelled"]) == (FIRST, 1, 0)
    assert row["night"] == SECOND
    assert row["runs"] == 3
    assert (row["matched"], row["labelled"], row["rejected"], row["waiting"]) == (5, 2, 1, 2)
    assert (row["rejected_new"], row["already_done"], row["skipped"]) == (1, 3, 1)
    assert row["forgotten"] == 0
    assert row["unsure_rate"] == 1.0
    assert row["negativity"] == 0.75
    assert row["cpu_seconds"] == 2.5
    assert row["model_id"] == "m1"


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # (command, labelled, already done, waiting) of each run, in order
        ([("a", 2, 0, 1)], 1),
        ([("a", 2, 0, 1), ("a", 1, 2, 0)], 0),  # run again: what waited is done
        ([("a", 0, 0, 3), ("a", 3, 0, 0)], 0),
        ([("a", 2, 0, 3), ("a", 2, 0, 0)], 3),  # two chunks
        ([("a", 2, 0, 3), ("a", 2, 0, 0), ("a", 1, 4, 1), ("a", 1, 0, 0)], 1),
        ([("a", 2, 0, 1), ("b", 2, 0, 2)], 3),  # two queues
    ],
)
def test_what_waits_is_counted_once(tmp_path, runs, expected):
    for i, (command, labelled, already_done, waiting) in enumerate(runs):
        content = small_tables.runs(
            f"r{i}", FIRST, command=command, labelled=labelled, already_done=already_done,
            waiting=waiting,
        )  # fmt: skip
        small_tables.write(tmp_path, "runs", content, date=FIRST, run=f"r{i}")
    with views.connect(tmp_path) as db:
        assert db.execute("SELECT waiting FROM nights").fetchall() == [(expected,)]


def test_the_columns_of_nights_are_described(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
    section = page.partition("\n### nights\n")[2]
    cells = re.findall(r"^\| (`[^|]+) \|", section, flags=re.MULTILINE)
    described = re.findall(r"`([^`]+)`", " ".join(cells))
    with views.connect(tmp_path) as db:
        columns = [name for name, *_ in db.execute("DESCRIBE nights").fetchall()]
    assert sorted(described) == sorted(columns)


def test_a_night_without_calls_has_a_row(tmp_path):
    content = small_tables.runs(R1, FIRST, already_done=3)
    small_tables.write(tmp_path, "runs", content, date=FIRST, run=R1)
    views.refresh(tmp_path)
    query = "SELECT matched, already_done, unsure_rate, negativity FROM nights"
    assert ask(tmp_path, query) == [(0, 3, None, None)]


def test_counts_of_a_night_are_those_of_its_calls_as_they_count_now(out):
    """Roles the wrong way round, corrected two days later by another run."""
    small_tables.publish(out, R3, ["a.wav"], date=dt.date(2026, 3, 3), negativity=0.5, unsure=False)
    views.refresh(out)
    assert ask(out, "SELECT night, labelled, negativity FROM nights") == [
        (FIRST, 1, 0.5), (SECOND, 2, 0.75), (dt.date(2026, 3, 3), 0, None),
    ]  # fmt: skip


def test_the_views_of_an_empty_folder_have_their_columns(tmp_path):
    with views.connect(tmp_path) as db:
        for view in views.VIEWS:
            assert db.execute(f"FROM {view}").fetchall() == []
        found = dict(row[:2] for row in db.execute("DESCRIBE calls").fetchall())
    assert found["night"] == "DATE"
    assert found["by_channel"].startswith("STRUCT(")


def test_files_of_older_versions_and_other_models_have_all_columns(out):
    old = small_tables.rows("recordings", [{"uri": "old.wav", "run_id": "r0"}], labels=("sad",))
    old = old.drop_columns(["features_run_id", "tried_with"])
    small_tables.write(out, "recordings", old, date=FIRST, run="r0")
    runs = small_tables.runs("r0", FIRST).drop_columns(["forgotten", "waiting"])
    small_tables.write(out, "runs", runs, date=FIRST, run="r0")
    new = small_tables.rows("recordings", [{"uri": "new.wav", "run_id": R3}], meta=("queue",))
    small_tables.write(out, "recordings", new, date=SECOND, run=R3)
    views.refresh(out)
    [row] = ask(
        out, "SELECT run_id, features_run_id, tried_with, p_sad, p_calm, meta_queue FROM calls "
        "WHERE uri = 'old.wav'",
    )  # fmt: skip
    assert row == ("r0", "r0", None, None, None, None)
    assert ask(out, "SELECT forgotten, waiting FROM runs WHERE run_id = 'r0'") == [(0, 0)]


def test_names_that_differ_in_case_only_are_one_column(tmp_path):
    """A group of --uri-fields, or an emotion, that is spelled otherwise from some night on."""
    for run, uri, group, label in ((R1, "a", "Queue", "Calm"), (R2, "b", "queue", "calm")):
        row = {"uri": uri, "run_id": run, f"meta_{group}": f"of {uri}", f"p_{label}": 0.5}
        content = small_tables.rows("recordings", [row], labels=(label,), meta=(group,))
        small_tables.write(tmp_path, "recordings", content, date=FIRST, run=run)
    views.refresh(tmp_path)
    rows = ask(tmp_path, "SELECT uri, meta_queue, p_calm FROM calls ORDER BY uri")
    assert rows == [("a", "of a", 0.5), ("b", "of b", 0.5)]
    names = [name for name, *_ in ask(tmp_path, "DESCRIBE calls")]
    assert {name for name in names if name.lower() in ("meta_queue", "p_calm")} == {
        "meta_queue", "p_calm",
    }  # fmt: skip


def test_replaced_files_do_not_count_and_no_reader_sees_a_change_in_part(out):
    reader = published.open_reader(out)
    old = [path.removeprefix(f"{out}/") for path in reader.paths("recordings")]
    before = ask(out, "FROM calls ORDER BY uri")
    merged = pa.concat_tables(pq.ParquetFile(out / path).read() for path in old)
    change = Change(changes.new_id(small_tables.TIME), COMPACT, small_tables.TIME, tuple(old))
    small_tables.write(out, "recordings", merged, date=FIRST, run=change.id)
    views.refresh(out)
    assert ask(out, "FROM calls ORDER BY uri") == before
    changes.add(str(out), change)
    views.refresh(out)
    after = ask(out, "SELECT uri, run_id FROM calls ORDER BY uri")
    assert after == [("a.wav", R1), ("b.wav", R2), ("c.wav", R2)]


def test_a_change_that_comes_true_while_files_are_listed(out, monkeypatch):
    """Neither the replaced files, which are deleted, nor the new ones would be listed."""
    old = [path.removeprefix(f"{out}/") for path in published.open_reader(out).paths("recordings")]
    open_reader, times = published.open_reader, []

    def change_once(output):
        reader = open_reader(output)
        if not times:
            times.append(1)
            merged = pa.concat_tables(pq.ParquetFile(out / path).read() for path in old)
            change = Change(
                changes.new_id(small_tables.TIME), FORGET, small_tables.TIME, tuple(old)
            )
            small_tables.write(out, "recordings", merged, date=FIRST, run=change.id)
            changes.add(str(out), change)
            changes.expire(str(out), now=small_tables.TIME)
        return reader

    monkeypatch.setattr(published, "open_reader", change_once)
    with views.connect(out) as db:
        found = db.execute("SELECT uri, run_id FROM calls ORDER BY uri").fetchall()
    assert found == [("a.wav", R1), ("b.wav", R2), ("c.wav", R2)]


def test_the_views_are_made_anew_when_the_folder_moved(out, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "it's [new] *? date=2020-01-01"
    shutil.copytree(out, moved)
    shutil.rmtree(out / "recordings")
    with views.connect(moved) as db:
        assert db.execute("SELECT count(*) FROM calls").fetchall() == [(3,)]
    with store.Output(moved):
        pass
    assert ask(moved, "SELECT date, count(*) FROM calls GROUP BY date ORDER BY date") == [
        (FIRST, 1), (SECOND, 2),
    ]  # fmt: skip


def test_the_files_are_replaced_only_if_something_changed(out):
    def inode() -> int:
        return os.stat(out / views.DATABASE).st_ino

    before = inode()
    with store.Output(out):
        pass
    assert inode() == before
    small_tables.publish(out, R3, ["d.wav"], date=SECOND)
    with store.Output(out):
        pass
    assert inode() != before
    assert ask(out, "SELECT count(*) FROM calls") == [(4,)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_it_cannot_be_opened_for_writing(out):
    with pytest.raises(duckdb.IOException):
        duckdb.connect(f"{out}/{views.DATABASE}")


ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(0, 2), st.integers(1, 4)),
    unique_by=lambda row: row[:2],
    max_size=12,
)


@given(ROWS)
@settings(max_examples=15, deadline=None)
def test_calls_and_nights_by_their_definition(tmp_path_factory, rows):
    """Rows of (uri, run, size, day of the run) against a definition in Python."""
    out = tmp_path_factory.mktemp("out")
    day_of = {run: day for _, run, _, day in rows}
    rows = [(uri, run, size, day_of[run]) for uri, run, size, _ in rows]
    for run, day in day_of.items():
        held = [
            {"uri": uri, "run_id": f"r{run}", "size_bytes": size, "status": "labelled"}
            for uri, its_run, size, _ in rows
            if its_run == run
        ]
        small_tables.write(
            out, "recordings", small_tables.rows("recordings", held),
            date=dt.date(2026, 3, day), run=f"r{run}",
        )  # fmt: skip
    latest = {uri: (run, size) for uri, run, size, _ in sorted(rows, key=lambda row: row[1])}
    expected = [
        (uri, f"r{run}", dt.date(2026, 3, min(row[3] for row in rows if row[::2] == (uri, size))))
        for uri, (run, size) in sorted(latest.items())
    ]
    with views.connect(out) as db:
        found = db.execute("SELECT uri, run_id, night FROM calls ORDER BY uri").fetchall()
        labelled = db.execute("SELECT sum(labelled) FROM nights").fetchall()
    assert found == expected
    assert labelled == [(len(expected) or None,)]


# A reader of another process: it opens the file and reads it, until it is told to end.
READER = """
import sys, duckdb
from pathlib import Path
out, stop = sys.argv[1:]
looks = 0
while not Path(stop).exists():
    with duckdb.connect(f"{out}/ser.duckdb", read_only=True) as db:
        calls, uris = db.execute("SELECT count(*), count(DISTINCT uri) FROM calls").fetchone()
        assert calls == uris, (calls, uris)
        for run, count in db.execute(
            "SELECT run_id, count(*) FROM history GROUP BY run_id"
        ).fetchall():
            assert count == 4, (run, count)
        lost = db.execute(
            "SELECT count(*) FROM calls ANTI JOIN segments USING (run_id, uri)"
        ).fetchone()
        assert lost == (0,), lost
        assert calls >= 4, calls
    looks += 1
print(looks)
"""


def run_of_calls(output: store.Output, run_id: str, uris: list[str], **values) -> None:
    """Publish a run in two parts, as a night does."""
    staged = output.stage(run_id)
    for name, half in (("part-1.parquet", uris[:2]), ("part-2.parquet", uris[2:])):
        for table in ("features", "segments", "recordings"):
            content = small_tables.calls(half, run_id, **values).get(table)
            if content is None:
                content = small_tables.schema(table).empty_table()
            pq.write_table(content, files.join(staged, table, name))
    pq.write_table(small_tables.runs(run_id, FIRST), files.join(staged, "runs", "part.parquet"))
    output.publish(staged, ["part-1.parquet", "part-2.parquet"], date=FIRST)


def test_a_reader_in_a_loop_sees_no_error_no_call_twice_and_no_run_in_part(tmp_path):
    """Runs, new labels and changes that replace files, under the eyes of a process that reads."""
    out, stop = tmp_path / "out", tmp_path / "stop"
    uris = [f"{letter}.wav" for letter in "abcd"]
    with store.Output(out) as output:
        run_of_calls(output, "r000", uris)
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(out), str(stop)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            for i in range(1, 13):
                if i % 3 == 0:
                    run_of_calls(output, f"r{i:03d}", uris, features_run_id="r000", model_id="m2")
                else:
                    run_of_calls(output, f"r{i:03d}", [f"{i}-{uri}" for uri in uris])
                if i % 4 == 0:
                    _merge(out, i)
                time.sleep(0.02)
        finally:
            stop.touch()
            printed, error = reader.communicate(timeout=60)
    assert reader.returncode == 0, error
    assert int(printed) > 3


def _merge(out, i: int) -> None:
    """Replace all files of two tables by one each."""
    reader = published.open_reader(out)
    now = small_tables.TIME + dt.timedelta(seconds=i)
    identity, replaced = changes.new_id(now), []
    for table in ("recordings", "segments"):
        paths = reader.paths(table)
        content = pa.concat_tables(pq.ParquetFile(path).read() for path in paths)
        small_tables.write(out, table, content, date=FIRST, run=identity)
        replaced += [path.removeprefix(f"{out}/") for path in paths]
    changes.add(str(out), Change(identity, COMPACT, now, tuple(replaced)))
    views.refresh(out)
