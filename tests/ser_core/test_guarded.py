"""The child that decodes: a crash, a hang or too much memory costs one recording."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest
import soundfile

from ser_core import audio, guarded
from ser_core.errors import SerError
from ser_core.examine import CHANGED, Settings, Source
from ser_core.guarded import Examiner, Guard
from ser_core.header_reader import HeaderReader
from tests.speechlike import call

SETTINGS = Settings("test_faulty")
GUARD = Guard(timeout_s=20, memory_mb=600)


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    soundfile.write(folder / "good_1.wav", call([(1, 4, -20)], 6), 8_000)
    for fault in ("crash", "hang", "spin", "eat", "raise", "import", "escape"):
        shutil.copy(folder / "good_1.wav", folder / f"{fault}_1.wav")
    return folder


def source(path):
    return Source(str(path), 1, 1)


@pytest.mark.fault(
    "process", "Decoding crashes, hangs, eats the memory or raises",
    "that recording is rejected as `crashed` or `timed_out`, the ones between are examined",
)  # fmt: skip
def test_faults_cost_one_recording_each(calls, tried):
    tried(4)
    with Examiner(SETTINGS, GUARD) as examiner:
        rejections = {}
        for name in ("good", "crash", "good", "hang", "good", "eat", "good", "raise", "good"):
            path = calls / f"{name}_1.wav"
            found = examiner.examine(str(path), source(path))
            assert found.recording_id is not None
            if name == "good":
                assert found.reason is None
                assert len(found.segments) == 1
            else:
                rejections[name] = (found.reason, found.detail)
    assert rejections["crash"] == ("crashed", "the process that decoded it died of SIGSEGV")
    assert rejections["hang"] == ("timed_out", "no progress for 20 s (--timeout-s)")
    assert rejections["eat"][0] == "crashed"
    assert "memory" in rejections["eat"][1]
    assert rejections["raise"] == ("crashed", "ZeroDivisionError: planted")


def test_heavy_libraries_are_not_loaded_where_recordings_are_decoded(calls, tmp_path, monkeypatch):
    monkeypatch.setenv("SER_TEST_MODULES", str(tmp_path))
    path = str(calls / "good_1.wav")
    with Examiner(SETTINGS, replace(GUARD, fence="off")) as examiner:
        assert examiner.examine(path, source(path)).reason is None
        assert examiner.fence == "none"
    loaded = [path.read_text() for path in tmp_path.iterdir()]
    assert len(loaded) == 1
    assert set(loaded) == {""}, "a heavy library was loaded where recordings are decoded"


def child_of(examiner: Examiner) -> psutil.Process:
    return psutil.Process(examiner.start().process.pid)


def test_the_child_ends_with_its_examiner(calls):
    examiner = Examiner(SETTINGS, GUARD)
    examiner.examine(str(calls / "good_1.wav"), source(calls / "good_1.wav"))
    child = child_of(examiner)
    assert child.is_running()
    examiner.close()
    examiner.close()
    assert not child.is_running()


def test_a_pipe_without_a_writer_is_unreadable_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    path = str(tmp_path / "pipe.wav")
    with Examiner(Settings("test_simple"), GUARD) as examiner:
        found = examiner.examine(path, source("pipe.wav"))
    assert (found.reason, found.detail) == (
        "unreadable",
        "a pipe (FIFO) found, a regular file expected",
    )
    with HeaderReader(audio.Limits(), GUARD) as reader:
        assert reader.read(path, "pipe.wav").reason == "unreadable"


def test_a_child_that_cannot_start_says_why(calls):
    with (
        Examiner(Settings("no_such_set")) as examiner,
        pytest.raises(SerError, match="no feature set is called 'no_such_set'"),
    ):
        examiner.examine(str(calls / "good_1.wav"), source("a.wav"))


@pytest.mark.fault("process", "Decoding never ends and takes CPU", "rejected as `timed_out`")
def test_a_decoder_that_takes_too_many_cpu_seconds_is_ended(calls):
    path = str(calls / "spin_1.wav")
    with Examiner(SETTINGS, replace(GUARD, timeout_s=60, cpu_s=1)) as examiner:
        found = examiner.examine(path, source(path))
        good = examiner.examine(str(calls / "good_1.wav"), source("good_1.wav"))
    assert (found.reason, found.detail) == ("timed_out", "more than 1 CPU seconds (by --max-hours)")
    assert good.reason is None


def test_a_child_that_was_killed_while_it_waited_is_replaced(calls):
    path = str(calls / "good_1.wav")
    with Examiner(SETTINGS, GUARD) as examiner:
        examiner.examine(path, source(path))
        child = child_of(examiner)
        child.kill()
        child.wait()
        assert examiner.examine(path, source(path)).reason is None


def test_a_recording_that_was_replaced_while_it_was_read_is_told(calls, tmp_path):
    path = tmp_path / "good_1.wav"
    shutil.copy(calls / "good_1.wav", path)
    with Examiner(SETTINGS, GUARD) as examiner:
        real = examiner._examine

        def replacing(*arguments):
            found = real(*arguments)
            shutil.copy(path, tmp_path / "other.wav")
            (tmp_path / "other.wav").replace(path)
            return found

        examiner._examine = replacing
        assert examiner.examine(str(path), source(path)).detail == CHANGED


def test_children_get_no_credentials(calls, monkeypatch):
    names = ("AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "SLACK_TOKEN", "DB_PASSWORD", "LANG_OF_IT")
    for name in names:
        monkeypatch.setenv(name, "marked-value")
    with Examiner(SETTINGS, GUARD) as examiner:
        examiner.examine(str(calls / "good_1.wav"), source("good_1.wav"))
        child = child_of(examiner)
        found = child.environ()
    assert [name for name in names if name in found] == ["LANG_OF_IT"]


def test_compiled_code_that_was_left_damaged_is_compiled_anew(calls, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    with Examiner(Settings("test_damaged"), GUARD) as examiner:
        found = examiner.examine(str(calls / "good_1.wav"), source(calls / "good_1.wav"))
    assert found.reason is None


def test_a_child_that_always_dies_while_warming_up_says_so(calls, monkeypatch):
    monkeypatch.setattr(Examiner, "_cache", lambda self: {})
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    with (
        Examiner(Settings("test_damaged"), GUARD) as examiner,
        pytest.raises(SerError, match="died while warming up of SIGSEGV"),
    ):
        examiner.examine(str(calls / "good_1.wav"), source(calls / "good_1.wav"))


@pytest.mark.parametrize("bad", [{"timeout_s": 0}, {"memory_mb": -1}, {"cpu_s": 0}])
def test_guards_need_numbers_above_0(bad):
    with pytest.raises(SerError, match="above 0"):
        Guard(**bad)


def test_cpu_seconds_of_a_process_are_its_own_whatever_its_name():
    code = (
        "import ctypes, time\n"
        "ctypes.CDLL(None).prctl(15, b'a) R 1 (b', 0, 0, 0)\n"  # PR_SET_NAME
        "while time.process_time() < 0.5: pass\n"
        "print(time.process_time(), flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        told = float(process.stdout.readline())
        assert guarded._used_cpu_s(process.pid) == pytest.approx(told, abs=0.1)
        process.communicate("\n")
