"""CREMA-D: names, votes of both layouts, lossy copies, the intended emotion as the truth."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_core.corpora import Corpus, Utterance, cremad, open_corpus, relabel
from ser_core.corpora.clips import read_clip
from ser_core.corpora.file_names import NO_AUDIO, NOT_NAMED
from ser_core.corpora.problems.labelling import check_annotators
from ser_core.corpora.problems.recordings import check_copy
from ser_core.errors import CorpusError
from ser_core.models.evaluation_plan import true_label
from ser_core.models.targets import label_shares

RATE_HZ = 16_000
NAMES = ("1001_DFA_ANG_XX", "1001_IEO_HAP_HI", "1002_TIE_SAD_XX")
# By clip: angry, disgust, fearful, happy, neutral, sad.
VOTES = ((6, 2, 0, 0, 2, 0), (0, 0, 0, 5, 5, 0), (0, 0, 0, 0, 10, 0))


def write_clip(path: Path, seconds: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    coding = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 300 * times), RATE_HZ, **coding)


def write_table(path: Path, header: list[str], rows: list[list]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_NONNUMERIC).writerows([header, *rows])


@pytest.fixture
def release(tmp_path) -> Path:
    """The layout of the official release; videos and MP3 files have the names of the clips."""
    for name, seconds in zip(NAMES, (0.5, 0.6, 0.7), strict=True):
        write_clip(tmp_path / "AudioWAV" / f"{name}.wav", seconds)
        for other in (f"AudioMP3/{name}.mp3", f"VideoFlash/{name}.flv"):
            (tmp_path / other).parent.mkdir(exist_ok=True)
            (tmp_path / other).touch()
    header = ["", "A", "D", "F", "H", "N", "S", "fileName", "numResponses", "emoVote"]
    rows: list[list] = []
    for number, (name, votes) in enumerate(zip(NAMES, VOTES, strict=True), 1):
        face = [0, 10, 0, 0, 0, 0]
        rows.append([str(100_000 + number), *votes, name, sum(votes), "A"])
        rows.append([str(200_000 + number), *face, name, 10, "D"])
        rows.append([str(300_000 + number), *face, name, 10, "D"])
    write_table(tmp_path / "processedResults" / "tabulatedVotes.csv", header, rows)
    write_table(
        tmp_path / "VideoDemographics.csv",
        ["ActorID", "Age", "Sex"],
        [[1001, 51, "Male"], [1002, 21, "Female"]],
    )
    return tmp_path


def write_copy(folder: Path) -> Path:
    """The layout of a copy: Ogg Opus, with one table among the clips."""
    columns = ["file", "speaker", "sex", *(f"votes_{e}" for e in cremad._EMOTIONS.values())]
    rows = []
    for name, votes in zip(NAMES, VOTES, strict=True):
        write_clip(folder / f"{name}.opus")
        sex = "male" if name.startswith("1001") else "female"
        rows.append([f"{name}.opus", name[:4], sex, *map(str, votes)])
    write_table(folder / "clips.csv", columns, rows)
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1001_DFA_ANG_XX.wav", ("angry", "cremad-1001", "", "Don't forget a jacket")),
        ("1091_IEO_FEA_MD.opus", ("fearful", "cremad-1091", "medium", "It's eleven o'clock")),
        (
            "1034_WSI_NEU_XX.WAV",
            ("neutral", "cremad-1034", "", "We'll stop in a couple of minutes"),
        ),
        ("1092_DFA_ANG_XX.wav", NOT_NAMED),
        ("1001_DFA_ANG.wav", NOT_NAMED),
        ("1001_DFA_JOY_XX.wav", NOT_NAMED),
        ("1001_DFA_ANG_XX.flv", NO_AUDIO),
        ("1076_MTI_SAD_XX.wav", cremad.UNUSABLE),
        ("1013_WSI_DIS_XX.wav", cremad.UNUSABLE),
    ],
)
def test_names(name, expected):
    found = cremad.decode(Path(name))
    if isinstance(expected, str):
        assert found == expected
        return
    assert (found.emotion, found.speaker, found.intensity, found.statement) == expected


def summaries(corpus: Corpus) -> list[tuple]:
    return [(u.path.stem, u.emotion, u.sex, dict(u.shares)) for u in corpus.utterances]


EXPECTED = [
    ("1001_DFA_ANG_XX", "angry", "male", {"angry": 0.6, "disgust": 0.2, "neutral": 0.2}),
    ("1001_IEO_HAP_HI", "happy", "male", {"happy": 0.5, "neutral": 0.5}),
    ("1002_TIE_SAD_XX", "sad", "female", {"neutral": 1.0}),
]


@pytest.mark.parametrize("named", ["", "AudioWAV"])
def test_the_release_is_read_with_its_votes_on_the_voice_alone(release, named):
    corpus = open_corpus("cremad", release / named)
    assert summaries(corpus) == EXPECTED
    assert {utterance.path.parent.name for utterance in corpus.utterances} == {"AudioWAV"}
    assert corpus.warnings == ()
    assert corpus.note.endswith("American English, with the votes of listeners")
    assert corpus.any_use
    assert "attribution" in corpus.licence


def test_a_lossy_copy_with_one_table_is_read_and_noticed(tmp_path):
    corpus = open_corpus("cremad", write_copy(tmp_path))
    assert summaries(corpus) == EXPECTED
    (warning,) = corpus.warnings
    assert "a lossy copy: 3 of 3 files are coded as OPUS" in warning
    samples, rate = read_clip(corpus.utterances[0])
    assert rate == RATE_HZ
    assert len(samples) == RATE_HZ // 2
    assert 0.15 < np.sqrt(np.mean(samples**2)) < 0.25  # 0.3 / sqrt(2)


def test_without_votes_names_give_the_labels_with_a_warning(release):
    (release / "processedResults" / "tabulatedVotes.csv").unlink()
    corpus = open_corpus("cremad", release)
    assert [utterance.emotion for utterance in corpus.utterances] == ["angry", "happy", "sad"]
    (warning,) = corpus.warnings
    assert "3 of 3 clips have no votes" in warning
    assert corpus.note.endswith("American English")
    assert "processedResults/tabulatedVotes.csv" in warning


def test_tables_elsewhere_are_not_looked_for(release):
    (release / "processedResults").rename(release / "other")
    assert "no votes" in open_corpus("cremad", release).warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "no column.*filename"),
        (
            ',A,D,F,H,N,S,fileName\n100001,many,0,0,0,0,0,"1001_DFA_ANG_XX"\n',
            "'many' found, a whol",
        ),
    ],
)
def test_a_damaged_table_is_named(release, text, message):
    (release / "processedResults" / "tabulatedVotes.csv").write_text(text)
    with pytest.raises(CorpusError, match=f"tabulatedVotes.csv.*{message}"):
        open_corpus("cremad", release)


def test_the_truth_is_the_intended_emotion_and_votes_are_what_is_learnt(release):
    angry, happy, sad = open_corpus("cremad", release).utterances
    assert happy.agreed, "a tie of votes does not matter: the emotion is intended"
    assert [true_label(utterance, None) for utterance in (angry, happy, sad)] == [
        "angry", "happy", "sad",
    ]  # fmt: skip
    assert [true_label(clip, "negative") for clip in (angry, happy, sad)] == [
        "negative", "other", "negative",
    ]  # fmt: skip
    np.testing.assert_allclose(
        label_shares((angry, happy, sad), ("neutral", "happy", "sad", "angry")),
        [[0.25, 0, 0, 0.75], [0.5, 0.5, 0, 0], [1, 0, 0, 0]],
    )


def test_an_utterance_with_votes_for_other_labels_only_counts_for_its_emotion():
    clip = Utterance(Path("a"), "sad", "ann", "test", shares=(("neutral", 1.0),), intended=True)
    np.testing.assert_array_equal(label_shares([clip], ("sad", "angry")), [[1, 0]])


def test_relabelling_renames_votes():
    shares = (("calm", 0.25), ("neutral", 0.25), ("angry", 0.3), ("odd", 0.2))
    corpus = Corpus(
        "Ours", "CC0", (Utterance(Path("a"), "calm", "ann", "Ours", shares=shares),), {}
    )
    (utterance,) = relabel(corpus, {"calm": "neutral", "odd": ""}).utterances
    assert utterance.emotion == "neutral"
    assert dict(utterance.shares) == pytest.approx({"neutral": 0.5 / 0.8, "angry": 0.3 / 0.8})


def test_explore_counts_clips_heard_as_another_emotion(release):
    (problem,) = check_annotators(open_corpus("cremad", release), [])
    assert problem.title == "Heard as another emotion"
    assert "Of 3 utterances" in problem.found
    assert "1 have more votes" in problem.found
    assert problem.examples == ("1002_TIE_SAD_XX.wav",)


def test_explore_repeats_the_warnings_with_advice(tmp_path):
    folder = write_copy(tmp_path)
    (folder / "clips.csv").unlink()
    titles = [problem.title for problem in check_copy(open_corpus("cremad", folder), [])]
    assert titles == ["Lossy copy", "No votes"]


def test_the_real_copy(corpora):
    if not (corpora / "cremad").is_dir():
        pytest.skip(f"no CREMA-D in {corpora}")
    corpus = open_corpus("cremad", corpora / "cremad")
    assert len(corpus.utterances) == 7_435
    assert len(corpus.speakers) == 91
    assert corpus.counts == {
        "angry": 1_270, "disgust": 1_270, "fearful": 1_270, "happy": 1_270, "neutral": 1_086,
        "sad": 1_269,
    }  # fmt: skip
    sexes = {utterance.speaker: utterance.sex for utterance in corpus.utterances}
    assert Counter(sexes.values()) == {"male": 48, "female": 43}
    assert all(abs(sum(dict(u.shares).values()) - 1) < 1e-9 for u in corpus.utterances)
    # The article: 40.9 % of the clips are recognised from the voice alone.
    heard = np.mean([dict(u.shares).get(u.emotion, 0.0) for u in corpus.utterances])
    assert 0.38 < heard < 0.44
    assert corpus.skipped[cremad.UNUSABLE] == 4
    assert any("lossy copy" in warning for warning in corpus.warnings)
