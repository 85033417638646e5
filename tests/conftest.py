"""Shared by several tests: the real recordings, the plug-in package, finished nights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

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


@pytest.fixture
def ser():
    """Runs the command as a user would: `ser("run", …)` -> CompletedProcess."""

    def run(*words, env=None, timeout=300, cwd=None) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd,
            env={**os.environ, **(env or {})},
        )

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
    """The output of a night over the sample calls with the default model."""
    out = tmp_path_factory.mktemp("night") / "out"
    words = ["run", "--input", CALLS, "--output", out, "--date", "2026-03-01"]
    words += ["--channel-roles", "agent,customer", "--uri-fields", URI_FIELDS]
    subprocess.run([sys.executable, "-m", "pipelines", *map(str, words)], check=True)
    return out
