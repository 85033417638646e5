"""`--redo`: what was done is done again, its new rows count, and a mistake is corrected."""

from __future__ import annotations

import datetime as dt
import re
import shutil

import duckdb
import numpy as np
import pytest
import soundfile

from pipelines import errors
from pipelines.errors import NothingMatchedError
from pipelines.ledger import NewRecordings
from pipelines.redo import Redo, select
from pipelines.storage import inputs
from pipelines.storage.uri_patterns import to_regex
from ser_core.examine import Source
from ser_core.tables import database
from tests.pipelines.test_ledger import key, write
from tests.speechlike import call

NIGHT = dt.date(2026, 3, 1)


def todo(out, monkeypatch, *what, matched="abcdef", **more):
    """URIs that a redo does, and the counts."""
    found = [inputs.Match(Source(f"/calls/{name}.wav", 1, 1)) for name in matched]
    monkeypatch.setattr(inputs, "scan", lambda *args, **more: iter(found))
    with NewRecordings((), (NIGHT,), str(out), redo=Redo(what, **more)).found() as found_todo:
        return "".join(s.uri[-5] for s in found_todo.elements), found_todo.counts


@pytest.fixture
def out(tmp_path):
    """Two nights: b was rejected twice, c first only; d was labelled anew by another model."""

    def row(name, **more):
        return {**key(Source(f"/calls/{name}.wav", 1, 1)), **more}

    rejected = {"status": "rejected", "reason": "corrupt"}
    write(tmp_path, "r1", [row("a"), row("b", **rejected), row("c", **rejected), row("d")])
    path = tmp_path / "recordings/date=2026-03-02/run=r2"
    write(tmp_path, "r2", [row("b", **rejected), row("c"), row("e")])
    path.parent.mkdir()
    (tmp_path / "recordings/date=2026-03-01/run=r2").rename(path)
    return tmp_path


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (("rejected",), "bf"),
        (("run=r1",), "adf"),  # b and c have later rows
        (("run=r2",), "bcef"),
        (("date=2026-03-01",), "adf"),
        (("date=2026-03-02",), "bcef"),
        (("/calls/a.wav",), "af"),
        (("/calls/[ab].wav", "/calls/e.*"), "abef"),
        (("/calls/**",), "abcdef"),
        (("/calls",), "abcdef"),
        (("rejected", "run=r1"), "abdf"),
    ],
)
def test_what_is_selected(out, monkeypatch, what, expected):
    """f is new, and done in any case."""
    found, counts = todo(out, monkeypatch, *what)
    assert found == expected
    assert counts.redone == len(expected) - 1
    assert counts.matched == counts.todo + counts.already_done == 6


def test_what_is_labelled_anew_is_still_of_its_run(out, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = write(out, "r3", [key(Source("/calls/d.wav", 1, 1))])
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.append_column("features_run_id", pa.array(["r1"])), path)
    shutil.move(
        out / "recordings/date=2026-03-01/run=r3", out / "recordings/date=2026-03-09/run=r3"
    )
    for what in ("run=r1", "date=2026-03-01"):
        assert todo(out, monkeypatch, what)[0] == "adf"
    for what in ("run=r3", "date=2026-03-09"):
        assert todo(out, monkeypatch, what)[0] == "df"


def test_a_relative_uri_with_brackets_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uris = [f"{tmp_path}/c[1].wav", f"{tmp_path}/c1.wav"]
    write(tmp_path / "out", "r1", [key(Source(uri, 1, 1)) for uri in uris])
    with database.connect() as db:
        select(db, str(tmp_path / "out"), Redo(("c[1].wav",)))
        assert db.execute("SELECT uri FROM redo").fetchall() == [(uris[0],)]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("run=r9", "--redo run=r9: nothing of it in the tables; the latest runs .* are r2, r1"),
        ("date=2026-03-09", "the latest dates with recordings are 2026-03-02, 2026-03-01"),
        ("/callz/**", "no URI in the tables matches; they are as /calls/a.wav"),
    ],
)
def test_a_redo_of_nothing_says_what_there_is(out, monkeypatch, what, message):
    with pytest.raises(NothingMatchedError, match=message):
        todo(out, monkeypatch, what)


def test_a_redo_that_the_input_does_not_match(out, monkeypatch):
    with pytest.raises(
        NothingMatchedError, match="2 recordings selected, and --input matches none"
    ):
        todo(out, monkeypatch, "run=r1", matched="bf")
    found, counts = todo(out, monkeypatch, "run=r1", matched="abf")
    assert found == "af"
    assert "1 of 2 recordings selected are not matched" in counts.warnings[0]
    # The other nights of a backfill match the rest; what is new on this one is done.
    found, counts = todo(out, monkeypatch, "run=r1", matched="bf", in_backfill=True)
    assert found == "f"
    assert "none of 2 recordings selected is matched on this night" in counts.warnings[0]
    assert todo(out, monkeypatch, "run=r1", matched="abf", in_backfill=True)[1].warnings == ()


