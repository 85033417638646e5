"""Training by recipe `calls`: nobody is tested by networks that have heard them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import soundfile

from ser_core import models, training
from ser_core.conditions import CONDITIONS
from ser_core.corpora import Corpus, open_corpus
from ser_core.emotions import CALM, RAVDESS_EIGHT
from ser_core.errors import BundleError, TrainingError
from ser_core.features import telephone
from ser_core.models import bundle
from ser_core.models.history import HISTORY
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls import ensemble, fitting
from ser_core.models.recipes.calls import networks as networks_module
from ser_core.models.recipes.calls.data import (
    CALLS_A_SPEAKER,
    KNOWN,
    LINES,
    Data,
    draw_calls,
    known_clips,
)
from ser_core.models.recipes.calls.ensemble import Networks, training_clips
from ser_core.models.recipes.calls.held_out import HeldOut, blend_history
from ser_core.models.recipes.calls.material import Material, Scale
from ser_core.models.recipes.calls.measures import measure
from ser_core.models.recipes.calls.members import Member, flat_width
from ser_core.models.recipes.calls.recipe import CallsRecipe, figures_of
from ser_core.models.recipes.preparation import LabelledClips
from ser_core.report import training_pictures

RATE_HZ = 16_000
PITCH_HZ = {"neutral": 110, "calm": 140, "happy": 330, "angry": 220}
LABELS = ("neutral", "calm", "happy", "angry")
QUICK = CallsRecipe(
    folds=2,
    members=(
        Member(steps=60, batch=32),
        Member(kind="cnn", inputs="picture", steps=8, batch=32, mixup=0.0, others=False, width=8),
    ),
)


def speak(folder: Path, actors: range) -> None:
    """A corpus in RAVDESS's form in which each emotion is a buzz of its own pitch."""
    random = np.random.default_rng(0)
    seconds = np.arange(int(0.6 * RATE_HZ)) / RATE_HZ
    for emotion, hz in PITCH_HZ.items():
        for actor in actors:
            for repetition in (1, 2):
                code = RAVDESS_EIGHT.index(emotion) + 1
                name = f"03-01-{code:02d}-01-01-{repetition:02d}-{actor:02d}.wav"
                tones = [np.sin(2 * np.pi * k * hz * (1 + actor / 99) * seconds) for k in (1, 2, 3)]
                wave = 0.1 * np.sum(tones, axis=0) * (1 + 0.5 * np.sin(20 * seconds))
                wave += 0.01 * random.standard_normal(wave.size)
                path = folder / f"Actor_{actor:02d}" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, wave, RATE_HZ)


