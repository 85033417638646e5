"""The label of a recording from its segments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_core import emotions
from ser_core.errors import SerError

LABELS = ("calm", "angry", "happy")


def aggregate(rows, starts, ends, duration_s):
    return emotions.aggregate(np.array(rows), starts, ends, labels=LABELS, duration_s=duration_s)


def test_segments_are_weighted_by_duration():
    found = aggregate([[0.8, 0.1, 0.1], [0.1, 0.9, 0.0]], [0, 10], [1, 13], 20)
    assert found.probabilities == pytest.approx((0.275, 0.7, 0.025))
    assert (found.label, found.confidence) == ("angry", pytest.approx(0.7))
    assert found.negativity == pytest.approx(0.7)


def test_a_segment_counts_in_each_quarter_that_it_touches():
    found = aggregate([[0, 1, 0], [1, 0, 0]], [0, 4], [4, 8], 16)
    assert found.negativity_by_quarter == (1.0, 0.0, None, None)
    found = aggregate([[0, 1, 0], [1, 0, 0]], [3, 4], [4, 5], 16)
    assert found.negativity_by_quarter == (1.0, 0.0, None, None)
    found = aggregate([[0.5, 0.5, 0]], [2], [6], 16)
    assert found.negativity_by_quarter == (0.5, 0.5, None, None)


@pytest.mark.parametrize(
    ("first", "last", "arc"),
    [(0.2, 0.9, "worse"), (0.9, 0.2, "better"), (0.5, 0.55, "level"), (0.5, 0.5, "level")],
)
def test_arc_compares_the_last_quarter_with_the_first(first, last, arc):
    rows = [[1 - first, first, 0], [0, 1, 0], [1 - last, last, 0]]
    assert aggregate(rows, [0, 5, 12], [4, 8, 16], 16).arc == arc


def test_one_quarter_has_no_arc():
    assert aggregate([[0, 1, 0]], [0], [1], 16).arc is None


def test_without_segments_all_is_none():
    found = aggregate(np.empty((0, 3)), [], [], 5)
    assert found == emotions.Aggregate(None, None, None, None, (None,) * 4, None)


@given(st.data())
def test_aggregates_are_probabilities(data):
    count = data.draw(st.integers(1, 20))
    edges = sorted(
        data.draw(st.lists(st.floats(0, 100), min_size=2 * count, max_size=2 * count, unique=True))
    )
    rows = np.random.default_rng(count).dirichlet(np.ones(3), size=count)
    found = aggregate(rows, edges[::2], edges[1::2], 100)
    assert sum(found.probabilities) == pytest.approx(1)
    assert found.confidence == max(found.probabilities)
    assert found.negativity == pytest.approx(found.probabilities[1])
    assert any(value is not None for value in found.negativity_by_quarter)


@pytest.mark.parametrize(
    "labels", [["angry"], ["angry", "angry"], ["angry", "not calm"], ["a", ""]]
)
def test_invalid_label_sets_are_refused(labels):
    with pytest.raises(SerError):
        emotions.check_labels(labels)
