"""Recipe `calls`: what is trained on and what never is, and what the card says of it."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import models, training
from ser_core.corpora import Corpus, Utterance
from ser_core.errors import CorpusError, FeatureError, TrainingError
from ser_core.models import archive, bundle
from ser_core.models.archive import TRAINING, FeatureStatistics
from ser_core.models.calibration import calibrate
from ser_core.models.folder import load_keras_model, read_training
from ser_core.models.provenance import Provenance
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls import data
from ser_core.models.recipes.calls.data import (
    COPIED,
    COPIES,
    HEADLINE,
    INTENDED,
    TESTED,
    Clips,
    archive_weights,
    gather,
    head_input,
    measure_normal,
    soft_targets,
    standardise,
    to_label_space,
    train,
    trained_conditions,
    weigh_labels,
    without_speakers,
)
from ser_core.models.recipes.calls.measures import ALONE
from ser_core.models.recipes.calls.recipe import CallsRecipe, named_folders, run_tests
from ser_core.models.recipes.preparation import LabelledClips
from ser_core.models.targets import label_shares
from tests.ser_core.buzzes import LABELS, QUICK

TRAINED = trained_conditions()
USED = trained_conditions(QUICK.copies)

TWO = ("neutral", "angry")


def utter(emotion: str, speaker: str = "ann", **about) -> Utterance:
    return Utterance(Path("a.wav"), emotion, speaker, "test", **about)


def make_clips(name: str, truth: np.ndarray, vectors: np.ndarray, labels=TWO, speakers=4) -> Clips:
    """Clips of one corpus that sound alike on all lines."""
    utterances = tuple(
        utter(labels[label], f"{name}-{row % speakers}") for row, label in enumerate(truth)
    )
    targets = label_shares(utterances, labels)
    lines = dict.fromkeys((*TRAINED, *TESTED), vectors.astype(np.float32))
    names = tuple(f"mean_{place}" for place in range(vectors.shape[1]))
    return Clips(name, names, utterances, truth, targets, (targets > 0).any(axis=0), lines)


def draw_clips(name: str, seed: int, n: int = 80, k: int = 3, offset: float = 0.0) -> Clips:
    """Clips whose first features tell the label, behind a microphone of their own."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, k, n)
    vectors = random.normal(size=(n, 6)) + 1.5 * np.eye(6)[truth]
    labels = ("neutral", "happy", "angry")
    return make_clips(name, truth, (1 + offset) * vectors + offset, labels)


# What is trained on


def test_a_corpus_counts_alike_whatever_its_size():
    first, second = draw_clips("a", 1), draw_clips("b", 2, offset=3.0)
    rows = np.tile(np.arange(len(first.truth)), 3)
    found = train([first, second], decay=0.1, conditions=TRAINED)
    tripled = train([first.of(rows), second], decay=0.1, conditions=TRAINED)
    np.testing.assert_allclose(tripled.head.kernel, found.head.kernel, atol=2e-3)
    np.testing.assert_allclose(tripled.normal.mean, found.normal.mean, atol=1e-5)
    np.testing.assert_allclose(tripled.normal.std, found.normal.std, atol=1e-5)


def test_a_corpus_is_seen_by_its_own_normal():
    """Another gain and offset of a whole corpus changes nothing."""
    first, second = draw_clips("a", 1), draw_clips("b", 2)
    moved = replace(
        second, vectors={name: 5 * matrix - 40 for name, matrix in second.vectors.items()}
    )
    heads = [train([first, part], decay=0.1, conditions=TRAINED).head for part in (second, moved)]
    np.testing.assert_allclose(heads[0].kernel, heads[1].kernel, atol=2e-3)


def test_labels_count_alike():
    targets = np.array([[1, 0], [1, 0], [1, 0], [0.5, 0.5], [0, 1]])
    weight = weigh_labels(targets)
    assert weight.sum() == pytest.approx(1)
    # With hard labels, each label has the same weight; a label that is not there has none.
    hard = np.array([[1, 0, 0]] * 7 + [[0, 1, 0]] * 2)
    by_label = hard.T @ weigh_labels(hard)
    assert by_label.tolist() == pytest.approx([0.5, 0.5, 0])
    # With shares, a clip counts by how rare its labels are.
    common, rare = 1 / targets.mean(axis=0)
    expected = np.array([common] * 3 + [(common + rare) / 2, rare])
    np.testing.assert_allclose(weight, expected / expected.sum())


