"""The fence round the decoding child: what a decoder that was taken over cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import formats
from ser_core import audio, fence
from ser_core.errors import SerError
from ser_core.examine import Settings, Source, examine
from ser_core.guarded import Examiner, Guard
from tests.speechlike import call

PLUGIN = Path(__file__).parents[1] / "plugin"
sys.path.insert(0, str(PLUGIN))
import ser_test_escapes  # noqa: E402

FORMAT_SETTINGS = Settings(
    "test_simple", raw=(audio.RawFormat("mulaw", extensions=(".ulaw", ".dat")),)
)
HARMLESS = {"read a file", "look at a file", "list a folder", "a pair of sockets", "fork"}
SCRIPT = """
import json, os, sys, threading
sys.path.insert(0, {plugin!r})
import ser_test_escapes
from ser_core import fence
{before}
kept = open(ser_test_escapes._THERE, "rb")
closed = fence.close()
print(json.dumps([str(closed), closed.is_closed, ser_test_escapes.succeeded({names!r}),
                  kept.read().decode()]))
"""


def attempt(names, before=""):
    """What a new process says that closes its fence and makes these attempts."""
    script = SCRIPT.format(plugin=str(PLUGIN), names=list(names), before=before)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole():
    """What the kernel of this machine lets a process close."""
    text, is_closed, succeeded, kept = attempt(ser_test_escapes.ATTEMPTS)
    if not is_closed:
        pytest.skip(f"the fence is not whole on this machine: {text}")
    return text, succeeded, kept


def test_without_a_fence_attempts_succeed():
    """Otherwise the tests below would show nothing."""
    assert set(ser_test_escapes.succeeded(HARMLESS)) == HARMLESS


def test_nothing_is_possible_inside_the_fence_but_to_read_what_is_open(whole):
    text, succeeded, kept = whole
    assert succeeded == []
    assert kept == "there"
    assert text.endswith("seccomp, rlimits") or "no landlock" in text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_than_root_can_do_nothing_either(whole):
    """Root is not counted by RLIMIT_NPROC, and may read what others may not."""
    before = "os.setgid(65534), os.setuid(65534)"
    text, is_closed, succeeded, kept = attempt(ser_test_escapes.ATTEMPTS, before)
    assert is_closed
    assert (text, succeeded, kept) == whole


def test_nothing_is_possible_from_inside_a_decoder(whole, tmp_path):
    path = tmp_path / "escape_1.wav"
    soundfile.write(path, call([(1, 4, -20)], 6), 8_000)
    with Examiner(Settings("test_faulty"), Guard(fence=fence.REQUIRED)) as examiner:
        found = examiner.examine(str(path), Source(str(path), 1, 1))
        assert examiner.fence == whole[0]
    count = len(ser_test_escapes.ATTEMPTS)
    expected = f"RuntimeError: {count} attempts, succeeded: none"
    assert (found.reason, found.detail) == ("crashed", expected)


def test_landlock_alone_closes_files_and_tcp():
    if not fence.landlock_version():
        pytest.skip("no Landlock in the kernel of this machine")
    names = ["read a file", "write a file", "list a folder", "delete a file", "start a program"]
    text, is_closed, succeeded, _ = attempt(names, 'fence._filter_calls = lambda libc: "planted"')
    assert succeeded == []
    assert not is_closed
    assert text == f"landlock {fence.landlock_version()}, rlimits: no seccomp (planted)"


def test_seccomp_alone_closes_everything(whole):
    text, is_closed, succeeded, _ = attempt(
        ser_test_escapes.ATTEMPTS, "fence._restrict_by_landlock = lambda libc: 0"
    )
    assert (is_closed, succeeded) == (True, [])
    assert text == "seccomp, rlimits: no landlock in this kernel"


def test_limits_alone_let_nothing_be_written():
    before = (
        'fence._filter_calls = lambda libc: "planted"\nfence._restrict_by_landlock = lambda libc: 0'
    )
    text, is_closed, succeeded, _ = attempt(["write a file", "raise a limit"], before)
    assert not is_closed
    assert "write a file" not in succeeded
    assert text == "rlimits only: no landlock in this kernel, no seccomp (planted)"


def test_a_machine_whose_calls_are_not_known_says_so():
    before = 'fence.platform.machine = lambda: "riscv64"'
    text, is_closed, *_ = attempt([], before)
    assert not is_closed
    assert text.endswith("rlimits: no seccomp (the calls of riscv64 are not known)")


def test_no_fence_is_told():
    assert str(fence.Fence()) == "none"
    with pytest.raises(SerError, match="fence='maybe' found, one of off, on, required expected"):
        Guard(fence="maybe")


@pytest.mark.parametrize("name", [format.name for format in formats.FORMATS])
def test_each_format_is_the_same_inside_the_fence(name, examiner, tmp_path):
    """What a decoder loads late, and could not, would show here: whole, cut and damaged files."""
    [format] = [format for format in formats.FORMATS if format.name == name]
    pytest.importorskip("av", reason="PyAV (the extra `av`) makes some of the formats")
    samples = call([(0.5, 2.5, -20)], 3)
    made = formats.Made(format, samples, samples[:8_000])
    for fault in ("cut to 60 %", "2,000 random bytes", "another rate appended", "extension .dat"):
        case = formats.FAULTS[fault](made)
        path = tmp_path / f"call{case.extension or format.extension}"
        path.write_bytes(case.data)
        source = Source(str(path), len(case.data), 0)
        inside = examiner.examine(str(path), source)
        outside = examine(path, source, FORMAT_SETTINGS)
        assert replace(inside, vectors=None) == replace(outside, vectors=None), fault
        if outside.vectors is not None:
            np.testing.assert_array_equal(inside.vectors, outside.vectors)


@pytest.fixture(scope="module")
def examiner():
    with Examiner(FORMAT_SETTINGS) as examiner:
        yield examiner