@pytest.mark.parametrize(
    ("pattern", "uri", "matches"),
    [
        ("/c/**/*.wav", "/c/a.wav", True),
        ("/c/**/*.wav", "/c/d/e/a.wav", True),
        ("/c/*.wav", "/c/d/a.wav", False),
        ("/c/?.wav", "/c/ä.wav", True),
        ("/c/[!a].wav", "/c/a.wav", False),
        ("/c/[a-c].wav", "/c/b.wav", True),
        ("/c/a+b (1).wav", "/c/a+b (1).wav", True),
        ("/c/a.wav", "/c/aXwav", False),
        ("/c/d", "/c/d/e/a.wav", True),
        ("/c/d", "/c/dd/a.wav", False),
        ("/c/**", "/c/d/a.wav", True),
        ("s3://c/**/*.wav", "s3://c/d/a.wav", True),
    ],
)
def test_patterns_of_uris_are_the_same_for_duckdb_and_python(pattern, uri, matches):
    regex = to_regex(pattern)
    assert bool(re.fullmatch(regex, uri)) is matches
    assert duckdb.execute("SELECT regexp_full_match(?, ?)", [uri, regex]).fetchall() == [(matches,)]


# ---------------------------------------------------------------- end to end


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three calls: the customer, on the second channel, is loud; the agent is quiet."""
    folder = tmp_path_factory.mktemp("calls")
    for i in range(3):
        sides = call([(4, 5.5, -42)], 6, f0_hz=170, seed=i), call([(1, 3, -20)], 6, seed=9 + i)
        soundfile.write(folder / f"{i}.wav", np.stack(sides, axis=1), 8_000, "PCM_16")
    return folder


def latest(out, columns="uri, label, run_id"):
    return duckdb.sql(
        f"SELECT {columns} FROM (SELECT DISTINCT ON (uri) * FROM read_parquet('{out}/recordings/**/"
        "*.parquet', union_by_name=true) ORDER BY uri, run_id DESC) ORDER BY uri"
    ).fetchall()


def test_swapped_roles_are_corrected_by_one_command_that_goes_on_after_a_kill(
    archive, level_model, pitch_model, ser_here, tmp_path, monkeypatch
):
    from pipelines import publishing

    out = tmp_path / "out"
    words = ("--input", archive, "--output", out, "--model", level_model)
    wrong = (*words, "--channel-roles", "customer,agent", "--date", "2026-03-05")
    assert ser_here("run", *wrong).returncode == errors.DONE
    assert [row[1] for row in latest(out)] == ["calm"] * 3
    # Labels of another model since then do not hide the run.
    assert ser_here("label", "--output", out, "--model", pitch_model).returncode == errors.DONE
    right = (*words, "--channel-roles", "agent,customer", "--date", "2026-03-09")
    redo = (*right, "--redo", "date=2026-03-05")
    planned = ser_here("plan", *redo)
    assert "3 (--redo date=2026-03-05)" in planned.stdout

    begin = publishing.begin
    begun = []

    def killed_in_the_second(*args):
        if begun:
            raise KeyboardInterrupt
        begun.append(begin(*args))
        return begun[-1]

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "begin", killed_in_the_second)
        killed = ser_here("run", *redo, "--chunk", "2")
    assert killed.returncode == errors.INTERRUPTED
    assert [row[1] for row in latest(out)].count("angry") == 2
    done = ser_here("run", *redo, "--chunk", "2")
    assert done.returncode == errors.DONE, done.stderr
    assert "done again: 1 (--redo date=2026-03-05)" in done.stdout
    assert "3 matched = 1 labelled" in done.stdout
    assert [row[1] for row in latest(out)] == ["angry"] * 3
    books = duckdb.sql(
        "SELECT matched, already_done, labelled, redo, redo_left FROM "
        f"read_parquet('{out}/runs/**/*.parquet', union_by_name=true) WHERE len(redo) > 0 "
        "ORDER BY run_id"
    ).fetchall()
    assert books[0] == (2, 0, 2, ["date=2026-03-05"], 1)
    assert books[-1] == (3, 2, 1, ["date=2026-03-05"], 0)
    # What is done is done: the same command once more is a usual night.
    again = ser_here("run", *redo)
    assert again.returncode == errors.DONE
    assert "nothing new: 3 matched, 3 already done" in again.stdout
