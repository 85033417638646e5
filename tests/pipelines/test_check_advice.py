"""Whoever does what `ser check` advises ends with an output in which it finds nothing."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import checking, compaction, forgetting
from pipelines.checking_rows import Finding
from pipelines.ledger import NewRecordings
from pipelines.redo import Redo
from pipelines.storage import changes, erasing, forgotten, inputs, published
from tests.pipelines.outputs import add_run, call, identity

ARCHIVE = {
    item.examined.source.uri: item
    for item in (
        call("/a.wav"), call("/b.wav"), call("/f.wav"), call("/s.wav", segments=0),
        call("/bad.wav", reason="corrupt"), call("/c.wav"),
    )
}  # fmt: skip
SECOND = dt.date(2026, 3, 2)


def quiet(line: str) -> None:
    """Say nothing."""


def plain(out: Path) -> None:
    """Two runs of one night, and one of the next that did a call again."""
    first = [item for uri, item in ARCHIVE.items() if uri != "/c.wav"]
    add_run(out, first)
    add_run(out, [ARCHIVE["/c.wav"]], already_done=5)
    add_run(out, [ARCHIVE["/b.wav"]], night=SECOND, redo=["/b.wav"], already_done=5)


def forget(out: Path, uri: str) -> None:
    request = forgetting.Request("uri", forgetting.by_uri([uri]))
    forgetting.forget(str(out), request, quiet)


def compacted(out: Path) -> None:
    plain(out)
    compaction.compact(str(out), quiet)
    changes.expire(str(out), now=dt.datetime.now(dt.UTC), grace=dt.timedelta(0))


def with_forgotten(out: Path) -> None:
    plain(out)
    forget(out, "/f.wav")


def paths(out: Path, table: str) -> list[Path]:
    return [Path(path) for path in published.open_reader(out).paths(table)]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def without_column(path: Path) -> None:
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns("run_id"), path)


def remove(path: Path) -> None:
    path.unlink()


def follow(out: Path, findings: list[Finding], monkeypatch) -> None:
    """Do what the findings advise, moves first, as far as it needs no backup."""
    elsewhere = out.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    for finding in findings:
        if found := re.search(r"(?:move|delete) (it|\S+\.parquet)(?: elsewhere|:)", finding.advice):
            named = finding.text.partition(": ")[0] if found[1] == "it" else found[1]
            if (out / named).exists():
                (out / named).rename(elsewhere / f"{len(list(elsewhere.iterdir()))}")
    if any(finding.advice.startswith("forget them again") for finding in findings):
        forget(out, "/f.wav")
    commands = [re.search(r"ser run(( --redo [^\s,;]+)+)", item.advice) for item in findings]
    for options in dict.fromkeys(found[1] for found in commands if found):
        run(out, tuple(options.split(" --redo ")[1:]), monkeypatch)
    if any("ser compact" in finding.advice for finding in findings):
        compaction.compact(str(out), quiet)


def run(out: Path, redo: tuple[str, ...], monkeypatch) -> None:
    """As `ser run --redo … --input '/**'`, without audio."""
    found = [inputs.Match(item.examined.source) for item in ARCHIVE.values()]
    monkeypatch.setattr(inputs, "scan", lambda *args, **more: iter(found))
    with NewRecordings((), (SECOND,), str(out), redo=Redo(redo)).found() as todo:
        items = [ARCHIVE[source.uri] for source in todo.elements]
        done = todo.counts.already_done
    add_run(out, items, night=SECOND, redo=redo, already_done=done)


def check_that_advice_helps(out: Path, monkeypatch, *kinds: str) -> None:
    findings = checking.check(str(out)).findings
    assert {finding.kind for finding in findings} >= set(kinds), findings
    follow(out, findings, monkeypatch)
    assert checking.check(str(out)).findings == []


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)


@pytest.mark.parametrize("table", ["recordings", "segments", "features", "runs"])
@pytest.mark.parametrize(
    ("make", "damage", "kind"),
    [
        (plain, flip, "hash"),
        (plain, cut, "file"),
        (plain, without_column, "schema"),
        (plain, remove, None),
        (compacted, cut, "file"),
        (compacted, remove, None),
        (with_forgotten, remove, None),
    ],
)
def test_damaged_and_missing_files(tmp_path, monkeypatch, make, damage, kind, table):
    out = tmp_path / "out"
    make(out)
    damage(paths(out, table)[0])
    check_that_advice_helps(out, monkeypatch, *([kind] if kind else []))
    calls = {uri for path in paths(out, "recordings") for uri in read(path, "uri")}
    assert calls == set(ARCHIVE) - ({"/f.wav"} if make is with_forgotten else set())


def read(path: Path, column: str) -> list:
    return pq.read_table(path, columns=[column], partitioning=None)[column].to_pylist()


@pytest.mark.parametrize("gone", ["segments", "features", "recordings", "recordings runs"])
@pytest.mark.parametrize("again", [(), ("/**",)])
def test_all_of_a_table_is_gone(tmp_path, monkeypatch, gone, again):
    """Also where the calls were done again before anybody asked for advice."""
    out = tmp_path / "out"
    plain(out)
    for table in gone.split():
        for path in paths(out, table)[:2]:
            path.unlink()
    if again:
        run(out, again, monkeypatch)
    check_that_advice_helps(out, monkeypatch)


def test_a_damaged_file_of_calls_that_were_done_again(tmp_path, monkeypatch):
    out = tmp_path / "out"
    plain(out)
    path = paths(out, "features")[0]
    flip(path)
    run(out, ("/**",), monkeypatch)
    for finding in checking.check(str(out)).findings:
        assert finding.text.endswith("its calls were done again since")
        assert finding.advice.startswith("move it elsewhere")
    check_that_advice_helps(out, monkeypatch, "hash")
    # Of the first run, /b.wav had been done again before.
    assert "3 recordings have older rows that are incomplete; they were done again since" in (
        checking.check(str(out)).superseded
    )


def test_a_damaged_file_of_a_night_that_was_merged_and_done_again(tmp_path, monkeypatch):
    out = tmp_path / "out"
    compacted(out)
    path = paths(out, "segments")[0]
    run(out, ("date=2026-03-01", "date=2026-03-02"), monkeypatch)
    cut(path)
    for finding in checking.check(str(out)).findings:
        assert finding.text.endswith("its calls were done again since")
    check_that_advice_helps(out, monkeypatch, "file")


@pytest.mark.parametrize("make", [plain, compacted])
def test_files_that_came_back_from_a_backup(tmp_path, monkeypatch, make):
    out = tmp_path / "out"
    make(out)
    shutil.copytree(out, tmp_path / "backup")
    forget(out, "/f.wav")
    compaction.compact(str(out), quiet)
    changes.expire(str(out), now=dt.datetime.now(dt.UTC), grace=dt.timedelta(0))
    for table in ("recordings", "runs"):
        path = paths(tmp_path / "backup", table)[0]
        target = out / path.relative_to(tmp_path / "backup")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    check_that_advice_helps(out, monkeypatch, "forgotten", "rows")


def stray(out: Path) -> None:
    (out / "notes.txt").write_text("whose?")


def left_over(out: Path) -> None:
    (out / "_staging" / "r20260301T000000-abcdef").mkdir()
    (out / "_staging" / "r20260301T000000-abcdef" / "x").write_text("")


def views_gone(out: Path) -> None:
    (out / "ser.duckdb").unlink()


def no_hashes(out: Path) -> None:
    flip(next((out / "_sums").iterdir()))


def unfinished(out: Path) -> None:
    change = changes.new_id(dt.datetime.now(dt.UTC))
    marks = forgotten.Marks.of(forgotten.salt_of([]), [("/f.wav", 100, 1)], [identity("/f.wav")])
    now = dt.datetime.now(dt.UTC)
    entry = forgotten.Forgetting(change, now, "uri", None, {"recordings": 1}, marks)
    forgotten.write(str(out), entry)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [(stray, "file"), (left_over, "file"), (views_gone, "views"), (no_hashes, "hash"),
     (unfinished, "forgotten")],
)  # fmt: skip
def test_what_is_beside_the_tables(tmp_path, monkeypatch, damage, kind):
    out = tmp_path / "out"
    plain(out)
    damage(out)
    findings = checking.check(str(out)).findings
    follow(out, findings, monkeypatch)
    if "the next command that writes" in findings[0].advice:
        compaction.compact(str(out), quiet)
    assert findings[0].kind == kind
    assert checking.check(str(out)).findings == []


def test_only_a_backup_helps(tmp_path):
    out = tmp_path / "out"
    with_forgotten(out)
    [path] = (out / "_forgotten").iterdir()
    text = path.read_text()
    path.write_text(json.dumps({**json.loads(text), "version": 0}))
    assert "log" in {finding.kind for finding in checking.check(str(out)).findings}
    path.write_text(text)
    assert checking.check(str(out)).findings == []


def test_every_redo_that_is_advised_is_a_command_line(tmp_path):
    out = tmp_path / "out"
    for i in range(7):
        add_run(out, [call(f"/{i}.wav")])
    for path in paths(out, "segments"):
        path.unlink()
    [finding] = (item for item in checking.check(str(out)).findings if item.kind == "rows")
    runs = [path.parent.name for path in paths(out, "recordings")]
    options = " ".join(f"--redo {run}" for run in runs[:5])
    assert f"ser run {options}, with an --input that matches them" in finding.advice
    assert finding.advice.endswith("ser check then names the next of 7 runs")
