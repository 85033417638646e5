"""A night whose roles are the wrong way round says so: in its lines and in the table `runs`."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.signal
import soundfile

from ser_core import reversal
from tests.speechlike import call

RATE = 8_000
AGENTS = 3


def sound_of(speaker: int, turns, seconds: float) -> np.ndarray:
    """A channel of a speaker, who has a pitch and a line of his own."""
    random = np.random.default_rng(speaker)
    line = scipy.signal.firwin2(65, np.linspace(0, 1, 9), 10 ** (random.uniform(-10, 10, 9) / 20))
    samples = call(turns, seconds, f0_hz=random.uniform(90, 230), noise_db=-70, seed=speaker)
    return np.clip(np.convolve(samples, line, "same"), -1, 1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for i in range(reversal.LEAST_CALLS):
        agent = sound_of(i % AGENTS, [(0.2, 3.7, -24)], 8)
        customer = sound_of(100 + i, [(4, 7.6, -24)], 8)
        path = folder / f"call_{i:02}.wav"
        soundfile.write(path, np.stack([agent, customer], axis=1), RATE, "PCM_16")
    return folder


@pytest.mark.parametrize("roles", ["agent,customer", "customer,agent"])
def test_reversed_roles_are_noticed(archive, ser_here, tmp_path, roles):
    words = ("extract", "--input", archive, "--output", tmp_path, "--feature-set", "test_simple")
    done = ser_here(*words, "--channel-roles", roles)
    assert done.returncode == 0, done.stderr
    [runs] = [pq.read_table(path) for path in tmp_path.glob("runs/**/*.parquet")]
    [warnings] = runs["warnings"].to_pylist()
    wrong = roles == "customer,agent"
    assert [text.startswith("agent and customer look reversed") for text in warnings] == [
        True
    ] * wrong
    assert (f"in {reversal.LEAST_CALLS} calls, the same voices return" in done.stdout) == wrong
    assert ("the customer speaks first in 100%" in done.stdout) == wrong
