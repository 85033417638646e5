"""Evaluation by mathematics: intervals, differences, histories, and who is left out."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_core import features
from ser_core.corpora import Corpus, Utterance, vectors
from ser_core.errors import CorpusError
from ser_core.models import calibration, evaluation, verdict
from ser_core.models.bundle import Bundle
from ser_core.models.card import Card
from ser_core.models.evaluation_plan import CHANNEL, NOTHING
from ser_core.models.history import HISTORY
from ser_core.models.provenance import describe_training
from ser_core.models.targets import channel_ids, label_indices

RATE_HZ = 8_000
HZ = {"sad": 200, "happy": 400, "angry": 800, "bored": 1_600}
SPEAKERS = tuple("abcdef")


def clips(
    folder: Path, speakers=SPEAKERS, emotions=("sad", "happy", "angry"), times: int = 3
) -> Corpus:
    """A tone an emotion, a level a repetition; every speaker says each emotion."""
    seconds = np.arange(RATE_HZ) / RATE_HZ  # so that peaks are told apart by 1 Hz
    utterances = []
    for who, speaker in enumerate(speakers):
        for emotion in emotions:
            for i in range(times):
                path = folder / f"{speaker}-{emotion}-{i}.wav"
                hz = HZ[emotion] + 10 * (i % 3) + who
                wave = 0.1 * (1 + i) * np.sin(2 * np.pi * hz * seconds)
                soundfile.write(path, np.clip(wave, -1, 1), RATE_HZ, subtype="FLOAT")
                utterances.append(Utterance(path, emotion, speaker, "tones"))
    return Corpus("Tones", "CC0", tuple(utterances), {})


def bundle(labels, answer, *, name: str = "made", card: dict | None = None) -> Bundle:
    """A bundle over `test_simple` whose network is a function of a row's level and pitch."""
    simple = features.get("test_simple")

    def network(matrix, *history):
        rows = [answer(*row[[0, 3]], *(h[i, 0] for h in history)) for i, row in enumerate(matrix)]
        return np.array(rows, dtype=np.float32)

    about = Card(
        name=name, labels=tuple(labels), feature_set=simple.id, fingerprint=simple.fingerprint,
        model_sha256="0123456789abcdef", **(card or {}),
    )  # fmt: skip
    return Bundle(about, network, len(simple.names))


def sure_of(label: str, labels, much: float = 0.9):
    """Probabilities that are `much` for one label, and equal for the others."""
    rest = (1 - much) / (len(labels) - 1)
    return [much if name == label else rest for name in labels]


def heard(hz: float) -> str:
    """The emotion whose tone is nearest."""
    return min(HZ, key=lambda emotion: abs(HZ[emotion] + 10 - hz))


THREE = ("sad", "happy", "angry")


def right(labels=THREE, **about) -> Bundle:
    return bundle(labels, lambda level, hz: sure_of(heard(hz), labels), name="right", **about)


def always(label: str, labels=THREE) -> Bundle:
    return bundle(labels, lambda level, hz: sure_of(label, labels), name=f"always_{label}")


def unequal(edge: float) -> Bundle:
    """Wrong, and says happy, where the tone is high for its emotion: more so for later speakers."""

    def answer(level, hz):
        above = hz - HZ[heard(hz)]
        return sure_of("happy" if above > edge else heard(hz), THREE)

    return bundle(THREE, answer, name=f"unequal_{edge:g}")


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Corpus:
    return clips(tmp_path_factory.mktemp("tones"))


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def test_a_bundle_differs_from_itself_by_nothing(tones, cache):
    model = unequal(15)
    found = evaluation.evaluate_conditions(
        [model, model], tones, ["clean", "mulaw"], jobs=1, cache=cache
    )
    assert [each.condition for each in found.differences] == ["clean", "mulaw"]
    for each in found.differences:
        assert (each.difference, each.low, each.high) == (0, 0, 0)
        assert (each.p, each.told_apart) == (1.0, False)
        assert each.uar == each.uar_against == found.bundles[0].of(each.condition).scores.uar
    assert 0 < found.differences[0].uar < 1


