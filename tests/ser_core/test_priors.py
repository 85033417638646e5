"""Shares of the emotions in an archive, estimated without labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from ser_core.models.priors import estimate_log_prior, estimate_priors

EQUAL = np.full(3, 1 / 3)
CENTRES = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])


def posteriors(shares: np.ndarray, count: int = 6_000) -> np.ndarray:
    """Exact posteriors, under equal shares, of points from three normal distributions."""
    random = np.random.default_rng(0)
    classes = random.choice(3, count, p=shares)
    points = CENTRES[classes] + random.normal(size=(count, 2))
    likelihood = np.exp(-0.5 * np.square(points[:, None] - CENTRES).sum(axis=2))
    return likelihood / likelihood.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.8, 0.15, 0.05), (0.0, 0.1, 0.9)])
def test_the_shares_are_found(shares):
    found = estimate_priors(posteriors(np.array(shares)), EQUAL)
    np.testing.assert_allclose(found, shares, atol=0.03)


def test_it_is_the_maximum_of_the_likelihood():
    probabilities = np.random.default_rng(1).dirichlet([0.5, 0.7], 400)
    prior = np.array([0.3, 0.7])
    likelihood = probabilities / prior
    best = minimize_scalar(
        lambda p: -np.log(likelihood @ [p, 1 - p]).sum(), bounds=(0, 1), method="bounded"
    )
    assert estimate_priors(probabilities, prior)[0] == pytest.approx(best.x, abs=1e-3)


@given(st.integers(0, 999), st.integers(2, 5), st.integers(1, 30))
def test_weights_are_repetitions(seed, classes, count):
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), count)
    times = random.integers(1, 4, count)
    prior = np.full(classes, 1 / classes)
    found = estimate_priors(probabilities, prior, times)
    again = estimate_priors(np.repeat(probabilities, times, axis=0), prior)
    np.testing.assert_allclose(found, again, atol=1e-5)
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0


def test_the_prior_is_found_again_where_nothing_is_known():
    prior = np.array([0.2, 0.5, 0.3])
    found = estimate_priors(np.tile(prior, (50, 1)), prior)
    np.testing.assert_allclose(found, prior)


def test_what_is_added_corrects_the_posteriors():
    shares = np.array([0.8, 0.15, 0.05])
    probabilities = posteriors(shares)
    log_prior = estimate_log_prior(probabilities, np.ones(len(probabilities)), 2.0)
    np.testing.assert_allclose(log_prior, 2.0 * np.log(shares * 3), atol=0.3)


def test_few_rows_add_little():
    probabilities = posteriors(np.array([0.8, 0.15, 0.05]))
    np.testing.assert_allclose(
        estimate_log_prior(probabilities, np.full(6_000, 1e-9), 1.0), 0, atol=1e-6
    )