def test_the_normal_is_weighted_and_a_constant_feature_is_zero():
    random = np.random.default_rng(0)
    matrix = random.normal(3, 2, (50, 4)).astype(np.float32)
    matrix[:, 1] = 7
    times = random.integers(1, 5, 50)
    normal = measure_normal(matrix, times / times.sum())
    copied = np.repeat(matrix, times, axis=0)
    np.testing.assert_allclose(normal.mean, copied.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(normal.std, copied.std(axis=0), rtol=1e-4, atol=1e-5)
    scaled = standardise(matrix, replace(normal, std=np.where(normal.std < 1e-4, 0, normal.std)))
    assert not scaled[:, 1].any()
    unit = standardise(copied, normal)[:, [0, 2, 3]]
    np.testing.assert_allclose(unit.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(unit.std(axis=0), 1, atol=1e-4)


def test_copies_count_as_much_as_asked():
    """Copies that count nothing are as good as none; those that count 1 as clips of their own."""
    random = np.random.default_rng(4)
    part = draw_clips("a", 1)
    lines = {name: random.normal(size=part.vectors[HEADLINE].shape) for name in COPIED}
    with_copies = replace(part, vectors={**part.vectors, **lines})
    alone = replace(part, vectors=dict.fromkeys(TRAINED, part.vectors[HEADLINE]))
    none, some = (
        train([with_copies], decay=0.1, conditions=trained_conditions(copies))
        for copies in (1e-9, 1.0)
    )
    same = train([alone], decay=0.1, conditions=trained_conditions(1e-9))
    np.testing.assert_allclose(none.head.kernel, same.head.kernel, atol=1e-3)
    assert np.abs(some.head.kernel - none.head.kernel).max() > 0.05


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.05, 0.95))
def test_an_archive_has_its_share_of_neutral_clips(calm, angry, share):
    part = make_clips("a", np.array([0] * calm + [1] * angry), np.zeros((calm + angry, 2)))
    weights = archive_weights(part, share)
    assert weights.sum() == pytest.approx(1)
    assert weights[:calm].sum() == pytest.approx(share)
    assert (weights > 0).all()


def test_standard_deviations_are_trusted_less():
    """Two features that tell the label equally well: the mean gets four times the weight."""
    part = draw_clips("a", 1)
    twice = np.repeat(part.vectors[HEADLINE][:, :3], 2, axis=1)
    lines = dict.fromkeys(TRAINED, twice)
    names = ("f0_mean", "f0_sd", "f1_mean", "f1_sd", "mfcc_mean", "mfcc_sd")
    kernel = train(
        [replace(part, names=names, vectors=lines)], decay=0.01, conditions=TRAINED
    ).head.kernel
    np.testing.assert_allclose(kernel[1::2], kernel[0::2] / 4, atol=1e-3)
    assert np.abs(kernel).max() > 0.1


def test_the_head_sees_rows_of_one_length():
    random = np.random.default_rng(0)
    matrix = random.normal(3, 2, (50, 9)).astype(np.float32)
    normal = measure_normal(matrix, np.full(50, 1 / 50))
    matrix[7] = normal.mean
    seen = head_input(matrix, normal)
    length = np.linalg.norm(seen, axis=1)
    np.testing.assert_allclose(np.delete(length, 7), 3, rtol=1e-5)
    assert not seen[7].any()
    # Farther away in the same direction is the same to it.
    farther = normal.mean + 5 * (matrix - normal.mean)
    np.testing.assert_allclose(head_input(farther, normal), seen, atol=1e-4)


