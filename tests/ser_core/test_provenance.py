"""What a bundle remembers of its training data: hashes that answer for members only, quantiles."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_core.corpora import Utterance
from ser_core.errors import BundleError
from ser_core.models.provenance import LEVELS, SALT_BYTES, Provenance, describe_training

FEATURES = np.random.default_rng(0).normal(1_000, 0.1, (500, 3))
OUTPUTS = np.full((4, 2), 0.5)


def write_clip(folder: Path, name: str, **about) -> Utterance:
    path = folder / name
    path.write_bytes(name.encode())
    return Utterance(path, "sad", f"test-{name}", "Test", **about)


@pytest.fixture
def heard(tmp_path) -> list[Utterance]:
    whole = write_clip(tmp_path, "a.wav")
    part = write_clip(tmp_path, "call.wav", channel=1, start_s=1.0, end_s=3.0)
    return [whole, part, replace(part, start_s=3.0, end_s=5.0)]


def test_members_are_known_and_others_are_not(tmp_path, heard):
    provenance = describe_training(heard, FEATURES, OUTPUTS)
    other = write_clip(tmp_path, "other.wav")
    same_bytes = replace(heard[0], path=tmp_path / "renamed.wav")
    same_bytes.path.write_bytes(heard[0].path.read_bytes())
    other_part = replace(heard[1], end_s=2.5)
    asked = [*heard, other, same_bytes, other_part]
    assert provenance.trained_on_clips(asked).tolist() == [True, True, True, False, True, False]
    recording_ids = [hashlib.sha256(u.path.read_bytes()).hexdigest() for u in asked]
    assert provenance.trained_on_recordings(recording_ids).tolist() == [
        True, True, True, False, True, True,
    ]  # fmt: skip
    speakers = ["test-a.wav", "test-other.wav", "test-call.wav"]
    assert provenance.trained_on_speakers(speakers).tolist() == [True, False, True]
    assert provenance.trained_on_speakers([]).tolist() == []


def test_hashes_are_sha256_of_salt_and_id_without_duplicates(heard):
    provenance = describe_training(heard, FEATURES, OUTPUTS)
    salt = provenance.hash_salt.tobytes()
    expected = sorted(
        int.from_bytes(hashlib.sha256(salt + speaker.encode()).digest()[:8], "little")
        for speaker in ("test-a.wav", "test-call.wav")
    )
    assert provenance.speaker_hashes.tolist() == expected
    assert provenance.speaker_hashes.dtype == np.uint64
    assert len(provenance.recording_hashes) == 2
    assert len(provenance.clip_hashes) == 3


def test_two_bundles_cannot_be_matched(heard):
    first, second = (describe_training(heard, FEATURES, OUTPUTS) for _ in range(2))
    assert not set(first.clip_hashes.tolist()) & set(second.clip_hashes.tolist())
    assert len(first.hash_salt) == SALT_BYTES


def test_a_bundle_remembers_what_it_started_from(tmp_path, heard):
    base = describe_training(heard[:1], FEATURES, OUTPUTS)
    after = describe_training(heard[1:], FEATURES[:, :2], OUTPUTS, base=base)
    assert after.trained_on_clips(heard).all()
    assert not base.trained_on_clips(heard[1:]).any()
    assert not after.trained_on_clips([write_clip(tmp_path, "other.wav")]).any()
    assert after.feature_quantiles.shape[1] == 2


def test_a_file_of_arrays_keeps_everything(heard):
    provenance = describe_training(heard, FEATURES, OUTPUTS)
    file = io.BytesIO()
    np.savez(file, inputs=FEATURES[:2], **provenance.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as kept:
        again = Provenance.read({name: kept[name] for name in kept.files})
    assert again is not None
    for name, array in provenance.arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array)
    assert again.trained_on_clips(heard).all()


def test_bundles_without_provenance_have_none_and_damaged_ones_are_refused(heard):
    assert Provenance.read({"inputs": FEATURES}) is None
    arrays = describe_training(heard, FEATURES, OUTPUTS).arrays()
    del arrays["hash_salt"]
    with pytest.raises(BundleError, match=r"no hash_salt beside clip_hashes"):
        Provenance.read(arrays)


def test_quantiles_keep_the_spread_around_a_large_mean(heard):
    provenance = describe_training(heard, FEATURES, OUTPUTS)
    expected = [np.quantile(FEATURES, level, axis=0) for level in LEVELS]
    np.testing.assert_allclose(provenance.feature_quantiles, expected, rtol=0, atol=1e-4)
    assert (np.diff(provenance.feature_quantiles, axis=0) > 0).all()


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_quantiles_of_outputs_are_ordered_probabilities(n, seed):
    outputs = np.random.default_rng(seed).dirichlet([1, 1, 1], n)
    quantiles = describe_training([], FEATURES[:2], outputs).output_quantiles
    assert quantiles.shape == (len(LEVELS), 3)
    assert (np.diff(quantiles, axis=0) >= 0).all()
    assert quantiles.min() >= 0
    assert quantiles.max() <= 1


@pytest.mark.parametrize("matrix", [np.zeros(3), np.zeros((0, 3)), np.array([[1.0, np.nan]])])
def test_what_is_no_matrix_of_numbers_is_refused(matrix):
    with pytest.raises(ValueError, match="features: an array of shape"):
        describe_training([], matrix, OUTPUTS)
