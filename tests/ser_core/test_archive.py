"""Bundles that are fitted to an archive: by mathematics, robustly, and never by the batch."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import models
from ser_core.errors import BundleError
from ser_core.models import archive, bundle
from ser_core.models.archive import Archive, ArchiveStatistics, FeatureStatistics, mapping, measure
from ser_core.models.card import ARCHIVE, CARD, MODEL, REFERENCE
from ser_core.models.folder import load_keras_model
from ser_core.models.priors import estimate_log_prior
from tests import tiny_bundle

COLUMNS = 193
LABELS = ("calm", "sad", "angry")
RANDOM = np.random.default_rng(0)
MEAN = RANDOM.normal(0, 5, COLUMNS).astype(np.float32)
STD = RANDOM.uniform(0.5, 3, COLUMNS).astype(np.float32)
TRAINING = FeatureStatistics(MEAN, STD)
# The archive's features are those of the training, moved and stretched.
SHIFT = RANDOM.normal(0, 2, COLUMNS) * STD
STRETCH = RANDOM.uniform(0.6, 1.8, COLUMNS)


def speech(count: int, seed: int = 0) -> np.ndarray:
    """Vectors as in the training."""
    return np.random.default_rng(seed).normal(MEAN, STD, (count, COLUMNS)).astype(np.float32)


def calls(count: int, seed: int = 0) -> np.ndarray:
    """The same vectors, as they are in the archive."""
    found = (speech(count, seed) - MEAN) * STRETCH + MEAN + SHIFT
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    edges = MEAN[:5].mean() + np.array([-0.3, 0.3])
    return tiny_bundle.make(
        tmp_path_factory.mktemp("models") / "base",
        LABELS,
        "seed193",
        tiny_bundle.threshold(range(5), edges, sharpness=3.0),
        name="base",
        training=(MEAN, STD),
        temperature=1.5,
    )


@pytest.fixture(scope="module")
def loaded(base) -> models.Bundle:
    return models.load(base)


@pytest.fixture(scope="module")
def here(loaded) -> models.Bundle:
    return loaded.adapted(calls(2_000), np.arange(2_000) // 20)


def moved(found: ArchiveStatistics, against: ArchiveStatistics) -> float:
    """RMS over the features of the difference of means, in std of the training."""
    return float(np.sqrt(np.mean(np.square((found.mean - against.mean) / STD))))


# The statistics


def test_without_outliers_they_are_mean_and_standard_deviation():
    matrix = (speech(1_000) + SHIFT).astype(np.float32)
    found, weights = measure(matrix, None, TRAINING)
    kept = matrix[weights > 0]
    assert len(kept) == found.rows - found.left_out > 950
    np.testing.assert_allclose(found.mean, kept.mean(axis=0), atol=0.01 * STD.max())
    np.testing.assert_allclose(found.std, kept.std(axis=0), rtol=0.02)
    assert (found.rows, found.recordings) == (1_000, 1_000)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_silence_and_music_change_little(share):
    clean = calls(2_000)
    random = np.random.default_rng(1)
    other = random.normal(0, 1, (3, COLUMNS)) * 5 * STD + MEAN  # silence, a tone, a tune
    other = other[random.integers(0, 3, int(share * 2_000))] + random.normal(0, 0.1, COLUMNS)
    mixed = np.concatenate([clean, other]).astype(np.float32)
    before, _ = measure(clean, None, TRAINING)
    after, weights = measure(mixed, None, TRAINING)
    plain = np.sqrt(np.mean(np.square((mixed.mean(axis=0) - clean.mean(axis=0)) / STD)))
    assert moved(after, before) < 0.01 < plain
    assert np.count_nonzero(weights[2_000:]) == 0
    np.testing.assert_allclose(after.std, before.std, rtol=0.05)


def test_a_single_wild_value_changes_nothing_much():
    matrix = calls(500)
    before, _ = measure(matrix, None, TRAINING)
    matrix[7, 3] = 1e20
    after, _ = measure(matrix, None, TRAINING)
    assert moved(after, before) < 0.01
    np.testing.assert_allclose(after.std, before.std, rtol=0.1)


def test_one_long_call_does_not_decide():
    short = calls(1_000)
    long = calls(5_000, seed=1) + 1.5 * STD
    matrix = np.concatenate([short, long])
    recording = np.concatenate([np.arange(1_000) // 10, np.full(5_000, 100)])
    before, _ = measure(short, recording[:1_000], TRAINING)
    balanced, weights = measure(matrix, recording, TRAINING)
    alike, _ = measure(matrix, None, TRAINING)
    # One of 101 recordings of the same weight: 1.5 / 101.
    assert moved(balanced, before) < 0.03
    assert moved(alike, before) > 1
    assert weights[:1_000].max() == 1
    assert weights[1_000:].sum() <= 10


@settings(max_examples=20)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=12))
def test_the_order_of_rows_and_the_names_of_recordings_do_not_count(sizes):
    recording = np.repeat(np.arange(len(sizes)), sizes)
    matrix = calls(len(recording))
    order = np.random.default_rng(0).permutation(len(recording))
    names = np.array([f"call {99 - i}" for i in recording])
    first, weights = measure(matrix, recording, TRAINING)
    second, weights_again = measure(matrix[order], names[order], TRAINING)
    np.testing.assert_array_equal(weights[order], weights_again)
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-5, atol=1e-5)
    assert first.recordings == second.recordings == len(sizes)


# The mapping


def test_the_archive_comes_to_lie_on_the_training():
    found, _ = measure(calls(3_000), None, TRAINING)
    scale, offset = mapping(found, TRAINING)
    mapped = calls(500, seed=9) * scale + offset
    np.testing.assert_allclose(mapped, speech(500, seed=9), atol=0.3 * STD.max())
    assert np.abs((mapped - speech(500, seed=9)) / STD).mean() < 0.05


def test_an_archive_like_the_training_is_hardly_mapped():
    found, _ = measure(speech(3_000), None, TRAINING)
    scale, offset = mapping(found, TRAINING)
    assert np.abs(scale - 1).max() < 0.1
    assert np.abs((MEAN * scale + offset - MEAN) / STD).max() < 0.1


@pytest.mark.parametrize(("weight", "share"), [(300.0, 1.0), (5_000.0, 1.0), (150.0, 0.5)])
def test_a_small_archive_is_shrunk_towards_the_training(weight, share):
    archive_mean, archive_std = MEAN + 2 * STD, 3 * STD
    found = ArchiveStatistics(archive_mean, archive_std, 100, 0, 100, weight)
    scale, offset = mapping(found, TRAINING)
    np.testing.assert_allclose(scale, 1 / (1 + 2 * share), rtol=1e-5)
    expected = MEAN - (MEAN + 2 * share * STD) / (1 + 2 * share)
    np.testing.assert_allclose(offset, expected, rtol=1e-4, atol=1e-4)


def test_a_feature_that_hardly_varies_is_not_blown_up():
    found = ArchiveStatistics(MEAN, 1e-6 * STD, 1_000, 0, 1_000, 1_000.0)
    scale, _ = mapping(found, TRAINING)
    np.testing.assert_allclose(scale, 1 / archive.MIN_STD)


def test_a_feature_that_is_constant_in_the_training_stays_as_it_is():
    training = FeatureStatistics(MEAN, np.where(np.arange(COLUMNS) < 3, 0, STD))
    found, _ = measure(calls(500), None, training)
    scale, offset = mapping(found, training)
    assert (scale[:3] == 1).all()
    assert (offset[:3] == 0).all()
    assert (scale[3:] != 1).all()


def test_a_near_archive_is_balanced_as_the_model_sees_it_and_a_far_one_after_a_first_mapping():
    """Nine of ten rows are of one label. Balanced, each label counts alike."""
    training = FeatureStatistics(np.zeros(40, np.float32), np.ones(40, np.float32))
    random = np.random.default_rng(5)
    label = (np.arange(4_000) % 10 == 0).astype(int)
    matrix = random.normal(0, 1, (4_000, 40))
    matrix[:, 0] = np.where(label == 1, 1.0, -1.0)
    seen = []

    def predict(rows):
        seen.append(rows)
        return np.eye(2)[(rows[:, 0] > 0).astype(int)]

    near, _ = archive.measure_balanced(matrix.astype(np.float32), None, training, predict)
    plain, _ = archive.measure(matrix.astype(np.float32), None, training)
    np.testing.assert_array_equal(seen[0], matrix.astype(np.float32))
    assert plain.mean[0] < -0.75
    assert plain.mean[0] + 0.25 < near.mean[0] < 0
    far = (matrix + 5).astype(np.float32)
    archive.measure_balanced(far, None, training, predict)
    assert abs(seen[1].mean()) < 0.2


# The bundle


def test_adapting_recovers_the_labels(loaded, here):
    expected = loaded.predict(speech(1_000, seed=5)).argmax(axis=1)
    matrix = calls(1_000, seed=5)
    assert np.mean(loaded.predict(matrix).argmax(axis=1) == expected) < 0.7
    assert np.mean(here.predict(matrix).argmax(axis=1) == expected) > 0.95


def test_the_answers_are_those_of_the_base_on_mapped_vectors(loaded, here):
    matrix = calls(100, seed=3)
    kept = here._archive
    np.testing.assert_array_equal(
        here.predict(matrix), loaded.predict(matrix * kept.scale + kept.offset)
    )


@settings(max_examples=20)
@given(st.lists(st.integers(0, 199), min_size=1, max_size=150))
def test_a_label_does_not_depend_on_its_batch(here, rows):
    matrix = calls(200, seed=4)
    np.testing.assert_array_equal(here.predict(matrix[rows]), here.predict(matrix)[rows])


def test_its_card_says_what_changed(loaded, here):
    matrix = calls(2_000)
    card, found = here.card, here.card.adapted
    before, after = (model.predict(matrix).argmax(axis=1) for model in (loaded, here))
    assert (found.base, found.segments, found.recordings) == (loaded.id, 2_000, 100)
    assert found.date == dt.date.today().isoformat()
    assert found.moved == np.count_nonzero(before != after) > 100
    for labels, shares in ((before, found.shares_before), (after, found.shares_after)):
        assert list(shares) == list(LABELS)
        assert list(shares.values()) == [np.mean(labels == k) for k in range(3)]
    assert card.base == loaded.card
    assert here.id.startswith("base-")
    assert here.id != loaded.id


def test_it_goes_to_disk_and_back(base, loaded, here, tmp_path):
    card = here.save(tmp_path / "calls-here")
    again = models.load(tmp_path / "calls-here")
    assert (
        again.card
        == card
        == models.check(tmp_path / "calls-here")
        == replace(here.card, name="calls-here")
    )
    assert again.id.startswith("calls-here-")
    assert again.id.rpartition("-")[2] == here.id.rpartition("-")[2]
    matrix = calls(70, seed=6)
    np.testing.assert_array_equal(again.predict(matrix), here.predict(matrix))
    for name in (MODEL, REFERENCE):
        assert (tmp_path / "calls-here" / name).read_bytes() == (base / name).read_bytes()
    page = (tmp_path / "calls-here" / "CARD.md").read_text()
    assert f"`{loaded.id}`, fitted on" in page
    assert f"| angry | {here.card.adapted.shares_before['angry']:.1%} |" in page


def test_one_archive_on_one_day_gives_one_id(loaded, here):
    recording = np.arange(2_000) // 20
    assert loaded.adapted(calls(2_000), recording).id == here.id
    assert loaded.adapted(calls(2_000), recording, date=dt.date(2026, 3, 1)).id != here.id
    assert loaded.adapted(calls(2_000, seed=1), recording).id != here.id


def test_adapting_an_adapted_bundle_starts_from_its_base(loaded, here, tmp_path):
    here.save(tmp_path / "first")
    other = calls(400, seed=8) + STD
    again = models.load(tmp_path / "first").adapted(other)
    straight = loaded.adapted(other)
    assert again.card == straight.card
    np.testing.assert_array_equal(again.predict(other), straight.predict(other))
    again.save(tmp_path / "second")
    np.testing.assert_array_equal(
        models.load(tmp_path / "second").predict(other), straight.predict(other)
    )


def test_hours_stand_in_the_card(loaded):
    assert loaded.adapted(calls(60), hours=1.5).card.adapted.hours == 1.5


def test_a_prior_is_estimated_where_that_is_switched_on(loaded, monkeypatch, tmp_path):
    monkeypatch.setattr(archive, "ESTIMATE_PRIORS", True)
    matrix = calls(1_000)
    fitted = loaded.adapted(matrix)
    monkeypatch.setattr(archive, "ESTIMATE_PRIORS", False)
    plain = loaded.adapted(matrix)
    log_prior = estimate_log_prior(plain.predict(matrix), np.ones(1_000), 1.5)
    found = fitted._archive.log_prior
    np.testing.assert_allclose(found, log_prior, atol=0.05)
    odds = plain.predict(matrix) * np.exp(found / 1.5)
    expected = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict(matrix), expected, atol=1e-5)
    fitted.save(tmp_path / "m")
    np.testing.assert_array_equal(
        models.load(tmp_path / "m").predict(matrix), fitted.predict(matrix)
    )


# What is refused


def test_too_few_rows(loaded):
    with pytest.raises(ValueError, match="49 rows of the archive found, 50 or more expected"):
        loaded.adapted(calls(49))
    loaded.adapted(calls(50))


def test_a_bundle_without_the_statistics_of_its_training(tmp_path):
    weights = tiny_bundle.threshold([0], [0, 1])
    old = models.load(tiny_bundle.make(tmp_path / "old", LABELS, "seed193", weights))
    with pytest.raises(BundleError, match=r"cannot be adapted.*train it again"):
        old.adapted(calls(60))


def test_matrices_that_are_none(loaded):
    with pytest.raises(BundleError, match=r"\(n, 193\) expected"):
        loaded.adapted(np.zeros((60, 5)))
    with pytest.raises(BundleError, match="NaN or infinity"):
        loaded.adapted(np.full((60, COLUMNS), np.nan))
    with pytest.raises(BundleError, match="3 recording ids found, one per row expected: 60"):
        loaded.adapted(calls(60), np.arange(3))


def test_a_network_that_is_not_saved_cannot_be_written(loaded, tmp_path):
    loaded.save(tmp_path / "b")
    card, model = load_keras_model(tmp_path / "b")
    reference = {"feature_mean": MEAN, "feature_std": STD}
    unsaved = bundle.from_keras(model, card, reference)
    with pytest.raises(BundleError, match="not saved"):
        unsaved.adapted(calls(60)).save(tmp_path / "c")


@pytest.mark.parametrize("values", [np.zeros(5), np.full(COLUMNS, np.nan), np.full(COLUMNS, -1.0)])
def test_statistics_of_a_training_that_are_none(values, base, tmp_path):
    folder = tmp_path / "b"
    models.load(base).save(folder)
    with np.load(folder / REFERENCE) as kept:
        arrays = dict(kept)
    np.savez(folder / REFERENCE, **{**arrays, "feature_std": values})
    tiny_bundle.edit_card(folder, reference_sha256="")
    with pytest.raises(BundleError, match="train the bundle again"):
        models.load(folder)


@pytest.fixture
def saved(here, tmp_path) -> Path:
    here.save(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("read", [models.load, models.check])
def test_an_archive_that_is_missing_or_changed(saved, read):
    content = (saved / ARCHIVE).read_bytes()
    (saved / ARCHIVE).write_bytes(content + b"x")
    with pytest.raises(BundleError, match=r"archive\.npz: SHA-256 .* found"):
        read(saved)
    (saved / ARCHIVE).unlink()
    with pytest.raises(BundleError, match=r"archive\.npz cannot be read"):
        read(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda kept: b"no archive", "cannot be read"),
        (lambda kept: replace(kept, scale=kept.scale[:5]).to_bytes(), "193 expected"),
        (lambda kept: replace(kept, log_prior=np.zeros(7)).to_bytes(), "made for 7 labels, 3"),
    ],
)
@pytest.mark.parametrize("read", [models.load, models.check])
def test_an_archive_that_is_none(saved, here, read, change, message):
    content = change(here._archive)
    (saved / ARCHIVE).write_bytes(content)
    card = json.loads((saved / CARD).read_text())
    card["adapted"]["archive_sha256"] = hashlib.sha256(content).hexdigest()
    (saved / CARD).write_text(json.dumps(card))
    with pytest.raises(BundleError, match=message):
        read(saved)


def test_a_card_without_all_of_the_adaptation(saved):
    card = json.loads((saved / CARD).read_text())
    del card["adapted"]["moved"]
    (saved / CARD).write_text(json.dumps(card))
    with pytest.raises(BundleError, match="adapted: 'moved' not found; adapt the bundle again"):
        models.read_card(saved)


def test_an_archive_is_read_as_it_was_written(here):
    kept = here._archive
    again = Archive.from_bytes(kept.to_bytes(), COLUMNS, 3)
    assert again.to_bytes() == kept.to_bytes()
    assert (again.base, again.date, again.hours) == (kept.base, kept.date, None)


def test_one_long_call_does_not_make_its_emotion_common(loaded):
    """It counts as one of 61 calls, though it has more segments than the others together."""
    matrix, ids = calls(1_200), np.arange(1_200) // 20
    labels = loaded.predict(matrix).argmax(axis=1)
    before = loaded.adapted(matrix, ids).predict(matrix)
    for label in range(len(LABELS)):
        one_emotion = matrix[labels == label]
        long = one_emotion[np.arange(3_000) % len(one_emotion)]
        with_long = loaded.adapted(
            np.concatenate([matrix, long]), np.concatenate([ids, np.full(3_000, 60)])
        )
        after = with_long.predict(matrix)
        assert np.mean(before.argmax(axis=1) != after.argmax(axis=1)) < 0.05


def test_a_recording_is_told_by_any_kind_of_id(loaded):
    matrix, numbers = calls(400), np.arange(400) // 20
    by_number = loaded.adapted(matrix, numbers)
    kinds = {
        "tuples": [("run", f"call{number}") for number in numbers],
        "texts": [f"call{number}" for number in numbers],
        "uneven": [("a",) * (1 + number % 3) + (int(number),) for number in numbers],
        "one without": [None if number == 3 else int(number) for number in numbers],
        "arrays": np.array([f"call{number}" for number in numbers]),
    }
    for kind, ids in kinds.items():
        found = loaded.adapted(matrix, ids)
        assert found.card.adapted.recordings == 20, kind
        np.testing.assert_array_equal(found.predict(matrix), by_number.predict(matrix))


@pytest.mark.parametrize("ids", ["a" * 60, [["a", "b"]] * 60, np.zeros((60, 2)), ["a"] * 59])
def test_ids_that_are_none_are_refused(loaded, ids):
    with pytest.raises(BundleError, match="expected"):
        loaded.adapted(calls(60), ids)


def test_nothing_is_too_little_and_has_no_labels(loaded):
    with pytest.raises(ValueError, match="0 rows"):
        loaded.adapted([])
    assert loaded.predict([]).shape == (0, len(LABELS))


def test_a_channel_changes_nothing_and_says_so(loaded):
    matrix = calls(4)
    with pytest.warns(UserWarning, match="takes no history"):
        found = loaded.predict(matrix, channel=np.zeros(4))
    np.testing.assert_array_equal(found, loaded.predict(matrix))
