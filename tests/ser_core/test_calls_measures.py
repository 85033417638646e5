"""The figures of recipe `calls`: calibration by what was never heard, questions by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ser_core.corpora import Utterance
from ser_core.models.calibration import calibrate, calibration_error, reliability
from ser_core.models.recipes.calls.data import Clips
from ser_core.models.recipes.calls.measures import ADAPTED, ALONE, Predictions, key_of, measure

LABELS = ("neutral", "happy", "angry")


def make_test(
    corpus: str = "Ours", seed: int = 0, n: int = 600, too_sure: float = 1.0, **about
) -> Predictions:
    """Predictions whose confidence is right, then sharpened."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([0.7] * 3, n)
    truth = np.array([random.choice(3, p=row) for row in probabilities])
    utterances = tuple(
        Utterance(Path(f"{i}.wav"), LABELS[t], f"{corpus}-{i % 10}", corpus)
        for i, t in enumerate(truth)
    )
    clips = Clips(corpus, (), utterances, truth, np.eye(3)[truth], np.ones(3, bool), {})
    settings = {"condition": "mulaw", "known": ALONE, "unheard": True} | about
    sharpened = calibrate(probabilities, 1 / too_sure)
    return Predictions(corpus, clips=clips, probabilities=sharpened, **settings)


def test_the_temperature_is_that_of_corpora_never_heard():
    unheard = make_test(too_sure=2.0, n=1_000)
    flattering = make_test("Known", 1, n=1_000, too_sure=0.5, unheard=False)
    both = measure([flattering, unheard], LABELS)
    assert both.temperature == measure([unheard], LABELS).temperature == pytest.approx(2, abs=0.25)
    assert both.unsure_segment_below == measure([unheard], LABELS).unsure_segment_below
    assert both.measures["calibration_error"]["alone, corpora never heard"] < 0.05
    assert measure([flattering], LABELS).temperature == pytest.approx(0.5, abs=0.1)
    expected = calibrate(unheard.probabilities, both.temperature)
    np.testing.assert_allclose(both.outputs[:1_000], expected, atol=1e-6)
    error = calibration_error(
        reliability(expected.max(axis=1), expected.argmax(axis=1) == unheard.clips.truth)
    )
    assert both.measures["calibration_error"][unheard.title] == pytest.approx(error)


def test_a_corpus_that_was_never_heard_comes_first_by_telephone():
    tests = [
        make_test("A", condition="clean", unheard=False),
        make_test("A", condition="mulaw", unheard=False),
        make_test("A", condition="clean"),
        make_test("EMO-DB", condition="mulaw", known=ADAPTED),
    ]
    found = measure(tests, LABELS)
    assert list(found.results) == [
        "emodb_mulaw_adapted", "a_clean_alone", "a_mulaw_folds", "a_clean_folds",
    ]  # fmt: skip
    assert found.of_card["protocol"] == "emodb_mulaw_adapted"
    assert found.results["emodb_mulaw_adapted"].protocol == (
        "EMO-DB (never heard), G.711 mu-law, adapted"
    )
    assert key_of("CREMA-D 2") == "cremad2"


def test_questions_by_hand():
    test = make_test(n=120)
    found = measure([test], LABELS)
    rows = {row["grouping"]: row for row in found.measures["questions"]}
    assert set(rows) == {"angry", "negative"}
    p = calibrate(test.probabilities, found.temperature)[:, 2]
    angry, others = p[test.clips.truth == 2], p[test.clips.truth != 2]
    # Of all pairs, how often the angry one has more; ties count half.
    more = (angry[:, None] > others).mean() + 0.5 * (angry[:, None] == others).mean()
    row = rows["angry"]
    assert row["auc"] == pytest.approx(more, abs=1e-6)
    assert row["auc"] > 0.7
    assert (others > row["threshold"]).mean() == pytest.approx(0.05, abs=1 / len(others))
    assert row["found"] == pytest.approx((angry > row["threshold"]).mean())
    assert rows["negative"]["auc"] == row["auc"]


def test_nothing_is_asked_where_nobody_is_angry():
    test = make_test()
    calm = replace(
        test, clips=replace(test.clips, truth=np.minimum(test.clips.truth, 1)),
    )  # fmt: skip
    assert measure([calm], LABELS).measures["questions"] == []
    assert measure([calm], LABELS).results["ours_mulaw_alone"].recall["angry"] is None


def test_sure_predictions_are_right_more_often():
    found = measure([make_test(n=4_000)], LABELS)
    for figures in found.measures["unsure"].values():
        assert 0 < figures["sure"] < 1
        assert figures["right_if_sure"] > figures["right"]
    segments, recordings = (found.measures["unsure"][k] for k in ("segments", "recordings"))
    # A recording is up to four clips of a speaker in one mood: more evidence than one clip.
    assert recordings["right"] > segments["right"]
