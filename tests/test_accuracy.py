"""benchmarks/accuracy.py: figures by mathematics, and the page for two small corpora of tones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from benchmarks import accuracy
from benchmarks.calls.truth import Truth, Turn
from benchmarks.unheard import built_calls, protocols
from benchmarks.unheard.bench import Bench
from benchmarks.unheard.figures import EIGHT, SIX, ask, detect, measure, weighted_auc
from ser_core import models
from ser_core.corpora import Corpus, Utterance
from ser_core.models.recipes.seed import SeedRecipe
from tests.tiny_bundle import make, threshold

RATE_HZ = 8_000
LEVELS_DB = {"neutral": -40.0, "calm": -40.0, "happy": -25.0, "angry": -10.0, "bored": -40.0}


def tones(folder: Path, name: str, emotions: tuple[str, ...], louder_db: float = 0.0) -> Corpus:
    """Eight speakers say each emotion three times, the louder the more aroused."""
    seconds = np.arange(RATE_HZ // 2) / RATE_HZ
    utterances = []
    folder.mkdir()
    for speaker in "abcdefgh":
        for emotion in emotions:
            for i in range(3):
                path = folder / f"{speaker}-{emotion}-{i}.wav"
                db = LEVELS_DB[emotion] + louder_db + i + 0.1 * ord(speaker) - 10
                wave = np.sqrt(2) * 10 ** (db / 20) * np.sin(2 * np.pi * 300 * seconds)
                soundfile.write(path, wave, RATE_HZ, subtype="FLOAT")
                utterances.append(Utterance(path, emotion, f"{name}-{speaker}", name))
    return Corpus(name, "CC0", tuple(utterances), {})


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    work = tmp_path_factory.mktemp("accuracy")
    soft = tones(work / "soft", "Soft", ("neutral", "calm", "happy", "angry"), louder_db=-12.0)
    few = tones(work / "few", "Few", ("neutral", "angry", "bored"))
    return Bench(work, (soft, few), ("Few",), accuracy.SHOWN, jobs=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> models.Bundle:
    """Neutral, happy, angry by level, with edges at -33 and -18 dB; trained on a third corpus.

    Its training had the levels of `LEVELS_DB`.
    """
    folder = make(
        tmp_path_factory.mktemp("bundle") / "by-level", ("neutral", "happy", "angry"),
        "test_simple", threshold([0], [-33.0, -18.0]), name="by-level",
        training=(np.array([-27.7, 0.0, 0.0, 0.0]), np.array([12.4, 0.0, 0.0, 0.0])),
    )  # fmt: skip
    loaded = models.load(folder)
    return replace(loaded, card=replace(loaded.card, corpora=({"name": "Other"},)))


@pytest.fixture(scope="module")
def unheard(bench, model) -> list[dict]:
    return protocols.unheard(bench, [model])


@pytest.fixture(scope="module")
def archives(bench, model) -> list[dict]:
    return protocols.archives(bench, model)


@pytest.fixture(scope="module")
def by_sex(bench, model) -> list[dict]:
    corpus = bench.corpus("Soft")
    utterances = tuple(
        replace(utterance, sex="female" if utterance.speaker[-1] in "efgh" else "male")
        for utterance in corpus.utterances
    )
    corpora = (replace(corpus, utterances=utterances), bench.corpus("Few"))
    return protocols.by_sex(replace(bench, corpora=corpora), [model])


# ---------------------------------------------------------------- figures


def test_labels_that_a_corpus_lacks_are_no_answer():
    question = ask(("sad", "happy"), ("a", "b"), ("happy", "sad", "angry"))
    assert question.labels == ("happy", "sad")
    answers = question.answers(np.array([[0.1, 0.2, 0.7], [0.3, 0.1, 0.6]]))
    np.testing.assert_allclose(answers, [[1 / 3, 2 / 3], [0.75, 0.25]])
    assert question.truth.tolist() == [1, 0]


def test_calm_is_neutral_among_six_and_itself_among_eight():
    emotions, speakers = ("calm", "neutral", "angry"), ("a", "a", "b")
    probabilities = np.array([[0.2, 0.3, 0.5]] * 3)
    six = ask(emotions, speakers, ("neutral", "calm", "angry"), SIX)
    assert six.labels == ("neutral", "angry")
    assert six.truth.tolist() == [0, 0, 1]
    np.testing.assert_allclose(six.answers(probabilities)[0], [0.5, 0.5])
    eight = ask(emotions, speakers, ("neutral", "calm", "angry"), EIGHT)
    assert eight.labels == ("neutral", "calm", "angry")
    assert eight.truth.tolist() == [1, 0, 2]


def test_a_perfect_and_a_reversed_answer():
    truth = np.array([0, 1, 2] * 10)
    speakers = np.repeat(["a", "b", "c"], 10)
    labels = ("neutral", "sad", "angry")
    perfect = measure(np.eye(3)[truth], truth, labels, speakers)
    assert perfect["scores"]["uar"] == 1
    assert perfect["calibration_error"] == 0
    for kind in ("angry", "negative"):
        assert (perfect[kind]["auc"], perfect[kind]["found"]) == (1, 1)
        assert (perfect[kind]["auc_low"], perfect[kind]["auc_high"]) == (1, 1)
    wrong = measure(np.eye(3)[(truth + 1) % 3], truth, labels, speakers)
    assert wrong["scores"]["uar"] == 0
    assert wrong["angry"]["auc"] == pytest.approx(0.25)  # neutral ties with angry, sad is above


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_false_alarms_are_five_percent_of_the_others(seed):
    random = np.random.default_rng(seed)
    positive = random.random(400) < 0.3
    value = random.random(400) + 0.5 * positive
    found = detect(value, positive, random.choice(list("abcd"), 400))
    assert found is not None
    threshold = np.quantile(value[~positive], 0.95)
    assert np.mean(value[~positive] > threshold) <= 0.05 + 1 / (~positive).sum()
    assert found["found"] == pytest.approx(np.mean(value[positive] > threshold))
    assert found["auc_low"] <= found["auc"] + 0.02
    assert found["auc_high"] >= found["auc"] - 0.02


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_auc_is_that_of_scikit_learn_with_ties_and_weights(seed):
    random = np.random.default_rng(seed)
    positive = random.permutation(np.arange(60) < 20)
    value = random.integers(0, 10, 60) / 10
    weights = random.integers(0, 3, (4, 60)) + np.array([[1], [1], [0], [0]])
    expected = [roc_auc_score(positive, value, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted_auc(value, positive, weights), expected, rtol=1e-12)


def test_one_kind_of_clips_cannot_be_told_apart():
    assert detect(np.array([0.1, 0.2]), np.array([True, True]), np.array(["a", "b"])) is None


# ---------------------------------------------------------------- protocols


def test_a_softer_corpus_is_labelled_better_once_its_normal_is_known(unheard):
    soft, few = unheard
    assert (soft["corpus"], few["corpus"]) == ("Soft", "Few")
    assert soft["labels"] == ("neutral", "happy", "angry")
    assert few["labels"] == ("neutral", "angry"), "bored is left out"
    assert few["conditions"]["clean"]["alone"]["scores"]["utterances"] == 48
    for condition in ("clean", "mulaw"):
        found = soft["conditions"][condition]
        assert found["adapted"]["scores"]["uar"] > found["alone"]["scores"]["uar"]
        assert found["adapted"]["scores"]["speakers"] == 8
    assert soft["trained_on"] == ["Other"]


def test_corpora_that_a_bundle_has_heard_are_not_tested(bench, model):
    heard = replace(model, card=replace(model.card, corpora=({"name": "Soft"}, {"name": "Few"})))
    assert protocols.unheard(bench, [heard]) == []
    assert protocols.archives(bench, heard) == []


def test_archives_by_share_of_neutral_clips(archives):
    assert {(row["corpus"], row["neutral"]) for row in archives} == {
        (corpus, share) for corpus in ("Soft", "Few") for share in protocols.NEUTRAL_SHARES
    }
    soft = {row["neutral"]: row["adapted"] for row in archives if row["corpus"] == "Soft"}
    assert soft[0.5] != soft[0.95]


def test_women_and_men_are_tested_apart(by_sex, unheard):
    soft = {(row["way"], row["sex"]): row for row in by_sex if row["corpus"] == "Soft"}
    assert set(soft) == {(way, sex) for way in ("alone", "adapted") for sex in ("female", "male")}
    assert {row["scores"]["speakers"] for row in soft.values()} == {4}
    [whole] = [row["conditions"]["mulaw"] for row in unheard if row["corpus"] == "Soft"]
    for way in ("alone", "adapted"):
        accuracies = [soft[way, sex]["scores"]["accuracy"] for sex in ("female", "male")]
        assert np.mean(accuracies) == pytest.approx(whole[way]["scores"]["accuracy"])
    assert not [row for row in by_sex if row["corpus"] == "Few"], "no sex is known there"


def test_called_negative_is_counted_among_negative_clips_and_among_the_others():
    emotions, labels = ("sad", "angry", "happy", "neutral"), ("neutral", "happy", "sad", "angry")
    question = ask(emotions, tuple("abcd"), labels)
    answers = np.eye(4)[[3, 0, 2, 0]]  # angry, neutral; sad, neutral
    assert question.called_negative(answers) == {"rightly": 0.5, "wrongly": 0.5}
    kept = question.only(np.array([True, False, False, True]))
    assert kept.called_negative(answers[[0, 3]]) == {"rightly": 1.0, "wrongly": 0.0}
    only_happy = question.only(np.array([False, False, True, False]))
    assert only_happy.called_negative(answers[[2]]) == {"rightly": None, "wrongly": 1.0}


def test_no_actor_is_tested_by_a_bundle_that_was_trained_on_that_actor(bench, model, monkeypatch):
    trained = []

    def train(self, name, corpora, recipe):
        trained.append((name, recipe.emotions, [set(corpus.speakers) for corpus in corpora]))
        return model

    monkeypatch.setattr(Bench, "train", train)
    corpus = bench.corpus("Soft")
    assert corpus is not None
    found = protocols.by_actor(bench, corpus, SeedRecipe())
    folds = protocols.actor_folds(corpus)
    speakers = np.array([utterance.speaker for utterance in corpus.utterances])
    assert len(trained) == protocols.FOLDS
    for fold, (_, emotions, (known,)) in enumerate(trained):
        assert emotions == EIGHT
        assert not known & set(speakers[folds == fold])
        assert known == set(speakers[folds != fold])
    # All twelve clips of a speaker but one are its 16 others: enough for its normal.
    uars = {way: found["conditions"]["clean"][way]["scores"]["uar"] for way in ("alone", "others")}
    assert uars["others"] > uars["alone"]


def test_a_corpus_is_left_out_of_its_training(bench, model, monkeypatch):
    monkeypatch.setattr(Bench, "train", lambda self, name, corpora, recipe: model)
    rows = protocols.one_left_out(bench, SeedRecipe())
    assert [(row["pool"], row["trained_on"], row["corpus"]) for row in rows] == [
        ("all", ["Few"], "Soft"),
        ("all", ["Soft"], "Few"),
    ]


# ---------------------------------------------------------------- calls


def call(name: str, *emotions: str) -> Truth:
    turns = tuple(
        Turn(4.0 * i, 4.0 * i + 3.0, emotion, name, "test", ((4.0 * i, 4.0 * i + 3.0),))
        for i, emotion in enumerate(emotions)
    )
    return Truth(f"{name}.wav", 1, "customer", turns)


@pytest.fixture(scope="module")
def on_calls(model) -> dict:
    customers = [call("ann", "neutral", "angry"), call("bob", "neutral", "neutral"), call("eve")]
    stored = built_calls.Stored(
        uri=np.array(["ann.wav", "ann.wav", "ann.wav", "bob.wav"]),
        start_s=np.array([0.0, 2.0, 4.0, 0.0]),
        end_s=np.array([2.0, 4.0, 8.0, 3.0]),
        matrix=np.zeros((4, 1), np.float32),
    )
    # The second segment has one second of the first turn, and none of the second.
    probabilities = np.array([[0.9, 0.1], [0.0, 1.0], [0.2, 0.8], [0.7, 0.3]])
    card = replace(model.card, labels=("neutral", "angry"), unsure_segment_below=0.8)
    return built_calls.score_calls(customers, stored, probabilities, replace(model, card=card), SIX)


def test_turns_take_the_segments_that_overlap_and_calls_with_anger_are_found(on_calls):
    assert on_calls["turns"] == 4
    assert on_calls["covered"] == 0.75
    assert on_calls["all"]["scores"]["confusion"] == ((2, 0), (0, 1))
    # The first turn has 0.9 for two seconds and 0 for one: 0.6. The others have 0.8 and 0.7.
    assert on_calls["all"]["sure"] == pytest.approx(1 / 3)
    assert on_calls["all"]["right_if_sure"] == 1.0
    assert on_calls["one_mood"] == 1.0
    assert on_calls["several_moods"] == 1.0
    assert {name: row["auc"] for name, row in on_calls["calls"].items()} == dict.fromkeys(
        built_calls.SUMS, 1.0
    )


# ---------------------------------------------------------------- the page


def test_the_page_has_a_row_for_each_test_and_leaves_out_what_was_not_measured(
    unheard, archives, model
):
    figures = json.loads(json.dumps({"unheard": unheard, "archives": archives}))
    page = accuracy.render({**figures, "cards": [model.card]})
    scores = unheard[0]["conditions"]["mulaw"]["adapted"]["scores"]
    assert f"{100 * scores['uar']:.1f} ({100 * scores['uar_low']:.1f} to" in page
    tables = [line for line in page.splitlines() if line.startswith("| `by-level` | Soft, 3 emot")]
    assert len(tables) == 2, "alone and adapted"
    assert page.index("never heard") < page.index("## Archives") < page.index("## Trials")
    assert "## On calls" not in page
    assert "## Cost" not in page


def test_the_page_of_all_parts_has_whole_tables(unheard, archives, by_sex, on_calls, model):
    conditions = {
        condition: {"alone": found["alone"], "others": found["adapted"]}
        for condition, found in unheard[0]["conditions"].items()
    }
    kind = {"sound": "rain", "pieces": 3, "confidence": 0.5, "sure": 0.1, "labels": {"sad": 1.0}}
    spent = {
        "bundle": "by-level", "feature_set": "test_simple", "numbers": 1_234, "features_ms": 9.87,
        "predict_ms": 0.123, "megabytes": 1.0,
    }  # fmt: skip
    figures = {
        "unheard": unheard,
        "archives": archives,
        "left-out": [{**row, "pool": "all"} for row in unheard],
        "by-sex": by_sex,
        "by-actor": {"corpus": "Soft", "folds": 6, "conditions": conditions},
        "calls": [
            {"bundle": "by-level", "way": "alone", **on_calls},
            {"bundle": "by actor", "way": "adapted", **on_calls},
        ],
        "sounds": {"domains": [kind], "prompts": None},
        "cost": [spent],
    }
    page = accuracy.render({**json.loads(json.dumps(figures)), "cards": [model.card]})
    for part in ("On calls", "One corpus left out", "by actor", "Out of domain", "Cost"):
        assert any(part in line for line in page.splitlines() if line.startswith("## "))
    assert "| `by-level` | `test_simple` | 1,234 | 9.9 | 0.12 | 1.0 |" in page
    # Rows of a table have as many cells as its head.
    width = 0
    for line in page.splitlines():
        cells = line.count(" |") if line.startswith("|") else 0
        assert not (width and cells) or cells == width, line
        width = cells


def test_figures_are_kept_and_measured_again_on_request(tmp_path):
    options = accuracy.argparse.Namespace(work=tmp_path, again=())
    assert accuracy.kept(options, "cost", "0a", lambda: {"a": (1, 2)}) == {"a": [1, 2]}
    assert accuracy.kept(options, "cost", "0a", lambda: pytest.fail("again")) == {"a": [1, 2]}
    assert accuracy.kept(options, "cost", "0b", lambda: []) == []
    options.again = ("cost",)
    assert accuracy.kept(options, "cost", "0a", lambda: []) == []
