"""`ser check` finds what is damaged, missing, superfluous or not forgotten, and nothing else."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines import checking, compaction, forgetting, publishing
from pipelines.errors import NothingMatchedError
from pipelines.storage import changes, erasing, files, published
from tests.pipelines.outputs import add_run, call


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "out"
    calls = [call("/a.wav"), call("/b.wav"), call("/s.wav", segments=0)]
    add_run(folder, [*calls, call("/bad.wav", reason="corrupt")])
    add_run(folder, calls[:2], labels=("sad", "fine"), model="m-2", night=dt.date(2026, 3, 2))
    add_run(folder, [], already_done=3)
    return folder


def kinds(out: Path) -> set[str]:
    return {finding.kind for finding in checking.check(str(out)).findings}


def test_nothing_to_find(out):
    checked = checking.check(str(out))
    assert checked.findings == []
    assert checked.rows == {"features": 8, "segments": 8, "recordings": 6, "runs": 3}
    assert (checked.files, checked.without_hash) == (9, 0)
    compaction.compact(str(out), lambda line: None)
    assert kinds(out) == set()
    for only in ("features", None):
        request = forgetting.Request("uri", forgetting.by_uri(["/a.wav"]), only)
        forgetting.forget(str(out), request, lambda line: None)
        assert kinds(out) == set()
    compaction.compact(str(out), lambda line: None)
    checked = checking.check(str(out))
    assert checked.findings == []
    assert checked.erased == 2


def test_any_changed_byte_is_found(out):
    rng = np.random.default_rng(0)
    paths = list(out.rglob("*.parquet")) + list((out / "_sums").iterdir())
    for path in paths:
        whole = path.read_bytes()
        for place in rng.integers(0, len(whole), 2):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            found = checking.check(str(out)).findings
            assert any(path.name in finding.text for finding in found), (path, place)
            assert all(finding.advice for finding in found)
        path.write_bytes(whole)
    assert kinds(out) == set()


@pytest.mark.parametrize(
    ("table", "number"), [("recordings", 0), ("segments", 1), ("features", 1), ("runs", 0)]
)
def test_a_missing_file_is_found(out, table, number):
    path = published.open_reader(out).paths(table)[number]
    shutil.rmtree(Path(path).parent)
    assert kinds(out) & {"books", "rows"}


def test_rows_of_forgotten_calls_that_came_back(out, tmp_path):
    shutil.copytree(out, tmp_path / "backup")
    request = forgetting.Request("uri", forgetting.by_uri(["/a.wav"]))
    forgetting.forget(str(out), request, lambda line: None)
    [path] = published.open_reader(tmp_path / "backup").paths("recordings")[:1]
    target = out / Path(path).relative_to(tmp_path / "backup")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)
    assert "forgotten" in kinds(out)


def test_stray_files_and_leftovers(out):
    (out / "notes.txt").write_text("what is this?")
    stray = out / "recordings" / "date=2026-03-01" / "run=c20260301T000000-abcdef"
    stray.mkdir()
    shutil.copy(published.open_reader(out).paths("recordings")[0], stray / "part-00000.parquet")
    (out / "_staging" / "r20260301T000000-abcdef").mkdir()
    (out / "_staging" / "r20260301T000000-abcdef" / "x").write_text("")
    texts = [finding.text for finding in checking.check(str(out)).findings]
    assert len(texts) == 3
    assert any(text.startswith("notes.txt: belongs to no table") for text in texts)


def test_without_the_file_of_the_changes(out):
    """Nobody is told to delete rows that are nowhere else."""
    compaction.compact(str(out), lambda line: None)
    (out / "_changes.json").unlink()
    found = [item for item in checking.check(str(out)).findings if "run=c" in item.text]
    assert found
    for finding in found:
        assert "_changes.json does not name the change that wrote it" in finding.text
        assert "restore the _changes.json that belongs to these tables" in finding.advice
        assert "keep the file" in finding.advice


def test_small_files_that_were_being_written_when_a_command_was_killed(out):
    left = [
        out / "_changes.json.tmp", out / "_forgotten" / "1.json.tmp", out / "_sums" / "1.json.tmp",
        out / f"ser.duckdb-{'0' * 32}.tmp", out / f"_views.sql-{'f' * 32}.tmp",
    ]  # fmt: skip
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("{")
    (out / "notes.tmp").write_text("somebody's")
    found = checking.check(str(out)).findings
    assert sum("an interrupted command left it" in finding.text for finding in found) == 5
    assert [finding.text for finding in found if "belongs to no table" in finding.text] == [
        "notes.tmp: belongs to no table"
    ]
    for path in (*left, out / "notes.tmp"):
        os.utime(path, (1, 1))
    with publishing.opened(str(out), lambda line: None):
        pass
    assert not any(path.exists() for path in left)
    assert (out / "notes.tmp").exists()


@pytest.mark.parametrize("command", ["run", "forget", "compact"])
def test_what_another_command_does_meanwhile_is_no_finding(out, monkeypatch, command):
    read_file, times = checking._read_file, []

    def meanwhile(*arguments):
        if not times:
            times.append(1)
            if command == "run":
                add_run(out, [call("/new.wav")])
            elif command == "compact":
                compaction.compact(str(out), lambda line: None)
                changes.expire(str(out), now=dt.datetime.now(dt.UTC), grace=dt.timedelta(0))
            else:
                request = forgetting.Request("uri", forgetting.by_uri(["/a.wav"]))
                forgetting.forget(str(out), request, lambda line: None)
        return read_file(*arguments)

    monkeypatch.setattr(checking, "_read_file", meanwhile)
    assert kinds(out) == set()
    assert times


def test_files_of_a_command_at_work_are_no_leftovers(out):
    def texts() -> list[str]:
        return [finding.text for finding in checking.check(str(out)).findings]

    with publishing.opened(str(out), lambda line: None) as output:
        staged = Path(output.stage("r20260303T000000-abcdef"))
        (staged / "recordings" / "part.parquet").write_text("half")
        assert texts() == []
        # As after a kill: the note of the holder names a process that is not there.
        note = out / "_staging" / "holder.json"
        note.write_text(json.dumps({**json.loads(note.read_text()), "pid": 2**22 + 1}))
        assert texts() == ["_staging/r20260303T000000-abcdef: an interrupted command left it"]


def test_stale_views(out):
    sql = out / "_views.sql"
    text = sql.read_text()
    sql.write_text(text.replace("calls", "cells", 1))
    assert kinds(out) == {"views"}
    sql.write_text(text)
    (out / "ser.duckdb").unlink()
    assert kinds(out) == {"views"}


def test_files_without_hashes(out):
    shutil.rmtree(out / "_sums")
    checked = checking.check(str(out))
    assert checked.findings == []
    assert checked.without_hash == checked.files == 9


def test_the_command(out, ser_here):
    done = ser_here("check", "--output", out)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0, "9 files read (8 features, 8 segments, 6 recordings, 3 runs): 0 findings",
    )  # fmt: skip
    (out / "notes.txt").write_text("what is this?")
    done = ser_here("check", "--output", out)
    assert done.returncode == 3
    assert "file: notes.txt: belongs to no table; move it elsewhere" in done.stdout
    done = ser_here("check", "--output", out, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["findings"][0]["kind"] == "file"


def test_freshness(out, ser_here, tmp_path):
    done = ser_here("check", "--output", out, "--fresh", "26h")
    assert done.returncode == 0
    assert done.stdout.startswith("fresh: the newest run with labels ended 0.0 hours ago, at ")
    assert len(done.stdout.splitlines()) == 1
    done = ser_here("check", "--output", out, "--fresh", "0.000001m", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["fresh"] is False
    assert ser_here("check", "--output", out, "--fresh", "soon").returncode == 2
    assert ser_here("check", "--output", tmp_path / "nothing", "--fresh", "1h").returncode == 4
    add_run(tmp_path / "empty", [call("/s.wav", segments=0)])
    with pytest.raises(NothingMatchedError, match="has labelled a recording yet"):
        checking.newest_labels(str(tmp_path / "empty"))


def test_commands_of_keeping(out, ser_here):
    done = ser_here("forget", "--output", out, "--uri", "/a.wav", "--dry-run")
    assert done.returncode == 0
    assert "would be erased: 1 calls (rows: 2 recordings, 4 segments, 4 features;" in done.stdout
    done = ser_here("forget", "--output", out, "--uri", "/a.wav")
    assert done.returncode == 0
    assert "erased: 1 calls" in done.stdout
    assert "a.wav" not in "".join(path.read_text() for path in (out / "_attempts").iterdir())
    assert ser_here("forget", "--output", out, "--uri", "/a.wav").returncode == 4
    assert ser_here("forget", "--output", out).returncode == 2
    done = ser_here("compact", "--output", out, "--dry-run")
    assert "would be merged" in done.stdout or "nothing to merge" in done.stdout
    assert ser_here("compact", "--output", out).returncode == 0
    assert "nothing to merge" in ser_here("compact", "--output", out).stdout
    assert not files.exists(str(out / "_staging" / "holder.json"))
