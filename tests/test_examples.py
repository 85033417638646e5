"""The examples run, each as its reader would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pyarrow.dataset
import pytest

from pipelines.storage import views
from tests.conftest import CALLS, ROOT

EXAMPLES = ROOT / "examples"


def run_python(*words, env=None, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env={**os.environ, "MPLBACKEND": "Agg", **(env or {})},
    )


def test_label_call():
    done = run_python(EXAMPLES / "label_call.py")
    assert done.returncode == 0, done.stderr
    facts, header, *rows = done.stdout.splitlines()
    assert facts.startswith("20260301T091500_c0001.wav: ")
    assert header.split() == ["start_s", "end_s", "label", "confidence"]
    assert rows
    for row in rows:
        start_s, end_s, _, confidence = row.split()[:4]
        assert 1 <= float(end_s) - float(start_s) <= 10.01
        assert 0.1 <= float(confidence) <= 1


def test_the_readmes_python(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## From Python\n")[2]
    text = text.partition("\n## ")[0]
    code = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    assert "label_file" in code
    assert "bundle.predict" in code
    (tmp_path / "a.wav").write_bytes((CALLS / "billing" / "20260301T091500_c0001.wav").read_bytes())
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'angry': " in done.stdout


@pytest.mark.long
def test_a_feature_set_of_ones_own(ser, tmp_path):
    # Installed beside the environment, without a network.
    source, site = tmp_path / "feature_set", tmp_path / "site"
    source.mkdir()
    for name in ("pyproject.toml", "ser_example_levels.py"):
        (source / name).write_bytes((EXAMPLES / "feature_set" / name).read_bytes())
    pip = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    installed = run_python(*pip, "--target", site, source)
    assert installed.returncode == 0, installed.stderr

    path = os.pathsep.join([str(site), os.environ["PYTHONPATH"]])
    words = ["extract", "--input", CALLS / "billing", "--output", tmp_path / "out"]
    words += ["--feature-set", "example_levels", "--channel-roles", "agent,customer"]
    done = ser(*words, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr

    features = pyarrow.dataset.dataset(tmp_path / "out" / "features", format="parquet")
    assert features.schema.metadata[b"feature_set"] == b"example_levels"
    vectors = features.to_table()["vector"].to_pylist()
    assert vectors
    level_db, _, range_db, centroid_hz, *_ = vectors[0]
    assert -60 < level_db < 0 < range_db
    assert 100 < centroid_hz < 4_000


@pytest.mark.long
def test_tables_to_plot(night_out, tmp_path):
    picture = tmp_path / "negativity.png"
    out = tmp_path / "out"
    shutil.copytree(night_out, out)
    views.refresh(out)
    done = run_python(EXAMPLES / "tables_to_plot.py", out, picture)
    assert done.returncode == 0, done.stderr
    assert "billing" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
