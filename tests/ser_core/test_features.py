"""Feature sets: the registry, fingerprints, `seed193` and `librosa193` against the recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings

import librosa
import numpy as np
import pytest
import soundfile

from ser_core import features
from ser_core.errors import FeatureError
from tests.speechlike import voice


def literal_recipe(path) -> np.ndarray:
    """The article's extraction, as its readers would type it."""
    y, sr = librosa.load(path)
    stft = np.abs(librosa.stft(y))
    return np.hstack(
        [
            np.mean(librosa.feature.mfcc(y=y, sr=sr, n_mfcc=40).T, axis=0),
            np.mean(librosa.feature.chroma_stft(S=stft, sr=sr).T, axis=0),
            np.mean(librosa.feature.melspectrogram(y=y, sr=sr).T, axis=0),
            np.mean(librosa.feature.spectral_contrast(S=stft, sr=sr).T, axis=0),
            np.mean(librosa.feature.tonnetz(y=librosa.effects.harmonic(y), sr=sr).T, axis=0),
        ]
    )


@pytest.mark.parametrize("name", ["seed193", "librosa193"])
@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_both_are_the_literal_recipe(name, rate):
    buffer = io.BytesIO()
    soundfile.write(buffer, voice(2.5, rate), rate, format="WAV", subtype="PCM_16")
    samples, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")
    found = features.get(name).extract(samples, rate)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, literal_recipe(io.BytesIO(buffer.getvalue())), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("actor", ["Actor_01", "Actor_16"])
def test_seed193_on_real_clips(corpora, actor):
    for path in sorted((corpora / "ravdess" / actor).glob("*.flac"))[::20]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        found = features.get("seed193").extract(samples.mean(axis=1), rate)
        np.testing.assert_allclose(found, literal_recipe(path), rtol=1e-4, atol=1e-4)


def test_both_name_their_dimensions():
    names = features.get("seed193").names
    assert features.get("librosa193").names == names
    assert len(names) == len(set(names)) == 193
    assert [names[i] for i in (0, 40, 52, 180, 187)] == [
        "mfcc_0_mean", "chroma_0_mean", "mel_power_0_mean", "contrast_0_mean", "tonnetz_0_mean",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "samples", [np.zeros(1), np.ones(100), np.zeros(30_000), np.eye(1, 9_999)[0]]
)
def test_hostile_samples_give_finite_vectors(samples):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vector = features.get("seed193").extract(samples, 22_050)
    assert np.isfinite(vector).all()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.empty(0), "one channel"),
        (np.zeros((2, 100)), "one channel"),
        (np.array([0.0, np.nan]), "NaN"),
        (np.array([0.0, np.inf]), "NaN or infinity"),
    ],
)
def test_samples_that_are_no_signal_are_refused(samples, message):
    with pytest.raises(FeatureError, match=message):
        features.get("seed193").extract(samples, 8_000)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(FeatureError, match=r"seed913.*seed193.*test_simple"):
        features.get("seed913")


def test_entry_points_bring_feature_sets():
    found = features.get("test_simple")
    vector = found.extract(voice(1.0, level_db=-23), 8_000)
    assert vector[0] == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("change", [{"id": "x"}, {"rate": 8_000}, {"parameters": {"version": 2}}])
def test_fingerprint_changes_with_the_recipe(change):
    original = features.get("seed193")
    assert original.fingerprint == features.get("seed193").fingerprint
    assert dataclasses.replace(original, **change).fingerprint != original.fingerprint


def test_fingerprint_is_the_one_that_bundles_carry():
    """Once a bundle is shipped, its feature set never changes under its name."""
    assert features.get("seed193").fingerprint == "a08c078fb792812b"


@pytest.mark.parametrize("n", [1, 511, 600, 1_535, 2_047])
def test_librosa193_gives_short_samples_a_vector_or_refuses_them(n):
    samples = np.random.default_rng(n).standard_normal(n)
    with contextlib.suppress(FeatureError):
        assert np.isfinite(features.get("librosa193").extract(samples, 22_050)).all()