def test_votes_are_balanced_and_the_intended_emotion_leads():
    """Listeners say "neutral" three times as often: a vote for it weighs a third."""
    said = [(0.5, 0.5), (1.0, 0.0), (0.75, 0.25)]
    utterances = [
        utter(emotion, intended=True, shares=tuple(zip(TWO, shares, strict=True)))
        for emotion, shares in zip(("angry", "neutral", "angry"), said, strict=True)
    ]
    unknown = utter("angry", shares=(("neutral", 0.2), ("angry", 0.8)))
    everybody = [*utterances, unknown]
    truth = np.array([1, 0, 1, 1])
    found = soft_targets(everybody, truth, label_shares(everybody, TWO))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    # 0.5 of 0.75 against 0.5 of 0.25 is 1 to 3.
    np.testing.assert_allclose(found[0], [0.25 * (1 - INTENDED), INTENDED + 0.75 * (1 - INTENDED)])
    np.testing.assert_allclose(found[1], [1, 0])
    np.testing.assert_allclose(found[2], [0.5 * (1 - INTENDED), INTENDED + 0.5 * (1 - INTENDED)])
    # Where nobody knows what was meant, the votes stay.
    np.testing.assert_allclose(found[3], [0.2, 0.8], atol=1e-6)


def test_votes_for_other_labels_do_not_count():
    shares = label_shares(
        [
            utter("angry", shares=(("bored", 0.6), ("angry", 0.3), ("neutral", 0.1))),
            utter("angry", shares=(("bored", 0.6), ("tired", 0.4))),
        ],
        TWO,
    )
    np.testing.assert_allclose(shares, [[0.25, 0.75], [0, 1]])


def test_calm_counts_as_neutral_in_votes_too_unless_it_is_a_label():
    utterances = (
        utter("calm", shares=(("calm", 0.6), ("angry", 0.4))),
        utter("bored"),
        utter("neutral", shares=(("calm", 0.25), ("neutral", 0.5), ("bored", 0.25))),
    )
    corpus = Corpus("test", "CC0", utterances, {})
    mapped = to_label_space(corpus, TWO).utterances
    assert [utterance.emotion for utterance in mapped] == ["neutral", "bored", "neutral"]
    assert dict(mapped[0].shares) == pytest.approx({"neutral": 0.6, "angry": 0.4})
    assert dict(mapped[2].shares) == pytest.approx({"neutral": 0.75, "bored": 0.25})
    assert to_label_space(corpus, ("calm", *TWO)) == corpus


# What is never heard


def with_giveaway(name: str, seed: int, speakers: int, first: int) -> Clips:
    """Clips of two labels, which a feature of each speaker's own gives away, and nothing else."""
    random = np.random.default_rng(seed)
    truth = np.tile(np.repeat([0, 1], speakers), 10)
    row = np.arange(len(truth))
    own, noise = np.zeros((len(truth), 10)), random.normal(size=(len(truth), 4))
    own[row, first + row % speakers] = 3 * (2 * truth - 1)
    return make_clips(name, truth, np.hstack([own, noise]), speakers=speakers)


def recall(tests, condition: str = HEADLINE) -> float:
    (found,) = (t for t in tests if t.condition == condition and t.known == "alone")
    return float((found.probabilities.argmax(axis=1) == found.clips.truth).mean())


def test_a_corpus_left_out_is_not_heard():
    first, second = with_giveaway("a", 1, 6, 0), with_giveaway("b", 2, 3, 6)
    parts = [first, second]
    classifier = train(parts, decay=0.01, conditions=TRAINED)
    assert recall(run_tests(classifier, second, unheard=True)) > 0.9
    tests = QUICK._test_left_out(parts, [1], Work())
    assert {test.corpus for test in tests} == {"b"}
    assert {test.known for test in tests} == {"alone", "adapted"}
    assert all(test.unheard for test in tests)
    assert 0.2 < recall(tests) < 0.8


