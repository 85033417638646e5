"""Disks that are full or read-only, and an output folder that is taken away."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines import compaction, forgetting, publishing
from pipelines.errors import NothingMatchedError, StoreError
from pipelines.storage import erasing
from tests.pipelines.faults import (
    assert_whole,
    ends,
    make_archive,
    mounted,
    remount,
    rows,
    used_kib,
)
from tests.pipelines.outputs import add_run, call

FIRST = [f"/q/0-{i}.wav" for i in range(4)]
SECOND = [f"/q/1-{i}.wav" for i in range(4)]


def quiet(line: str) -> None:
    pass


def night(out: Path, uris: list[str]) -> str:
    return add_run(out, [call(uri) for uri in uris])


@pytest.fixture
def disk(tmp_path):
    """A disk of 64 MB."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=64m") as folder:
        yield folder


def fill_up(disk: Path, free_kib: int) -> None:
    """Leave so much of the disk."""
    remount(disk, f"size={used_kib(disk) + free_kib}k")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.fault(
    "disk", "The disk of the output is full at a stage of a night: list, tables, seal, views",
    "status 1, \"No space left on device\"; with room again the next command ends the night",
)  # fmt: skip
def test_full_at_each_stage_of_a_night(disk, tried):
    stages, sizes_kib = set(), (0, 16, 40, 56, 64, 200)
    for i, free_kib in enumerate(sizes_kib):
        out = disk / f"out-{i}"
        night(out, FIRST)
        fill_up(disk, free_kib)
        with pytest.raises(StoreError, match="No space left on device") as error:
            night(out, SECOND)
        assert re.search("--output.*out", str(error.value))
        seen = {uri for (uri,) in rows(out, "SELECT uri FROM history")}
        files = {path.name for path in (out / "_staging").rglob("*")}
        stages.add((len(seen), "seal.json" in files, "given.parquet" in files))
        remount(disk, "size=64m")
        with publishing.opened(str(out), quiet):
            pass
        if set(SECOND) - {uri for (uri,) in rows(out, "SELECT uri FROM history")}:
            night(out, SECOND)
        assert_whole(out, FIRST + SECOND)
    assert len(stages) >= 3, stages
    tried(len(sizes_kib))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("command", ["forget", "compact"])
@pytest.mark.fault(
    "disk", "The disk is full while `ser forget` or `ser compact` writes",
    "status 1, \"No space left on device\"; the tables stay as they were, and the next one does it",
)  # fmt: skip
def test_full_while_tables_are_rewritten(disk, tried, monkeypatch, command):
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)
    sizes_kib = (0, 24)
    for i, free_kib in enumerate(sizes_kib):
        out = disk / f"out-{i}"
        night(out, FIRST), night(out, SECOND)
        fill_up(disk, free_kib)
        with pytest.raises(StoreError, match="No space left on device"):
            rewrite(out, command)
        remount(disk, "size=64m")
        assert [row[0] for row in rows(out)] in (FIRST + SECOND, FIRST[1:] + SECOND)
        with suppress(NothingMatchedError):  # the forgetting was noted, and is finished
            rewrite(out, command)
        assert_whole(out, (FIRST[1:] if command == "forget" else FIRST) + SECOND)
    tried(len(sizes_kib))


def rewrite(out: Path, command: str) -> None:
    if command == "compact":
        compaction.compact(str(out), quiet)
    else:
        request = forgetting.Request("uri", forgetting.by_uri([FIRST[0]]))
        forgetting.forget(str(out), request, quiet)


@pytest.mark.fault(
    "disk", "The output lies on a disk that is mounted read-only, or becomes so between two nights",
    "status 1, \"Read-only file system\"; reading commands go on",
)  # fmt: skip
def test_read_only_output(disk, ser_here, tmp_path):
    out = disk / "out"
    night(out, FIRST)
    remount(disk, "ro")
    with pytest.raises(StoreError, match=r"--output .*out: cannot be written: Read-only"):
        night(out, SECOND)
    done = ser_here("query", "SELECT count(*) AS n FROM calls", "--output", out, "--format", "csv")
    assert (done.returncode, done.stdout.split()) == (0, ["n", "4"]), done.stderr
    assert ser_here("check", "--output", out).returncode == 0
    done = ser_here("forget", "--output", out, "--uri", FIRST[0])
    ends(done, 1, "Read-only file system")
    remount(disk, "rw")
    night(out, SECOND)
    assert_whole(out, FIRST + SECOND)


@pytest.mark.fault(
    "disk", "The output folder is removed in the middle of a run",
    "status 1 and the path that is gone; the next run does all of it",
)  # fmt: skip
def test_output_removed_in_the_middle(ser_here, tmp_path, level_model):
    archive = make_archive(tmp_path / "calls", 6)
    out = tmp_path / "out"
    words = ("run", "--input", archive, "--output", out, "--model", level_model)

    def remove() -> None:
        until = time.monotonic() + 120
        while not any(out.glob("_staging/*/progress/*")) and time.monotonic() < until:
            time.sleep(0.002)
        os.rename(out, tmp_path / "taken")

    taker = threading.Thread(target=remove)
    taker.start()
    done = ser_here(*words)
    taker.join()
    ends(done, 1, str(out), "No such file")
    shutil.rmtree(out, ignore_errors=True)
    assert "6 labelled" in ser_here(*words).stdout
    assert_whole(out, [f"{archive}/good_{i}.wav" for i in range(6)])
