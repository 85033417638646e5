"""The two sides of many calls -> whether agents and customers look reversed.

Agents speak in many calls of a night, customers in one. So the agents' side holds the same voices
again and again: for most calls there is another with nearly the same long-term spectrum. If this
holds for the customers' side instead, the roles are probably the wrong way round.

A side's spectrum is the mean and the standard deviation of logarithmic band levels over its speech,
without its level. It is compared within a run and stored nowhere, but for a histogram of its tilt
over the calls of a run (`ser_core.tables.sketch`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

BANDS, BANDS_HZ = 24, (200.0, 3_500.0)
# With less speech than this, a side is not compared.
LEAST_S = 3.0

# Fewer calls than this give no warning; of more than this, a sample decides.
LEAST_CALLS, SAMPLE = 20, 300
# Principal components of the spectra.
COMPONENTS = 12
# Warn if the customers' nearest calls are nearer by this many standard errors, both as such and
# compared with all calls of their side. The first alone may be due to lines that differ less, the
# second to a single agent.
SURE = 4.0


@dataclass(frozen=True)
class Spectra:
    """The spectra of a call's agent and customer.

    Parameters
    ----------
    recording_id : str
    agent, customer : tuple of float
        As `spectrum` gives them.
    customer_first : bool
        Whether the customer speaks first.
    """

    recording_id: str
    agent: tuple[float, ...]
    customer: tuple[float, ...]
    customer_first: bool


@cache
def mel_bands(bins: int, bin_hz: float) -> np.ndarray:
    """Triangular bands of equal width in mel: float32 [bins, BANDS]."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in BANDS_HZ)
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hz = np.arange(bins)[:, None] * bin_hz
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def band_levels(magnitude: np.ndarray, bin_hz: float) -> np.ndarray:
    """Logarithmic band levels of frames: float16 [frames, BANDS].

    Parameters
    ----------
    magnitude : np.ndarray [shape=(frames, bins)]
    bin_hz : float
    """
    power = np.square(magnitude) @ mel_bands(magnitude.shape[1], bin_hz)
    return np.log(power + np.float32(1e-9)).astype(np.float16)


def spectrum(levels: np.ndarray) -> tuple[float, ...]:
    """Mean and standard deviation of band levels [frames, BANDS], without the mean level."""
    levels = levels.astype(np.float64)
    means = levels.mean(axis=0)
    values = np.concatenate([means - means.mean(), levels.std(axis=0)])
    return tuple(round(float(value), 3) for value in values)


def tilt(spectrum: Sequence[float]) -> float:
    """Slope of a spectrum, as `spectrum` gives it, in dB per octave."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in BANDS_HZ)
    centres = 700 * (10 ** (np.linspace(low, high, BANDS + 2)[1:-1] / 2595) - 1)
    octaves = np.log2(centres / centres[0])
    level_db = np.array(spectrum[:BANDS]) * 10 / np.log(10)
    return float(np.polyfit(octaves, level_db, 1)[0])


def sample(calls: Iterable[Spectra]) -> tuple[Spectra, ...]:
    """At most `SAMPLE` different calls, the same whatever their order: by their ids."""
    by_id = {call.recording_id: call for call in calls}
    return tuple(by_id[name] for name in sorted(by_id)[:SAMPLE])


def warning(calls: Sequence[Spectra]) -> str | None:
    """A warning, if the roles of most calls look reversed.

    Parameters
    ----------
    calls : sequence of Spectra
        As `sample` gives them.
    """
    if len(calls) < LEAST_CALLS:
        return None
    agents, customers = (
        np.array([getattr(call, side) for call in calls]) for side in ("agent", "customer")
    )
    if min(evidence(agents, customers)) < SURE:
        return None
    first = sum(call.customer_first for call in calls) / len(calls)
    return (
        f"agent and customer look reversed: in {len(calls):,} calls, the same voices return on the "
        f"customer's side and not on the agent's (the customer speaks first in {first:.0%}). "
        "Listen to a call; if so, swap --channel-roles and label these calls into a new output"
    )


def evidence(agents: np.ndarray, customers: np.ndarray) -> tuple[float, float]:
    """How much nearer the customers' nearest calls are than the agents', in standard errors.

    Parameters
    ----------
    agents, customers : np.ndarray [shape=(calls, values)]
        Spectra; calls >= 3.

    Returns
    -------
    tuple of float
        By their distance; by their distance over the median distance of a call to the others.
        Above 0 if the customers' are nearer.
    """
    both = np.concatenate([agents, customers])
    both = (both - both.mean(axis=0)) / (both.std(axis=0) + 1e-9)
    left, scales, _ = np.linalg.svd(both, full_matrices=False)
    # Half whitened: weak components may hold a voice, and also noise.
    points = (left * np.sqrt(scales))[:, :COMPONENTS]
    nearest, relative = [], []
    for side in (points[: len(agents)], points[len(agents) :]):
        distance = np.linalg.norm(side[:, None] - side[None], axis=2) + 1e-9
        np.fill_diagonal(distance, np.nan)
        nearest.append(np.log(np.nanmin(distance, axis=1)))
        relative.append(nearest[-1] - np.log(np.nanmedian(distance, axis=1)))
    return _standard_errors(nearest[0] - nearest[1]), _standard_errors(relative[0] - relative[1])


def _standard_errors(values: np.ndarray) -> float:
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values)) + 1e-9))