def test_one_that_is_always_right_against_one_that_says_one_thing(tones, cache):
    pair = [right(), always("sad")]
    found = evaluation.evaluate_conditions(pair, tones, ["clean"], jobs=1, cache=cache)
    (difference,) = found.differences
    # Whoever is drawn, one finds all and the other a third.
    assert (difference.uar, difference.uar_against) == (1, pytest.approx(1 / 3))
    assert (difference.low, difference.high) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert difference.accuracy_difference == pytest.approx(2 / 3)
    assert difference.accuracy_low == pytest.approx(2 / 3) == difference.accuracy_high
    assert difference.told_apart
    assert difference.p == pytest.approx(2 / 2_001)
    (back,) = evaluation.evaluate_conditions(
        pair[::-1], tones, ["clean"], jobs=1, cache=cache
    ).differences
    assert (back.difference, back.low, back.high) == (
        -difference.difference,
        -difference.high,
        -difference.low,
    )


def test_the_interval_of_a_difference_is_that_of_drawing_speakers_again(tones, cache):
    """Against drawing the utterances themselves, one resample after the other."""
    pair = [unequal(21), unequal(12)]
    found = evaluation.evaluate_conditions(pair, tones, ["clean"], jobs=1, cache=cache)
    matrix = vectors.extract(tones.utterances, "test_simple", jobs=1, cache=cache)
    truth = label_indices(tones.utterances, THREE)
    hits = [model.predict(matrix).argmax(axis=1) == truth for model in pair]
    who = np.array([SPEAKERS.index(utterance.speaker) for utterance in tones.utterances])
    draws = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=2_000)
    drawn = []
    for times in draws:
        rows = np.repeat(np.arange(len(who)), times[who])
        uars = [np.mean([hit[rows][truth[rows] == k].mean() for k in range(3)]) for hit in hits]
        drawn.append(uars[0] - uars[1])
    (difference,) = found.differences
    assert (difference.low, difference.high) == pytest.approx(
        tuple(np.percentile(drawn, (2.5, 97.5)))
    )
    assert difference.low < difference.difference < difference.high
    assert difference.p == pytest.approx(2 * (min(np.sum(np.array(drawn) <= 0), 2_000) + 1) / 2_001)


def test_a_difference_is_paired(tmp_path, cache):
    """Speakers differ more than the bundles: only the same draws for both tell these apart."""
    corpus = clips(tmp_path, tuple("abcdefghij"), times=6)

    def hard_for(level, hz, slips: float):
        # Speakers' tones are 1 Hz apart, repetitions 10: later speakers are the harder ones.
        above = round(hz - HZ[heard(hz)])
        wrong = above % 10 >= 6 or (level > slips)
        return sure_of("happy" if wrong else heard(hz), THREE)

    pair = [
        bundle(THREE, lambda level, hz: hard_for(level, hz, 0.0)),
        bundle(THREE, lambda level, hz: hard_for(level, hz, -7.5)),
    ]
    found = evaluation.evaluate_conditions(pair, corpus, ["clean"], jobs=1, cache=cache)
    first, second = (tested.of("clean").scores for tested in found.bundles)
    assert second.uar < first.uar < 1
    assert second.uar_high > first.uar > first.uar_low
    assert first.uar_low < second.uar
    assert found.differences[0].low > 0


def test_bundles_of_other_labels_are_compared_by_those_in_common(tmp_path, cache):
    corpus = clips(tmp_path, emotions=("sad", "happy", "angry", "bored"))
    # Says sad of everything; of what is left, the right one of happy and angry.
    shy = bundle(
        THREE, lambda level, hz: [0.6, *([0.3, 0.1] if heard(hz) == "happy" else [0.1, 0.3])]
    )
    other = always("angry", ("bored", "angry", "happy"))
    found = evaluation.evaluate_conditions([shy, other], corpus, ["clean"], jobs=1, cache=cache)
    (difference,) = found.differences
    assert difference.labels == ("happy", "angry")
    assert difference.utterances == 2 * 3 * len(SPEAKERS)
    assert (difference.uar, difference.uar_against, difference.difference) == (1, 0.5, 0.5)
    # Their own tables are over their own labels.
    assert found.bundles[0].of("clean").scores.uar == pytest.approx(1 / 3)
    assert found.bundles[0].no_label == {"bored": 18}
    assert found.bundles[1].no_label == {"sad": 18}
    words = verdict.labels_compared(found)
    assert "the 2 labels that both have (happy, angry) and their 36 utterances" in words
    assert "alone has sad and" in words
    assert "alone has bored" in words


