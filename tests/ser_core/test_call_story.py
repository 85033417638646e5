"""The headline of a call: steps of negativity that are there, and none that are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_core.emotions import ARC_CHANGE
from ser_core.report.call import Call, Channel, Segment
from ser_core.report.call_story import LEAST_S, about, describe, headline, levels, remarks

LABELS = ("neutral", "angry")


def segments(values, seconds=3.0, gap=1.0, role="customer", start_s=0.0):
    return tuple(
        Segment(
            1, role, start_s + i * (seconds + gap), start_s + i * (seconds + gap) + seconds,
            LABELS[int(value >= 0.5)], max(value, 1 - value), False, (1 - value, value),
        )
        for i, value in enumerate(values)
    )  # fmt: skip


def labelled(values, **changes):
    settings = {
        "uri": "/calls/a.wav", "status": "labelled", "label": "angry", "confidence": 0.64,
        "unsure": False, "labels": LABELS, "segments": segments(values), "duration_s": 60.0,
    }  # fmt: skip
    return Call(**{**settings, **changes})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.08] * 8 + [0.67] * 8, "Negativity from 8 to 67 % at 0:32; on the whole angry (64 %)"),
        ([0.9] * 6 + [0.1] * 6, "Negativity from 90 to 10 % at 0:24; on the whole angry (64 %)"),
        ([0.1] * 5 + [0.8] * 4 + [0.1] * 5,
         "Negativity 80 % from 0:20 to 0:35, else 10 %; on the whole angry (64 %)"),
        ([0.3] * 9, "Negativity 30 % throughout; angry (64 %)"),
        ([0.5], "Negativity 50 % throughout; angry (64 %)"),
        ([0.3, 0.5, 0.2, 0.4, 0.3, 0.45, 0.25], "Negativity 34 % throughout; angry (64 %)"),
    ],
)  # fmt: skip
def test_the_headline_tells_how_negativity_went(values, words):
    assert headline(labelled(values)) == words
    # In whatever order the rows come.
    shuffled = tuple(np.random.default_rng(0).permutation(len(values)))
    call = labelled(values)
    assert headline(labelled(values, segments=[call.segments[i] for i in shuffled])) == words


def test_the_headline_of_unsure_rejected_silent_and_unlabelled_calls():
    assert headline(labelled([0.3], unsure=True)).endswith("; unsure, perhaps angry")
    for status, words in (
        ("rejected", "Rejected: too long"),
        ("no_speech", "No speech to label"),
        ("extracted", "Not labelled yet"),
    ):
        assert headline(Call("/a.wav", status, reason="too_long")) == words


def test_without_negative_labels_the_headline_is_the_verdict():
    call = labelled([0.3], labels=("calm", "happy"), label="happy")
    assert headline(call) == "Happy (64 %)"
    assert describe(()) == ""


def test_the_customer_is_told_of_where_agents_are_analysed_too():
    both = segments([0.1] * 6) + segments([0.9] * 6, role="agent", start_s=100)
    assert "10 % throughout" in headline(labelled([], segments=both))


@given(
    before=st.floats(0, 1), after=st.floats(0, 1), first=st.integers(3, 20), last=st.integers(3, 20)
)
def test_a_large_step_is_found_where_it_is(before, after, first, last):
    found = levels(segments([before] * first + [after] * last), LABELS)
    if abs(before - after) > 0.6:
        assert [level.negativity for level in found] == pytest.approx([before, after])
        assert found[1].start_s == first * 4.0
    if abs(before - after) <= ARC_CHANGE:
        assert len(found) == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 10)), min_size=1, max_size=40))
def test_levels_keep_the_mean_and_are_long_and_apart(pairs):
    at, found = 0.0, []
    for value, seconds in pairs:
        found.append(Segment(0, "mixed", at, at + seconds, "angry", 0.5, True, (1 - value, value)))
        at += seconds
    stepped = levels(found, LABELS)
    assert 1 <= len(stepped) <= 3
    seconds = [
        sum(s.end_s - s.start_s for s in found if level.start_s <= s.start_s < level.end_s)
        for level in stepped
    ]
    total = sum(s * level.negativity for s, level in zip(seconds, stepped, strict=True))
    assert total == pytest.approx(sum(v * s for v, s in pairs), abs=1e-6)
    if len(stepped) > 1:
        assert min(seconds) >= LEAST_S - 1e-9
        assert abs(stepped[0].negativity - stepped[1].negativity) > ARC_CHANGE


def test_noise_alone_is_seldom_told_as_a_step():
    random = np.random.default_rng(1)
    told = sum(
        len(levels(segments(np.clip(random.normal(0.5, 0.2, 30), 0, 1)), LABELS)) > 1
        for _ in range(200)
    )
    assert told <= 10


def test_thousands_of_segments_are_no_matter():
    values = [0.1] * 1500 + [0.8] * 1500
    found = levels(segments(values), LABELS)
    assert [round(level.negativity, 2) for level in found] == [0.1, 0.8]


def test_what_a_listener_should_know():
    call = labelled(
        [0.3], unsure=True, detail="cut: 7.7 of 14.0 s are there", music_s=31.0, crosstalk_s=8.2,
        by_channel=(Channel(0, "mixed", True, 9.0),), meta={"queue": "billing"}, model_id="m-1",
    )  # fmt: skip
    said = " ".join(remarks(call))
    for words in ("Cut: 7.7 of 14.0 s", "64 % for angry", "agent's", "31 s of hold", "8 s that"):
        assert words in said
    assert about(call) == ["queue billing", "1:00 long", "model m-1"]
    assert remarks(labelled([0.3])) == []
