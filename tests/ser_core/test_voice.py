"""The feature set `voice`: the encoder's statistics, projected, with functionals."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from ser_core.errors import FeatureError
from ser_core.features import FeatureSet, encoder, telephone, voice
from tests import speechlike

RATE_HZ = 8_000
SPEECH = speechlike.voice(1.5, seed=1)


def saved(file: Path, components: np.ndarray, mean: float = 0.0, sd: float = 1.0) -> FeatureSet:
    """The set over a projection that is written to `file`."""
    size = len(encoder.NAMES)
    np.savez(
        file,
        mean=np.full(size, mean, np.float16),
        sd=np.full(size, sd, np.float16),
        components=components.astype(np.float16),
    )
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return voice.feature_set(file, sha256, components.shape[1], with_functionals=True)


def first_statistics(count: int) -> np.ndarray:
    return np.eye(len(encoder.NAMES), count)


def test_vector_is_projection_then_functionals(tmp_path: Path) -> None:
    feature_set = saved(tmp_path / "projection.npz", first_statistics(3), mean=0.5, sd=2.0)
    vector = feature_set.extract(SPEECH, RATE_HZ)
    standardised = (encoder.statistics(SPEECH)[:3] - 0.5) / 2
    np.testing.assert_array_equal(vector[:3], standardised.astype(np.float16))
    np.testing.assert_array_equal(vector[3:], telephone.compute(SPEECH)[telephone.FUNCTIONALS])
    assert feature_set.names[2:4] == ("component003", telephone.NAMES[0])
    assert len(feature_set.names) == 3 + 651


def test_projection_is_linear(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    components = random.standard_normal((len(encoder.NAMES), 4)).astype(np.float16)
    file = tmp_path / "projection.npz"
    saved(file, components)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    project = voice.read_projection(file, sha256, 4)
    statistics = random.standard_normal(len(encoder.NAMES)).astype(np.float32)
    expected = statistics.astype(np.float64) @ components.astype(np.float64)
    np.testing.assert_allclose(project(statistics), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(RATE_HZ, np.float32), SPEECH[:300], SPEECH],
    ids=["silence", "short", "long"],
)
def test_functionals_alone_are_those_of_telephone(samples: np.ndarray) -> None:
    whole = telephone.compute(samples)[telephone.FUNCTIONALS]
    assert telephone.functionals(samples).tobytes() == whole.tobytes()


def test_feature_set_can_be_sent_to_another_process(tmp_path: Path) -> None:
    feature_set = saved(tmp_path / "projection.npz", first_statistics(2))
    sent = pickle.loads(pickle.dumps(feature_set))
    assert sent.extract(SPEECH, RATE_HZ).tobytes() == feature_set.extract(SPEECH, RATE_HZ).tobytes()


def test_fingerprint_follows_the_projection(tmp_path: Path) -> None:
    sets = [saved(tmp_path / "projection.npz", first_statistics(2), sd=sd) for sd in (1.0, 2.0)]
    assert sets[0].names == sets[1].names
    assert sets[0].fingerprint != sets[1].fingerprint


def test_missing_or_damaged_projection_is_named(tmp_path: Path) -> None:
    file = tmp_path / "projection.npz"
    feature_set = saved(file, first_statistics(2))
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(FeatureError, match=r"projection\.npz: .* is damaged: .* install"):
        feature_set.extract(SPEECH, RATE_HZ)
    file.unlink()
    with pytest.raises(FeatureError, match=r"projection\.npz: .* cannot be read"):
        feature_set.extract(SPEECH, RATE_HZ)


def test_projection_of_another_size_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "projection.npz"
    saved(file, first_statistics(2))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(FeatureError, match=r"\(3072, 2\).* found, .*\(3072, 5\).* expected"):
        voice.read_projection(file, sha256, 5)