@pytest.fixture(scope="module")
def buzzes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buzzes")
    speak(folder, range(1, 5))
    return open_corpus("ravdess", folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(buzzes, cache, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "buzzes"
    return training.train([buzzes], QUICK, folder, jobs=1, cache=cache)


def spoken(speakers: int = 4, each: int = 24, seed: int = 0) -> Material:
    random = np.random.default_rng(seed)
    n = speakers * each
    truth = np.tile(np.arange(len(LABELS)), n // len(LABELS))
    speaker = np.repeat(np.arange(speakers), each)
    return Material(
        np.empty((0, n, 0)), random.permutation(truth), np.zeros(n, int), speaker, (LABELS,)
    )


def held_out(seed: int = 0, skill: float = 2.0, of: Material | None = None) -> HeldOut:
    """Answers as networks might give them: right by `skill`, too sure by twice."""
    random = np.random.default_rng(seed)
    clips_given = of or spoken()
    called, mood = draw_calls(clips_given, random)
    data = Data(
        clips_given, np.empty((len(CONDITIONS), 0, 0)), clips_given.speaker % 2, called, mood
    )

    def answer(truth: np.ndarray) -> np.ndarray:
        logits = random.normal(size=(*truth.shape, len(LABELS)))
        logits += skill * (np.arange(len(LABELS)) == truth[..., None])
        exponentials = np.exp(4 * logits)  # twice what is known
        return exponentials / exponentials.sum(axis=-1, keepdims=True)

    clips = answer(
        np.broadcast_to(clips_given.truth, (len(CONDITIONS), len(KNOWN), len(clips_given.truth)))
    )
    segments = answer(np.broadcast_to(clips_given.truth[called], (len(LINES), *called.shape)))
    segments = segments * (called >= 0)[..., None]
    return HeldOut(data, clips, segments, np.ones(clips.shape[:3]), np.ones(segments.shape[:3]))


def people(clips: Material) -> list:
    from ser_core.corpora import Utterance

    return [
        Utterance(Path(f"{i}.wav"), LABELS[t], f"s{s}", "test", sex=("male", "female")[s % 2])
        for i, (t, s) in enumerate(zip(clips.truth, clips.speaker, strict=True))
    ]


# What is drawn


def test_calls_are_of_one_speaker_and_mostly_of_one_emotion():
    spoken_clips = spoken()
    called, mood = draw_calls(spoken_clips, np.random.default_rng(0))
    assert len(called) == 4 * CALLS_A_SPEAKER
    sizes = set()
    for clips, main in zip(called, mood, strict=True):
        real = clips[clips >= 0]
        assert (clips[len(real) :] == -1).all()
        assert len(set(real)) == len(real)
        assert len(set(spoken_clips.speaker[real])) == 1
        felt = Counter(spoken_clips.truth[real].tolist())
        assert felt[main] == max(felt.values())
        assert sum(count == felt[main] for count in felt.values()) == 1
        assert all(LABELS[label] in CALM for label in felt if label != main)
        sizes.add(len(real))
    assert min(sizes) <= 4
    assert max(sizes) >= 10


@pytest.mark.parametrize("known", KNOWN)
def test_what_is_known_are_other_clips_of_the_speaker(known):
    spoken_clips = spoken()
    which = np.arange(0, len(spoken_clips.truth), 5)
    members = known_clips(spoken_clips, which, known)
    assert members.shape == (len(which), 16)
    for clip, history in zip(which, members, strict=True):
        others = history[history >= 0]
        assert clip not in others
        assert len(set(others)) == len(others)
        assert (spoken_clips.speaker[others] == spoken_clips.speaker[clip]).all()
        emotions = {LABELS[label] for label in spoken_clips.truth[others]}
        allowed = {"none": set(), "calm": {"neutral", "calm"}, "angry": {"angry"}}
        assert emotions <= allowed.get(known, set(LABELS))
        assert len(others) == {"none": 0, "mixed": 16}.get(known, len(others))
        assert len(others) <= (16 if known == "mixed" else 8)


def test_a_history_in_one_mood_is_not_used():
    """As much of each answer as its history is believed, the rest is the answer without."""
    found = held_out(of=spoken(speakers=4, each=48))
    data, doubted = found.data, (0.2, 0.3)
    mixed = blend_history(data, found.clips, found.segments, doubted)
    c, alone = list(CONDITIONS).index("mulaw"), found.clips[:, list(KNOWN).index("none")]
    beliefs = set()
    for k, known in enumerate(KNOWN):
        for clip in range(0, len(data.folds), 7):
            (history,) = known_clips(data.tested, np.array([clip]), known)
            others = alone[c, history[history >= 0]].mean(axis=0) if known != "none" else [0] * 4
            moods = [p for p, label in zip(others, LABELS, strict=True) if label not in CALM]
            belief = min(max((0.3 - max(moods)) / 0.1, 0), 1)
            assert mixed.clips_belief[c, k, clip] == pytest.approx(belief, abs=1e-5)
            expected = belief * found.clips[c, k, clip] + (1 - belief) * alone[c, clip]
            np.testing.assert_allclose(mixed.clips[c, k, clip], expected, atol=1e-5)
            beliefs.add(round(belief, 3))
    assert {0, 1} < beliefs
    call = data.called[3][data.called[3] >= 0]
    others = alone[c, call[1:]].mean(axis=0)
    moods = [p for p, label in zip(others, LABELS, strict=True) if label not in CALM]
    belief = min(max((0.3 - max(moods)) / 0.1, 0), 1)
    assert mixed.segments_belief[0, 3, 0] == pytest.approx(belief, abs=1e-5)
    expected = belief * found.segments[0, 3, 0] + (1 - belief) * alone[c, call[0]]
    np.testing.assert_allclose(mixed.segments[0, 3, 0], expected, atol=1e-5)
    assert not mixed.segments[:, data.called < 0].any()


# What is measured


def test_answers_are_calibrated_by_other_folds_only():
    first = held_out()
    wrong = replace(first.data.material, truth=np.roll(first.data.material.truth, 1))
    own = first.data.folds == 0
    truth = np.where(own, wrong.truth, first.data.material.truth)
    changed = replace(first, data=replace(first.data, material=replace(wrong, truth=truth)))
    utterances = people(first.data.material)
    before, after = (measure(answers, utterances) for answers in (first, changed))
    # Fold 0's truth takes no part in what is said of fold 0, so the same labels are predicted.
    columns = [np.array(m.results["mulaw_none"].confusion).sum(axis=0) for m in (before, after)]
    np.testing.assert_array_equal(*columns)
    assert before.temperatures != after.temperatures


def test_the_too_sure_are_calibrated_and_the_sure_half_is_right():
    found = held_out(of=spoken(speakers=8, each=80))
    measured = measure(found, people(found.data.material))
    assert measured.temperatures.without > 1.3
    errors = measured.measures["calibration_error"]
    assert errors["segments of calls"] < 0.05
    assert errors["clips, nothing known"] < 0.05
    for name, figures in measured.measures["unsure"].items():
        assert figures["right_if_sure"] > 0.78, name
        assert figures["right_if_sure"] > figures["right"]
        assert 0.4 < figures["sure"] < 0.95
    women, men = (measured.results[f"mulaw_none_{sex}"] for sex in ("women", "men"))
    assert women.utterances + men.utterances == len(found.data.folds)
    both = {
        (row["grouping"], row["known"]): row
        for row in measured.measures["groups"]
        if row["condition"] == "mulaw"
    }
    assert both["angry", "none"]["auc"] > 0.85
    assert both["angry", "none"]["groups"] == ["angry", "other"]
    # A threshold in the middle of two bells: UAR follows from the AUC, by their distance.
    z = NormalDist().inv_cdf(both["angry", "none"]["auc"]) / 2**0.5
    assert both["angry", "none"]["uar"] == pytest.approx(NormalDist().cdf(z), abs=0.03)
    assert both["four", "none"]["groups"] == ["neutral", "happy", "angry"]


def test_of_speakers_with_one_clip_each_nothing_else_is_known():
    """As where a CSV has one stretch a recording, and names no speaker."""
    found = held_out(of=spoken(speakers=24, each=1))
    utterances = people(found.data.material)
    measured = measure(found, utterances)
    assert measured.results["mulaw_none"].utterances == 24
    assert not [name for name in measured.results if "mixed" in name]
    clips = LabelledClips(tuple(utterances), LABELS, found.data.folds)
    pictures = training_pictures.draw(figures_of(measured, clips, Corpus("test", "", (), {})))
    assert all(pictures.values())


def test_a_label_that_annotators_never_agree_on_has_no_figure():
    clips = spoken()
    angry = clips.truth == LABELS.index("angry")
    shares = clips.targets.copy()
    shares[angry] = 0.5 * np.isin(LABELS, ["sad", "angry", "happy"])
    found = held_out(of=replace(clips, shares=shares))
    measured = measure(found, people(clips))
    assert measured.results["mulaw_none"].recall["angry"] is None
    rows = [row for row in measured.measures["groups"] if row["grouping"] == "angry"]
    assert rows
    assert not any("auc" in row for row in rows)
    json.dumps(measured.of_card, allow_nan=False)


@pytest.mark.long
def test_what_is_tied_is_not_asked_though_its_rival_was_left_out(buzzes, cache):
    tied = (("angry", 0.5), ("calm", 0.5))
    utterances = [
        replace(utterance, shares=tied)
        if utterance.emotion == "angry" and utterance.repetition == "01"
        else utterance
        for utterance in buzzes.utterances
    ]
    recipe = replace(QUICK, emotions=("angry", "happy", "neutral"))
    corpora = [replace(buzzes, utterances=tuple(utterances))]
    data = recipe.gather(corpora, Work(jobs=1, cache=cache))
    expected = [utterance.agreed for utterance in recipe.restricted(corpora)[0].utterances]
    assert expected.count(False) == 4
    assert data.tested.agreed.tolist() == expected
    assert set(np.flatnonzero(expected)) >= set(data.called[data.called >= 0].tolist())


# The whole training


@pytest.mark.long
def test_a_bundle_is_trained_measured_and_answers(trained, buzzes):
    loaded = models.load(trained)
    assert loaded.labels == LABELS
    card = loaded.card
    assert card.channel_normalisation == HISTORY
    assert "For commercial use take calls" in card.licence
    assert card.results["mulaw_none"]["utterances"] == len(buzzes.utterances)
    assert card.results["clean_none"]["uar"] > 0.4
    assert set(card.measures) == {"groups", "calibration_error", "unsure"}
    page = (trained / "CARD.md").read_text()
    for picture in ("conditions", "confusion", "reliability", "coverage", "utterances"):
        assert f"({picture}.png)" in page
        assert (trained / f"{picture}.png").stat().st_size > 3_000
    assert "learning_curves" not in page
    matrix = np.random.default_rng(0).normal(size=(6, len(bundle.features.get("telephone").names)))
    alone, together = loaded.predict(matrix), loaded.predict(matrix, np.zeros(6))
    assert not np.allclose(alone, together)


@pytest.mark.long
def test_what_is_trained_is_kept_and_never_heard_its_fold(
    trained, buzzes, cache, tmp_path, monkeypatch
):
    heard = []

    def refuse(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(fitting, "fit", refuse)
    again = training.train([buzzes], QUICK, tmp_path / "again", jobs=1, cache=cache)
    assert models.read_card(again).results == models.read_card(trained).results

    def listen(material, member, scales, **options):
        heard.append(set(material.speaker.tolist()))
        return networks_module.network(member, len(material.labels[0]), flat_width(member))

    monkeypatch.setattr(fitting, "fit", listen)
    data = QUICK.gather([buzzes], Work(jobs=1, cache=cache))
    networks = Networks(data, QUICK.networks, Work(jobs=1, cache=tmp_path / "fresh"))
    networks.held_out(QUICK.doubted, QUICK.history_share)
    folds = [set(data.tested.speaker[data.folds == fold].tolist()) for fold in range(2)]
    everybody = folds[0] | folds[1]
    # Two networks for each fold, and two of everybody.
    assert len(heard) == 6
    assert sorted(map(sorted, heard)) == sorted(map(sorted, [folds[0], folds[1], everybody] * 2))


def test_nobody_of_a_fold_is_heard_in_another_corpus():
    """As where two files of labels name the same caller."""
    first, second = spoken(speakers=4, each=4), spoken(speakers=6, each=4)
    material = Material(
        np.random.default_rng(0).normal(size=(1, 40, len(telephone.NAMES))).astype(np.float32),
        np.concatenate([first.truth, second.truth]),
        np.repeat([0, 1], [16, 24]),
        np.concatenate([first.speaker, second.speaker]),
        (LABELS, LABELS),
    )
    nothing = np.empty((0, 0), int)
    data = Data(material, np.empty((0, 16, 0)), first.speaker % 2, nothing, nothing)
    known = training_clips(data, 0)
    assert set(material.speaker[known]) == {1, 3, 4, 5}
    assert set(material.speaker[known & (material.corpus == 1)]) == {1, 3, 4, 5}
    # A corpus of nobody else has no clips left, and the others keep their scales.
    few = material.of(known & (material.corpus == 1))
    other = Scale.of(few.vectors[0])
    np.testing.assert_array_equal(ensemble._scales(few)[1].mean, other.mean)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 1}, "folds=1: a whole number, 2 or more"),
        ({"seed": -1}, "seed=-1"),
        ({"effort": 0.0}, r"effort=0\.0: a number above 0 expected"),
        ({"effort": float("nan")}, "effort=nan"),
        ({"emotions": ("sad",)}, "emotions: 1 emotions given"),
    ],
)
def test_a_setting_out_of_bounds_is_named_with_its_bound(settings, message):
    with pytest.raises(TrainingError, match=message):
        CallsRecipe(**settings)


def test_mistakes_are_told_before_any_work(buzzes, cache, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="holds files that are not a model bundle"):
        training.train([buzzes], QUICK, tmp_path, jobs=1, cache=cache)
    with pytest.raises(TrainingError, match="networks cannot be kept there"):
        Networks(held_out().data, QUICK.networks, Work(cache=tmp_path / "notes.txt"))
    with pytest.raises(TrainingError, match="no utterance is bored"):
        training.train(
            [buzzes], replace(QUICK, emotions=("bored", "happy")), tmp_path / "b", cache=cache
        )
    sad = tuple(replace(utterance, emotion="sad") for utterance in buzzes.utterances)
    for utterances, says in (
        (sad, "more: it has sad, and"),
        ((), "more: it has no utterance, and"),
    ):
        with pytest.raises(TrainingError, match=says):
            training.train(
                [buzzes, replace(buzzes, name="more", utterances=utterances)], QUICK, tmp_path / "b"
            )
    with pytest.raises(TrainingError, match="folds=9, but the corpora have 4 speakers"):
        training.train([buzzes], replace(QUICK, folds=9), tmp_path / "b", cache=cache)