def test_bundles_without_labels_in_common_are_compared_by_groups(tones, cache):
    pair = [right(), always("frustrated", ("frustrated", "sad"))]
    with pytest.raises(CorpusError, match=r"1 in common, two or more expected.*--groups angry"):
        evaluation.evaluate_conditions(pair, tones, ["clean"], jobs=1, cache=cache)
    found = evaluation.evaluate_conditions(
        pair, tones, ["clean"], grouping="angry", jobs=1, cache=cache
    )
    assert found.differences[0].labels == ("angry", "other")
    assert (found.differences[0].uar, found.differences[0].uar_against) == (1, 0.5)
    nobody = [right(("sad", "calm", "proud")), right(("sad", "calm", "proud"))]
    corpus = Corpus("Tones", "CC0", tuple(u for u in tones.utterances if u.emotion != "sad"), {})
    with pytest.raises(CorpusError, match="nothing to compare"):
        evaluation.evaluate_conditions(nobody, corpus, ["clean"], jobs=1, cache=cache)
    parted = [right(("sad", "calm", "proud")), right(("happy", "calm", "proud"))]
    with pytest.raises(CorpusError, match="no utterance of calm, proud"):
        evaluation.evaluate_conditions(parted, tones, ["clean"], jobs=1, cache=cache)


def test_one_speaker_gives_no_interval_and_few_a_warning(tones, cache):
    def among(speakers):
        utterances = tuple(
            utterance for utterance in tones.utterances if utterance.speaker in speakers
        )
        pair = [unequal(15), right()]
        corpus = Corpus("Tones", "CC0", utterances, {})
        return evaluation.evaluate_conditions(pair, corpus, ["clean"], jobs=1, cache=cache)

    alone = among("a")
    assert alone.bundles[0].of("clean").scores.interval is None
    difference = alone.differences[0]
    assert (difference.low, difference.high, difference.p, difference.told_apart) == (
        None,
        None,
        None,
        None,
    )
    assert difference.difference < 0
    assert any("one speaker: there is no interval" in each for each in alone.serious)
    assert verdict.verdict(alone).startswith("not to be relied on: no verdict: with one speaker")
    four = among("abcd")
    assert four.bundles[0].of("clean").scores.interval is not None
    assert any(each.startswith("4 speakers: ") for each in four.serious)
    # Fewer than ten are a caution, which says what it means.
    found = among(SPEAKERS)
    [six] = found.warnings
    assert six == (
        "6 speakers: each is a sixth of the test, and intervals that should hold the truth in 95 "
        "of 100 tests hold it in about 87; test ten or more speakers to speak of other voices"
    )
    assert found.serious == ()
    assert not verdict.verdict(found).startswith("not to be relied on")


def test_a_corpus_that_it_was_trained_on_is_named(tones, cache):
    model = right(card={"corpora": ({"name": "Tones"},)})
    found = evaluation.evaluate_conditions([model], tones, ["clean"], jobs=1, cache=cache)
    assert found.bundles[0].trained_on_it
    assert "was trained on Tones: these figures say nothing about other voices" in found.warnings[0]


def test_clips_and_speakers_of_the_training_are_a_serious_warning(tones, cache, monkeypatch):
    def tested(trained):
        provenance = describe_training(trained, np.ones((1, 2)), np.ones((1, 2)))
        monkeypatch.setattr(Bundle, "provenance", provenance)
        return evaluation.evaluate_conditions([right()], tones, ["clean"], jobs=1, cache=cache)

    found = tested([clip for clip in tones.utterances if clip.speaker in "ab"])
    [warning] = found.serious
    assert "18 of 54 clips and 2 of 6 speakers stood in its training" in warning
    assert found.warnings[0] == warning
    assert verdict.verdict(found).startswith("not to be relied on: ")
    other = replace(tones.utterances[0], path=Path(__file__), speaker="somebody else")
    assert tested([other]).serious == ()


def test_parts_of_a_recording_share_its_channel_and_clips_their_speaker():
    def utterance(name, speaker, **part):
        return Utterance(Path(name), "sad", speaker, "calls", **part)

    ids = channel_ids(
        [
            utterance("x", "ann", channel=0, start_s=0, end_s=2),
            utterance("x", "bob", channel=1, start_s=0, end_s=2),
            utterance("x", "ann", channel=0, start_s=2, end_s=4),
            utterance("y", "ann", start_s=0, end_s=2),
            utterance("y", "ann", start_s=2),
            utterance("z", "ann"),
            utterance("w", "ann"),
            utterance("v", "bob"),
        ]
    )
    assert ids.tolist() == [0, 1, 0, 2, 2, 3, 3, 4]


