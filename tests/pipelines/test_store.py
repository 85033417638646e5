"""Matching inputs, and publishing so that a reader never sees half."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import HeldError, StoreError, UsageError
from pipelines.storage import files, inputs, store
from ser_core.names import path_of
from tests import small_tables

NIGHT = dt.date(2026, 3, 1)


@pytest.fixture
def archive(tmp_path):
    for name in (
        "a.wav", "b.mp3", "x/c.wav", "x/y/d.wav", "x/y/.hidden.wav", "2026/03/01/e.wav",
        "2026/03/02/f.wav", ".git/g.wav", "x.wav/h.wav",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "broken.wav").symlink_to("nowhere")
    (tmp_path / "x" / "up").symlink_to(tmp_path)
    return tmp_path


def match(*patterns, **more):
    return sorted(
        set(inputs.match(patterns, dates=(NIGHT,), **more)), key=lambda source: source.uri
    )


def names(archive, *patterns, **more):
    found = match(*(str(archive / p) for p in patterns), **more)
    return [os.path.relpath(source.uri, archive) for source in found]


EVERYTHING = [
    "2026/03/01/e.wav", "2026/03/02/f.wav", "a.wav", "b.mp3", "broken.wav", "x.wav/h.wav",
    "x/c.wav", "x/y/d.wav",
]  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["**/*.wav"], [name for name in EVERYTHING if name != "b.mp3"]),
        (["*.wav"], ["a.wav", "broken.wav"]),
        (["x"], ["x/c.wav", "x/y/d.wav"]),
        (["x/**"], ["x/c.wav", "x/y/d.wav"]),
        (["x/**/y/*"], ["x/y/d.wav"]),
        (["x/*/d.wav"], ["x/y/d.wav"]),
        (["[ab].*", "a*", "a.wav"], ["a.wav", "b.mp3"]),
        (["{date:%Y/%m/%d}"], ["2026/03/01/e.wav"]),
        (["x/y/.hidden.wav"], ["x/y/.hidden.wav"]),
        (["nothing/**/*.wav"], []),
    ],
)
def test_patterns(archive, patterns, expected):
    # A link that leads back up is not followed for ever, nor into duplicates under **.
    found = [name for name in names(archive, *patterns) if not name.startswith("x/up/")]
    assert found == expected


def test_a_folder_is_everything_in_it(archive):
    assert [n for n in names(archive, ".") if not n.startswith("x/up/")] == EVERYTHING


def test_lists(archive):
    listing = archive / "list.txt"
    listing.write_text(f"# tonight\n\n{archive}/a.wav\n  {archive}/x/**/*.wav\n")
    found = match(f"@{listing}")
    assert [Path(s.uri).name for s in found if "/up/" not in s.uri] == ["a.wav", "c.wav", "d.wav"]
    with pytest.raises(UsageError, match=r"@.*gone.txt: the list cannot be read"):
        match(f"@{archive}/gone.txt")


def test_a_broken_link_is_an_input_that_cannot_be_read(archive):
    (found,) = match(str(archive / "broken.wav"))
    assert (found.size_bytes, found.modified_us) == (None, None)


def test_the_output_is_no_input(archive):
    assert "x/c.wav" not in names(archive, "**/*.wav", output=str(archive / "x"))


def test_size_and_time_are_the_files(archive):
    os.utime(archive / "a.wav", ns=(0, 1_700_000_000_123_456_789))
    (found,) = match(str(archive / "a.wav"))
    assert (found.size_bytes, found.modified_us) == (5, 1_700_000_000_123_456)


def test_names_that_are_not_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b"/K\xfchn.wav"
    with open(raw, "wb") as file:
        file.write(b"1")
    (found,) = match(str(tmp_path))
    assert found.uri.endswith("/K\\xfchn.wav")
    assert os.fsencode(path_of(found.uri)) == raw


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_without_permission(archive):
    (archive / "x").chmod(0)
    try:
        with pytest.raises(StoreError, match=r"the folder .*x cannot be listed: Permission denied"):
            match(str(archive / "**/*.wav"))
    finally:
        (archive / "x").chmod(0o755)


# ---------------------------------------------------------------- publishing


def staged(output, run_id="r1"):
    folder = Path(output.stage(run_id))
    for table in ("features", "segments", "recordings"):
        for part in ("part-1.parquet", "part-2.parquet", "part-left-over.parquet"):
            pq.write_table(small_tables.part(table, part, run_id), folder / table / part)
    pq.write_table(small_tables.runs(run_id, NIGHT), folder / "runs" / "part.parquet")
    return str(folder)


def seen(root):
    """What a reader sees: files by table."""
    return {
        table: sorted(p.name for p in Path(root).glob(f"{table}/date=*/run=*/*"))
        for table in ("features", "segments", "recordings", "runs")
    }


BOTH = ["part-00000-of-00002.parquet", "part-00001-of-00002.parquet"]
ALL = {
    "features": BOTH, "segments": BOTH, "recordings": BOTH,
    "runs": ["part-00000-of-00001.parquet"],
}  # fmt: skip
NOTHING: dict = {table: [] for table in ALL}


def test_publishing(tmp_path):
    with store.Output(tmp_path / "out") as output:
        output.publish(staged(output), ["part-1.parquet", "part-2.parquet"], date=NIGHT)
        assert seen(tmp_path / "out") == ALL
        assert not any(p.is_dir() for p in (tmp_path / "out" / store.STAGING).iterdir())
        first = tmp_path / "out/recordings/date=2026-03-01/run=r1/part-00000-of-00002.parquet"
        assert pq.ParquetFile(first).read()["uri"].to_pylist() == ["part-1.parquet"]


class Killed(BaseException):
    pass


# More than the renames, writes and deletions of a publication.
_STEPS = 75


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("step", range(_STEPS))
def test_killed_at_any_step_of_publishing(tmp_path, monkeypatch, step, sealed):
    """Whatever rename or write is the last one, the next command ends with all or nothing.

    With all where the run's pipeline had come to its end (sealed): it is published then.
    """

    def finish(output, folder):
        output.publish(folder, ["part-1.parquet", "part-2.parquet"], date=NIGHT)

    counted = 0

    def dying(function):
        def call(*args, **kwargs):
            nonlocal counted
            counted += 1
            if counted > step:
                raise Killed
            return function(*args, **kwargs)

        return call

    published = False
    with monkeypatch.context() as patch:
        try:
            with store.Output(tmp_path / "out") as output:
                folder = staged(output)
                if sealed:
                    files.write_whole(f"{folder}/{store.SEAL}", "{}")
                for name in ("rename", "replace", "fsync", "unlink", "mkdir"):
                    patch.setattr(os, name, dying(getattr(os, name)))
                patch.setattr(store.shutil, "rmtree", dying(store.shutil.rmtree))
                output.publish(folder, ["part-1.parquet", "part-2.parquet"], date=NIGHT)
            published = True
        except Killed:
            pass
    now = seen(tmp_path / "out")
    # A reader never sees a later table without the earlier ones, nor a table half.
    for early, late in (
        ("features", "segments"),
        ("segments", "recordings"),
        ("recordings", "runs"),
    ):
        assert now[early] in ([], ALL[early])
        assert not (now[late] and not now[early])
    promised = (tmp_path / "out" / store.STAGING / "r1" / store.MANIFEST).exists() or published
    with store.Output(tmp_path / "out", finish=finish) as output:
        pass
    assert seen(tmp_path / "out") == (ALL if promised or sealed or now["runs"] else NOTHING)
    assert [p.name for p in (tmp_path / "out" / store.STAGING).iterdir()] == []
    assert step < _STEPS - 1 or published, "the test must reach the end of publishing"


def test_an_output_is_held_by_one(tmp_path):
    with store.Output(tmp_path) as _, pytest.raises(HeldError, match=f"process {os.getpid()} on"):
        store.Output(tmp_path).__enter__()
    with store.Output(tmp_path):
        pass


def test_an_output_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        store.Output(tmp_path / "file" / "out").__enter__()


def test_run_ids_start_with_a_letter_and_sort_by_time():
    early = store.new_run_id(dt.datetime(2026, 3, 1, tzinfo=dt.UTC))
    late = store.new_run_id(dt.datetime(2026, 3, 1, 0, 0, 1, tzinfo=dt.UTC))
    assert early.startswith("r20260301T000000-")
    assert early < late


_TIMES = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2200, 1, 1))


@given(_TIMES, _TIMES)
def test_a_run_sorts_behind_an_earlier_one_whatever_the_clock_says(before, now):
    """Also within a second, and if the clock was put back: rows are ordered by run ids."""
    earlier = store.new_run_id(before.replace(tzinfo=dt.UTC))
    later = store.new_run_id(now.replace(tzinfo=dt.UTC), earlier)
    assert earlier < later
    assert later > store.new_run_id(now.replace(tzinfo=dt.UTC)).partition("-")[0]


def test_manifests_are_whole_or_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        files.write_whole(str(tmp_path / "a.json"), json.dumps([1]))
    assert not (tmp_path / "a.json").exists()
