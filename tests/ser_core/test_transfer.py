"""Training that starts from a bundle: only the last layers learn, held to what they were."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from ser_core import models, training
from ser_core.corpora import Corpus, vectors
from ser_core.errors import BundleError, TrainingError
from ser_core.models import bundle
from ser_core.models.card import BUNDLED, REFERENCE
from ser_core.models.folder import read_reference
from ser_core.models.provenance import Provenance
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.preparation import select_utterances, speaker_folds
from ser_core.models.recipes.transfer import recipe as transfer
from ser_core.models.recipes.transfer.last_layers import (
    PENALTIES,
    embed,
    fit_last_layers,
    other_rows,
    predict_rows,
    total_loss,
)
from ser_core.models.recipes.transfer.recipe import TransferRecipe
from ser_core.models.recipes.transfer.start import Start, take_apart
from ser_core.models.targets import channel_ids, label_indices, label_shares
from tests.ser_core.test_calls_training import buzzes, cache, trained  # noqa: F401


@pytest.fixture(scope="module")
def start(trained):  # noqa: F811
    return take_apart(trained)


def heard_of(start, corpus: Corpus, keep):
    matrix = vectors.extract(corpus.utterances, "telephone", jobs=1, cache=keep)
    return matrix, embed(start, matrix, channel_ids(corpus.utterances))


@pytest.mark.long
def test_a_bundle_taken_apart_answers_as_before(trained, start, buzzes, cache):  # noqa: F811
    matrix, heard = heard_of(start, buzzes, cache)
    labels = start.card.labels
    heads = start.last_layers(labels)
    plain = replace(
        start.card, temperature=1.0, temperature_with_history=1.0, history_doubted=None,
        history_share=1.0,
    )  # fmt: skip
    whole = bundle.from_keras(bundle.load_keras_model(trained)[1], plain)
    n = len(matrix)
    answers = predict_rows(start, heard, heads)
    np.testing.assert_allclose(answers[:n], whole.predict(matrix), atol=2e-5)
    related = whole.predict(matrix, channel_ids(buzzes.utterances))
    np.testing.assert_allclose(answers[n:], related[heard.clip[n:]], atol=2e-5)
    again = bundle.from_keras(start.assemble_with(heads, labels), plain)
    np.testing.assert_allclose(again.predict(matrix), whole.predict(matrix), atol=1e-6)


@pytest.mark.long
def test_the_hold_goes_from_the_start_to_the_data(start, buzzes, cache):  # noqa: F811
    _, heard = heard_of(start, buzzes, cache)
    targets = label_shares(buzzes.utterances, start.card.labels)[
        :, ::-1
    ]  # other labels than it knows
    first = start.last_layers(start.card.labels)
    losses, moved = [], []
    for hold in PENALTIES:
        heads = fit_last_layers(heard, targets, first, hold)
        losses.append(total_loss(start, heard, targets, heads))
        moved.append(
            sum(
                np.abs(a - b).sum()
                for (a, _), (b, _) in zip(heads.layers, first.layers, strict=True)
            )
        )
    assert moved[0] == 0
    assert moved == sorted(moved)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.long
def test_a_fit_is_at_its_minimum(start, buzzes, cache):  # noqa: F811
    """A small step in any direction does not lower the loss, held by 0.1."""
    _, heard = heard_of(start, buzzes, cache)
    targets = label_shares(buzzes.utterances, start.card.labels)
    first = start.last_layers(start.card.labels)
    heads = fit_last_layers(heard, targets, first, 0.1)
    x, (kernel, bias), (kernel_0, bias_0) = (
        heard.by_network[0], heads.layers[0], first.layers[0],
    )  # fmt: skip
    sd, mean = np.maximum(x.std(axis=0), 1e-6), x.mean(axis=0)
    weight = 1 / np.bincount(heard.clip)[heard.clip]
    weight /= weight.sum()

    def cost(kernel, bias):
        probabilities = softmax(x @ kernel + bias, axis=1)
        change = (kernel - kernel_0) * sd[:, None]
        shift = bias - bias_0 + mean @ (kernel - kernel_0)
        held = 0.05 * (np.square(change).sum() + np.square(shift).sum())
        return -(weight @ (targets[heard.clip] * np.log(probabilities)).sum(axis=1)) + held

    random = np.random.default_rng(0)
    least = cost(kernel, bias)
    for _ in range(20):
        step = (
            1e-2 * random.normal(size=kernel.shape) / sd[:, None],
            1e-2 * random.normal(size=bias.shape),
        )
        assert cost(kernel + step[0], bias + step[1]) > least - 1e-6


@pytest.mark.long
def test_what_is_trained_is_a_bundle_with_both_figures(trained, buzzes, cache, tmp_path):  # noqa: F811
    lines = []
    folder = training.train(
        [buzzes], TransferRecipe(start=trained, folds=2), tmp_path / "ours", jobs=1, cache=cache,
        say=lines.append,
    )  # fmt: skip
    loaded = models.load(folder)
    card = loaded.card
    assert card.labels == buzzes_labels(buzzes)
    assert set(card.results) == {"after", "before", "after_channel", "before_channel"}
    assert card.settings["from"] == models.read_card(trained).id
    assert card.corpora[0]["name"] == buzzes.name
    assert "started from" in card.licence
    page = (folder / "CARD.md").read_text()
    assert "## Confidence" in page
    for picture in ("confusion", "reliability", "coverage", "utterances"):
        assert f"({picture}.png)" in page
    assert any("first look, fold 1 of 2" in line for line in lines)
    # The bundle was trained on the same people, which flatters both.
    assert any("was trained on RAVDESS: for speakers who are in both" in line for line in lines)
    assert "the figures flatter, before and after" in page
    # Of few clips the calibration stays the bundle's, with a history too.
    before = models.read_card(trained)
    assert before.temperature != before.temperature_with_history
    assert card.temperature == before.temperature
    assert card.temperature_with_history == before.temperature_with_history
    provenance = Provenance.read(read_reference(folder))
    assert provenance is not None
    assert provenance.trained_on_clips(buzzes.utterances).all()
    # It can be started from again.
    take_apart(folder)


@pytest.mark.long
def test_a_first_look_is_honest(trained, start, buzzes, cache, tmp_path, monkeypatch):  # noqa: F811
    """The second fold wants the start as it is, so the first is shown with just that."""
    best, seen = iter([*range(8), *range(8)[::-1]]), []
    monkeypatch.setattr(transfer, "total_loss", lambda *_: -float(next(best)))
    monkeypatch.setattr(
        transfer, "first_look", lambda truth, answers, folds: seen.append(answers) or ""
    )
    training.train(
        [buzzes], TransferRecipe(start=trained, folds=2), tmp_path / "ours", jobs=1, cache=cache,
        say=lambda line: None,
    )  # fmt: skip
    _, heard = heard_of(start, buzzes, cache)
    folds = speaker_folds(buzzes.utterances, 2)
    first = start.last_layers(start.card.labels)
    expected = predict_rows(start, heard.of(np.flatnonzero(folds == 0)), first)
    np.testing.assert_allclose(seen[0], expected, atol=1e-6)


@pytest.mark.long
def test_other_labels_are_learned(trained, buzzes, cache, tmp_path):  # noqa: F811
    new = {"neutral": "low", "calm": "low", "angry": "high", "happy": "high"}
    relabelled = replace(
        buzzes,
        utterances=tuple(
            replace(utterance, emotion=new[utterance.emotion]) for utterance in buzzes.utterances
        ),
    )
    folder = training.train(
        [relabelled], TransferRecipe(start=trained, folds=2), tmp_path / "two", jobs=1, cache=cache
    )
    loaded = models.load(folder)
    assert loaded.labels == ("high", "low")
    assert set(loaded.card.results) == {"after", "after_channel"}
    matrix = vectors.extract(relabelled.utterances, "telephone", jobs=1, cache=cache)
    right = loaded.predict(matrix).argmax(axis=1) == label_indices(
        relabelled.utterances, loaded.labels
    )
    assert right.mean() > 0.9


def buzzes_labels(corpus: Corpus) -> tuple[str, ...]:
    return select_utterances([corpus], None)[1]


def test_only_bundles_of_recipe_calls_can_be_started_from(tmp_path):
    with pytest.raises(BundleError, match="made by recipe 'seed'; only bundles of recipe calls"):
        take_apart("seed")


def test_settings_out_of_bounds_are_named():
    with pytest.raises(TrainingError, match="folds=1"):
        TransferRecipe(start="calls", folds=1)
    with pytest.raises(TrainingError, match="emotions: 1 emotions given"):
        TransferRecipe(start="calls", emotions=("angry",))


def test_a_bundle_of_own_data_may_know_who_speaks_in_others(buzzes):  # noqa: F811
    corpora = [{"name": "learn", "licence": "own data"}, {"name": "EMO-DB", "licence": "free"}]
    start = Start(replace(models.read_card("calls"), corpora=corpora), None, ())
    mine = replace(buzzes, name="more", own=True)
    ((warning,),) = (c.warnings[-1:] for c in transfer._with_warnings([mine], start, Work()))
    assert "was trained on learn: for speakers" in warning
    assert transfer._with_warnings([buzzes], start, Work()) == [buzzes]


def test_others_of_a_channel():
    found = other_rows(np.array([3, 5, 3, 3, 7]))
    assert [sorted(row[row >= 0].tolist()) for row in found] == [[2, 3], [], [0, 3], [0, 2], []]


def test_an_adapted_bundle_is_started_from_its_base(tmp_path):
    base = shutil.copytree(BUNDLED / "calls-fast", tmp_path / "base")
    with np.load(base / REFERENCE) as kept:
        arrays = dict(kept)
    columns = arrays["inputs"].shape[1]
    arrays |= {"feature_mean": np.zeros(columns), "feature_std": np.ones(columns)}
    np.savez(base / REFERENCE, **arrays)
    loaded = models.load(base)
    here = loaded.adapted(np.random.default_rng(0).normal(1, 2, (60, columns)))
    here.save(tmp_path / "here")
    assert take_apart(tmp_path / "here").card == loaded.card
