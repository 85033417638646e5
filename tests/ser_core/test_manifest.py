"""Your own calls in a CSV file: what is read, what is a mistake, how far annotators agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import audio, speech
from ser_core.corpora import clips, manifest, open_corpus, relabel, vectors
from ser_core.corpora.agreement import agreement
from ser_core.corpora.corpus import LEFT_OUT
from ser_core.errors import CorpusError
from tests.speechlike import voice

RATE = 8_000


@pytest.fixture
def calls(tmp_path) -> Path:
    """Three recordings: speech on one of two channels, mono speech, silence."""
    speech_samples = np.concatenate(
        [voice(15.0, RATE, seed=0), np.zeros(2 * RATE), voice(15.0, RATE, seed=1)]
    )
    soundfile.write(
        tmp_path / "two.wav", np.stack([0 * speech_samples, speech_samples], axis=1), RATE
    )
    soundfile.write(tmp_path / "one.wav", speech_samples[: 8 * RATE], RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(12 * RATE), RATE)
    return tmp_path


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    file = folder / name
    file.write_text(text, "utf-8")
    return file


GOOD = """\
uri,channel,start_s,end_s,label,annotator,speaker
two.wav,1,0.5,3.5,angry,ann,anna
two.wav,1,0.5,3.5,angry,bob,anna
two.wav,1,4,7,angry,ann,anna
two.wav,1,4,7,calm,bob,anna
one.wav,,1,3,calm,ann,otto
one.wav,,1,3,calm,bob,otto
one.wav,,1,3,angry,cid,otto
one.wav,,4,6,,ann,otto
"""


def test_lines_become_utterances(calls):
    corpus = manifest.read(write(calls, GOOD))
    first, tied, third = corpus.utterances
    assert (first.path, first.channel, first.start_s, first.end_s) == (
        calls / "two.wav", 1, 0.5, 3.5,
    )  # fmt: skip
    assert [utterance.emotion for utterance in corpus.utterances] == ["angry", "angry", "calm"]
    assert [utterance.speaker for utterance in corpus.utterances] == [
        "own-anna", "own-anna", "own-otto",
    ]  # fmt: skip
    assert first.shares == (("angry", 1.0),)
    assert tied.shares == (("angry", 0.5), ("calm", 0.5))
    assert dict(third.shares) == pytest.approx({"calm": 2 / 3, "angry": 1 / 3})
    assert [utterance.agreed for utterance in corpus.utterances] == [True, False, True]
    assert corpus.own
    assert corpus.skipped[manifest.NOT_LABELLED] == 1
    assert corpus.warnings == ()
    (disputed,) = corpus.agreement.disputed
    assert (disputed.start_s, disputed.votes) == (4.0, {"ann": "angry", "bob": "calm"})


def test_separators_encodings_extra_columns_and_repeated_headers_are_accepted(calls):
    semicolons = "﻿" + GOOD.replace(",", ";").replace("0.5;", "0,5;")
    tabs = GOOD.replace(",", "\t").replace("\n", "\r\n") + "\r\n\r\n"
    more = "why," + GOOD.replace("\n", "\nx,").removesuffix("x,")
    joined = GOOD + GOOD.partition("\n")[0] + "\n"
    expected = manifest.read(write(calls, GOOD)).utterances
    for text in (semicolons, tabs, more, joined):
        assert manifest.read(write(calls, text)).utterances == expected


def test_a_part_has_the_samples_that_the_night_decodes(calls):
    utterance = manifest.read(write(calls, GOOD)).utterances[0]
    samples, rate = clips.read_clip(utterance)
    with open(calls / "two.wav", "rb") as file:
        whole = audio.decode(file.read(), "two.wav")
    np.testing.assert_array_equal(samples, whole.samples[1, 4_000:28_000])
    assert rate == RATE


def test_parts_of_one_file_have_separate_cache_entries(calls, tmp_path):
    lines = "uri,channel,start_s,end_s,label\n" + "".join(
        f"two.wav,{channel},{start},{start + 2},{label}\n"
        for channel, start, label in ((1, 1, "a"), (1, 2, "a"), (1, 4, "b"), (1, 5, "b"))
    )
    utterances = manifest.read(write(calls, lines)).utterances
    keep = tmp_path / "cache"
    first = vectors.extract(utterances, "telephone", jobs=1, cache=keep)
    assert len({row.tobytes() for row in first}) == 4
    again = vectors.extract(utterances, "telephone", jobs=1, cache=keep)
    np.testing.assert_array_equal(first, again)


def test_a_recording_is_cut_as_the_night_cuts_it(calls):
    lines = """\
