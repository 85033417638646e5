"""`ser forget` and `ser compact`, ended by SIGKILL: the next command ends as if it had not been."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import checking, compaction, forgetting, publishing
from pipelines.errors import NothingMatchedError
from pipelines.storage import attempts, erasing, published
from ser_core import tables
from tests.pipelines.outputs import add_run, call

# Commands, each in a process that kills itself before a step on the disk. The first one is not
# killed, and tells the number of steps.
COMMANDS = """
import os, signal, sys
from pipelines import compaction, forgetting
from pipelines.storage import erasing

erasing.GRACE_S = 0.0
command, moments, whole, *folders = sys.argv[1:]


def work(out):
    if command == "compact":
        compaction.compact(out, lambda line: None)
    else:
        request = forgetting.Request("uri", forgetting.by_uri(["/q/0-0.wav"]))
        forgetting.forget(out, request, lambda line: None)


def in_a_process(out, last):
    receiving, sending = os.pipe()
    child = os.fork()
    if child:
        os.close(sending)
        status = os.waitpid(child, 0)[1]
        return status, len(os.read(receiving, 100_000))

    steps = 0

    def counted(function):
        def step(*args, **kwargs):
            nonlocal steps
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(sending, b".")
            return function(*args, **kwargs)

        return step

    for name in ("replace", "rename", "unlink", "fsync", "rmdir", "makedirs"):
        setattr(os, name, counted(getattr(os, name)))
    try:
        work(out)
        os._exit(0)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)


status, steps = in_a_process(whole, None)
assert status == 0 and steps > int(moments), (status, steps)
for i, out in enumerate(folders):
    print(in_a_process(out, 1 + steps * i // len(folders))[0])
"""


@pytest.fixture
def out(tmp_path) -> Path:
    for i in range(2):
        add_run(tmp_path / "out", [call(f"/q/{i}-{k}.wav") for k in range(2)])
    return tmp_path / "out"


def quiet(line: str) -> None:
    pass


def content(out: Path) -> dict[str, list[dict]]:
    """The rows that count."""
    reader = published.open_reader(out)
    return {
        table: sorted(
            (
                row
                for path in reader.paths(table)
                for row in pq.read_table(path, partitioning=None).to_pylist()
            ),
            key=lambda row: (row["run_id"], row.get("uri", ""), row.get("start_s", 0.0)),
        )
        for table in tables.TABLES
    }


def files_that_count(out: Path) -> int:
    return sum(len(published.open_reader(out).paths(table)) for table in tables.TABLES)


def repeat(command: str, out: Path) -> None:
    if command == "compact":
        compaction.compact(str(out), quiet)
        return
    request = forgetting.Request("uri", forgetting.by_uri(["/q/0-0.wav"]))
    with suppress(NothingMatchedError):  # what was interrupted is finished
        forgetting.forget(str(out), request, quiet)


@pytest.mark.long
@pytest.mark.fault(
    "process", "SIGKILL before each step of `ser forget` and `ser compact` on the disk",
    "the next command ends what was begun; a reader never sees half of it",
)  # fmt: skip
@pytest.mark.parametrize("command", ["forget", "compact"])
def test_the_next_command_goes_on(out, tmp_path, monkeypatch, command):
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)
    whole, *killed = folders = [tmp_path / f"out-{i}" for i in range(7)]
    for folder in folders:
        shutil.copytree(out, folder)
    words = [command, str(len(killed)), *map(str, folders)]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *words], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * len(killed), done.stderr
    before, after, met = content(out), content(whole), set()
    assert (before == after) == (command == "compact")
    for folder in killed:
        assert content(folder) in (before, after)
        with publishing.opened(str(folder), quiet):
            pass
        met.add((content(folder) == after, files_that_count(folder) == files_that_count(whole)))
        assert content(folder) in (before, after)
        repeat(command, folder)
        assert content(folder) == after
        assert files_that_count(folder) == files_that_count(whole)
        assert checking.check(str(folder)).findings == []
        assert not list((folder / "_staging").iterdir())
    assert len(met) == 2, "killed before and after it became true"


@pytest.mark.long
def test_a_command_line_that_is_killed_before_the_old_files_are_deleted(out, monkeypatch):
    words = ["forget", "--output", out, "--uri", "/q/0-0.wav"]
    process = subprocess.Popen([sys.executable, "-m", "pipelines", *map(str, words)])
    changes = out / "_changes.json"
    until = time.monotonic() + 60
    while not changes.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert {row["uri"] for row in content(out)["recordings"]} == {
        "/q/0-1.wav", "/q/1-0.wav", "/q/1-1.wav",
    }  # fmt: skip
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)
    with publishing.opened(str(out), quiet) as output:
        assert any("was killed" in line for line in output.remarks)
    assert [attempt.status for attempt in attempts.read(str(out))] == [attempts.KILLED]
    assert not any(b"/q/0-0.wav" in path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert checking.check(str(out)).findings == []