def test_a_history_is_all_of_the_channel(tones, cache):
    """Louder than the channel's others is angry: clips that have no label are among these."""

    def answer(level, hz, count, mean, variance):
        return sure_of("angry" if level > (mean if count else -100) else "happy", labels)

    labels = ("happy", "angry")
    about = {"channel_normalisation": HISTORY}
    asked = [bundle(labels, answer, card=about), right(labels)]
    found = evaluation.evaluate_conditions(asked, tones, ["clean"], jobs=1, cache=cache)
    listening, deaf = found.bundles
    assert (listening.known, deaf.known) == ((NOTHING, CHANNEL), (NOTHING,))
    assert listening.no_label == deaf.no_label == {"sad": 18}
    matrix = vectors.extract(tones.utterances, "test_simple", jobs=1, cache=cache)
    ids = [SPEAKERS.index(utterance.speaker) for utterance in tones.utterances]
    kept = [utterance.emotion != "sad" for utterance in tones.utterances]
    truth = np.array([utterance.emotion == "angry" for utterance in tones.utterances])[kept]
    predicted = asked[0].predict(matrix, channel=np.array(ids)).argmax(axis=1)[kept]
    assert listening.of("clean", CHANNEL).scores.accuracy == (predicted == truth).mean()
    # Without any other clip everything is angry.
    assert listening.of("clean", NOTHING).scores.recall == {"happy": 0, "angry": 1}
    assert [difference.known for difference in found.differences] == [NOTHING, CHANNEL]
    assert len({difference.uar_against for difference in found.differences}) == 1
    assert "the rest of the channel known" in listening.of("clean", CHANNEL).scores.protocol


def test_divided_annotators_are_left_out_and_counted_apart(tones, cache):
    def with_shares(utterance: Utterance, **shares: float) -> Utterance:
        return Utterance(
            utterance.path,
            utterance.emotion,
            utterance.speaker,
            utterance.corpus,
            shares=tuple(shares.items()),
        )

    first, *rest = tones.utterances
    angry = next(utterance for utterance in rest if utterance.emotion == "angry")
    corpus = Corpus(
        "Tones",
        "CC0",
        (
            with_shares(first, sad=0.5, happy=0.5),
            with_shares(angry, angry=1 / 3, frustrated=1 / 3, sad=1 / 3),
            with_shares(angry, sad=0.4, angry=0.3, frustrated=0.3),
            Utterance(first.path, "bored", "a", "tones"),
            *rest,
        ),
        {},
    )
    tested = evaluation.evaluate_conditions(
        [right()], corpus, ["clean"], jobs=1, cache=cache
    ).bundles[0]
    assert (tested.tied, tested.no_label) == (2, {"bored": 1})
    assert tested.of("clean").scores.left_out == 3
    # In groups, votes for angry and frustrated add up: both clips are angry to most.
    grouped = evaluation.evaluate_conditions(
        [right()], corpus, ["clean"], grouping="angry", jobs=1, cache=cache
    ).bundles[0]
    assert (grouped.tied, grouped.no_label) == (0, {})
    scores = grouped.of("clean").scores
    assert sum(scores.confusion[scores.labels.index("angry")]) == 18 + 2
    assert scores.recall["angry"] == 1


def test_sure_is_what_the_bundle_calls_sure(tones, cache):
    """By its threshold on its own labels, in groups too."""

    def answer(level, hz):
        return sure_of(heard(hz), THREE, 0.8 if heard(hz) == "sad" else 0.5)

    def tested(edge: float, grouping: str | None = None):
        model = bundle(THREE, answer, card={"unsure_segment_below": edge})
        found = evaluation.evaluate_conditions(
            [model], tones, ["clean"], grouping=grouping, jobs=1, cache=cache
        )
        return found.bundles[0].results[0]

    for grouping in (None, "negative"):
        result = tested(0.7, grouping)
        assert (result.sure, result.right_if_sure) == (pytest.approx(1 / 3), 1)
    none = tested(0.9)
    assert (none.sure, none.right_if_sure) == (0, None)
    assert tested(0.3).sure == 1


def test_calibration_and_coverage_are_those_of_the_answers(tones, cache):
    model = unequal(15)
    result = (
        evaluation.evaluate_conditions([model], tones, ["clean"], jobs=1, cache=cache)
        .bundles[0]
        .results[0]
    )
    assert result.calibration_error == pytest.approx(abs(0.9 - result.scores.accuracy))
    assert result.calibration_error == calibration.calibration_error(result.reliability)
    last = result.coverage[-1]
    assert (last.coverage, last.risk) == (1, pytest.approx(1 - result.scores.accuracy))


