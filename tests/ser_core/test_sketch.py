"""The sketch of a run: whole numbers that add up, whatever way the calls are divided."""

from __future__ import annotations

import copy
import json

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import reversal, tables
from ser_core.examine import Channel, Examined, Source, SpeechSegment
from ser_core.tables import sketch
from ser_core.tables.sketch import ALL, POINTS, Binning, Bins, Sketch, divide

LEVELS = np.array([0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99])
BINNING = Binning({1: ("f1", Bins((0.0, 1.0)))}, {"angry": Bins((0.5,), (0.7, 0.3))})


def call(values: list[float], *, role: str = "customer", reason: str | None = None) -> Examined:
    """A call with a segment for each value, which is its level and its features."""
    return Examined(
        Source("u", 1, 1), reason=reason, duration_s=60.0, codec="gsm", sample_rate_hz=8_000,
        channels=2, snr_db=20.0,
        by_channel=(Channel(0, "agent", False, 3.0), Channel(1, "customer", True, 1.0)),
        segments=tuple(
            SpeechSegment(1, role if i else "customer", i, i + 1.0, value)
            for i, value in enumerate(values)
        ),
        vectors=np.array([[0.0, value] for value in values], np.float32).reshape(-1, 2),
    )  # fmt: skip


def sketch_of(*calls: tuple[Examined, dict]) -> Sketch:
    result = Sketch()
    for examined, meta in calls:
        angry = np.full((len(examined.segments), 1), 0.6, np.float32)
        result.add(examined, angry, ["angry"], meta, BINNING)
    return result


def test_a_call_gives_each_variable_as_many_points():
    found = sketch_of((call([-1.0, 0.0, 0.5, 2.0]), {"queue": "a"}))
    cells = found.groups[ALL]
    assert cells["f1"].points == {"-inf": 250, "0": 500, "1": 250}
    assert cells["f1"].squares == {"-inf": 250**2, "0": 500**2, "1": 250**2}
    assert cells["p_angry"].points == {"0.5": POINTS}
    assert cells["codec"].points == {"gsm": POINTS}
    assert cells["snr_db"].points == {"20": POINTS}
    assert cells["customer_share"].points == {"0.2": POINTS}
    assert cells["speech_share"].points == {"0.05": POINTS}
    assert cells["first_speech_s"].points == {"-inf": POINTS}
    assert set(found.groups) == {ALL, ("meta_queue", "a"), ("role", "customer")}
    assert "codec" not in found.groups["role", "customer"]
    assert not sketch_of((call([1.0], reason="corrupt"), {})).groups


@given(st.dictionaries(st.text(max_size=2), st.integers(1, 10**6), min_size=1, max_size=20))
def test_points_are_divided_to_the_last_one(counts):
    points = divide(counts)
    assert sum(points.values()) == POINTS
    total = sum(counts.values())
    assert all(abs(points[name] - POINTS * n / total) <= 1 for name, n in counts.items())


CALLS = st.tuples(
    st.lists(st.floats(-80, 3, width=32), max_size=4),
    st.sampled_from(["customer", "agent"]),
    st.sampled_from(["a", "b", None]),
    st.integers(0, 20).map(str),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(CALLS, max_size=30), st.randoms())
def test_a_sketch_is_the_same_however_its_calls_are_divided(calls, random):
    made = [
        (call(values, role=role), {"queue": queue, "caller": caller})
        for values, role, queue, caller in calls
    ]
    whole = sketch_of(*made)
    shuffled = random.sample(made, len(made))
    places = sorted(random.randrange(len(made) + 1) for _ in range(2))
    parts = [
        sketch_of(*shuffled[start:end])
        for start, end in zip([0, *places], [*places, len(made)], strict=True)
    ]
    left = sketch.total([sketch.total(copy.deepcopy(parts[:2])), copy.deepcopy(parts[2])])
    right = sketch.total([parts[2], sketch.total([parts[0], parts[1]])])
    assert left.rows(BINNING) == right.rows(BINNING) == whole.rows(BINNING)
    callers = {caller for *_, caller in calls}
    assert ("meta_caller" in whole.crowded) == (len(callers) > sketch.MOST_VALUES)


def test_small_groups_and_columns_of_one_value_are_left_out():
    calls = [(call([0.5]), {"queue": "big" if i else "small", "site": "only"}) for i in range(8)]
    rows = sketch_of(*calls).rows(BINNING)
    assert {(row["column_name"], row["value"]) for row in rows} == {
        (None, None), ("meta_queue", "big"),
    }  # fmt: skip
    [row] = [row for row in rows if row["variable"] == "p_angry" and row["column_name"] is None]
    assert row["training"] == {"-inf": 0.7, "0.5": 0.3}
    # As the seal keeps it, and the table.
    schema = tables.runs_schema()
    table = pa.Table.from_pylist(
        [{"run_id": "r", "sketch": json.loads(json.dumps(rows))}], schema=schema
    )
    assert table["sketch"].to_pylist(maps_as_pydicts="strict") == [rows]


def test_bins_between_quantiles_have_their_shares():
    values = np.random.default_rng(0).normal(size=20_000)
    bins = Bins.of_quantiles(LEVELS, np.quantile(values, LEVELS))
    assert bins is not None
    assert bins.training is not None
    np.testing.assert_allclose(np.cumsum(bins.training)[:-1], sketch.LEVELS, atol=1e-6)
    assert Bins.of_quantiles(LEVELS, np.zeros(9)) is None


def test_shares_of_rounded_values_are_interpolated():
    values = np.round(np.random.default_rng(0).normal(0.3, 1.1, 20_000) * 2) / 2
    bins = Bins.of_quantiles(LEVELS, np.quantile(values, LEVELS), step=0.5)
    assert bins is not None
    assert bins.training is not None
    true = np.histogram(values, [-np.inf, *bins.edges, np.inf])[0] / len(values)
    np.testing.assert_allclose(np.cumsum(bins.training), np.cumsum(true), atol=0.04)


def test_the_tilt_of_a_spectrum():
    low, high = (2595 * np.log10(1 + hz / 700) for hz in reversal.BANDS_HZ)
    hz = 700 * (10 ** (np.linspace(low, high, reversal.BANDS + 2)[1:-1] / 2595) - 1)
    # Power falls as 1 / f**2: by 6 dB per octave.
    levels = np.tile(np.log(hz**-2.0), (4, 1))
    assert abs(reversal.tilt(reversal.spectrum(levels)) + 6.02) < 0.01
