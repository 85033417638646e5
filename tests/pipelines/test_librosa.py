"""librosa costs seconds and 65 MB: only a night that asks for it loads it."""

from __future__ import annotations

import os

import pyarrow.parquet as pq
import pytest
import soundfile

from ser_core import features
from tests.conftest import TESTS
from tests.speechlike import call

RATE_HZ = 8_000


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    soundfile.write(folder / "a.wav", call([(1, 4, -20)], 6, RATE_HZ), RATE_HZ)
    return folder


@pytest.fixture
def watched(tmp_path):
    """Environment in which every process that imports librosa leaves a file, and the folder."""
    folder = tmp_path / "imports"
    folder.mkdir()
    path = os.pathsep.join([str(TESTS / "watched_imports"), os.environ["PYTHONPATH"]])
    return {"PYTHONPATH": path, "SER_TEST_IMPORTS": str(folder)}, folder


def test_no_process_of_a_night_loads_librosa(ser, archive, watched, level_model, tmp_path):
    env, folder = watched
    done = ser(
        *("run", "--input", archive, "--output", tmp_path / "out", "--model", level_model), env=env
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []


def test_the_reference_of_seed193_can_be_run(ser, archive, watched, tmp_path):
    env, folder = watched
    vectors = {}
    for name in ("librosa193", "seed193"):
        out = tmp_path / name
        done = ser(
            *("extract", "--input", archive, "--output", out, "--feature-set", name), env=env
        )
        assert done.returncode == 0, done.stderr
        table = pq.read_table(next(out.glob("features/**/*.parquet")))
        vectors[name] = table["vector"].combine_chunks().flatten().to_numpy()
        assert len(vectors[name]) == len(table) * len(features.get(name).names)
    assert len(list(folder.iterdir())) > 0
    for found, reference in zip(vectors["seed193"], vectors["librosa193"], strict=True):
        assert found == pytest.approx(reference, rel=1e-4, abs=1e-4)
