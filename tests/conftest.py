"""Shared by several tests: the real recordings, the plug-in package, finished nights."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import filelock
import hypothesis
import pytest

# The same examples on each run in CI, new ones at a developer's desk; no deadlines anywhere.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "desk")

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PLUGIN = TESTS / "plugin"
CALLS = TESTS / "data" / "calls"
URI_FIELDS = r"(?P<queue>[^/]+)/(?P<time>\d{8}T\d{6})_(?P<call_id>[^/.]+)"

# Also for child processes: the plug-in's feature sets, and this checkout.
sys.path.insert(0, str(PLUGIN))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), str(PLUGIN), *filter(None, [os.environ.get("PYTHONPATH")])]
)


# A shell starts what runs in the background with SIGINT ignored, and children inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Let one process compile librosa before several workers load it."""
    if not hasattr(config, "workerinput"):
        code = (
            "from ser_core import features\n"
            "features.get('seed193').warm(), features.get('librosa193').warm()"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Folder of the real recordings."""
    folder = Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "ravdess").is_dir():
        pytest.skip(f"no real recordings in {folder}; set SER_DATA to their folder")
    return folder


def with_one_worker(words) -> list[str]:
    """The words of a command; a night without `--workers` gets one, since each costs seconds."""
    words = [str(word) for word in words]
    nightly = words[0] in ("run", "extract", "label") and "--help" not in words
    return [*words, "--workers", "1"] if nightly and "--workers" not in words else words


@pytest.fixture
def tried(record_property):
    """Takes how often a test planted its fault, for docs/reliability.md."""
    return lambda times: record_property("tried", times)


@pytest.fixture
def ser():
    """Runs the command in a process of its own: `ser("run", …)` -> CompletedProcess."""

    def run(*words, env=None, timeout=300, cwd=None) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *with_one_worker(words)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )

    return run


@pytest.fixture
def ser_here(monkeypatch):
    """As `ser`, but in this process, Beam's worker too: it has imported what a command needs."""
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipelines.cli import main
    from pipelines.runners import local

    monkeypatch.setattr(local, "beam_runner", lambda beam_options, *, debug: FnApiRunner())

    def run(*words, cwd=None) -> subprocess.CompletedProcess:
        words, out, errors = with_one_worker(words), io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(cwd or Path.cwd()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
        ):
            try:
                status = main(words)
            except SystemExit as error:  # raised by argparse
                status = error.code
        return subprocess.CompletedProcess(words, status, out.getvalue(), errors.getvalue())

    return run


@pytest.fixture(scope="session")
def level_model(tmp_path_factory) -> Path:
    """A model over `test_simple`: loud speech is angry, quiet speech calm, the edge at -30 dB."""
    from tests.tiny_bundle import make, threshold

    return make(
        tmp_path_factory.mktemp("models") / "level",
        ("calm", "angry"),
        "test_simple",
        threshold([0], [-30.0]),
        name="level",
    )


@pytest.fixture(scope="session")
def pitch_model(tmp_path_factory) -> Path:
    """Another over the same features, with other labels: by the strongest frequency."""
    from tests.tiny_bundle import make, threshold

    return make(
        tmp_path_factory.mktemp("models") / "pitch",
        ("sad", "neutral", "happy"),
        "test_simple",
        threshold([3], [150.0, 400.0]),
        name="pitch",
    )


@pytest.fixture(scope="session")
def night_out(tmp_path_factory) -> Path:
    """The output of a night over the sample calls with the default model; tests only read it."""

    def run(out: Path) -> None:
        words = ["run", "--input", CALLS, "--output", out, "--date", "2026-03-01"]
        words += ["--channel-roles", "agent,customer", "--uri-fields", URI_FIELDS]
        subprocess.run([sys.executable, "-m", "pipelines", *with_one_worker(words)], check=True)

    return made_once(tmp_path_factory, "night_out", run)


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first of pytest's processes fills and that all of them read.

    Parameters
    ----------
    tmp_path_factory
        pytest's own.
    name : str
        Of the folder.
    make : callable
        Fills the folder it is given, which does not exist yet.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / name
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(folder)
    return folder
