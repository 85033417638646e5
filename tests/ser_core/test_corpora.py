"""Corpora: labels from file names, skipped files with reasons, vectors of whole clips."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ser_core import conditions, features
from ser_core.corpora import Utterance, corpus_names, emodb, emovo, open_corpus, ravdess, vectors
from ser_core.corpora.file_names import DUPLICATE_NAME, NOT_NAMED
from ser_core.emotions import RAVDESS_EIGHT
from ser_core.errors import CorpusError

REAL = Path(os.environ.get("SER_DATA") or Path(__file__).parents[3] / "shared" / "data")
RATE_HZ = 22_050


def tone(path: Path, hz: float = 300.0, seconds: float = 0.3, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)
    soundfile.write(path, np.stack([wave] * channels, axis=1), RATE_HZ)
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture(scope="module")
def real() -> Path:
    if not (REAL / "ravdess").is_dir():
        pytest.skip(f"no RAVDESS below {REAL.name}/ (set SER_DATA to the folder that holds it)")
    return REAL / "ravdess"


@given(
    emotion=st.integers(1, 8),
    intensity=st.integers(1, 2),
    statement=st.integers(1, 2),
    repetition=st.integers(1, 2),
    actor=st.integers(1, 24),
    suffix=st.sampled_from([".wav", ".flac", ".WAV"]),
)
def test_a_file_name_holds_all_labels(emotion, intensity, statement, repetition, actor, suffix):
    numbers = (3, 1, emotion, intensity, statement, repetition, actor)
    path = Path("Actor_00", "-".join(f"{n:02d}" for n in numbers) + suffix)
    assert ravdess.decode(path) == Utterance(
        path=path,
        emotion=RAVDESS_EIGHT[emotion - 1],
        speaker=f"ravdess-{actor:02d}",
        corpus="RAVDESS",
        sex=("female", "male")[actor % 2],
        intensity=("normal", "strong")[intensity - 1],
        statement=("Kids", "Dogs")[statement - 1]
        + " are "
        + ("talking", "sitting")[statement - 1]
        + " by the door",
        repetition=f"{repetition:02d}",
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("01-01-05-01-01-01-12.mp4", ravdess.VIDEO),
        ("02-01-05-01-01-01-12.mp4", ravdess.VIDEO),
        ("01-01-05-01-01-01-12.wav", ravdess.VIDEO),
        ("03-02-05-01-01-01-12.wav", ravdess.SONG),
        ("03-01-09-01-01-01-12.wav", ravdess.UNNAMED),
        ("03-01-00-01-01-01-12.wav", ravdess.UNNAMED),
        ("03-01-05-03-01-01-12.wav", ravdess.UNNAMED),
        ("03-01-05-01-03-01-12.wav", ravdess.UNNAMED),
        ("03-01-05-01-01-01-25.wav", ravdess.UNNAMED),
        ("03-03-05-01-01-01-12.wav", ravdess.UNNAMED),
        ("04-01-05-01-01-01-12.wav", ravdess.UNNAMED),
        ("03-01-05-01-01-01-12 copy.wav", ravdess.UNNAMED),
        ("hello.flac", ravdess.UNNAMED),
        ("README.txt", ravdess.OTHER),
        ("._03-01-05-01-01-01-12.wav", ravdess.OTHER),
    ],
)
def test_other_files_are_skipped_with_a_reason(name, reason):
    assert ravdess.decode(Path(name)) == reason


def test_folders_are_read_recursively_and_all_files_are_counted(tmp_path):
    touch(
        tmp_path,
        "Actor_12/03-01-05-01-01-01-12.wav",
        "deeper/Actor_01/03-01-01-01-01-01-01.flac",
        "again/Actor_12/03-01-05-01-01-01-12.wav",
        "03-02-05-01-01-01-12.wav",
        "video/01-01-05-01-01-01-12.mp4",
        "notes.wav",
        "README",
    )
    corpus = open_corpus("ravdess", tmp_path)
    assert [(utterance.speaker, utterance.emotion) for utterance in corpus.utterances] == [
        ("ravdess-12", "angry"),
        ("ravdess-01", "neutral"),
    ]
    assert corpus.skipped == {
        DUPLICATE_NAME: 1,
        ravdess.SONG: 1,
        ravdess.VIDEO: 1,
        ravdess.UNNAMED: 1,
        ravdess.OTHER: 1,
    }
    assert len(corpus.utterances) + sum(corpus.skipped.values()) == 7
    assert corpus.speakers == ("ravdess-01", "ravdess-12")
    assert corpus.counts == {"angry": 1, "neutral": 1}
    assert "not for commercial use" in corpus.licence


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CorpusError, match="nowhere cannot be listed"):
        open_corpus("ravdess", tmp_path / "nowhere")


def test_a_folder_without_speech_is_refused_with_what_was_found_and_expected(tmp_path):
    touch(tmp_path, "a.txt", "03-02-05-01-01-01-12.wav", "03-02-05-01-01-01-13.wav")
    with pytest.raises(CorpusError) as caught:
        open_corpus("ravdess", tmp_path)
    for words in ("2 × song", "1 × no audio file", "03-01-05-01-02-01-12.wav", "unpacked"):
        assert words in str(caught.value)


def test_an_unknown_corpus_is_refused_with_the_known_names(tmp_path):
    with pytest.raises(CorpusError, match="'iemocap'; known corpora: cremad, emodb, emovo, r"):
        open_corpus("iemocap", tmp_path)


def test_another_package_brings_a_corpus(tmp_path):
    """By an entry point of the group `ser_core.corpora`; see tests/plugin."""
    tone(tmp_path / "ann_angry.wav")
    tone(tmp_path / "bob_calm.wav")
    corpus = open_corpus("test_voices", tmp_path)
    assert "test_voices" in corpus_names()
    assert corpus.speakers == ("voices-ann", "voices-bob")
    assert corpus.counts == {"angry": 1, "calm": 1}
    with pytest.raises(CorpusError, match="ser_test_plugin:read_no_corpus returns a list, a ser_"):
        open_corpus("test_no_corpus", tmp_path)


def test_all_of_ravdess(real):
    corpus = open_corpus("ravdess", real)
    assert len(corpus.utterances) == 1440
    assert len(corpus.speakers) == 24
    assert corpus.counts == {e: 96 if e == "neutral" else 192 for e in RAVDESS_EIGHT}
    assert Counter(utterance.sex for utterance in corpus.utterances) == {"male": 720, "female": 720}
    assert set(corpus.skipped) <= {ravdess.OTHER}


@pytest.mark.long
def test_real_clips_give_what_librosa_load_gives_stereo_too(real, tmp_path):
    utterances = open_corpus("ravdess", real).utterances
    stereo = [utterance for utterance in utterances if soundfile.info(utterance.path).channels == 2]
    assert len(stereo) == 5
    chosen = [utterances[0], stereo[0]]
    found = vectors.extract(chosen, "seed193", jobs=1, cache=tmp_path)
    for clip, vector in zip(chosen, found, strict=True):
        samples, rate = librosa.load(clip.path)
        expected = features.get("seed193").extract(samples, rate)
        np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-4)


def utterance(path: Path) -> Utterance:
    return Utterance(path, "sad", "a", "test")


def test_vectors_come_in_order_channels_averaged_and_from_the_cache_the_same(tmp_path):
    low = tone(tmp_path / "low.wav", 200)
    high = tone(tmp_path / "high.flac", 2_000)
    both = tone(tmp_path / "both.wav", 200, channels=2)
    chosen = [utterance(path) for path in (low, high, both)]
    seen = []
    first = vectors.extract(
        chosen, "seed193", jobs=1, cache=tmp_path / "c", progress=lambda *at: seen.append(at)
    )
    assert first.shape == (3, 193)
    assert first.dtype == np.float32
    assert seen == [("features (clean)", i, 3) for i in (1, 2, 3)]
    np.testing.assert_allclose(first[0], first[2], rtol=1e-5, atol=1e-5)
    assert np.abs(first[0] - first[1]).max() > 1
    samples, rate = soundfile.read(high, dtype="float32")
    np.testing.assert_array_equal(first[1], features.get("seed193").extract(samples, rate))

    kept = sorted((tmp_path / "c").rglob("*.npy"))
    assert len(kept) == 3
    np.testing.assert_array_equal(
        vectors.extract(chosen, "seed193", jobs=1, cache=tmp_path / "c"), first
    )
    # The cache answers, and a damaged entry is computed again.
    np.save(kept[0], np.zeros(193, np.float32))
    kept[1].write_bytes(b"damaged")
    again = vectors.extract(chosen, "seed193", jobs=1, cache=tmp_path / "c")
    assert [(again[i] == 0).all() for i in range(3)].count(True) == 1
    assert [(again[i] == first[i]).all() for i in range(3)].count(True) == 2


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path):
    file = tone(tmp_path / "a.wav")
    (tmp_path / "c").write_text("a file, not a folder")
    assert vectors.extract([utterance(file)], "seed193", jobs=1, cache=tmp_path / "c").shape == (
        1,
        193,
    )


def test_the_cache_is_below_the_user_s_cache_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    assert vectors.cache_folder() == Path("somewhere/ser-pipeline/features")


def test_all_unreadable_files_are_listed_together(tmp_path):
    good = tone(tmp_path / "good.wav")
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), RATE_HZ)
    chosen = [utterance(path) for path in (text, good, empty, tmp_path / "gone.wav")]
    with pytest.raises(CorpusError) as caught:
        vectors.extract(chosen, "seed193", jobs=1, cache=tmp_path / "c")
    for words in ("3 of 4 files", "text.wav", "empty.wav", "gone.wav"):
        assert words in str(caught.value)
    assert "good.wav" not in str(caught.value)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
def test_mulaw_is_a_telephone_line(rate):
    seconds = np.arange(rate) / rate
    voice = (0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)
    hiss = (0.3 * np.sin(2 * np.pi * 0.45 * rate * seconds)).astype(np.float32)
    line, line_rate = conditions.degrade(voice, rate, "mulaw", key="")
    assert line_rate == 8_000
    assert len(line) == 8_000
    assert line.dtype == np.float32
    # At most 256 values, and at least 30 dB above the noise of their steps.
    assert len(np.unique(line)) <= 256
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 8_000)
    inner = slice(200, -200)
    noise = np.sqrt(np.mean((line[inner] - expected[inner]) ** 2))
    assert 20 * np.log10(0.3 / np.sqrt(2) / noise) > 30
    if rate > 16_000:  # what lies above 4 kHz is gone
        assert np.abs(conditions.degrade(hiss, rate, "mulaw", key="")[0][inner]).max() < 0.005


def test_an_unknown_condition_is_refused(tmp_path):
    with pytest.raises(ValueError, match="clean, 8khz, mulaw"):
        vectors.extract([], "seed193", condition="harsh", cache=tmp_path)


# EMO-DB and EMOVO


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("03a01Fa.wav", ("happy", "emodb-03", "male", "a01", "a")),
        ("08b10Wd.flac", ("angry", "emodb-08", "female", "b10", "d")),
        ("16a02Lb.wav", ("bored", "emodb-16", "female", "a02", "b")),
        ("07a01Fa.wav", None),
        ("03a01Xa.wav", None),
        ("03-01-05-01-02-01-12.wav", None),
    ],
)
def test_emodb_names(name, expected):
    found = emodb.decode(Path(name))
    if expected is None:
        assert found == NOT_NAMED
        return
    decoded = (found.emotion, found.speaker, found.sex, found.statement, found.repetition)
    assert decoded == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rab-f1-b1.wav", ("angry", "emovo-f1", "female", "b1")),
        ("gio-m3-n5.flac", ("happy", "emovo-m3", "male", "n5")),
        ("gio-x3-n5.flac", None),
        ("joy-m3-n5.wav", None),
    ],
)
def test_emovo_names(name, expected):
    found = emovo.decode(Path(name))
    if expected is None:
        assert found == NOT_NAMED
        return
    assert (found.emotion, found.speaker, found.sex, found.statement) == expected


def emodb_copy(folder: Path, seconds, rate: int) -> Path:
    folder.mkdir()
    names = [
        f"{speaker}a0{i}{emotion}a.wav"
        for speaker in ("03", "08")
        for i in range(1, 4)
        for emotion in "WLEAF"
    ]
    for k, name in enumerate(names):
        soundfile.write(folder / name, np.zeros(round(seconds(k) * rate)), rate)
    return folder


def test_cut_and_resampled_copies_give_warnings(tmp_path):
    whole = open_corpus("emodb", emodb_copy(tmp_path / "whole", lambda k: 1.3 + 0.07 * k, 16_000))
    assert whole.warnings == ()
    assert len(whole.utterances) == 30
    cut = open_corpus("emodb", emodb_copy(tmp_path / "cut", lambda k: 2.0, 22_050))
    assert "30 of 30 files last exactly 2.000 s: a cut copy" in cut.warnings[0]
    assert "22,050 Hz found, the original has 16,000 Hz" in cut.warnings[1]


@pytest.mark.parametrize("name", ["cremad", "emodb", "emovo"])
def test_a_folder_without_the_corpus_is_refused(tmp_path, name):
    tone(tmp_path / "a.wav")
    touch(tmp_path, "notes.txt")
    with pytest.raises(CorpusError) as caught:
        open_corpus(name, tmp_path)
    for words in ("1 × audio whose name is not", "1 × no audio file", "expected"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "count", "speakers", "emotions", "warnings"),
    [("emodb", 535, 10, 7, 2), ("emovo", 588, 6, 7, 1)],
)
def test_the_real_copies(corpora, name, count, speakers, emotions, warnings):
    corpus = open_corpus(name, corpora / name)
    assert len(corpus.utterances) == count
    assert len(corpus.speakers) == speakers
    assert len(corpus.counts) == emotions
    assert len(corpus.warnings) == warnings