@pytest.mark.parametrize("also_in_another", [False, True])
def test_speakers_of_a_fold_are_not_heard_in_any_corpus(also_in_another):
    """As where two files of labels name the same caller."""
    first = with_giveaway("a", 1, 4, 0)
    parts = [first, with_giveaway("b", 2, 3, 4)]
    if also_in_another:
        parts[1] = replace(with_giveaway("a", 5, 4, 0), name="b")
    folds = np.array([int(speaker[-1]) % 2 for speaker in first.speakers])
    tests = QUICK._test_folds(parts, LabelledClips(first.utterances, TWO, folds), Work())
    assert all(not test.unheard for test in tests)
    assert sorted(test.condition for test in tests) == sorted(TESTED)
    assert len(tests[0].probabilities) == len(first.truth)
    classifier = train(parts, decay=0.01, conditions=TRAINED)
    assert recall(run_tests(classifier, first, unheard=False)) > 0.9
    assert 0.3 < recall(tests) < 0.7


def test_speakers_are_taken_from_all_corpora():
    first, second = draw_clips("a", 1), draw_clips("b", 2)
    rest = without_speakers([first, second], {"a-0", *second.speakers})
    assert [part.name for part in rest] == ["a"]
    assert set(rest[0].speakers) == {"a-1", "a-2", "a-3"}
    assert without_speakers([first, second], {"x"}) == [first, second]


def test_impossible_labels_of_a_corpus_are_not_predicted():
    classifier = train([draw_clips("a", 1)], decay=0.1, conditions=TRAINED)
    lacking = draw_clips("b", 2, k=2)
    for test in run_tests(classifier, lacking, unheard=True):
        assert not test.probabilities[:, 2].any()
        np.testing.assert_allclose(test.probabilities.sum(axis=1), 1, atol=1e-6)
    nobody = replace(
        lacking,
        utterances=tuple(
            replace(utterance, shares=(("neutral", 0.5), ("happy", 0.5)))
            for utterance in lacking.utterances
        ),
    )
    assert run_tests(classifier, nobody, unheard=True) == []


@pytest.fixture
def voices(tmp_path) -> Path:
    """Recordings in the form of the corpus `test_voices`: <speaker>_<emotion>.wav."""
    random = np.random.default_rng(0)
    folder = tmp_path / "voices"
    folder.mkdir()
    for speaker in ("ann", "bob", "cid"):
        for emotion, level in (("angry", 0.3), ("calm", 0.05), ("bored", 0.1)):
            wave = level * random.standard_normal(4_000)
            soundfile.write(folder / f"{speaker}_{emotion}.wav", wave, 8_000)
    return folder


