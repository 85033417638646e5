"""Calibration and abstention, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core.models import calibration
from ser_core.models.calibration import calibrate
from ser_core.models.history import history_weight

ANSWERS = st.lists(
    st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans()), min_size=1, max_size=60
)


def answers(pairs) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = zip(*pairs, strict=True)
    return np.array(confidence), np.array(right)


def drawn(random: np.random.Generator, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels drawn from them: calibrated by construction."""
    probabilities = random.gamma(0.4, size=(count, classes)) + 1e-6
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    edges = np.cumsum(probabilities, axis=1)
    truth = (random.random((count, 1)) > edges).sum(axis=1).clip(max=classes - 1)
    return probabilities, truth


def test_both_temperatures_are_found_again():
    random = np.random.default_rng(0)
    probabilities, truth = drawn(random, 20_000, 5)
    weight = history_weight(random.choice([2, 4, 16, 30], len(truth)))
    without, related = 1.6, 0.7
    boasting = calibrate(probabilities, 1 / (without + (related - without) * weight))
    found = calibration.fit_temperature(boasting, truth, weight=weight, without=without)
    assert found == pytest.approx(related, abs=0.06)


def test_what_is_drawn_from_its_probabilities_has_no_calibration_error():
    probabilities, truth = drawn(np.random.default_rng(1), 50_000, 4)
    right = probabilities.argmax(axis=1) == truth
    error = calibration.calibration_error(calibration.reliability(probabilities.max(axis=1), right))
    assert error < 0.01
    twice = calibrate(probabilities, 0.5)
    worse = calibration.calibration_error(calibration.reliability(twice.max(axis=1), right))
    assert worse > 0.05


@given(ANSWERS)
def test_calibration_error_is_its_definition(pairs):
    confidence, right = answers(pairs)
    bins = calibration.reliability(confidence, right, bins=10)
    expected = 0.0
    for low in range(10):
        own = [
            i
            for i, value in enumerate(confidence)
            if low <= value * 10 < low + 1 or (low == 9 and value == 1)
        ]
        if own:
            gap = abs(np.mean(confidence[own]) - np.mean(right[own]))
            expected += len(own) / len(confidence) * gap
    assert calibration.calibration_error(bins) == pytest.approx(expected)
    assert sum(group.count for group in bins) == len(confidence)


@given(ANSWERS)
def test_coverage_and_risk_are_counted(pairs):
    confidence, right = answers(pairs)
    coverage, risk, threshold = calibration.coverage_and_risk(confidence, right)
    assert threshold.tolist() == sorted(set(confidence), reverse=True)
    for share, wrong, edge in zip(coverage, risk, threshold, strict=True):
        sure = confidence >= edge
        assert share == pytest.approx(sure.mean())
        assert wrong == pytest.approx(1 - right[sure].mean())


@settings(max_examples=300)
@given(ANSWERS, st.sampled_from([0.3, 0.5]), st.sampled_from([0.6, 0.8]))
def test_the_sure_are_enough_and_right_where_that_can_be(pairs, share, least_right):
    confidence, right = answers(pairs)
    below = calibration.unsure_below(confidence, right, share, least_right)
    possible = [
        (np.mean(confidence >= edge), right[confidence >= edge].mean())
        for edge in sorted(set(confidence))
    ]
    enough = [part for part, good in possible if part >= share and good >= least_right - 1e-12]
    good_ones = [part for part, good in possible if good >= least_right - 1e-12]
    sure = confidence >= below
    if enough:
        # The strictest of those that leave enough.
        assert sure.mean() == pytest.approx(min(enough))
    elif good_ones:
        # As many as can be.
        assert sure.mean() == pytest.approx(max(good_ones))
    else:
        assert below == 1.0
