"""Marks of what was forgotten: the log, the ledger, the examination, the books."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipelines import books, ledger
from pipelines.errors import CommandError, StoreError
from pipelines.role_rule import RoleRule
from pipelines.steps import parts as parts_module
from pipelines.steps.examining import ExamineRecordings
from pipelines.steps.item import Item
from pipelines.storage import forgotten
from pipelines.storage.forgotten import Forgetting, Marks
from pipelines.uri_fields import UriFields
from ser_core.examine import Examined, Settings, Source
from ser_core.guarded import Guard
from tests.pipelines.test_books import LAYOUT, given_to, item, names, write

SALT = bytes(range(16))
NIGHT = dt.date(2026, 3, 1)
version = st.tuples(st.text(), st.none() | st.integers(0, 2**40), st.none() | st.integers())


def forgetting(marks: Marks, number: int = 1, **more) -> Forgetting:
    fields = {
        "id": f"c20260301T0215{number:02d}-ab12cd",
        "at": dt.datetime(2026, 3, 1, 2, 15, number, tzinfo=dt.UTC),
        "kind": "uri",
        "only": None,
        "counts": {"recordings": 1},
        "marks": marks,
    }
    return Forgetting(**{**fields, **more})


@given(st.lists(version, unique=True), st.lists(version, unique=True))
def test_a_version_is_marked_if_and_only_if_it_was_forgotten(gone, others):
    marks = Marks.of(SALT, gone, ())
    assert marks.has_files(gone).all()
    kept = [item for item in others if item not in gone]
    assert not marks.has_files(kept).any()


def test_the_log_is_read_as_it_was_written(tmp_path):
    assert forgotten.read(str(tmp_path)) == []
    assert not forgotten.read_marks(str(tmp_path))
    first = Marks.of(SALT, [("/a.wav", 10, 20)], ["f" * 64])
    second = Marks.of(SALT, [("/b.wav", None, None)], [])
    features = Marks.of(SALT, [("/c.wav", 1, 1)], ["c" * 64])
    forgotten.write(str(tmp_path), forgetting(first, 1))
    forgotten.write(str(tmp_path), forgetting(second, 2, kind="before"))
    forgotten.write(str(tmp_path), forgetting(features, 3, only="features"))
    log = forgotten.read(str(tmp_path))
    assert [entry.kind for entry in log] == ["uri", "before", "uri"]
    assert forgotten.salt_of(log) == SALT
    marks = forgotten.read_marks(str(tmp_path))
    versions = [("/a.wav", 10, 20), ("/b.wav", None, None), ("/a.wav", 11, 20), ("/c.wav", 1, 1)]
    assert marks.has_files(versions).tolist() == [True, True, False, False]
    assert marks.has_recordings(["f" * 64, None, "e" * 64, "c" * 64]).tolist() == [
        True, False, False, False,
    ]  # fmt: skip
    assert forgotten.marks(log, only="features").has_recordings(["c" * 64]).all()


def test_the_log_names_nobody(tmp_path):
    recording_id = hashlib.sha256(b"bytes").hexdigest()
    marks = Marks.of(SALT, [("/calls/4711_mueller.wav", 12345, 67890)], [recording_id])
    forgotten.write(str(tmp_path), forgetting(marks))
    [path] = (tmp_path / "_forgotten").iterdir()
    text = path.read_text()
    for secret in ("mueller", "4711", "12345", "67890", recording_id[:8]):
        assert secret not in text
    assert set(json.loads(text)) == {
        "version", "id", "at", "kind", "only", "counts", "salt", "files", "recordings",
        "sha256",
    }  # fmt: skip


def test_files_without_bytes_are_nobody():
    marks = Marks.of(SALT, [], [hashlib.sha256(b"").hexdigest()])
    assert not len(marks.recordings)


@pytest.mark.parametrize("text", ["{", '{"version": 1}', "[]", '{"version": 2}'])
def test_a_damaged_log_stops_a_run(tmp_path, text):
    (tmp_path / "_forgotten").mkdir()
    (tmp_path / "_forgotten" / "20260301T021501-ab12cd.json").write_text(text)
    with pytest.raises(StoreError, match=r"would come back|a newer version"):
        forgotten.read(str(tmp_path))


def test_any_changed_byte_of_the_log_is_found(tmp_path):
    forgotten.write(str(tmp_path), forgetting(Marks.of(SALT, [("/a.wav", 1, 1)], ["f" * 64])))
    [path] = (tmp_path / "_forgotten").iterdir()
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = forgotten.read(str(tmp_path))
        except StoreError:
            continue
        assert [entry.marks.files.tolist() for entry in found] == [], place


# ---------------------------------------------------------------- runs


def test_the_ledger_leaves_out_what_is_marked(tmp_path):
    calls, out = tmp_path / "calls", tmp_path / "out"
    calls.mkdir()
    for name in ("a", "b", "c"):
        (calls / f"{name}.wav").write_bytes(b"123")

    def found() -> ledger.Todo:
        with ledger.NewRecordings((str(calls),), NIGHT, str(out)).found() as todo:
            return ledger.Todo(todo.counts, iter(list(todo.elements)))

    stat = (calls / "b.wav").stat()
    mark = (str(calls / "b.wav"), 3, stat.st_mtime_ns // 1000)
    forgotten.write(str(out), forgetting(Marks.of(SALT, [mark], [])))
    todo = found()
    assert (todo.counts.matched, todo.counts.forgotten, todo.counts.todo) == (3, 1, 2)
    assert [Path(source.uri).stem for source in todo.elements] == ["a", "c"]
    # Another file under the name is another call.
    (calls / "b.wav").write_bytes(b"1234")
    assert found().counts.forgotten == 0


def dropped(uri: str) -> Item:
    return Item(Examined(Source(uri, 7, None), cpu_s={"decode": 0.5}), forgotten=True)


def test_the_books_count_what_was_dropped(tmp_path):
    found = write(tmp_path, [item("/a"), dropped("/b")], [dropped("/c"), dropped("/d")])
    listed = given_to(tmp_path, ["/a", "/b", "/c", "/d"])
    lists = [name for part in found for name in part.dropped]
    totals = books.check(str(tmp_path), names(found), listed, (), lists)
    assert (totals.matched, totals.labelled, totals.forgotten, totals.already_done) == (7, 1, 3, 3)
    assert [part.recordings for part in found] == [1, 0]
    assert "3 already done + 3 forgotten" in totals.line()
    # A merged part keeps the lists of its parts.
    merged = parts_module.merge(found, str(tmp_path), LAYOUT)
    assert sorted(merged.dropped) == sorted(lists)
    with pytest.raises(CommandError, match="3 recordings are missing"):
        books.check(str(tmp_path), [merged.name], listed, (), ())
    seal = books.Seal(totals, (merged,))
    seal.write(str(tmp_path / "seal.json"))
    assert books.Seal.read(str(tmp_path / "seal.json")).parts[0].dropped == merged.dropped


def test_known_bytes_are_dropped_under_any_name(tmp_path):
    rate = 8_000
    for name, seed in (("old", 1), ("new", 2)):
        noise = np.random.default_rng(seed).normal(0, 0.01, rate)
        soundfile.write(tmp_path / f"{name}.wav", noise, rate)
    recording_id = hashlib.sha256((tmp_path / "old.wav").read_bytes()).hexdigest()
    forgotten.write(str(tmp_path / "out"), forgetting(Marks.of(SALT, [], [recording_id])))
    progress = tmp_path / "progress"
    progress.mkdir()
    examine = ExamineRecordings(
        Settings("test_simple"), Guard(), UriFields(""), RoleRule(), str(progress),
        str(tmp_path / "out"),
    )  # fmt: skip
    examine.setup()
    try:
        items = {
            name: element
            for name in ("old", "new")
            for element in examine.process(Source(str(tmp_path / f"{name}.wav"), 1, 1))
        }
    finally:
        examine.teardown()
    assert items["old"].forgotten
    assert items["old"].examined.recording_id is None
    assert not items["new"].forgotten
    assert items["new"].examined.recording_id
    assert sum(len(path.read_bytes()) for path in progress.iterdir()) == 2
