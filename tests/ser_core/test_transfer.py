"""Training that starts from a bundle: the classifier is fitted near where it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ser_core import models, training
from ser_core.corpora import Corpus, Utterance, vectors
from ser_core.errors import BundleError, TrainingError
from ser_core.models import bundle
from ser_core.models.archive import TRAINING, FeatureStatistics
from ser_core.models.calibration import calibrate
from ser_core.models.folder import load_keras_model
from ser_core.models.provenance import Provenance
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls.head import Head
from ser_core.models.recipes.preparation import LabelledClips, first_look
from ser_core.models.recipes.transfer import recipe as transfer
from ser_core.models.recipes.transfer.recipe import (
    PENALTIES,
    TransferRecipe,
    cross_validate,
    describe_penalty,
    fit_from,
)
from ser_core.models.recipes.transfer.start import Start, take_apart
from ser_core.models.targets import label_indices
from tests.ser_core.buzzes import LABELS, make_corpus
from tests.ser_core.problems import distance, make_problem, objective


@pytest.fixture(scope="module")
def start(calls_bundle) -> Start:
    return take_apart(calls_bundle)


@pytest.fixture(scope="module")
def callers(tmp_path_factory) -> Corpus:
    """Own recordings of four people whom the bundle has not heard."""
    folder = tmp_path_factory.mktemp("callers")
    return make_corpus(folder, "Callers", range(11, 15), tilt=0.5, own=True)


@pytest.fixture(scope="module")
def matrix(callers, buzz_cache) -> np.ndarray:
    return vectors.extract(callers.utterances, "telephone", jobs=1, cache=buzz_cache)


@pytest.fixture(scope="module")
def fitted(callers, calls_bundle, buzz_cache, tmp_path_factory):
    """A bundle that was started from another, and what was said meanwhile."""
    lines = []
    folder = training.train(
        [callers], TransferRecipe(start=calls_bundle, folds=2),
        tmp_path_factory.mktemp("fitted") / "ours", jobs=1, cache=buzz_cache, say=lines.append,
    )  # fmt: skip
    return folder, lines


def test_a_bundle_taken_apart_answers_as_before(calls_bundle, start, matrix):
    card, network = load_keras_model(calls_bundle)
    card = replace(card, temperature=3.0)
    expected = bundle.from_keras(network, card).predict(matrix)
    head = start.head_for(card.labels)
    np.testing.assert_allclose(calibrate(head(start.scaled(matrix)), 3.0), expected, atol=1e-4)
    network = head.as_network(start.scale.mean, start.scale.std)
    again = bundle.from_keras(network, card)
    np.testing.assert_allclose(again.predict(matrix), expected, atol=1e-5)


def test_labels_of_the_start_keep_their_weights_and_new_ones_begin_at_the_mean():
    random = np.random.default_rng(0)
    card = replace(models.read_card("seed"), labels=("a", "b", "c"))
    head = Head(random.normal(size=(4, 3)), random.normal(size=3))
    scale = FeatureStatistics(np.zeros(4), np.ones(4))
    found = Start(card, head, scale).head_for(("c", "new", "a"))
    np.testing.assert_array_equal(found.kernel[:, [0, 2]], head.kernel[:, [2, 0]])
    np.testing.assert_array_equal(found.bias[[0, 2]], head.bias[[2, 0]])
    np.testing.assert_allclose(found.kernel[:, 1], head.kernel.mean(axis=1))
    assert found.bias[1] == pytest.approx(head.bias.mean())


def test_the_penalty_goes_from_the_start_to_the_data():
    problem = make_problem(lacking=0.0)
    problem.weight[:] = 1
    random = np.random.default_rng(2)
    first = Head(random.normal(size=(5, 3)), random.normal(size=3))
    heads = [fit_from(first, problem.x, problem.targets, penalty) for penalty in PENALTIES]
    assert heads[0] is first
    moved = [distance(head, first) for head in heads]
    losses = [objective(problem, head) for head in heads]
    assert moved == sorted(moved)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def make_labels(first: Head, x: np.ndarray, folds: int, noise: float = 0.0) -> LabelledClips:
    """Clips whose annotators are divided as a classifier is, but for a share of noise."""
    random = np.random.default_rng(3)
    labels = ("calm", "angry", "sad")[: first.bias.size]
    shares = (1 - noise) * first(x) + noise * random.dirichlet(np.ones(len(labels)), len(x))
    utterances = tuple(
        Utterance(
            Path(f"{i}.wav"), labels[int(row.argmax())], f"s{i % folds}", "test",
            shares=tuple(zip(labels, map(float, row), strict=True)),
        )
        for i, row in enumerate(shares)
    )  # fmt: skip
    return LabelledClips(utterances, labels, np.arange(len(x)) % folds)


def cross_entropy(clips: LabelledClips, rows: np.ndarray, head: Head, x: np.ndarray) -> float:
    return float(-(clips.targets[rows] * np.log(head(x[rows]))).sum())


def test_penalties_are_chosen_by_speakers_who_are_not_tested():
    random = np.random.default_rng(0)
    x = random.normal(size=(60, 5))
    truth, first = (Head(random.normal(size=(5, 3)), np.zeros(3)) for _ in range(2))
    clips = make_labels(truth, x, folds=3, noise=0.5)
    lines = []
    found = cross_validate(x, first, clips, Work(say=lines.append))
    own = [clips.folds == fold for fold in range(3)]
    heads = [
        [fit_from(first, x[~rows], clips.targets[~rows], penalty) for penalty in PENALTIES]
        for rows in own
    ]
    losses = np.array(
        [
            [cross_entropy(clips, rows, head, x) for head in fitted]
            for rows, fitted in zip(own, heads, strict=True)
        ]
    )
    assert found.penalty == PENALTIES[losses.sum(axis=0).argmin()]
    for fold in range(3):
        best = np.delete(losses, fold, axis=0).sum(axis=0).argmin()
        np.testing.assert_array_equal(found.by_fold[fold].kernel, heads[fold][best].kernel)
    # The first look at fold 0 is with the penalty that fold 1 chose.
    shown = heads[0][losses[1].argmin()](x[own[0]])
    assert lines == [first_look(clips.truth[own[0]], shown, 3)]
    assert losses.sum(axis=0).argmin() > 0


def test_labels_that_do_not_help_change_nothing():
    """What one half of the speakers teaches is wrong for the other half."""
    x = np.random.default_rng(0).normal(size=(20, 5))
    first = Head(np.zeros((5, 2)), np.zeros(2))
    labels = ("calm", "angry")
    angry = np.concatenate([x[:, 0] > 0, x[:, 0] <= 0]).astype(int)
    utterances = tuple(
        Utterance(Path(f"{i}.wav"), labels[label], f"s{i // 20}", "test")
        for i, label in enumerate(angry)
    )
    clips = LabelledClips(utterances, labels, np.repeat([0, 1], 20))
    found = cross_validate(np.concatenate([x, x]), first, clips, Work())
    assert np.isinf(found.penalty)
    assert all(head is first for head in found.by_fold.values())
    assert "the labels do not help" in describe_penalty(found.penalty)
    assert "L2 penalty of 0.3 towards" in describe_penalty(0.3)


def test_what_is_trained_is_a_bundle_with_both_figures(fitted, calls_bundle, callers):
    folder, lines = fitted
    before, loaded = models.read_card(calls_bundle), models.load(folder)
    card = loaded.card
    assert card.labels == LABELS
    assert set(card.results) == {"after", "before"}
    assert card.protocol == "after"
    assert (card.settings["recipe"], card.settings["from"]) == ("transfer", before.id)
    assert [corpus["name"] for corpus in card.corpora] == ["Callers", "Buzzes", "Hums-2"]
    assert "started from" in card.licence
    page = (folder / "CARD.md").read_text()
    assert "## Confidence" in page
    for picture in ("confusion", "reliability", "coverage", "utterances"):
        assert f"({picture}.png)" in page
    assert any("first look, fold 1 of 2" in line for line in lines)
    # Of few clips the calibration stays the bundle's.
    assert card.temperature == before.temperature
    assert card.unsure_segment_below == before.unsure_segment_below


def test_what_is_trained_can_be_adapted_and_started_from_again(
    fitted, calls_bundle, callers, buzzes, matrix
):
    folder, _ = fitted
    with (
        np.load(folder / "reference.npz") as after,
        np.load(calls_bundle / "reference.npz") as before,
    ):
        for name in TRAINING:
            np.testing.assert_array_equal(after[name], before[name])
        heard = Provenance.read(dict(after))
    assert heard.trained_on_clips([*callers.utterances, *buzzes.utterances]).all()
    loaded = models.load(folder)
    here = loaded.adapted(np.concatenate([matrix, matrix]))
    assert here.card.adapted.base == loaded.id
    assert take_apart(folder).card.id == loaded.id
    # From an adapted one the training starts from its base.
    here.save(folder.parent / "here")
    base = take_apart(folder.parent / "here")
    assert base.card.adapted is None
    np.testing.assert_array_equal(base.head.kernel, take_apart(folder).head.kernel)


def test_other_labels_are_learned(calls_bundle, callers, matrix, buzz_cache, tmp_path):
    new = {"neutral": "low", "calm": "low", "angry": "high", "happy": "high"}
    relabelled = replace(
        callers,
        utterances=tuple(
            replace(utterance, emotion=new[utterance.emotion]) for utterance in callers.utterances
        ),
    )
    folder = training.train(
        [relabelled], TransferRecipe(start=calls_bundle, folds=2), tmp_path / "two", jobs=1,
        cache=buzz_cache,
    )  # fmt: skip
    loaded = models.load(folder)
    assert loaded.labels == ("high", "low")
    assert set(loaded.card.results) == {"after"}
    assert loaded.card.temperature != models.read_card(calls_bundle).temperature
    right = loaded.predict(matrix).argmax(axis=1) == label_indices(
        relabelled.utterances, loaded.labels
    )
    assert right.mean() > 0.9


def test_only_bundles_of_recipe_calls_can_be_started_from():
    with pytest.raises(BundleError, match="made by recipe 'seed'; only bundles of recipe calls"):
        take_apart("seed")


def test_a_bundle_of_an_older_version_is_named(calls_bundle, tmp_path):
    folder = shutil.copytree(calls_bundle, tmp_path / "old")
    card = json.loads((folder / "card.json").read_text())
    card["channel_normalisation"] = "history"
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match=r"of version 0\.2\.0 or older; only bundles of recipe"):
        take_apart(folder)


def test_settings_out_of_bounds_are_named(calls_bundle):
    with pytest.raises(TrainingError, match="folds=1"):
        TransferRecipe(start=calls_bundle, folds=1)
    with pytest.raises(TrainingError, match="emotions: 1 emotions given"):
        TransferRecipe(start=calls_bundle, emotions=("angry",))
    with pytest.raises(TrainingError, match="needs a bundle to start from: give --from"):
        TransferRecipe()
    with pytest.raises(BundleError, match="'gone': no such folder"):
        TransferRecipe(start="gone")


def test_speakers_whom_the_start_may_know_are_warned_of(start, callers, buzzes):
    corpora = [{"name": "learn", "licence": "own data"}, {"name": "EMO-DB", "licence": "free"}]
    other = replace(start, card=replace(start.card, corpora=corpora))
    lines = []
    (warned,) = transfer._with_warnings([callers], other, Work(say=lines.append))
    assert "was trained on learn: for speakers who are in both" in warned.warnings[-1]
    assert lines == [f"warning: Callers: {warned.warnings[-1]}"]
    assert transfer._with_warnings([buzzes], other, Work()) == [buzzes]
    (warned,) = transfer._with_warnings([buzzes], start, Work())
    assert "was trained on Buzzes" in warned.warnings[-1]
