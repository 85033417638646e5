"""Where chunks stand in time, for right and wrong timestamps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core.audio.decoders.timeline import MAX_FILLED_S, MAX_GAP_S, Chunk, Timeline

RATE = 1_000
CHUNK_S = 0.02


def chunks(starts_s, seconds=CHUNK_S):
    samples = np.zeros((round(seconds * RATE), 1), dtype=np.float32)
    return [Chunk(samples, RATE, start_s) for start_s in starts_s]


def regular(count, start_s=0.0):
    return [start_s + i * CHUNK_S for i in range(count)]


def positions(timeline, placed):
    """Where each chunk begins, by the silence before it."""
    at, found = 0.0, []
    for silence_s, chunk in timeline.place(placed):
        at += silence_s
        found.append(at)
        at += chunk.seconds
    assert at == pytest.approx(timeline.position_s)
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(5, 40), st.floats(0.1, 600)), min_size=1, max_size=5),
    st.floats(-5e6, 5e6),
    st.floats(0, 0.02),
    st.randoms(use_true_random=False),
)
def test_chunks_stand_where_their_timestamps_say(runs, start_s, jitter_s, random):
    true_s, at = [], 0.0
    for count, gap_s in runs:
        true_s += regular(count, at)
        at = true_s[-1] + CHUNK_S + gap_s
    noisy = [start_s + t + (random.uniform(0, jitter_s) if t else 0) for t in true_s]
    timeline = Timeline(start_s)
    assert positions(timeline, chunks(noisy)) == pytest.approx(true_s, abs=0.08)
    assert timeline.ignored_s == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 49), st.floats(-1e9, 1e9))
def test_one_wrong_timestamp_changes_nothing(i, wrong_s):
    starts = regular(50)
    starts[i] = wrong_s
    timeline = Timeline()
    # At the very end of a recording, nothing tells a short gap from a wrong timestamp.
    assert positions(timeline, chunks(starts))[:49] == pytest.approx(regular(49))
    assert timeline.filled_s <= 60 * (i == 49)


def test_restarted_timestamps_go_on_where_the_recording_is():
    timeline = Timeline()
    assert positions(timeline, chunks(regular(100) + regular(100))) == pytest.approx(regular(200))
    assert timeline.filled_s == timeline.ignored_s == 0


@pytest.mark.parametrize("gap_s", [MAX_GAP_S + 10, 9e4, 2**33 / 90_000])
def test_a_gap_that_is_too_long_is_not_filled(gap_s):
    timeline = Timeline()
    found = positions(timeline, chunks(regular(100) + regular(100, 2 + gap_s)))
    assert found == pytest.approx(regular(200))
    assert timeline.ignored_s == pytest.approx(gap_s)


def test_all_gaps_together_are_bounded():
    starts = [t for i in range(20) for t in regular(10, i * 3000)]
    timeline = Timeline()
    positions(timeline, chunks(starts))
    assert MAX_FILLED_S - 3000 < timeline.filled_s <= MAX_FILLED_S
    assert timeline.filled_s + timeline.ignored_s == pytest.approx(19 * 3000, abs=10)


def test_chunks_without_timestamps_follow_one_another():
    timeline = Timeline()
    assert positions(timeline, chunks([None] * 20)) == pytest.approx(regular(20))
    mixed = [t if i % 3 else None for i, t in enumerate(regular(30) + regular(30, 5.0))]
    assert positions(Timeline(), chunks(mixed))[-1] == pytest.approx(5 + 29 * CHUNK_S, abs=0.1)


def test_clocks_that_drift_are_followed():
    slow = [i * CHUNK_S * 1.001 for i in range(30_000)]
    assert positions(Timeline(), chunks(slow))[-1] == pytest.approx(slow[-1], abs=0.1)


def test_what_was_lost_is_no_gap():
    lost = chunks(regular(10)) + [
        Chunk(chunk.samples, RATE, chunk.start_s, 0.5 * (i == 0))
        for i, chunk in enumerate(chunks(regular(10, 10 * CHUNK_S + 0.5)))
    ]
    timeline = Timeline()
    assert positions(timeline, lost)[10] == pytest.approx(10 * CHUNK_S + 0.5)
    assert timeline.filled_s == 0


def test_a_late_start_is_told_apart():
    timeline = Timeline(start_s=100.0)
    assert positions(timeline, chunks(regular(10, 103.0)))[0] == pytest.approx(3)
    assert (timeline.late_s, timeline.filled_s) == pytest.approx((3, 3))


def test_a_few_wrong_timestamps_are_no_restart():
    wrong = regular(20, 0.2)
    starts = regular(100, 0.0) + wrong + regular(50, 9.0)
    timeline = Timeline()
    assert positions(timeline, chunks(starts))[-1] == pytest.approx(9.0 + 49 * CHUNK_S)
    # Timestamps that go on from there are followed, also over a gap.
    restarted = regular(100, 0.0) + regular(100, 0.0) + regular(50, 100 * CHUNK_S + 0.7)
    found = positions(Timeline(), chunks(restarted))
    assert found[-1] == pytest.approx(249 * CHUNK_S + 0.7)
