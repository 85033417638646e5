"""The linear classifier: the fit by mathematics, and the network that it becomes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from ser_core.errors import TrainingError
from ser_core.models.archive import FeatureStatistics
from ser_core.models.recipes.calls.data import head_input
from ser_core.models.recipes.calls.head import Head, fit
from tests.ser_core.problems import Problem, distance, make_problem, objective


@pytest.mark.parametrize("with_start", [False, True])
@pytest.mark.parametrize("decay", [0.01, 1.0])
@pytest.mark.parametrize("rows", [60, 3])  # more, and fewer, than features
@pytest.mark.parametrize("trust", [1.0, (1, 0.5, 2, 0.1, 1)])
def test_a_fit_is_at_its_minimum(rows, decay, with_start, trust):
    problem = make_problem(rows)
    random = np.random.default_rng(1)
    start = Head(random.normal(size=(5, 3)), random.normal(size=3)) if with_start else None
    head = fit(*problem.arrays, decay=decay, trust=trust, start=start)
    least = objective(problem, head, decay, start, trust)
    step = 1e-4
    for place in np.ndindex(head.kernel.shape):
        moved = head.kernel.astype(np.float64)
        moved[place] += step
        up = objective(problem, Head(moved, head.bias), decay, start, trust)
        moved[place] -= 2 * step
        down = objective(problem, Head(moved, head.bias), decay, start, trust)
        assert abs(up - down) / (2 * step) < 2e-3
    for _ in range(50):
        other = Head(
            head.kernel + 0.05 * random.normal(size=head.kernel.shape),
            head.bias + 0.05 * random.normal(size=head.bias.shape),
        )
        assert objective(problem, other, decay, start, trust) > least - 1e-7


def test_with_one_label_a_row_it_is_logistic_regression():
    random = np.random.default_rng(0)
    x, truth = random.normal(size=(90, 4)), random.integers(0, 3, 90)
    x[:, 0] += truth
    head = fit(x, np.eye(3)[truth], np.ones((90, 3), bool), np.ones(90), decay=0.05)
    reference = LogisticRegression(C=1 / (0.05 * 90), tol=1e-8, max_iter=5_000).fit(x, truth)
    np.testing.assert_allclose(head.kernel.T, reference.coef_, atol=2e-3)
    np.testing.assert_allclose(head(x), reference.predict_proba(x), atol=2e-3)


def test_what_a_corpus_lacks_is_as_if_it_was_not_there():
    """Rows whose corpus lacks the last label: its weights stay, the others are those without it."""
    problem = make_problem(lacking=1.0)
    start = Head(np.zeros((5, 3)), np.zeros(3))
    start.kernel[:, 2] = 7.0
    head = fit(*problem.arrays, decay=0.1, start=start)
    np.testing.assert_array_equal(head.kernel[:, 2], 7)
    assert head.bias[2] == 0
    two = Problem(problem.x, problem.targets[:, :2], problem.allowed[:, :2], problem.weight)
    np.testing.assert_allclose(head.kernel[:, :2], fit(*two.arrays, decay=0.1).kernel, atol=1e-3)


def test_the_penalty_goes_from_the_start_to_the_data():
    problem = make_problem()
    random = np.random.default_rng(2)
    start = Head(random.normal(size=(5, 3)), random.normal(size=3))
    losses, moved = [], []
    for decay in (1e6, 10, 1, 0.1, 0.01, 1e-6):
        head = fit(*problem.arrays, decay=decay, start=start)
        losses.append(objective(problem, head))
        moved.append(distance(head, start))
    assert moved[0] < 1e-4
    assert moved == sorted(moved)
    assert losses == sorted(losses, reverse=True)
    # Without a penalty it does not matter where it starts.
    free = fit(*problem.arrays, decay=1e-6)
    np.testing.assert_allclose(free(problem.x), head(problem.x), atol=0.02)


@settings(max_examples=8)
@given(st.floats(1e-3, 1e3), st.integers(1, 4))
def test_weights_have_no_scale_and_count_as_copies_do(scale, copies):
    problem = make_problem()
    expected = fit(*problem.arrays, decay=0.1)(problem.x)
    scaled = Problem(problem.x, problem.targets, problem.allowed, problem.weight * scale)
    copied = Problem(*(np.concatenate([array] * copies) for array in problem.arrays))
    for other in (scaled, copied):
        np.testing.assert_allclose(fit(*other.arrays, decay=0.1)(problem.x), expected, atol=2e-3)


def test_the_network_is_the_head_behind_its_scale():
    random = np.random.default_rng(3)
    head = Head(
        random.normal(size=(6, 4)).astype(np.float32), random.normal(size=4).astype(np.float32)
    )
    mean = random.normal(size=6).astype(np.float32)
    # A constant feature, one of tiny values, one of large ones.
    std = np.array([1, 2, 0, 1e-5, 1e4, 0.3], np.float32)
    x = (mean + random.normal(size=(40, 6)) * np.maximum(std, 0.1)).astype(np.float32)
    x[:, 3] = mean[3] + 1e-5 * random.normal(size=40)
    found = np.asarray(head.as_network(mean, std)(x, training=False))
    expected = head(head_input(x, FeatureStatistics(mean, std)))
    assert expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_vectors_that_are_not_finite_end_the_training():
    problem = make_problem()
    problem.x[3, 2] = np.nan
    with pytest.raises(TrainingError, match="its loss is not finite; check that all vectors"):
        fit(*problem.arrays, decay=0.1)
