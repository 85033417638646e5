"""Training: who is in which fold, what the figures mean, how a network is fitted."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from ser_core.corpora import Utterance
from ser_core.errors import TrainingError
from ser_core.models import calibration
from ser_core.models.calibration import calibrate
from ser_core.models.recipes import article_network
from ser_core.models.recipes.preparation import speaker_folds
from ser_core.models.recipes.seed import SeedRecipe, answer, fit
from ser_core.models.scores import score

# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "actor"}, "split='actor': one of random, speaker expected"),
        ({"scale": "minmax"}, "scale='minmax': one of none, zscore expected"),
        ({"optimizer": "magic"}, "optimizer='magic': one of adam"),
        ({"epochs": 0}, "epochs=0: a whole number, 1 or more, expected"),
        ({"epochs": 2.5}, "epochs=2.5: a whole number"),
        ({"batch_size": -4}, "batch_size=-4: a whole number, 1 or more"),
        ({"seed": -1}, "seed=-1: a whole number, 0 or more"),
        ({"folds": 1}, "folds=1: a whole number, 2 or more"),
        ({"layers": (16, 0)}, "layers=0: a whole number, 1 or more"),
        ({"dropout": 1.0}, r"dropout=1\.0: a number from 0 to below 1"),
        ({"dropout": math.nan}, "dropout=nan"),
        ({"emotions": ("sad",)}, "emotions: 1 emotions given"),
        ({"emotions": ("sad", "sad")}, "duplicate emotion"),
    ],
)
def test_a_setting_out_of_bounds_is_named_with_its_bound(settings, message):
    with pytest.raises(TrainingError, match=message):
        SeedRecipe(**settings)


def test_the_defaults_are_the_article_s():
    recipe = SeedRecipe()
    assert (recipe.epochs, recipe.batch_size, recipe.dropout) == (200, 4, 0.2)
    assert (recipe.split, recipe.scale, recipe.optimizer) == (None, "none", "adam")


# Folds


def people(counts: dict[str, tuple[str, int]]) -> list[Utterance]:
    return [
        Utterance(Path(f"{speaker}-{i}"), "sad", speaker, "test", sex=sex)
        for speaker, (sex, count) in counts.items()
        for i in range(count)
    ]


def test_ravdess_s_folds_are_two_men_and_two_women():
    crowd = people({f"{i:02d}": (("female", "male")[i % 2], 60) for i in range(1, 25)})
    folds = speaker_folds(crowd, 6)
    for fold in range(6):
        inside = {
            (utterance.speaker, utterance.sex)
            for utterance, f in zip(crowd, folds, strict=True)
            if f == fold
        }
        assert Counter(sex for _, sex in inside) == {"male": 2, "female": 2}
    assert (speaker_folds(crowd, 6) == folds).all()
    assert (speaker_folds(crowd, 6, seed=1) != folds).any()


@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=4),
        st.tuples(st.sampled_from(["male", "female", ""]), st.integers(1, 30)),
        min_size=5,
        max_size=20,
    ),
    st.integers(2, 5),
)
@settings(deadline=None)
def test_a_speaker_is_in_one_fold_and_no_fold_is_empty(counts, folds):
    crowd = people(counts)
    found = speaker_folds(crowd, folds)
    assert set(found) == set(range(folds))
    for speaker in counts:
        own = {f for utterance, f in zip(crowd, found, strict=True) if utterance.speaker == speaker}
        assert len(own) == 1
    for sex in ("male", "female", ""):
        dealt = Counter(
            fold
            for fold, speaker in {
                (f, utterance.speaker)
                for utterance, f in zip(crowd, found, strict=True)
                if utterance.sex == sex
            }
        )
        sizes = [dealt[fold] for fold in range(folds)]
        assert max(sizes) - min(sizes) <= 1


def test_more_folds_than_speakers_are_refused():
    with pytest.raises(TrainingError, match="folds=6, but the corpora have 2 speakers"):
        speaker_folds(people({"a": ("", 9), "b": ("", 9)}), 6)


def test_one_speaker_is_told_to_find_another():
    with pytest.raises(TrainingError, match="label recordings of two speakers or more"):
        speaker_folds(people({"a": ("", 9)}), 2)


def test_every_fold_has_somebody_whom_annotators_agree_on():
    divided = (("sad", 0.5), ("angry", 0.5))
    crowd = [
        replace(utterance, shares=divided) if utterance.speaker in "abc" else utterance
        for utterance in people({name: ("", 9 if name in "abc" else 4) for name in "abcdef"})
    ]
    folds = speaker_folds(crowd, 3)
    assert {f for utterance, f in zip(crowd, folds, strict=True) if utterance.agreed} == {0, 1, 2}
    says = "have 3 speakers with these emotions, 3 more whose annotators are divided"
    with pytest.raises(TrainingError, match=says):
        speaker_folds(crowd, 4)


# Figures


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_scores_are_scikit_learn_s(seed):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, 40)
    probabilities = random.dirichlet(np.ones(4), 40)
    predicted = probabilities.argmax(axis=1)
    found = score(
        truth,
        probabilities,
        labels=("a", "b", "c", "d"),
        speakers=random.choice(list("xyz"), 40),
        protocol="p",
    )
    indices = [0, 1, 2, 3]
    assert found.accuracy == pytest.approx((truth == predicted).mean())
    present = [found.recall[label] for label in "abc"]
    assert found.uar == pytest.approx(np.mean(present))
    assert found.recall["d"] is None
    expected = metrics.confusion_matrix(truth, predicted, labels=indices)
    np.testing.assert_array_equal(found.confusion, expected)
    for label, hits, column in zip("abcd", expected.diagonal(), expected.T, strict=True):
        share = hits / column.sum() if column.sum() else None
        assert found.precision[label] == pytest.approx(share)
    assert 0 <= found.uar_low <= found.uar_high <= 1
    json.dumps(found.recall, allow_nan=False)


def test_the_interval_is_over_speakers_not_utterances():
    """Ten clips of a speaker are no ten voices: copies must not narrow the interval."""
    random = np.random.default_rng(0)
    speakers = np.repeat(np.arange(12), 10)
    truth = random.integers(0, 2, 120)
    right = np.repeat(random.random(12) < 0.6, 10)
    probabilities = np.eye(2)[np.where(right, truth, 1 - truth)]

    def width(times: int) -> float:
        found = score(
            np.tile(truth, times),
            np.tile(probabilities, (times, 1)),
            labels=("a", "b"),
            speakers=np.tile(speakers, times),
            protocol="p",
        )
        assert found.uar_low < found.uar < found.uar_high
        return found.uar_high - found.uar_low

    assert width(1) > 0.3
    assert width(10) == pytest.approx(width(1))


def test_temperature_finds_how_far_confidence_is_off():
    random = np.random.default_rng(1)
    honest = random.dirichlet(np.ones(5), 20_000)
    truth = np.array([random.choice(5, p=row) for row in honest])
    for off in (0.5, 1.0, 3.0):
        boasting = calibrate(honest, 1 / off)
        assert calibration.fit_temperature(boasting, truth) == pytest.approx(off, rel=0.05)


# Fitting


def blobs(count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    truth = np.arange(count) % 3
    return (random.normal(size=(count, 6)) + 3 * np.eye(6)[truth]).astype(np.float32), truth


def test_one_seed_gives_the_same_network_to_the_bit_and_another_does_not():
    matrix, truth = blobs()

    def weights(seed: int) -> np.ndarray:
        model, _ = fit(matrix, np.eye(3, dtype=np.float32)[truth], SeedRecipe(epochs=3, seed=seed))
        return np.concatenate([array.ravel() for array in model.get_weights()])

    np.testing.assert_array_equal(weights(0), weights(0))
    assert (weights(0) != weights(1)).any()


def test_a_step_follows_the_gradient_of_the_cross_entropy():
    """Of one linear layer and SGD of one batch the step is known: w - lr * gradient."""
    matrix, truth = blobs(7)
    recipe = SeedRecipe(epochs=1, layers=(), optimizer="sgd", batch_size=64)
    model, _ = fit(matrix, np.eye(3, dtype=np.float32)[truth], recipe)
    start = article_network.dense_network(6, 3, layers=(), seed=0).get_weights()
    logits = matrix @ start[0]
    answers = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    slope = matrix.T @ (answers - np.eye(3)[truth]) / len(matrix)
    np.testing.assert_allclose(model.get_weights()[0], start[0] - 0.01 * slope, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_an_epoch_is_what_keras_s_own_fit_does_short_last_batch_too(optimizer):
    matrix, truth = blobs(50)
    recipe = SeedRecipe(epochs=1, layers=(8,), dropout=0.0, optimizer=optimizer, batch_size=4)
    found, _ = fit(matrix, np.eye(3, dtype=np.float32)[truth], recipe)
    expected = article_network.dense_network(6, 3, layers=(8,), dropout=0.0, seed=recipe.seed)
    expected.compile(optimizer, "categorical_crossentropy")
    order = np.random.default_rng(recipe.seed).permutation(50)
    expected.fit(matrix[order], np.eye(3)[truth[order]], batch_size=4, shuffle=False, verbose=0)
    for array, expected_array in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(array, expected_array, atol=1e-5)


def test_dropout_is_on_in_training():
    matrix, truth = blobs(50)
    with_it, without = (
        fit(
            matrix,
            np.eye(3, dtype=np.float32)[truth],
            SeedRecipe(epochs=1, layers=(8,), dropout=dropout),
        )[0]
        for dropout in (0.5, 0.0)
    )
    assert (with_it.get_weights()[0] != without.get_weights()[0]).any()


def test_zscoring_makes_units_irrelevant():
    matrix, truth = blobs()
    units = np.float32([1e-4, 1, 1e3, 10, 1, 7])
    recipe = SeedRecipe(epochs=5, scale="zscore")
    plain, _ = fit(matrix, np.eye(3, dtype=np.float32)[truth], recipe)
    scaled, _ = fit(matrix * units + 5 * units, np.eye(3, dtype=np.float32)[truth], recipe)
    np.testing.assert_allclose(
        answer(plain, matrix),
        answer(scaled, matrix * units + 5 * units),
        atol=0.02,
    )


def test_learning_curves_have_a_value_an_epoch_and_end_where_the_network_is():
    matrix, truth = blobs()
    test = blobs(60)
    done = []
    model, curves = fit(
        matrix,
        np.eye(3, dtype=np.float32)[truth],
        SeedRecipe(epochs=6),
        test=test,
        on_epoch=lambda: done.append(1),
    )
    assert len(done) == 6
    assert {name: len(values) for name, values in curves.items()} == dict.fromkeys(
        ("loss", "accuracy", "test_loss", "test_accuracy"), 6
    )
    answers = answer(model, test[0])
    assert curves["test_accuracy"][-1] == (answers.argmax(axis=1) == test[1]).mean()
    assert curves["test_loss"][-1] == pytest.approx(metrics.log_loss(test[1], answers), rel=1e-4)
    assert curves["loss"][-1] < curves["loss"][0]


def test_a_training_that_diverges_says_so():
    matrix, truth = blobs()
    with pytest.raises(TrainingError, match=r"diverged.*try scale 'zscore'"):
        fit(
            matrix * 1e18, np.eye(3, dtype=np.float32)[truth], SeedRecipe(epochs=3, optimizer="sgd")
        )
