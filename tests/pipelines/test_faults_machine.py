"""Machines that are not as expected: memory, /dev/shm, locale, umask, clock; and signals."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile

from pipelines.storage import attempts, views
from ser_core.examine import CHANGED, Settings, Source
from ser_core.guarded import Examiner, Guard
from tests.conftest import with_one_worker
from tests.pipelines.faults import RATE_HZ, assert_whole, ends, make_archive, rows
from tests.pipelines.outputs import add_run, call
from tests.speechlike import call as speech

SETTINGS = Settings("test_simple")
GUARD = Guard(timeout_s=60, memory_mb=600)


def a_long_call(path: Path, seconds: float = 900.0, seed: int = 0) -> Source:
    """Long enough to be met in the middle of its decoding."""
    minute = speech([(1, 20, -20), (30, 50, -22)], 60, seed=seed)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, "PCM_16") as file:
        for _ in range(round(seconds / 60)):
            file.write(minute)
    found = path.stat()
    return Source(str(path), found.st_size, found.st_mtime_ns // 1000)


def at_the_first_beat(examiner: Examiner, fault) -> None:
    """Plant a fault when the child has read the first of a recording."""
    receive, planted = examiner._receive, []

    def received(pipe):
        message = receive(pipe)
        if not planted:
            planted.append(fault())
        return message

    examiner._receive = received


@pytest.mark.fault(
    "process", "The process that decodes gets SIGKILL amid a recording, as for memory",
    "that recording is rejected as `crashed`, the next ones are examined",
)  # fmt: skip
def test_decoding_process_killed_in_the_middle(tmp_path):
    source = a_long_call(tmp_path / "long.wav")
    short = make_archive(tmp_path / "calls", 1) / "good_0.wav"
    with Examiner(SETTINGS, GUARD) as examiner:
        at_the_first_beat(examiner, lambda: examiner.start().process.kill())
        found = examiner.examine(source.uri, source)
        assert (found.reason, found.detail) == (
            "crashed", "the process that decoded it died of SIGKILL",
        )  # fmt: skip
        assert found.recording_id is not None
        assert examiner.examine(str(short), Source(str(short), 1, 1)).reason is None


@pytest.mark.parametrize("fault", ["truncated", "grown", "replaced", "removed"])
@pytest.mark.fault(
    "input", "A recording is truncated, grown, replaced or removed while it is read",
    "its row has what was read and a remark that the file changed, or a reason; the next night "
    "does it again",
)  # fmt: skip
def test_recording_changed_while_it_is_read(tmp_path, fault):
    path = tmp_path / "call.wav"
    source = a_long_call(path)
    other = tmp_path / "other.wav"
    a_long_call(other, 120, seed=5)

    def change() -> None:
        if fault == "truncated":
            os.truncate(path, 100_000)
        elif fault == "grown":
            with open(path, "ab") as file:
                file.write(bytes(100_000))
        elif fault == "replaced":
            os.replace(other, path)
        else:
            path.unlink()

    with Examiner(SETTINGS, GUARD) as examiner:
        at_the_first_beat(examiner, change)
        found = examiner.examine(source.uri, source)
    assert found.reason is None or found.reason == "corrupt", found
    assert CHANGED in (found.detail or ""), found.detail
    assert found.source == source  # as it was matched: what is there now is another version


@pytest.mark.fault(
    "process", "An address space of 1 GB (`ulimit -v`) for the process that decodes",
    "it says that it cannot start, or works; no row is invented",
)  # fmt: skip
def test_little_address_space(tmp_path):
    path = make_archive(tmp_path / "calls", 1) / "good_0.wav"
    code = (
        "import resource, sys\n"
        "from ser_core.errors import SerError\n"
        "from ser_core.examine import Settings, Source\n"
        "from ser_core.guarded import Examiner\n"
        "with Examiner(Settings('test_simple')) as examiner:\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "    try: print(examiner.examine(sys.argv[1], Source('u', 1, 1)).reason)\n"
        "    except SerError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("None", "crashed") or "cannot be started" in done.stdout


# ---------------------------------------------------------------- a machine that is not as expected


@pytest.mark.parametrize("value", ["C", "", "xx_YY.nothing"])
@pytest.mark.fault(
    "process", "The locale is C, empty or unknown, with streams that take ASCII only",
    "names are listed whole, what the terminal cannot show is escaped",
)  # fmt: skip
def test_locales(tmp_path, value):
    folder = tmp_path / "calls"
    folder.mkdir()
    (folder / "Gespräch – 呼出.wav").touch()
    environment = {k: v for k, v in os.environ.items() if k not in ("LANG", "LC_CTYPE", "LC_ALL")}
    environment |= {"LC_ALL": value, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = (
        "import datetime, sys\n"
        "from pipelines import cli, logs\n"
        "from pipelines.storage import inputs\n"
        "from ser_core.names import path_of\n"
        "[found] = inputs.match([sys.argv[1]], dates=[datetime.date.today()])\n"
        "open(path_of(found.uri), 'rb').close()\n"
        "sys.stdout.buffer.write(found.uri.encode() + b'\\n')\n"
        "try: cli.main(['--version'])\n"
        "except SystemExit: pass\n"
        "logs.say(found.uri)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines()[0].endswith("/calls/Gespräch – 呼出.wav")
    assert (
        done.stdout.decode()
        .splitlines()[-1]
        .endswith(r"/calls/Gespr\xe4ch \u2013 \u547c\u51fa.wav")
    )
    assert b"Traceback" not in done.stderr


# ---------------------------------------------------------------- a clock that goes back


@pytest.mark.fault(
    "process", "The clock goes back by a day between two nights (libfaketime)",
    "the later run's rows count, and nothing counts twice",
)  # fmt: skip
def test_clock_goes_back_between_nights(tmp_path):
    library = faketime("libfaketime.so.1")
    out = tmp_path / "out"
    uris = [f"/q/{i}.wav" for i in range(3)]
    add_run(out, [call(uri, "before", modified_us=1) for uri in uris])
    code = (
        "import sys\n"
        "from tests.pipelines.outputs import add_run, call\n"
        "print(add_run(sys.argv[1], [call(u, 'after', modified_us=2) for u in sys.argv[2:]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, out, *uris], capture_output=True, text=True,
        env={**os.environ, "LD_PRELOAD": str(library), "FAKETIME": "-1d"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    later = done.stdout.strip()
    found = rows(out, "SELECT uri, run_id, started < now() - INTERVAL 12 HOUR FROM calls JOIN runs "
                      "USING (run_id) ORDER BY uri")  # fmt: skip
    assert found == [(uri, later, True) for uri in uris]
    # And forward again: the next one is the latest.
    last = add_run(out, [call(uris[0], "last", modified_us=3)])
    found = rows(out, "SELECT uri, run_id FROM calls ORDER BY uri")
    assert found == [(uris[0], last), (uris[1], later), (uris[2], later)]


@pytest.mark.long
@pytest.mark.fault(
    "process", "The clock goes back and on by up to 90 days every 0.4 s of a night (libfaketime)",
    "the books close; the next night finds what is done, and does the rest",
)  # fmt: skip
def test_clock_changes_within_a_night(tmp_path, tried):
    library = faketime("libfaketimeMT.so.1")
    out, clock = tmp_path / "out", tmp_path / "clock"
    clock.write_text("+0")
    archive = make_archive(tmp_path / "calls", 4)
    words = ["extract", "--input", archive, "--output", out, "--feature-set", "test_simple"]
    words = [*with_one_worker(words), "--chunk", "2"]
    environment = {
        **os.environ, "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    changes, changed = itertools.cycle(["-1d", "+0", "-3600", "+2h", "-90d"]), 0
    for added, said in ((0, "4 matched = 4 extracted"), (1, "5 matched = 1 extracted")):
        if added:
            (make_archive(tmp_path / "more", 5) / "good_4.wav").rename(archive / "good_4.wav")
        with subprocess.Popen(
            [sys.executable, "-m", "pipelines", *map(str, words)], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as night:  # fmt: skip
            while night.poll() is None:
                (tmp_path / "next").write_text(next(changes))
                (tmp_path / "next").replace(clock)
                changed += 1
                time.sleep(0.4)
            text, errors = night.communicate()
        assert night.returncode == 0, text + errors
        assert "Traceback" not in errors
        assert said in text
    tried(changed)
    assert_whole(out, [f"{archive}/good_{i}.wav" for i in range(5)])


def faketime(name: str) -> Path:
    """The library that changes what a process is told of the time."""
    library = next(Path("/usr/lib").glob(f"*/faketime/{name}"), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    return library


# ---------------------------------------------------------------- signals


FORKS = """
import os, sys, time
from tests.conftest import *  # the plug-in
import apache_beam, pyarrow, duckdb, numpy
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from pipelines import cli
from pipelines.runners import local
from pipelines.storage import views, published
import pipelines.nightly

