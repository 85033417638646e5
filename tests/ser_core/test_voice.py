"""The feature set `voice`: the encoder's statistics on a fixed, coarse scale."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_core import features
from ser_core.errors import FeatureError
from ser_core.features import encoder, voice
from tests.speechlike import voice as speak

FINGERPRINT = "a08d08b54157f9a7"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(int(8_000 * seconds), np.float32)


def test_the_set_is_pinned() -> None:
    feature_set = features.get("voice")
    assert feature_set.fingerprint == FINGERPRINT
    assert feature_set.names == encoder.NAMES
    assert feature_set.rate == 8_000


@given(st.floats(-1e4, 1e4), st.integers(0, len(encoder.NAMES) - 1))
def test_values_are_halves_of_a_standard_deviation_and_bounded(value: float, place: int) -> None:
    scale = voice.read_scale()
    statistics = scale.mean.copy()
    statistics[place] = scale.mean[place] + np.float32(value) * scale.sd[place]
    found = scale(statistics)
    assert found.dtype == np.float32
    assert (np.delete(found, place) == 0).all()
    assert not np.signbit(found[found == 0]).any()
    expected = np.clip(value, -voice.LIMIT, voice.LIMIT)
    assert found[place] == pytest.approx(expected, abs=voice.STEP / 2 + 1e-3 * abs(value))
    assert found[place] * 2 == np.rint(found[place] * 2)


def test_a_vector_is_the_scaled_statistics() -> None:
    samples = noise(1.3)
    scale = voice.read_scale()
    steps = np.round((encoder.statistics(samples) - scale.mean) / scale.sd * 2)
    found = features.get("voice").extract(samples, 8_000)
    np.testing.assert_allclose(found, np.clip(steps / 2, -16, 16), atol=0.5)
    assert np.mean(found == np.clip(steps / 2, -16, 16)) > 0.999


def test_a_segment_takes_less_than_2500_bytes_in_parquet() -> None:
    vectors = []
    for seed in range(60):
        pitch_hz = 90 + 3 * seed
        vectors.append(
            features.get("voice").extract(
                speak(1.2, f0_hz=pitch_hz, seed=seed) + 0.1 * noise(1.2, seed), 8_000
            )
        )
    values = pa.array(np.concatenate(vectors))
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(values, len(encoder.NAMES))})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    assert len(file.getvalue()) / len(vectors) < 2_500


def test_a_missing_or_damaged_scale_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice.read_scale.cache_clear()
    monkeypatch.setattr(voice, "FILE", tmp_path / "scale.npz")
    with pytest.raises(FeatureError, match=r"scale\.npz: the scale of the .* cannot be read"):
        voice.read_scale()
    (tmp_path / "scale.npz").write_bytes(b"not it")
    with pytest.raises(FeatureError, match=r"scale\.npz: .* is damaged: .* install"):
        voice.read_scale()