def test_a_curve_of_many_points_is_thinned_and_keeps_its_ends():
    confidence = np.linspace(0.999, 0.001, 5_000)
    curve = evaluation._curve(confidence, confidence > 0.5)
    assert len(curve) == 100
    assert curve[0].coverage == pytest.approx(1 / 5_000)
    assert (curve[-1].coverage, curve[-1].risk) == (1, pytest.approx(0.5))


def test_features_are_extracted_once_for_both(tones, cache, monkeypatch):
    calls = []
    real = vectors.extract

    def counted(utterances, name, **about):
        calls.append((name, about["condition"], len(utterances)))
        return real(utterances, name, **about)

    monkeypatch.setattr(vectors, "extract", counted)
    pair = [right(("sad", "happy")), right(("happy", "angry", "sad"))]
    evaluation.evaluate_conditions(pair, tones, ["clean", "gsm"], jobs=1, cache=cache)
    assert calls == [("test_simple", "clean", 54), ("test_simple", "gsm", 54)]


def test_evaluate_is_one_cell_of_the_matrix(tones, cache):
    model = unequal(15)
    found = evaluation.evaluate_conditions([model], tones, jobs=1, cache=cache)
    assert len(found.conditions) == 9
    assert found.bundles[0].of("mulaw").scores == evaluation.evaluate(
        model, tones, "mulaw", jobs=1, cache=cache
    )
    assert evaluation.evaluate(model, tones, jobs=1, cache=cache).protocol == (
        "Tones, whole clips, clean"
    )


def test_all_of_it_is_json(tones, cache):
    pair = [right(("sad", "happy", "calm")), always("sad")]
    alone = Corpus("Tones", "CC0", tones.utterances[:9], {})
    found = evaluation.evaluate_conditions(pair, alone, ["clean"], jobs=1, cache=cache)
    values = json.loads(json.dumps(asdict(found), allow_nan=False))
    assert values["bundles"][0]["absent"] == ["calm"]
    assert values["bundles"][0]["results"][0]["scores"]["recall"]["calm"] is None
    assert values["bundles"][0]["results"][0]["scores"]["uar_low"] is None


def test_what_cannot_be_told_apart_is_refused(tones, cache):
    calm = always("sad", ("sad", "calm"))
    with pytest.raises(CorpusError, match="that is other, nothing to tell apart"):
        evaluation.evaluate_conditions(
            [calm], tones, ["clean"], grouping="angry", jobs=1, cache=cache
        )
    shares = (("sad", 0.5), ("happy", 0.5))
    divided = tuple(replace(utterance, shares=shares) for utterance in tones.utterances)
    with pytest.raises(CorpusError, match="divided on every utterance"):
        evaluation.evaluate_conditions(
            [calm], replace(tones, utterances=divided), jobs=1, cache=cache
        )


def test_three_bundles_are_too_many(tones):
    with pytest.raises(ValueError, match="3 bundles found"):
        evaluation.evaluate_conditions([right()] * 3, tones)


def test_calm_is_neutral_to_a_bundle_without_calm(tmp_path, cache):
    """As in training; of two bundles, what may be neutral to one of them only is not compared."""
    tones = clips(tmp_path)
    names = {"sad": "neutral", "happy": "calm", "angry": "angry"}
    corpus = replace(
        tones, utterances=tuple(replace(u, emotion=names[u.emotion]) for u in tones.utterances)
    )
    without = always("neutral", ("neutral", "angry"))
    own = always("calm", ("neutral", "calm", "angry"))
    found = evaluation.evaluate_conditions([without, own], corpus, ["clean"], jobs=1, cache=cache)
    of_without, of_own = found.bundles
    assert of_without.no_label == {}
    assert of_without.results[0].scores.utterances == len(corpus.utterances)
    assert of_without.results[0].scores.recall == {"neutral": 1.0, "angry": 0.0}
    assert of_own.results[0].scores.recall == {"neutral": 0.0, "calm": 1.0, "angry": 0.0}
    [difference] = found.differences
    assert difference.labels == ("neutral", "angry")
    assert difference.utterances == 2 * len(corpus.utterances) // 3
    turned = evaluation.evaluate_conditions([own, without], corpus, ["clean"], jobs=1, cache=cache)
    assert turned.differences[0].utterances == difference.utterances
