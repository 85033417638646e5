"""Whole trainings of recipe `seed` on tones: bundle, card, pictures, figures, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ser_core import models, training
from ser_core.corpora import Corpus, open_corpus
from ser_core.errors import BundleError, CorpusError, TrainingError
from ser_core.models import evaluation
from ser_core.models.card import CARD, MODEL, REFERENCE
from ser_core.models.folder import read_reference
from ser_core.models.provenance import LEVELS, Provenance
from ser_core.models.recipes.seed import SeedRecipe
from ser_core.models.scores import Scores
from ser_core.report import training_pictures
from tests import tiny_bundle
from tests.tones import speak

QUICK = SeedRecipe(scale="zscore", epochs=40, folds=3, layers=(16,), batch_size=8)
PICTURES = {"learning_curves.png", "confusion.png", "utterances.png"}


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("tones")
    speak(folder)
    return open_corpus("ravdess", folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(tones, cache, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tones"
    return training.train([tones], QUICK, folder, jobs=1, cache=cache)


def test_a_bundle_is_trained_measured_and_answers(trained, tones, cache):
    loaded = models.load(trained)
    assert loaded.labels == ("happy", "sad", "angry")
    assert loaded.id.startswith("tones-")
    assert loaded.licence.startswith(
        "trained on RAVDESS, CC BY-NC-SA 4.0: not for commercial use. For commercial use take"
    )
    card = loaded.card
    assert set(card.results) == {"random", "speaker", "speaker_mulaw"}
    assert card.protocol == "random"
    sizes = {name: scores["utterances"] for name, scores in card.results.items()}
    assert sizes == {"random": 11, "speaker": 36, "speaker_mulaw": 36}
    # Tones are easy, for new speakers too.
    assert card.results["speaker"]["uar"] > 0.9
    for scores in card.results.values():
        assert set(scores["recall"]) == set(scores["precision"]) == set(loaded.labels)
        assert np.sum(scores["confusion"]) == scores["utterances"]
    (corpus,) = card.corpora
    assert corpus["utterances"] == 36
    assert corpus["by_emotion"] == {"happy": 12, "sad": 12, "angry": 12}
    assert card.settings["layers"] == [16]
    assert card.settings["folds"] == 3

    clean, mulaw = (
        evaluation.evaluate(loaded, tones, condition, jobs=1, cache=cache)
        for condition in ("clean", "mulaw")
    )
    assert clean.uar > 0.9
    assert clean.utterances == mulaw.utterances == 36
    assert clean.confusion != mulaw.confusion  # wide-band features on a telephone line


def test_a_bundle_remembers_its_training_clips(trained, tones):
    provenance = Provenance.read(read_reference(trained))
    assert provenance is not None
    assert provenance.trained_on_clips(tones.utterances).all()
    assert provenance.trained_on_speakers(tones.speakers).all()
    assert provenance.feature_quantiles.shape == (len(LEVELS), 193)
    assert provenance.output_quantiles.shape == (len(LEVELS), 3)


def test_the_bundle_holds_its_pictures_and_page_and_no_path_of_this_machine(trained, tones):
    assert {path.name for path in trained.iterdir()} == {
        MODEL,
        CARD,
        REFERENCE,
        "CARD.md",
        *PICTURES,
    }
    for name in PICTURES:
        content = (trained / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 60_000
    page = (trained / "CARD.md").read_text()
    for words in ("2024/1689", "Article 5(1)(f)", "CC BY-NC-SA 4.0", "3 folds by speaker"):
        assert words in page
    home = str(tones.utterances[0].path.parents[2]).encode()
    for path in trained.iterdir():
        assert home not in path.read_bytes()
        assert b"/home/" not in path.read_bytes()


@pytest.mark.long
def test_the_same_seed_gives_the_same_figures(trained, tones, cache, tmp_path):
    again = training.train([tones], QUICK, tmp_path / "again", jobs=1, cache=cache)
    first, second = models.read_card(trained), models.read_card(again)
    assert second.results == first.results
    assert second.temperature == first.temperature
    matrix = np.random.default_rng(0).normal(size=(5, 193))
    np.testing.assert_array_equal(
        models.load(trained).predict(matrix), models.load(again).predict(matrix)
    )


def test_a_choice_of_emotions_the_split_by_speaker_and_progress(tones, cache, tmp_path):
    seen = []
    recipe = SeedRecipe(emotions=("angry", "sad"), split="speaker", epochs=2, folds=2)
    folder = training.train(
        [tones],
        recipe,
        tmp_path / "two",
        jobs=1,
        cache=cache,
        progress=lambda *at: seen.append(at),
    )
    card = models.read_card(folder)
    assert card.labels == ("sad", "angry")
    assert card.protocol == "speaker"
    assert set(card.results) == {"random", "speaker", "speaker_mulaw"}
    assert card.corpora[0]["other_emotions"] == 12
    assert card.settings["layers"] == [386, 193, 96]
    assert seen[-1] == ("training", 8, 8)
    assert [done for stage, done, _ in seen if stage == "training"] == list(range(1, 9))
    assert ("features (clean)", 24, 24) in seen


def test_emotions_that_are_not_there_are_refused(tones, cache, tmp_path):
    recipe = SeedRecipe(emotions=("sad", "bored"))
    with pytest.raises(TrainingError, match="no utterance is bored; the corpora have: angry"):
        training.train([tones], recipe, tmp_path / "x", jobs=1, cache=cache)


def test_a_target_that_is_occupied_is_refused_before_any_work(tones, cache, tmp_path):
    (tmp_path / "notes.txt").touch()
    seen = []
    with pytest.raises(BundleError, match="not a model bundle"):
        training.train(
            [tones], QUICK, tmp_path, jobs=1, cache=cache, progress=lambda *at: seen.append(at)
        )
    assert not seen


def test_a_test_knows_what_it_left_out(tones, cache, tmp_path):
    folder = tiny_bundle.make(
        tmp_path / "t", ("angry", "sad"), "seed193", tiny_bundle.threshold([0], [0.0])
    )
    scores = evaluation.evaluate(models.load(folder), tones, jobs=1, cache=cache)
    assert (scores.utterances, scores.left_out, scores.speakers) == (24, 12, 6)
    folder = tiny_bundle.make(
        tmp_path / "t", ("bored", "keen"), "seed193", tiny_bundle.threshold([0], [0.0])
    )
    with pytest.raises(CorpusError, match="nothing to compare"):
        evaluation.evaluate(models.load(folder), tones, jobs=1, cache=cache)


def test_pictures_are_the_same_bytes_for_the_same_figures():
    curves = {key: [0.1, 0.5] for key in ("loss", "accuracy", "test_loss", "test_accuracy")}
    assert training_pictures.learning_curves(curves, "t") == training_pictures.learning_curves(
        curves, "t"
    )
    assert training_pictures.utterance_counts({"a": 1}, "t") != training_pictures.utterance_counts(
        {"a": 2}, "t"
    )


@pytest.mark.parametrize("count", [1, 4, 9, 20])
def test_every_series_of_a_picture_is_drawn_and_told_from_the_others(count, monkeypatch):
    """As many as somebody's corpora give."""
    figures = []
    monkeypatch.setattr(training_pictures.style, "png", lambda figure: figures.append(figure))
    scores = Scores("p", ("a", "b"), 9, 3, 0.5, 0.5, 0.4, 0.6, {}, {}, ())
    training_pictures.conditions({f"corpus {i}": {"clean": scores} for i in range(count)})
    curve = (np.linspace(0, 1, 50), np.linspace(0, 0.5, 50), (0.4, 0.2))
    training_pictures.coverage({f"corpus {i}": curve for i in range(count)})
    for figure in figures:
        (axes,) = figure.axes
        _, labels = axes.get_legend_handles_labels()
        assert labels == [f"corpus {i}" for i in range(count)]
        points = [line for line in axes.lines if line.get_marker() in "osD^v"]
        assert len({(line.get_color(), line.get_marker()) for line in points}) == count
    assert len(figures) == 2
