"""Reversed roles are noticed by the voices that return, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_core import reversal, speech
from ser_core.reversal import Spectra
from tests.speechlike import call

VALUES = 2 * reversal.BANDS


def night(
    calls: int, agents: int, *, seed: int = 0, customers_differ: float = 1.0
) -> list[Spectra]:
    """Calls of so many agents; a voice differs from call to call by a third of what voices do."""
    random = np.random.default_rng(seed)
    voices = random.standard_normal((agents, VALUES))
    return [
        Spectra(
            f"{i:064x}",
            tuple(voices[i % agents] + 0.3 * random.standard_normal(VALUES)),
            tuple(customers_differ * random.standard_normal(VALUES)),
            customer_first=False,
        )
        for i in range(calls)
    ]


def swapped(calls: list[Spectra]) -> list[Spectra]:
    return [replace(sides, agent=sides.customer, customer=sides.agent) for sides in calls]


@pytest.mark.parametrize("agents", [2, 5, 20])
@pytest.mark.parametrize("calls", [60, 300])
def test_it_warns_when_reversed_and_only_then(calls, agents):
    right = night(calls, agents)
    assert reversal.warning(right) is None
    text = reversal.warning(swapped(right))
    assert text is not None
    assert f"in {calls} calls" in text
    assert "swap --channel-roles" in text


def test_few_calls_give_no_warning():
    calls = swapped(night(reversal.LEAST_CALLS, 2))
    assert reversal.warning(calls)
    assert reversal.warning(calls[:-1]) is None
    assert reversal.warning([]) is None


@pytest.mark.parametrize("agents", [1, 100])
@pytest.mark.parametrize("customers_differ", [0.2, 1.0, 3.0])
def test_one_agent_or_agents_who_do_not_return_give_no_warning(agents, customers_differ):
    """Also where customers' lines are more alike than agents' headsets, or less."""
    assert reversal.warning(night(100, agents, customers_differ=customers_differ)) is None


@given(st.permutations(range(400)))
def test_a_sample_is_the_same_whatever_the_order(order):
    calls = [Spectra(f"{i:064x}", (), (), customer_first=False) for i in range(400)]
    merged = [
        *reversal.sample([calls[i] for i in order[:250]]),
        *reversal.sample([calls[i] for i in order[250:]]),
    ]
    assert reversal.sample(merged) == reversal.sample(calls) == tuple(calls[: reversal.SAMPLE])


def test_equal_recordings_count_once():
    [same] = night(1, 1)
    assert reversal.sample([same] * 50) == (same,)


def test_a_spectrum_knows_the_line_but_not_the_level_or_the_blocks():
    samples = call([(0.5, 6, -20), (8, 14, -22)], 16)

    def spectrum(samples, size=80_000):
        finder = speech.Finder(8_000)
        for start in range(0, len(samples), size):
            finder.feed(samples[start : start + size])
        finder.feed(np.empty(0, np.float32), last=True)
        return finder.spectrum(finder.segments())

    own = np.array(spectrum(samples))
    assert own.shape == (VALUES,)
    np.testing.assert_array_equal(own, spectrum(samples, 777))
    np.testing.assert_allclose(own, spectrum(0.5 * samples), atol=0.1)
    filtered = np.convolve(samples, [1, -0.9], "same").astype(np.float32)
    assert np.abs(own - spectrum(filtered)).max() > 1
    assert speech.Finder(8_000).spectrum([]) is None
