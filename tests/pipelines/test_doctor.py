"""`ser doctor`: what it finds on this machine, and on one where something is missing."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import sys

import pytest

from pipelines import doctor
from ser_core.fence import Fence
from tests.speechlike import call


def states(findings):
    return {finding.check: finding.state for finding in findings}


def test_a_whole_machine_is_ok(ser_here, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", call([(1, 4, -20)], 6), 8_000)
    out = tmp_path / "deep" / "out"
    done = ser_here("doctor", "--json", "--input", tmp_path, "--output", out)
    found = {entry["check"]: entry for entry in json.loads(done.stdout)}
    assert done.returncode == 0, found
    names = ("python", "libraries", "libsndfile", "fence", "temporary files", "clock", "/dev/shm",
             "locale", "cores and memory", "output", "clock of the output")  # fmt: skip
    assert set(names) <= set(found)
    assert "a.wav" in found[f"input {tmp_path}"]["found"]
    assert all(entry["advice"] for entry in found.values() if entry["state"] != "ok")
    assert not out.exists(), "it leaves nothing behind"


def test_what_cannot_be_reached_is_a_problem(ser_here, tmp_path):
    (tmp_path / "file").write_text("no folder")
    words = ["--input", tmp_path / "nowhere.wav", "--output", tmp_path / "file" / "out"]
    done = ser_here("doctor", *words)
    assert done.returncode == 1
    assert done.stdout.count("problem") == 2
    assert "mounted" in done.stdout


def test_a_pattern_with_dates_may_have_no_calls_today(tmp_path):
    pattern = f"{tmp_path}/{{date:%Y-%m-%d}}/*.wav"
    [finding] = doctor.readable(pattern)
    assert finding.state == doctor.PROBLEM
    assert f"on the last 8 days: {tmp_path}/{dt.date.today()}/*.wav, " in finding.found
    folder = tmp_path / f"{dt.date.today() - dt.timedelta(days=2)}"
    folder.mkdir()
    (folder / "a.wav").touch()
    [finding] = doctor.readable(pattern)
    assert (finding.state, finding.found) == (doctor.OK, f"can be read: {folder}/a.wav")


def test_another_version_is_told(monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.1" if name == "numpy" else real(name)
    )
    [finding] = doctor.libraries()
    assert finding.state == doctor.PROBLEM
    assert "numpy 0.1 (>=2.0 expected)" in finding.found


def test_a_missing_library_is_told(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name in ("duckdb", "av"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    [finding] = doctor.libraries()
    assert (finding.state, finding.found) == (doctor.PROBLEM, "duckdb is missing")
    assert states(doctor.extras())["extra av"] == doctor.WARNING
    monkeypatch.setitem(sys.modules, "av", None)
    assert list(doctor.ffmpeg()) == []


@pytest.mark.parametrize(
    ("closed", "state"),
    [
        (Fence(("landlock 7", "seccomp", "rlimits"), (), True), doctor.OK),
        (Fence(("seccomp", "rlimits"), ("no landlock in this kernel",), True), doctor.OK),
        (Fence(("rlimits",), ("no seccomp (planted)",), False), doctor.WARNING),
    ],
)
def test_the_fence_is_told(monkeypatch, closed, state):
    monkeypatch.setattr("ser_core.header_reader.HeaderReader.wait", lambda self: closed)
    [finding] = doctor.fence()
    assert finding.state == state
    assert str(closed) in finding.found


def test_a_check_that_fails_is_a_problem(monkeypatch):
    def broken():
        raise ImportError("libsndfile.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "libsndfile", broken)
    monkeypatch.setattr(doctor, "fence", lambda: iter(()))
    found = {finding.check: finding for finding in doctor.examine_machine()}
    assert found["libsndfile"].state == doctor.PROBLEM
    assert "cannot open shared object" in found["libsndfile"].found


@pytest.mark.parametrize(
    ("skew_s", "state"), [(0.2, doctor.OK), (-0.2, doctor.OK), (9, doctor.WARNING)]
)
def test_a_clock_that_differs_is_told(skew_s, state):
    assert doctor._clock("clock", abs(skew_s), "/tables").state == state


def test_little_room_and_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_LEAST_FREE_GB", 1e9)
    assert states(doctor.temporary_files())["temporary files"] == doctor.PROBLEM
    monkeypatch.setattr(doctor, "_group_limit", lambda: 1e9)
    assert states(doctor.cores_and_memory()) == {"cores and memory": doctor.PROBLEM}