local.beam_runner = lambda beam_options, *, debug: FnApiRunner()
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.setsid()
        print(os.getpid(), flush=True)
        os.dup2(os.open(sys.argv[1], os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            status = cli.main(sys.argv[2:])
        except BaseException as error:
            print("Traceback:", repr(error), file=sys.stderr, flush=True)
            status = 99
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.long
@pytest.mark.fault(
    "process", "SIGTERM and SIGINT at moments over a night, one after another on one output",
    "status 143 or 130 and one line; an undisturbed one after them ends with the whole tables",
)  # fmt: skip
def test_signals_at_many_moments(tmp_path, tried):
    times = int(os.environ.get("SER_FAULT_SIGNALS", "6"))
    archive = make_archive(tmp_path / "calls", 8)
    out, errors = tmp_path / "out", tmp_path / "errors.txt"
    words = ["extract", "--input", archive, "--output", out, "--feature-set", "test_simple"]
    words = [*with_one_worker(words), "--chunk", "2"]
    with subprocess.Popen(
        [sys.executable, "-c", FORKS, errors, *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as forks:  # fmt: skip
        planted = 0
        for i in range(times):
            forks.stdin.write("\n"), forks.stdin.flush()
            child = int(forks.stdout.readline())
            number = (signal.SIGTERM, signal.SIGINT)[i % 2]
            timer = threading.Timer(0.2 + 0.6 * i, os.kill, (child, number))
            timer.start()
            status = int(forks.stdout.readline())
            timer.cancel()
            text = errors.read_text()
            assert "Traceback" not in text
            assert status in (0, 128 + number), text
            planted += status != 0
            if out.exists() and rows_of(out):
                assert len(rows_of(out)) == len(set(rows_of(out)))
        forks.stdin.write("\n"), forks.stdin.flush()
        forks.stdout.readline()
        assert forks.stdout.readline().strip() == "0", errors.read_text()
        forks.stdin.close()
    assert planted
    tried(planted)
    assert_whole(out, [f"{archive}/good_{i}.wav" for i in range(8)])
    assert {attempt.status for attempt in attempts.read(str(out))} <= {
        "done",
        "interrupted",
        "failed",
    }


def rows_of(out: Path) -> list[tuple]:
    with views.connect(str(out)) as db:
        return db.execute("SELECT uri FROM history").fetchall()


@pytest.mark.long
@pytest.mark.fault(
    "process", "Nothing can be written into /dev/shm", "the night is that of any machine"
)  # fmt: skip
def test_no_dev_shm(tmp_path, level_model):
    unshared = ["unshare", "--mount", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*unshared, "true"]).returncode:
        pytest.skip("unshare may not be used here")
    out = tmp_path / "out"
    a_night_after("mount -t tmpfs -o ro none /dev/shm", out, level_model, unshared)


@pytest.mark.fault(
    "process", "`umask 077`", "the night is that of any machine; only its owner can read the files"
)  # fmt: skip
def test_private_umask(tmp_path, level_model):
    out = tmp_path / "out"
    a_night_after("umask 077", out, level_model)
    assert {stat.S_IMODE(path.lstat().st_mode) & 0o077 for path in out.rglob("*")} == {0}


def a_night_after(script: str, out: Path, model: Path, before: Sequence[str] = ()) -> None:
    """A night over two calls in a shell that did something first."""
    archive = make_archive(out.parent / "calls", 2)
    words = with_one_worker(["run", "--input", archive, "--output", out, "--model", model])
    done = subprocess.run(
        [*before, "sh", "-c", f'{script} && exec "$@"', "sh", sys.executable, "-m", "pipelines",
         *map(str, words)],
        capture_output=True, text=True,
    )  # fmt: skip
    ends(done, 0)
    assert "2 labelled" in done.stdout
    assert_whole(out, [f"{archive}/good_{i}.wav" for i in range(2)])