@pytest.mark.parametrize("emotions", [None, ("angry", "happy", "neutral")])
def test_unheard_corpora_are_measured_on_and_never_trained_on(emotions, buzzes, voices, tmp_path):
    plain = CallsRecipe(feature_set="test_simple", folds=2, emotions=emotions)
    asking = replace(plain, unheard=(("test_voices", voices),))
    work = Work(jobs=1, cache=tmp_path / "cache")
    before, after = plain.train([buzzes], work), asking.train([buzzes], work)
    for one, other in zip(before.model.get_weights(), after.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in TRAINING:
        np.testing.assert_array_equal(before.reference[name], after.reference[name])
    assert after.card.protocol == "voices_mulaw_alone" == next(iter(after.card.results))
    assert before.card.protocol == "buzzes_mulaw_folds"
    # Nobody is bored there; calm is a label, or neutral.
    result = after.card.results["voices_clean_alone"]
    assert "voices_clean_adapted" not in after.card.results  # six clips are no archive
    assert (result["utterances"], result["speakers"]) == (6, 3)
    assert after.card.settings["measured on"] == ["test_voices"]
    assert [corpus["name"] for corpus in after.card.corpora] == ["Buzzes"]
    speakers = Provenance.read(after.reference).trained_on_speakers(["buzzes-01", "voices-ann"])
    assert speakers.tolist() == [True, False]
    assert before.card.measures["fitted_to"] == "speakers that were held out"
    assert after.card.measures["fitted_to"] == "corpora that were left out of the training"


# The whole training


def test_a_bundle_is_trained_measured_and_described(calls_bundle, buzzes, hums):
    loaded = models.load(calls_bundle)
    card = loaded.card
    assert loaded.labels == LABELS
    assert card.feature_set == "telephone"
    assert card.channel_normalisation is None
    assert len(hums.utterances) < archive.MIN_ROWS
    left_out = {f"hums2_{condition}_{ALONE}" for condition in TESTED}
    assert set(card.results) == {*left_out, "buzzes_mulaw_folds"}
    # The figure to quote comes first: a corpus that was never heard, on a telephone line.
    assert card.protocol == next(iter(card.results)) == "hums2_mulaw_alone"
    assert card.results["buzzes_mulaw_folds"]["utterances"] == len(buzzes.utterances)
    assert card.results["buzzes_mulaw_folds"]["uar"] > 0.4
    assert card.results["hums2_mulaw_alone"]["utterances"] == len(hums.utterances)
    assert card.results["hums2_mulaw_alone"]["recall"]["calm"] is None
    assert card.settings["recipe"] == "calls"
    assert card.settings["trained on"] == list(USED)
    assert card.settings["copies"] == COPIES
    assert set(card.measures) == {"questions", "calibration_error", "unsure", "fitted_to"}
    assert {row["grouping"] for row in card.measures["questions"]} == {"angry", "negative"}
    json.dumps(card.measures, allow_nan=False)
    page = (calls_bundle / "CARD.md").read_text()
    for part in (
        "## What a call centre asks",
        "fitted to the predictions for corpora that were left out",
        "Hums-2 (never heard), G.711 mu-law",
        "Buzzes (new speakers), G.711 mu-law",
        "Tested on the corpora of the rows",
    ):
        assert part in page
    for picture in ("conditions", "confusion", "reliability", "coverage", "utterances"):
        assert f"({picture}.png)" in page
        assert (calls_bundle / f"{picture}.png").stat().st_size > 3_000
    assert "learning_curves" not in page


def test_predictions_are_those_of_the_classifier(
    calls_bundle, buzzes, hums, buzz_cache, monkeypatch
):
    monkeypatch.setattr(archive, "ESTIMATE_PRIORS", False)
    work = Work(jobs=1, cache=buzz_cache)
    parts = [gather(corpus, LABELS, "telephone", USED, work) for corpus in (buzzes, hums)]
    classifier = train(parts, decay=QUICK.decay, conditions=USED)
    card, network = load_keras_model(calls_bundle)
    # A buzz is easy: calibrated, all is certain.
    card = replace(card, temperature=3.0)
    loaded = bundle.from_keras(network, card, read_training(calls_bundle))
    matrix = np.concatenate([part.vectors["copy_cut_noisy"] for part in parts])
    recording = np.arange(len(matrix)) // 3
    rows = np.concatenate([matrix, 1.1 * matrix])
    recording = np.concatenate([recording, recording + 100])
    alone = calibrate(classifier.alone(rows), 3.0)
    np.testing.assert_allclose(loaded.predict(rows), alone, atol=1e-3)
    adapted = calibrate(classifier.adapted(rows, recording), 3.0)
    np.testing.assert_allclose(loaded.adapted(rows, recording).predict(rows), adapted, atol=1e-3)
    assert np.abs(adapted - alone).max() > 0.01


def test_a_bundle_remembers_its_training(calls_bundle, buzzes, hums, buzz_cache):
    with np.load(calls_bundle / "reference.npz") as reference:
        arrays = dict(reference)
    kept = Provenance.read(arrays)
    assert kept.trained_on_clips([*buzzes.utterances, *hums.utterances]).all()
    assert kept.trained_on_speakers(["buzzes-01", "hums-2-06", "buzzes-99"]).tolist() == [
        True, True, False,
    ]  # fmt: skip
    work = Work(jobs=1, cache=buzz_cache)
    parts = [gather(corpus, LABELS, "telephone", USED, work) for corpus in (buzzes, hums)]
    vectors = np.concatenate([part.vectors[name] for part in parts for name in USED])
    expected = np.quantile(vectors, kept.quantile_levels, axis=0)
    np.testing.assert_allclose(kept.feature_quantiles, expected, rtol=1e-3, atol=1e-3)
    assert kept.output_quantiles.shape == (len(kept.quantile_levels), len(LABELS))
    training_statistics = FeatureStatistics.of(arrays, vectors.shape[1])
    normals = [measure_normal(p.vectors[HEADLINE], weigh_labels(p.targets)) for p in parts]
    mean = (normals[0].mean + normals[1].mean) / 2
    np.testing.assert_allclose(training_statistics.mean, mean, rtol=1e-4, atol=1e-4)


def test_calm_of_the_first_corpus_is_left_out_where_it_is_not_asked_for(buzzes, tmp_path):
    """The folds are those of the clips that are trained on."""
    recipe = CallsRecipe(feature_set="test_simple", folds=2, emotions=("neutral", "happy", "angry"))
    second = replace(buzzes, name="Others")
    second = replace(
        second,
        utterances=tuple(
            replace(utterance, speaker=f"others-{utterance.speaker}")
            for utterance in second.utterances
        ),
    )
    card = recipe.train([buzzes, second], Work(jobs=1, cache=tmp_path)).card
    first, others = card.corpora
    assert (first["by_emotion"]["neutral"], first["other_emotions"]) == (8, 8)
    assert (others["by_emotion"]["neutral"], others["other_emotions"]) == (16, 0)


# Mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "folds=1: a whole number, 2 or more"),
        ({"seed": -1}, "seed=-1"),
        ({"decay": 0.0}, r"decay=0\.0: a number above 0 expected"),
        ({"decay": float("nan")}, "decay=nan"),
        ({"decay": float("inf")}, "decay=inf"),
        ({"copies": -0.1}, r"copies=-0\.1: 0 or a number above it expected"),
        ({"copies": float("nan")}, "copies=nan"),
        ({"neutral_archive": -1.0}, r"neutral_archive=-1\.0: 0 or a number above it expected"),
        ({"spread_trust": 0.0}, r"spread_trust=0\.0: a number above 0 expected"),
        ({"emotions": ("sad",)}, "emotions: 1 emotions given"),
    ],
)
def test_a_setting_out_of_bounds_is_named_with_its_bound(settings, message):
    with pytest.raises(TrainingError, match=message):
        CallsRecipe(feature_set="telephone", **settings)


