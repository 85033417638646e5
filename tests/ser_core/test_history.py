"""Bundles whose answers depend on the other segments of a channel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_core import models
from ser_core.errors import BundleError
from ser_core.models.calibration import calibrate
from ser_core.models.history import histories, history_belief
from tests import tiny_bundle
from tests.tiny_bundle import edit_card, vectors


@pytest.fixture(scope="module")
def relative(tmp_path_factory) -> models.Bundle:
    return models.load(tiny_bundle.make_relative(tmp_path_factory.mktemp("models") / "relative"))


def test_histories_are_those_of_the_others():
    matrix = vectors(12)
    channel = np.array(list("abacabaadbba"))
    count, mean, variance = histories(matrix, channel)
    for i in range(12):
        others = matrix[[k for k in range(12) if k != i and channel[k] == channel[i]]]
        assert count[i, 0] == len(others)
        if len(others):
            np.testing.assert_allclose(mean[i], others.mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(variance[i], others.var(axis=0), atol=1e-4)
        else:
            assert not mean[i].any()
            assert not variance[i].any()


def test_a_channel_is_compared_with_itself(relative):
    loud, quiet = -20.0, -40.0
    levels = np.array([quiet, quiet, loud, loud, quiet], dtype=np.float32)
    matrix = np.zeros((5, relative._columns), dtype=np.float32)
    matrix[:, 0] = levels
    ids = np.array(["a", "a", "a", "b", "c"])
    found = [relative.labels[k] for k in relative.predict(matrix, ids).argmax(axis=1)]
    # The last two are by themselves: measured against -30 dB.
    assert found == ["calm", "calm", "angry", "angry", "calm"]
    alone = [relative.labels[k] for k in relative.predict(matrix).argmax(axis=1)]
    assert alone == ["calm", "calm", "angry", "angry", "calm"]
    two = relative.predict(matrix[2:4], np.array(["a", "a"]))
    assert np.abs(two - 0.5).max() < 1e-6


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_other_channels_change_nothing_to_the_bit(relative, data):
    sizes = data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=4))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    matrix = random.normal(-30, 8, (sum(sizes), relative._columns)).astype(np.float32)
    ids = np.repeat(np.arange(len(sizes)), sizes)
    together = relative.predict(matrix, ids)
    for channel_id in range(len(sizes)):
        rows = ids == channel_id
        np.testing.assert_array_equal(
            relative.predict(matrix[rows], np.zeros(rows.sum())), together[rows]
        )


@pytest.mark.parametrize("name", ["calls", "calls-fast"])
def test_other_channels_change_nothing_of_a_bundled_model(name):
    """These networks take means over a picture, whose last bits depend on the place in a batch."""
    model = models.load(name)
    sizes = (3, 30, 2, 70, 1, 17, 2, 2)
    random = np.random.default_rng(0)
    matrix = random.normal(0, 1, (sum(sizes), model._columns)).astype(np.float32)
    ids = np.repeat(np.arange(len(sizes)), sizes)
    together = model.predict(matrix, ids)
    order = np.argsort(random.permutation(len(sizes))[ids], kind="stable")
    np.testing.assert_array_equal(model.predict(matrix[order], ids[order]), together[order])
    for i in range(len(sizes)):
        alone = model.predict(matrix[ids == i], np.zeros(sizes[i]))
        np.testing.assert_array_equal(alone, together[ids == i])


def test_the_temperature_goes_with_the_history(tmp_path):
    first, second = (
        models.load(tiny_bundle.make_relative(tmp_path / name, **card))
        for name, card in (("one", {}), ("two", {"temperature_with_history": 3.0}))
    )
    matrix = np.random.default_rng(0).normal(-30, 8, (9, first._columns)).astype(np.float32)
    np.testing.assert_array_equal(first.predict(matrix), second.predict(matrix))
    ids = np.zeros(9)
    expected = calibrate(first.predict(matrix, ids), 1 + 2 * 8 / 12)
    np.testing.assert_allclose(second.predict(matrix, ids), expected, atol=1e-6)


def test_a_history_in_one_mood_is_doubted(tmp_path):
    """Loud alone is angry; among louder ones it is calm, if these are believed to be normal."""
    believing, doubting = (
        models.load(tiny_bundle.make_relative(tmp_path / name, **card))
        for name, card in (("one", {}), ("two", {"history_doubted": (0.6, 0.8)}))
    )
    assert doubting.card.history_doubted == (0.6, 0.8)
    matrix = np.zeros((4, believing._columns), dtype=np.float32)
    loud, quiet = np.array([-10, -2, -2, -2]), np.array([-40, -50, -50, -50])
    for levels, used in ((loud, 0.0), (quiet, 1.0)):
        matrix[:, 0] = levels
        alone, related = believing.predict(matrix), believing.predict(matrix, np.zeros(4))
        expected = used * related + (1 - used) * alone
        np.testing.assert_allclose(doubting.predict(matrix, np.zeros(4)), expected, atol=1e-6)
    matrix[:, 0] = [-10, -20, -21, -22]
    alone, related = believing.predict(matrix), believing.predict(matrix, np.zeros(4))
    share = history_belief(alone[1:].mean(axis=0)[None], ("calm", "angry"), (0.6, 0.8))
    assert 0 < share[0] < 1
    expected = share * related[0] + (1 - share) * alone[0]
    np.testing.assert_allclose(doubting.predict(matrix, np.zeros(4))[0], expected, atol=1e-6)
    np.testing.assert_array_equal(doubting.predict(matrix), alone)


def test_an_answer_with_a_history_may_count_in_part(tmp_path):
    whole, part = (
        models.load(tiny_bundle.make_relative(tmp_path / name, **card))
        for name, card in (("one", {}), ("two", {"history_share": 0.75}))
    )
    matrix = np.random.default_rng(0).normal(-30, 8, (9, whole._columns)).astype(np.float32)
    alone, related = whole.predict(matrix), whole.predict(matrix, np.zeros(9))
    found = part.predict(matrix, np.zeros(9))
    np.testing.assert_allclose(found, 0.75 * related + 0.25 * alone, atol=1e-6)
    np.testing.assert_array_equal(part.predict(matrix), alone)


@pytest.mark.parametrize("value", [[0.5], [0.5, 0.5], [0.6, 1.2], "much"])
def test_shares_that_are_none_are_refused(tmp_path, value):
    folder = tiny_bundle.make_relative(tmp_path / "m")
    edit_card(folder, history_doubted=value)
    with pytest.raises(BundleError, match=r"history_doubted=.* found, two shares from 0 to 1"):
        models.load(folder)


def test_a_network_without_the_history_s_inputs_is_refused(tiny):
    edit_card(tiny, channel_normalisation="history")
    with pytest.raises(BundleError, match=r"takes 193 numbers.*193, 1, 193, 193"):
        models.load(tiny)


def test_an_unknown_normalisation_is_refused(tiny):
    edit_card(tiny, channel_normalisation="magic")
    with pytest.raises(BundleError, match="'magic' found, 'history' or null expected"):
        models.load(tiny)
