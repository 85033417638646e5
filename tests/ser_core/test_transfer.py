"""Training that starts from a bundle: the classifier is fitted near where it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ser_core import models, training
from ser_core.corpora import Corpus, vectors
from ser_core.errors import BundleError, TrainingError
from ser_core.models import bundle
from ser_core.models.archive import TRAINING, FeatureStatistics
from ser_core.models.calibration import calibrate
from ser_core.models.provenance import Provenance
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls.head import Head
from ser_core.models.recipes.preparation import LabelledClips, speaker_folds
from ser_core.models.recipes.transfer import recipe as transfer
from ser_core.models.recipes.transfer.recipe import (
    PENALTIES,
    TransferRecipe,
    cross_validate,
    describe_penalty,
    fit_from,
)
from ser_core.models.recipes.transfer.start import Start, take_apart
from ser_core.models.targets import label_indices, label_shares
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
    loaded = models.load(calls_bundle)
    head = start.head_for(loaded.labels)
    expected = loaded.predict(matrix)
    found = calibrate(head(start.scaled(matrix)), start.card.temperature)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    network = head.as_network(start.scale.mean, start.scale.std)
    again = bundle.from_keras(network, start.card)
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


def make_labels(callers: Corpus, seed: int | None = None) -> LabelledClips:
    """The callers' clips in two folds; with a seed, their labels are drawn at random."""
    utterances = callers.utterances
    if seed is not None:
        drawn = np.random.default_rng(seed).permutation([u.emotion for u in utterances])
        utterances = tuple(
            replace(utterance, emotion=emotion)
            for utterance, emotion in zip(utterances, drawn, strict=True)
        )
    return LabelledClips(utterances, LABELS, speaker_folds(utterances, 2))


def test_a_penalty_is_chosen_and_tested_by_speakers_left_out(callers, start, matrix):
    """What is tested on a fold does not depend on the fold's labels."""
    first, scaled = start.head_for(LABELS), start.scaled(matrix)
    clips = make_labels(callers)
    found = cross_validate(scaled, first, clips, Work())
    own = clips.folds == 0
    others = make_labels(callers, seed=3)
    mixed = LabelledClips(
        tuple(
            (theirs if own_clip else ours)
            for ours, theirs, own_clip in zip(clips.utterances, others.utterances, own, strict=True)
        ),
        LABELS,
        clips.folds,
    )
    changed = cross_validate(scaled, first, mixed, Work())
    # Two folds: the penalty of fold 0 is chosen by the loss on fold 1, fitted on fold 0. So only
    # what was fitted without fold 0 is compared, at one penalty.
    for penalty in PENALTIES[1:3]:
        before, after = (
            fit_from(first, scaled[~own], labelled.targets[~own], penalty)
            for labelled in (clips, mixed)
        )
        np.testing.assert_array_equal(before.kernel, after.kernel)
    assert set(found.by_fold) == set(changed.by_fold) == {0, 1}
    assert found.penalty in PENALTIES


def test_labels_that_do_not_help_change_nothing(start):
    """Labels as the start gives them: every step away from it is a step away from the truth."""
    random = np.random.default_rng(0)
    first = Head(random.normal(size=(5, 2)), np.zeros(2))
    x = random.normal(size=(40, 5))
    clips = make_random_clips(first, x)
    found = cross_validate(x, first, clips, Work())
    assert np.isinf(found.penalty)
    assert all(head is first for head in found.by_fold.values())
    assert "the labels do not help" in describe_penalty(found.penalty)
    assert "L2 penalty of 0.3 towards" in describe_penalty(0.3)


def make_random_clips(first: Head, x: np.ndarray) -> LabelledClips:
    """Clips whose annotators are divided just as a classifier is."""
    from pathlib import Path

    from ser_core.corpora import Utterance

    labels = ("calm", "angry")
    utterances = tuple(
        Utterance(
            Path(f"{i}.wav"), labels[int(row.argmax())], f"s{i % 4}", "test",
            shares=tuple(zip(labels, map(float, row), strict=True)),
        )
        for i, row in enumerate(first(x))
    )  # fmt: skip
    return LabelledClips(utterances, labels, np.arange(len(x)) % 4 % 2)


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


def test_a_first_look_is_honest(callers, start, matrix, monkeypatch):
    """The penalty of the first look is not chosen by those whom it is shown for."""
    seen = []
    monkeypatch.setattr(
        transfer, "first_look", lambda truth, answers, folds: seen.append(answers) or ""
    )
    first, scaled = start.head_for(LABELS), start.scaled(matrix)
    clips = make_labels(callers)
    cross_validate(scaled, first, clips, Work(say=lambda line: None))
    own = clips.folds == 0
    losses = [
        -(
            clips.targets[own == False]  # noqa: E712
            * np.log(np.maximum(head(scaled[~own]), 1e-9))
        ).sum()
        for head in (fit_from(first, scaled[own], clips.targets[own], p) for p in PENALTIES)
    ]
    penalty = PENALTIES[int(np.argmin(losses))]
    expected = fit_from(first, scaled[~own], clips.targets[~own], penalty)(scaled[own])
    np.testing.assert_allclose(seen[0], expected, atol=1e-6)


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
    import json
    import shutil

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


def test_targets_are_the_annotators_shares(callers):
    clips = make_labels(callers)
    np.testing.assert_array_equal(clips.targets, label_shares(callers.utterances, LABELS))