uri,channel,start_s,end_s,label
two.wav,1,,,angry
one.wav,,,,angry
silent.wav,,,,calm
one.wav,0,1,2,calm
"""
    corpus = manifest.read(write(calls, lines), jobs=1)
    samples, rate = soundfile.read(calls / "two.wav", dtype="float32")
    expected = [(segment.start_s, segment.end_s) for segment in speech.find(samples[:, 1], rate)]
    found = [
        (utterance.start_s, utterance.end_s)
        for utterance in corpus.utterances
        if utterance.path.name == "two.wav"
    ]
    assert found == expected
    assert len(found) > 1
    assert corpus.skipped[manifest.NO_SPEECH] == 1


def test_all_mistakes_are_listed_together(calls):
    lines = """\
uri,channel,start_s,end_s,label,annotator,speaker
gone.wav,,1,2,angry,ann,
two.wav,,1,2,angry,ann,
two.wav,2,1,2,angry,ann,
one.wav,,7,9,angry,ann,
one.wav,,3,2,angry,ann,
one.wav,x,1,2,angry,ann,
one.wav,,-1,2,angry,ann,
one.wav,,2,3,angry,ann,a
one.wav,,2,3,calm,ann,b
one.wav,,3,4,agry,ann,
one.wav,,4,5,very angry,ann,
one.wav,,5,6,very angry,ann,
one.wav,,4.5,5,Angry,ann,
one.wav,,5,6,calm,bob,
,,5,6,calm,bob,
notes.txt,,0,1,calm,ann,
"""
    write(calls, "these are notes", "notes.txt")
    with pytest.raises(CorpusError) as refused:
        manifest.read(write(calls, lines))
    message = str(refused.value).splitlines()
    assert "mistakes" in message[0]
    for number, part in {
        2: "gone.wav: no such file",
        3: "has 2 channels; give one, from 0",
        4: "channel 2 found",
        5: "lasts 8.00 s",
        6: "an end 0.1 s or more",
        7: "channel 'x' found",
        8: "start_s '-1' found",
        10: "same stretch as line 9, with annotator 'ann'",
        11: "occurs only once: too rare to train or test on; did you mean 'angry'?",
        12: "label 'very angry': letters",
        14: "label 'Angry' is written 'angry' in line 2",
        16: "no uri",
        17: "unsupported_format",
    }.items():
        assert any(line.startswith(f"  line {number}: ") and part in line for line in message), (
            number, part, message,
        )  # fmt: skip
    assert any("line 9 has 'a' for the same stretch" in line for line in message)
    assert not any(line.startswith("  line 15:") for line in message)


def test_a_rare_label_may_be_tested_on(calls):
    lines = GOOD + "one.wav,,6,7,sad,ann,otto\n"
    with pytest.raises(CorpusError, match="line 10: label 'sad' occurs only once"):
        manifest.read(write(calls, lines))
    corpus = manifest.read(write(calls, lines), to_train=False)
    assert corpus.counts["sad"] == 1


def test_the_only_channel_need_not_be_named(calls):
    lines = GOOD.replace("one.wav,,1,3,calm,bob", "one.wav,0,1,3,calm,bob")
    assert manifest.read(write(calls, lines)).utterances == manifest.read(
        write(calls, GOOD)
    ).utterances  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column uri and no label"),
        ("uri,emotion\na,b\n", "no column label"),
        ('uri,label\n"a,b\n', "not a valid CSV file"),
        ("uri,label\n", "nothing to learn from (no lines)"),
        ("uri,label\none.wav,\n", "1 lines without a label); fill in the column"),
        ("uri,end_s,label\nsilent.wav,,a\nsilent.wav,11,a\n", "give start_s and end_s of"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(calls, text, message):
    with pytest.raises(CorpusError) as refused:
        manifest.read(write(calls, text))
    assert message in str(refused.value)


def test_other_encodings_are_named(calls):
    (calls / "labels.csv").write_bytes("uri,label\nmüller.wav,angry\n".encode("latin-1"))
    with pytest.raises(CorpusError, match="not UTF-8"):
        manifest.read(calls / "labels.csv")


def test_without_speakers_each_recording_is_one_and_a_warning_says_so(calls):
    lines = GOOD.replace(",anna", ",").replace(",otto", ",")
    corpus = manifest.read(write(calls, lines))
    assert corpus.speakers == (f"own-{calls / 'one.wav'}", f"own-{calls / 'two.wav'}")
    (warning,) = corpus.warnings
    assert warning.startswith("no line names a speaker: these are split by recording")
    partly_named = manifest.read(write(calls, GOOD.replace(",anna", ",")))
    assert partly_named.warnings[0].startswith("1 of 2 recordings have no speaker's name")


def test_a_label_map_renames_and_leaves_out(calls):
    label_map = manifest.read_label_map(
        write(calls, "label,emotion\nangry,negative\ncalm,\n", "map.csv")
    )
    assert label_map == {"angry": "negative", "calm": ""}
    corpus = manifest.read(write(calls, GOOD), label_map=label_map)
    assert {utterance.emotion for utterance in corpus.utterances} == {"negative"}
    assert corpus.skipped[LEFT_OUT] == 3
    with pytest.raises(
        CorpusError, match=r"contains 'agry', which no line has; did you mean 'angry'"
    ):
        manifest.read(write(calls, GOOD), label_map={"agry": "negative"})
    # One map may serve several files: an entry that this file does not need is no mistake.
    more = {**label_map, "anger": "negative", "cannot_tell": ""}
    assert manifest.read(write(calls, GOOD), label_map=more).utterances == corpus.utterances
    public = relabel(corpus, {"negative": "bad"})
    assert {utterance.emotion for utterance in public.utterances} == {"bad"}


def test_a_speaker_named_once_is_the_speaker_of_the_whole_channel(calls):
    """Otherwise the same voice would count as two speakers, one to train and one to test on."""
    expected = manifest.read(write(calls, GOOD))
    filled = manifest.read(write(calls, GOOD.replace("4,7,calm,bob,anna", "4,7,calm,bob,")))
    assert filled.utterances == expected.utterances
    text = GOOD.replace("4,7,angry,ann,anna", "4,7,angry,ann,").replace("bob,anna", "bob,")
    filled = manifest.read(write(calls, text))
    assert (filled.utterances, filled.warnings) == (expected.utterances, ())
    two = text.replace("two.wav,1,4,7", "two.wav,0,4,7")
    assert manifest.read(write(calls, two)).warnings[0].startswith("1 of 2 recordings")


def test_a_speaker_is_the_same_in_every_file_of_labels(calls, tmp_path):
    """Otherwise a speaker in two files could be in the training set and in the test set."""
    (calls / "more").mkdir()
    more = GOOD.replace("one.wav", "../one.wav").replace("two.wav", str(calls / "two.wav"))
    for replacement in (",", ",anna"):
        first, second = (
            manifest.read(write(*where, text.replace(",anna", replacement).replace(",otto", ",")))
            for where, text in (((calls,), GOOD), ((calls / "more",), more))
        )
        assert first.speakers == second.speakers


def test_uris_may_lie_anywhere(calls, tmp_path):
    lines = GOOD.replace("two.wav", "gs://calls/two.wav").replace("one.wav", "gs://calls/one.wav")
    corpus = manifest.read(
        write(tmp_path, lines), locate=lambda uri: calls / uri.rpartition("/")[2]
    )
    assert corpus.utterances[0].path == calls / "two.wav"


def test_the_message_for_an_unknown_corpus_mentions_csv():
    with pytest.raises(CorpusError, match="csv for a file of labels"):
        open_corpus("ravdes", "x")


# Krippendorff 2011, section C: four observers, 12 units, nominal alpha 0.743.
OBSERVED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def test_alpha_equals_krippendorffs_example():
    votes = [
        {f"o{i}": f"e{row[unit]}" for i, row in enumerate(OBSERVED) if row[unit] is not None}
        for unit in range(12)
    ]
    found = agreement(votes, [("a", 0, float(i), None) for i in range(12)])
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert found.shared == 11
    assert found.by_pair["o1", "o3"][1] == 10
    assert [disputed.start_s for disputed in found.disputed] == [5.0]


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=4, max_size=4),
                min_size=2, max_size=20))  # fmt: skip
def test_alpha_equals_the_package_of_reference(rows):
    krippendorff = pytest.importorskip("krippendorff")
    votes = [{f"o{i}": label for i, label in enumerate(row) if label} for row in rows]
    found = agreement(votes, [("u", 0, float(i), None) for i in range(len(rows))])
    shared = [by_annotator for by_annotator in votes if len(by_annotator) > 1]
    if len({label for by_annotator in shared for label in by_annotator.values()}) < 2:
        assert found is None or found.alpha is None
        return
    codes = [[{"a": 0, "b": 1, "c": 2}.get(row[i], np.nan) for row in rows] for i in range(4)]
    expected = krippendorff.alpha(reliability_data=codes, level_of_measurement="nominal")
    assert found.alpha == pytest.approx(expected)


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.sampled_from("abc")] * 2), min_size=3, max_size=20))
def test_alpha_of_two_annotators_follows_its_definition(pairs):
    votes = [{"x": a, "y": b} for a, b in pairs]
    found = agreement(votes, [("u", 0, float(i), None) for i in range(len(pairs))])
    values = [value for pair in pairs for value in pair]
    n = len(values)
    observed = np.mean([a != b for a, b in pairs])
    expected = 1 - sum(values.count(v) * (values.count(v) - 1) for v in set(values)) / (n * (n - 1))
    if len(set(values)) == 1:
        assert found.alpha is None
    else:
        assert found.alpha == pytest.approx(1 - observed / expected)
        assert found.by_pair["x", "y"][0] == pytest.approx(found.alpha)
    assert len(found.disputed) == sum(a != b for a, b in pairs)


def test_without_shared_stretches_there_is_no_agreement():
    assert agreement([{"a": "x"}, {"b": "y"}], [("u", 0, 0.0, None)] * 2) is None
