"""What of a test a bundle was trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ser_core.corpora import Corpus, Utterance
from ser_core.models import evaluation
from ser_core.models.overlap import Overlap, find_overlap
from ser_core.models.provenance import describe_training


@pytest.fixture
def utterances(tmp_path):
    """Ten clips of five speakers, two each; the last two are parts of one recording."""
    made = []
    for i in range(10):
        path = tmp_path / f"{min(i, 8)}.wav"
        path.write_bytes(bytes([min(i, 8)]))
        made.append(Utterance(path, "angry", f"speaker-{i // 2}", "test"))
    parts = [replace(u, start_s=float(i), end_s=i + 1.0) for i, u in enumerate(made[8:])]
    return made[:8] + parts


def test_clips_recordings_and_speakers_are_counted(utterances):
    trained = describe_training(utterances[:3] + utterances[8:9], np.ones((1, 2)), np.ones((1, 2)))
    found = find_overlap(trained, Corpus("test", "free", tuple(utterances), {}))
    # The ninth clip shares its recording with the tenth.
    assert found == Overlap(4, 10, 4, 9, 3, 5)
    assert found.found
    assert found.sentence() == (
        "4 of 10 clips, 4 of 9 recordings and 3 of 5 speakers stood in its training"
    )
    others = find_overlap(trained, Corpus("test", "free", tuple(utterances[4:8]), {}))
    assert others == Overlap(0, 4, 0, 4, 0, 2)
    assert not others.found
    assert find_overlap(None, Corpus("test", "free", tuple(utterances), {})) is None


def test_few_speakers_make_intervals_that_hold_less():
    assert evaluation.interval_coverage(1_000) == pytest.approx(0.95, abs=1e-3)
    # By simulation: means of five normal values, resampled.
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2_000, 5))
    drawn = values[:, rng.integers(0, 5, (400, 5))].mean(axis=2)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    held = np.mean((low <= 0) & (high >= 0))
    assert stats.binomtest(int(held * 2_000), 2_000, held).proportion_ci().low < 0.86
    assert evaluation.interval_coverage(5) == pytest.approx(held, abs=0.03)