def test_an_unknown_feature_set_is_named():
    with pytest.raises(FeatureError, match="no feature set is called 'gone'"):
        CallsRecipe(feature_set="gone")


@pytest.mark.parametrize("text", ["emovo", "emovo=", "=x", "", "emovo=x,", "a=b,c"])
def test_corpora_by_name_and_folder(text):
    with pytest.raises(ArgumentTypeError, match="NAME=DIR expected, such as emovo=EMOVO"):
        named_folders(text)
    assert named_folders("a=b,c=d=e") == (("a", Path("b")), ("c", Path("d=e")))


def test_mistakes_are_told_before_any_work(buzzes, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("audio was read")

    monkeypatch.setattr(data.Work, "extract", refuse)
    recipe = CallsRecipe(feature_set="test_simple", folds=2)
    target = tmp_path / "b"
    for options, message in (
        ({"emotions": ("bored", "happy")}, "no utterance is bored"),
        ({"folds": 9}, "folds=9, but the corpora have 4 speakers"),
    ):
        with pytest.raises(TrainingError, match=message):
            training.train([buzzes], replace(recipe, **options), target)
    with pytest.raises(CorpusError, match="nowhere"):
        training.train([buzzes], replace(recipe, unheard=(("emovo", Path("nowhere")),)), target)
    with pytest.raises(TrainingError, match="two corpora are called Buzzes, among those to train"):
        training.train([buzzes, replace(buzzes, name="buzzes")], recipe, target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("emotion", "found"), [("sad", "sad"), ("angry", "angry"), (None, "no ut")]
)
def test_a_corpus_with_fewer_than_two_of_the_labels_is_named(emotion, found, buzzes):
    utterances = tuple(
        replace(utterance, emotion=emotion) for utterance in buzzes.utterances if emotion
    )
    more = replace(buzzes, name="more", utterances=utterances)
    with pytest.raises(TrainingError, match=f"more: it has {found}.*leave it out, or name other"):
        gather(more, LABELS, "test_simple", tuple(TRAINED), Work())
