"""The page of labelled speech: problems are found and named, figures are right, names escaped."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ser_core.corpora import Corpus, Utterance, open_corpus, problems, sounds
from ser_core.errors import CorpusError
from ser_core.features import telephone
from ser_core.report import (
    explore,
    explore_analysis,
    explore_measures,
    explore_pictures,
    style,
)
from tests.browser import chromium, serious_faults
from tests.speechlike import voice

RATE_HZ = 8_000
HOSTILE = "<script>alert(1)</script>"
F0_HZ = {"calm": 100.0, "angry": 220.0, HOSTILE: 330.0}


def speech(path: Path, *, emotion="calm", speaker=0, seed=0, seconds=0.9, level_db=-20.0):
    """A clip of something like a voice, with a little silence around it."""
    f0_hz = F0_HZ.get(emotion, 150.0) * (1 + 0.1 * speaker)
    quiet = np.zeros(800, np.float32)
    speech_samples = voice(seconds, RATE_HZ, f0_hz=f0_hz, level_db=level_db, seed=seed)
    speech_samples -= speech_samples.mean()
    soundfile.write(path, np.concatenate([quiet, speech_samples, quiet]), RATE_HZ)
    return Utterance(path, emotion, f"tiny-{speaker}", "tiny", sex="female")


def corpus_of(utterances, **about) -> Corpus:
    return Corpus("tiny", "own", tuple(utterances), about.pop("skipped", {}), **about)


@pytest.fixture(scope="module")
def voices(tmp_path_factory) -> Corpus:
    """Four speakers and three emotions, which are pitches. Some names are hostile (HTML)."""
    folder = tmp_path_factory.mktemp("voices")
    names = ('a"b', "<img src=x onerror=alert(2)>", "c'd & e", "$x^$ {{ 1 }}")
    return corpus_of(
        replace(
            speech(
                folder / f"{names[speaker]}-{k}-{i}.wav", emotion=emotion, speaker=speaker,
                seed=100 * speaker + 10 * k + i, seconds=0.7 + 0.05 * i + 0.011 * k,
            ),
            speaker=f"tiny-{names[speaker]}",
        )
        for speaker in range(4)
        for k, emotion in enumerate(F0_HZ)
        for i in range(5)
    )  # fmt: skip


@pytest.fixture(scope="module")
def look(voices, tmp_path_factory) -> explore.Look:
    return explore.look(voices, jobs=1, cache=tmp_path_factory.mktemp("cache"))


# Problems of the data


def problems_by_title(corpus: Corpus) -> dict[str, problems.Problem]:
    measured = sounds.measure(corpus.utterances, jobs=1)
    return {problem.title: problem for problem in problems.find(corpus, measured)}


def test_good_data_have_no_problem(tmp_path):
    def clip(i):
        speaker, emotion = i % 4, ("calm", "angry")[i // 4 % 2]
        sex = ("male", "female")[speaker % 2]
        path = tmp_path / f"{i}.wav"
        return replace(
            speech(path, emotion=emotion, speaker=speaker, seed=i, seconds=0.5 + i / 100), sex=sex
        )

    assert problems_by_title(corpus_of(clip(i) for i in range(40))) == {}


def test_each_fault_of_the_audio_is_found_with_its_file(tmp_path):
    def clip(name, change, **about):
        path = tmp_path / f"{name}.wav"
        utterance = speech(path, **about)
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, change(samples), rate)
        return utterance

    def quiet_ends(x):
        return np.concatenate([np.zeros(4_000), x])

    utterances = [
        clip("clipped", lambda x: np.clip(8 * x, -0.5, 1)),
        clip("silent", lambda x: 0 * x),
        clip("nearly silent", lambda x: x * 1e-3),
        clip("short", lambda x: x, seconds=0.2),
        clip("long", lambda x: np.tile(x, 20), seed=1),
        clip("offset", lambda x: x / 2 + 0.05, seed=2),
        clip("cut", lambda x: quiet_ends(x[: len(x) // 2]), seed=3),
        clip("fine", lambda x: x, seed=4),
        clip("same as fine", lambda x: x, seed=4),
        replace(clip("angry as fine", lambda x: x, seed=5), emotion="angry"),
        clip("calm as angry", lambda x: x, seed=5),
        replace(speech(tmp_path / "rate.wav"), path=tmp_path / "rate.wav"),
        replace(speech(tmp_path / "text.wav"), path=tmp_path / "text.wav"),
        replace(speech(tmp_path / "gone.wav"), path=tmp_path / "missing.wav"),
        clip("empty", lambda x: x[:0]),
    ]
    soundfile.write(tmp_path / "rate.wav", voice(1.0, 16_000, seed=9), 16_000)
    (tmp_path / "text.wav").write_text("no audio")
    by_title = problems_by_title(corpus_of(utterances))
    for title, *files in (
        ("Clipped", "clipped.wav"),
        ("Silent or nearly silent", "silent.wav", "nearly silent.wav"),
        ("Very short", "short.wav"),
        ("Very long", "long.wav"),
        ("DC offset", "clipped.wav", "offset.wav"),
        ("Mixed sample rates", "rate.wav"),
        ("Same audio twice", "fine.wav = same as fine.wav"),
        ("One audio, two emotions", "angry as fine.wav (angry) = calm as angry.wav (calm)"),
    ):
        assert by_title[title].examples == tuple(files), title
    assert "cut.wav" in by_title["Cut in mid-speech"].examples
    unreadable = by_title["Unreadable files"]
    assert [example.partition(":")[0] for example in unreadable.examples] == [
        "text.wav", "missing.wav", "empty.wav",
    ]  # fmt: skip
    assert "3 of 15" in unreadable.found


def labelled(*rows) -> dict[str, problems.Problem]:
    """Problems of labels alone, from rows of emotion, speaker, count and fields of `Utterance`."""
    utterances = [
        Utterance(Path(f"{emotion}-{speaker}-{i}.wav"), emotion, speaker, "tiny", **more)
        for emotion, speaker, count, more in rows
        for i in range(count)
    ]
    fine = [
        sounds.Sound(seconds=1 + i / 1_000, rate_hz=RATE_HZ, level_db=-20.0, digest=str(i))
        for i in range(len(utterances))
    ]
    return {problem.title: problem for problem in problems.find(corpus_of(utterances), fine)}


def test_rare_labels_and_few_speakers_are_found():
    by_title = labelled(
        ("calm", "a", 40, {"sex": "male"}),
        ("calm", "b", 40, {"sex": "male"}),
        ("angry", "b", 30, {"sex": "male"}),
        ("sad", "c", 3, {}),
    )
    assert by_title["Emotion of one speaker"].examples == ("angry (1)", "sad (1)")
    assert by_title["Few utterances"].examples == ("sad (3)",)
    assert by_title["Few speakers"].examples == ("calm (2)",)
    assert "calm has 80 utterances, sad 3" in by_title["Imbalance"].found
    assert by_title["Speakers of one emotion"].examples == ("a", "c")
    assert by_title["Sex not known"].examples == ("c",)
    assert "All 30 utterances are by a" in labelled(("calm", "a", 30, {}))["One speaker only"].found
    assert "One emotion only" in labelled(("calm", "a", 30, {}))
    assert "One sex only" in labelled(*((e, s, 30, {"sex": "male"}) for e in "xy" for s in "abc"))


def test_disagreements_of_annotators_are_counted():
    agreed = {"shares": (("calm", 1.0),)}
    most = {"shares": (("calm", 2 / 3), ("angry", 1 / 3))}
    tied = {"shares": (("angry", 0.5), ("calm", 0.5))}
    problem = labelled(
        ("calm", "a", 5, agreed), ("calm", "b", 2, most), ("angry", "a", 1, tied),
        ("angry", "b", 1, {}),
    )["Annotators disagree"]  # fmt: skip
    assert "Of 8 utterances with several annotators, 3 have different labels" in problem.found
    assert "1 of them without a majority" in problem.found
    assert problem.examples == ("angry-a-0.wav",)


def test_clips_of_one_length_are_found_once():
    fine = [
        sounds.Sound(seconds=2.0, rate_hz=RATE_HZ, level_db=-20.0, digest=str(i)) for i in range(30)
    ]
    utterances = [Utterance(Path(f"{i}.wav"), "ab"[i % 2], "s", "tiny") for i in range(30)]
    plain = problems.find(corpus_of(utterances), fine)
    (same_length,) = (problem for problem in plain if problem.title == "All of one length")
    assert "30 of 30 utterances last exactly 2.000 s" in same_length.found
    warned = corpus_of(utterances, warnings=("30 of 30 files last exactly 2.000 s: a cut copy",))
    titles = [problem.title for problem in problems.find(warned, fine)]
    assert "Cut copy" in titles
    assert "All of one length" not in titles


def test_parts_of_a_recording_are_measured_as_parts(tmp_path):
    path = tmp_path / "call.wav"
    left = np.concatenate([voice(1.0, RATE_HZ, seed=1), np.zeros(RATE_HZ, np.float32)])
    soundfile.write(path, np.stack([left, left[::-1]], axis=1), RATE_HZ)
    part = Utterance(path, "calm", "s", "calls", channel=1, start_s=0.0, end_s=1.0)
    silent, spoken = sounds.measure([part, replace(part, start_s=1.0, end_s=2.0)], jobs=1)
    assert (silent.seconds, spoken.seconds) == (1.0, 1.0)
    assert silent.level_db < -90 < -30 < spoken.level_db
    assert problems.describe_utterance(part) == "call.wav 0 to 1 s"


# The figures


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1e3, 1e3)), min_size=2, max_size=60))
def test_eta_squared_is_a_share(pairs):
    labels, values = zip(*pairs, strict=True)
    (eta,) = explore_analysis.eta_squared(np.array(values)[:, None], list(map(str, labels)))
    assert -1e-9 <= eta <= 1 + 1e-9


def test_eta_squared_as_of_an_analysis_of_variance():
    from sklearn.feature_selection import f_classif

    random = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], [30, 20, 10])
    values = random.standard_normal((60, 4)) + (labels == "b")[:, None] * [0, 1, 2, 3]
    f, _ = f_classif(values, labels)
    between, within = 2, 57
    expected = f * between / (f * between + within)
    assert explore_analysis.eta_squared(values, labels) == pytest.approx(expected)


def test_own_values_have_mean_0_and_sd_1_by_speaker():
    random = np.random.default_rng(0)
    speakers = ["low"] * 20 + ["high"] * 20 + ["rare"] * 2
    values = random.standard_normal((42, 3)) * [1, 5, 0] + 100.0
    values[20:40] += 50
    values[0, 1] = np.nan
    own = explore_analysis.relative(values, speakers)
    for speaker_rows in (own[:20], own[20:40]):
        assert np.nanmean(speaker_rows, axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
        assert np.nanstd(speaker_rows, axis=0) == pytest.approx([1, 1, 0])
    assert np.isnan(own[40:]).all()
    assert np.isnan(own[0, 1])


def test_every_functional_has_words():
    functionals = telephone.NAMES[telephone.FUNCTIONALS]
    descriptions = [explore_measures.in_words(name) for name in functionals]
    assert not set(descriptions) & set(functionals)
    assert len(set(descriptions)) == len(functionals)


def test_pitches_are_what_separates_emotions_that_are_pitches(look):
    assert look.quick.by_speaker
    assert look.quick.scores.uar > 0.8
    assert look.ranking[0].own > 0.5
    pitch = [measure.title for measure in explore_measures.MEASURES].index("Pitch: F0, median")
    labels = [utterance.emotion for utterance in look.measured]
    assert explore_analysis.eta_squared(look.own[:, [pitch]], labels)[0] > 0.7


def test_labels_by_lot_are_told_no_better_than_by_chance(look):
    random = np.random.default_rng(0)
    values = random.standard_normal((200, 40))
    labels = list(random.permutation(np.repeat(["a", "b", "c", "d"], 50)))
    speakers = [f"s{i % 10}" for i in range(200)]
    quick = explore_analysis.quick_model(
        values, explore_analysis.relative(values, speakers), labels, speakers, "abcd", "noise"
    )
    assert 0.1 < quick.scores.uar < 0.4
    assert quick.scores.utterances == 200


def test_examples_are_of_one_speaker_and_sentence_where_there_are_such():
    def clip(emotion, speaker, statement):
        return Utterance(Path("x.wav"), emotion, speaker, "tiny", statement=statement)

    utterances = [
        clip("calm", "a", "1"), clip("angry", "a", "2"), clip("calm", "b", "1"),
        clip("angry", "b", "1"), clip("sad", "c", "1"), clip("sad", "b", "2"),
    ]  # fmt: skip
    values = np.zeros((6, 2))
    chosen = explore_analysis.typical(utterances, values, values, ("calm", "angry", "sad"), 1)
    assert chosen == [2, 3, 5]
    assert explore_analysis.typical(utterances, values, values, ("calm",), 5) == [0, 2]


def test_a_tone_lies_in_its_mel_band():
    seconds = np.arange(explore_pictures.RATE_HZ) / explore_pictures.RATE_HZ
    low, high = (
        explore_pictures.log_mel(np.sin(2 * np.pi * hz * seconds)).mean(axis=1).argmax()
        for hz in (440, 3_520)
    )
    bottom, top = explore_pictures.mel(60.0), explore_pictures.mel(8_000.0)
    for band, hz in ((low, 440), (high, 3_520)):
        expected = (explore_pictures.mel(hz) - bottom) / (top - bottom) * 65 - 1
        assert abs(band - expected) <= 1


# The page


def opened(browser, page_html: str, folder: Path, width: int):
    """The page in the browser, and whatever it asked for or complained about."""
    file = folder / "explore.html"
    file.write_text(page_html, encoding="utf-8")
    colours = "dark" if width < 500 else "light"
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=colours)
    page.add_init_script(
        "window.players = []; const Original = Audio;"
        "Audio = function () { const made = new Original(); players.push(made); return made; };"
    )
    seen: list[str] = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: seen.append(request.url))
    page.goto(file.as_uri())
    return page, [url for url in seen if not url.startswith(("file:", "data:"))]


def test_hostile_names_are_text_and_nothing_leaves_the_page(look, tmp_path):
    html = explore.page([look])
    assert len(html) < 1_000_000
    with chromium() as browser:
        for width in (360, 1280):
            page, complaints = opened(browser, html, tmp_path, width)
            assert complaints == []
            assert page.locator("dl.bars dt").all_inner_texts() == ["calm", "angry", HOSTILE]
            assert page.locator("dl.bars dd").all_inner_texts() == ["20", "20", "20"]
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            text = page.inner_text("body")
            for words in (
                HOSTILE,
                'a"b',
                "<img src=x onerror=alert(2)>",
                "c'd & e",
                "$x^$ {{ 1 }}",
            ):
                assert words in text
            assert page.locator("[style], img:not([src^='data:'])").count() == 0
            assert page.locator("script:not([type])").count() == 1
            assert serious_faults(page) == []
            parts = page.locator("nav a").evaluate_all("all => all.map(link => link.hash)")
            assert len(parts) == 8
            assert page.locator(", ".join(parts)).count() == 8
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width
            broken = "[...document.images].filter(image => !image.naturalWidth).length"
            assert page.evaluate(broken) == 0
            assert page.locator("img").count() > 15


def test_spectrograms_play_their_clips_when_asked(look, tmp_path):
    with chromium("--autoplay-policy=no-user-gesture-required") as browser:
        page, complaints = opened(browser, explore.page([look]), tmp_path, 1280)
        buttons = page.locator("button.play")
        assert buttons.count() == len(look.examples) == 3
        assert page.evaluate("players.map(player => player.src)") == [""]
        buttons.nth(1).click()
        assert page.evaluate("players[0].src").startswith("data:audio/mpeg;base64,")
        assert [button.get_attribute("aria-pressed") for button in buttons.all()] == [
            "false", "true", "false",
        ]  # fmt: skip
        ends = time.monotonic() + 20
        while not page.evaluate("players[0].ended"):
            assert time.monotonic() < ends
            page.wait_for_timeout(20)
        seconds = len(look.examples[1].samples) / explore_pictures.RATE_HZ
        # MP3 pads a clip to whole frames.
        assert page.evaluate("players[0].duration") == pytest.approx(seconds, abs=0.15)
        assert buttons.nth(1).inner_text() == "▶ Play"
        assert complaints == []
    silent = explore.page([look], with_clips=False)
    assert "<script" not in silent
    assert "<button" not in silent


def test_several_corpora_stand_beside_each_other(look, voices):
    other = replace(
        look,
        corpus=replace(
            voices,
            name="other",
            utterances=tuple(replace(o, corpus="o") for o in voices.utterances),
        ),
    )
    html = explore.page([look, other])
    assert "Same audio in several corpora" in html
    assert "60 recordings are in more than one corpus" in html
    assert html.count("<section") == 2


def test_little_data_gives_a_page_that_says_so(tmp_path):
    utterance = speech(tmp_path / "a.wav")
    html = explore.explore([corpus_of([utterance])], jobs=1, cache=tmp_path)
    for words in ("One speaker only", "One emotion only", "Too little data for a quick model"):
        assert words in html
    with pytest.raises(CorpusError, match="none of 1 utterances can be read"):
        explore.explore(
            [corpus_of([replace(utterance, path=tmp_path / "b.wav")])], jobs=1, cache=tmp_path
        )
    with pytest.raises(CorpusError, match="no corpus"):
        explore.page([])


def test_many_emotions_and_speakers_are_cut_to_what_can_be_read(look):
    utterances = tuple(
        Utterance(Path(f"{i}.wav"), f"emotion{i % 30:02d}", f"tiny-{i % 90}", "tiny")
        for i in range(600)
    )
    shown = tuple(f"emotion{i:02d}" for i in range(12))
    rows = explore._speaker_rows(corpus_of(utterances), shown)
    assert sum(row.total * max(len(row.members), 1) for row in rows) == 600
    every = [Utterance(Path(f"{i}.wav"), "calm", f"tiny-{j}", "t") for j in range(90)
             for i in range(j + 1)]  # fmt: skip
    rows = explore._speaker_rows(corpus_of(every), ("calm",))
    assert len(rows) == explore.MOST_SPEAKERS + 1
    assert rows[-1].name == "50 others"
    assert sum(row.total for row in rows) == len(every)


def test_speakers_with_equal_counts_are_one_row():
    utterances = [
        Utterance(Path("x.wav"), emotion, f"tiny-{speaker}", "tiny", sex="mf"[speaker % 2])
        for speaker in range(6)
        for emotion in ("calm", "angry", *(["angry"] if speaker == 3 else []))
    ]
    rows = explore._speaker_rows(corpus_of(utterances), ("calm", "angry"))
    assert [(row.name, row.members, row.counts, row.total) for row in rows] == [
        ("3 speakers, each", ("0", "2", "4"), (1, 1), 2),
        ("2 speakers, each", ("1", "5"), (1, 1), 2),
        ("3", (), (1, 2), 3),
    ]


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=14),
    st.floats(0.1, 1),
)
def test_labels_are_moved_apart_and_stay_inside(heights, least):
    moved = explore_pictures._apart(np.array(heights), least, -6.0, 6.0)
    assert moved.min() >= -6 - 1e-9
    assert moved.max() <= 6 + 1e-9
    gaps = np.diff(np.sort(moved))
    assert (gaps >= min(least, 12 / max(len(heights) - 1, 1)) - 1e-6).all()


@given(st.lists(st.text("ab", min_size=1, max_size=30), unique=True, max_size=40))
def test_cut_names_are_told_apart(names):
    short = style.distinct_labels(names, 10)
    assert len(set(short.values())) == len(names)
    assert all(len(text) <= 10 for text in short.values())
    assert all(short[name] == name for name in names if len(name) <= 10)


def test_dollar_signs_are_no_formulas():
    values = {"$x^$": np.arange(9.0), "$\\frac$": np.arange(9.0), "名前\n": np.arange(9.0)}
    png = explore_pictures.boxes([("Hz", values)], list(values))
    assert png.startswith(b"\x89PNG")


# Real recordings


def test_counts_of_ravdess_equal_those_of_the_article(corpora):
    counts = open_corpus("ravdess", corpora / "ravdess").counts
    assert Counter(counts) == {
        "neutral": 96,
        **dict.fromkeys(("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"), 192),
    }


@pytest.mark.long
def test_the_cut_copy_of_emodb_is_found(corpora):
    corpus = open_corpus("emodb", corpora / "emodb")
    began = time.process_time()
    by_title = problems_by_title(corpus)
    assert time.process_time() - began < 60
    assert "535 of 535 files last exactly 2.000 s" in by_title["Cut copy"].found
    ends = int(re.search(r"([\d,]+) end", by_title["Cut in mid-speech"].found)[1])
    assert 200 < ends < 371
