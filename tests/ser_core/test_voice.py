"""The feature set `voice`: the encoder's statistics on a coarse, fixed scale."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_core import features
from ser_core.errors import FeatureError
from ser_core.features import encoder, voice
from tests import speechlike

RATE_HZ = 8_000
VOICE = features.get("voice")
SPEECH = speechlike.voice(1.5, seed=1)


@pytest.fixture
def scale_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another file of the scale, which `voice` reads."""
    file = tmp_path / "scale.npz"
    monkeypatch.setattr(voice, "FILE", file)
    voice.read_scale.cache_clear()
    yield file
    voice.read_scale.cache_clear()


def save(file: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    np.savez(file, mean=np.zeros(size, np.float32), sd=np.ones(size, np.float32))
    monkeypatch.setattr(voice, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())


def test_vector_is_the_encoder_s_on_the_scale() -> None:
    scale = voice.read_scale()
    standardised = (encoder.statistics(SPEECH) - scale.mean) / scale.sd
    vector = VOICE.extract(SPEECH, RATE_HZ)
    np.testing.assert_array_less(np.abs(vector - np.clip(standardised, -16, 16)), 0.25 + 1e-5)
    np.testing.assert_array_equal(vector, np.rint(2 * vector) / 2)
    assert not np.signbit(vector[vector == 0]).any()


def test_scale_of_a_value_is_fixed() -> None:
    scale = voice.Scale(np.full(4, 10, np.float32), np.full(4, 2, np.float32))
    rows = np.array([[10, 10.4, 10.6, 9.4], [12, 8, 1e6, -1e6]], np.float32)
    expected = [[0, 0, 0.5, -0.5], [1, -1, 16, -16]]
    np.testing.assert_array_equal(scale(rows), expected)
    np.testing.assert_array_equal(scale(rows[1]), expected[1])


def test_fingerprint_is_pinned() -> None:
    assert VOICE.fingerprint == "a08d08b54157f9a7"
    assert VOICE.names == encoder.NAMES


def test_missing_or_damaged_scale_is_named(scale_file: Path) -> None:
    with pytest.raises(FeatureError, match=r"scale\.npz: .* cannot be read .* install"):
        VOICE.extract(SPEECH, RATE_HZ)
    scale_file.write_bytes(b"x")
    with pytest.raises(FeatureError, match=r"scale\.npz: .* is damaged: 1 bytes .* install"):
        VOICE.extract(SPEECH, RATE_HZ)


def test_scale_of_another_size_is_refused(
    scale_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(scale_file, monkeypatch, 5)
    with pytest.raises(FeatureError, match=r"\(5,\) .* found, \(3072,\) expected"):
        VOICE.extract(SPEECH, RATE_HZ)


def test_a_segment_takes_less_than_2500_bytes_in_parquet() -> None:
    vectors = [
        VOICE.extract(speechlike.voice(1.2, f0_hz=90.0 + 3 * seed, seed=seed), RATE_HZ)
        for seed in range(60)
    ]
    values = pa.array(np.concatenate(vectors))
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(values, len(encoder.NAMES))})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    assert len(file.getvalue()) / len(vectors) < 2_500
