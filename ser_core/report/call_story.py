"""What happened in a call, in one line: the headline of its page and of its picture.

The headline says how negativity went, and what the model takes the call for. How it went is a step
function with at most two steps, fitted to the negativity of the customer's segments (`levels`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ser_core.emotions import ARC_CHANGE, NEGATIVE
from ser_core.report.call import Call, Segment, clock

# By how much the negativity of neighbouring segments differs without a change of mood (standard
# deviation), and the seconds of speech that count as one observation.
NOISE, OBSERVATION_S = 0.2, 3.0
# Speech that a level needs.
LEAST_S = 2.5
# Steps are sought between so many groups of segments at most.
_MAX_SEGMENTS = 400


@dataclass(frozen=True)
class Level:
    """A part of a call, and its mean negativity (0 to 1), weighted by speech."""

    start_s: float
    end_s: float
    negativity: float


def headline(call: Call) -> str:
    """The call in one line.

    Examples
    --------
    >>> headline(Call("/a.wav", "rejected", reason="too_long"))
    'Rejected: too long'
    """
    if call.status == "rejected":
        return f"Rejected: {(call.reason or 'unknown').replace('_', ' ')}"
    if call.status == "no_speech":
        return "No speech to label"
    if not call.segments or call.label is None:
        return "Not labelled yet"
    found = told_levels(call)
    story, verdict = describe(found), _verdict(call, changes=len(found) > 1)
    line = f"{story}; {verdict}" if story else verdict
    return line[0].upper() + line[1:]


def _verdict(call: Call, *, changes: bool) -> str:
    if call.unsure:
        return f"unsure, perhaps {call.label}"
    sure = "" if call.confidence is None else f" ({100 * call.confidence:.0f} %)"
    return f"{'on the whole ' if changes else ''}{call.label}{sure}"


def about(call: Call) -> list[str]:
    """What call it is: its fields, its time, its length, its model."""
    fields = [f"{name.replace('_', ' ')} {value}" for name, value in call.meta.items() if value]
    time = [] if call.call_time is None else [f"{call.call_time:%Y-%m-%d %H:%M} UTC"]
    length = [] if not call.duration_s else [f"{clock(round(call.duration_s))} long"]
    model = [f"model {call.model_id}"] if call.model_id else []
    return [*fields, *time, *length, *model]


def remarks(call: Call) -> list[str]:
    """What a listener should know before believing the headline."""
    found = []
    if call.detail:
        found.append(f"{call.detail[0].upper()}{call.detail[1:]}.")
    if call.unsure:
        found.append(
            f"The model is unsure: {100 * (call.confidence or 0):.0f} % for {call.label} is below "
            "its threshold. Listen before you judge."
        )
    if any(channel.role == "mixed" and channel.analysed for channel in call.by_channel):
        found.append("Both sides may be on one channel, so a label may be the agent's.")
    if call.unusable_segments:
        found.append(
            f"{call.unusable_segments:,} rows of the table `segments` contradict the row of the "
            "call or lack a value, and are left out; `ser check` tells whether the output is whole."
        )
    if (call.music_s or 0) >= 1:
        found.append(f"{call.music_s:.0f} s of hold music, tones or noise are left out.")
    if (call.crosstalk_s or 0) >= 1:
        found.append(f"{call.crosstalk_s:.0f} s that leaked in from another side are left out.")
    return found


def told_levels(call: Call) -> tuple[Level, ...]:
    """The levels of the customer's negativity; of all segments where no role is `customer`."""
    own = [segment for segment in call.segments if segment.role == "customer"]
    return levels(own or call.segments, call.labels)


def levels(segments: Sequence[Segment], labels: Sequence[str]) -> tuple[Level, ...]:
    """One to three levels of negativity, in the order of time; none without negative labels.

    Parameters
    ----------
    segments : sequence of Segment
        In any order.
    labels : sequence of str

    Returns
    -------
    tuple of Level
        Neighbours differ by more than `ARC_CHANGE`. Of three, the first and the last have the same
        negativity, the mean of both: they are one mood, interrupted.

    Notes
    -----
    Least squares with a cost for each step, as in the Schwarz criterion (Yao 1988, "Estimating the
    number of change-points via Schwarz' criterion", Statistics & Probability Letters 6), with
    Gaussian noise of the standard deviation `NOISE` for each `OBSERVATION_S` of speech.
    """
    if not segments or not any(label in NEGATIVE for label in labels):
        return ()
    segments = sorted(segments, key=lambda segment: segment.start_s)
    values = np.array([segment.negativity(labels) for segment in segments])
    seconds = np.array([segment.end_s - segment.start_s for segment in segments])
    count = min(len(values), _MAX_SEGMENTS)
    edges = np.append(np.arange(count) * len(values) // count, len(values))
    spoken = np.concatenate([[0.0], np.cumsum(seconds)])
    summed = np.concatenate([[0.0], np.cumsum(seconds * values)])
    cuts = _best_cuts(spoken[edges], summed[edges])
    bounds = [0, *edges[list(cuts)], len(values)]
    means = [
        (summed[high] - summed[low]) / (spoken[high] - spoken[low])
        for low, high in pairwise(bounds)
    ]
    if len(means) == 3:
        outer_s = spoken[bounds[1]] + spoken[-1] - spoken[bounds[2]]
        outer = (summed[bounds[1]] + summed[-1] - summed[bounds[2]]) / outer_s
        means[0] = means[2] = outer
    ends = [max(segment.end_s for segment in segments[:high]) for high in bounds[1:]]
    return tuple(
        Level(segments[low].start_s, end_s, float(mean))
        for low, end_s, mean in zip(bounds[:-1], ends, means, strict=True)
    )


def _best_cuts(spoken: np.ndarray, summed: np.ndarray) -> tuple[int, ...]:
    """Where steps are worth their cost: indices of `spoken`, which are edges of segments.

    Parameters
    ----------
    spoken, summed : np.ndarray [shape=(n + 1,)]
        Seconds, and seconds times negativity, up to each edge.
    """
    count = len(spoken) - 1
    cost = 2.0 * np.log(count + 1) + 2.0
    scale = OBSERVATION_S * NOISE**2
    best: tuple[float, tuple[int, ...]] = (summed[-1] ** 2 / spoken[-1] / scale, ())
    inner = np.arange(1, count)
    if not len(inner):
        return ()
    # One step: what the squares gain is the sum of (sum of a part)² / (seconds of the part).
    left_s, right_s = spoken[inner], spoken[-1] - spoken[inner]
    left, right = summed[inner] / left_s, (summed[-1] - summed[inner]) / right_s
    gain = (left**2 * left_s + right**2 * right_s) / scale - cost
    gain[(np.minimum(left_s, right_s) < LEAST_S) | (abs(left - right) <= ARC_CHANGE)] = -np.inf
    if (top := gain.max()) > best[0]:
        best = (top, (int(inner[gain.argmax()]),))
    # Two steps: a stretch that differs from what is around it.
    inside_s = spoken[None, :] - spoken[:, None]
    outside_s = spoken[-1] - inside_s
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (summed[None, :] - summed[:, None]) / inside_s
        outside = (summed[-1] - (summed[None, :] - summed[:, None])) / outside_s
        gain = (inside**2 * inside_s + outside**2 * outside_s) / scale - 2.0 * cost
    low, high = np.indices(gain.shape)
    before_s, after_s = np.broadcast_arrays(spoken[:, None], (spoken[-1] - spoken)[None, :])
    allowed = (low >= 1) & (high <= count - 1) & (high > low)
    allowed &= (np.minimum(before_s, after_s) >= LEAST_S) & (inside_s >= LEAST_S)
    allowed &= abs(np.where(allowed, inside - outside, 0.0)) > ARC_CHANGE
    gain = np.where(allowed, gain, -np.inf)
    if gain.max() > best[0]:
        best = (gain.max(), tuple(int(i) for i in np.unravel_index(gain.argmax(), gain.shape)))
    return best[1]


def describe(found: Sequence[Level]) -> str:
    """How negativity went, in words; empty where no label is negative.

    Examples
    --------
    >>> describe([Level(0, 70, 0.08), Level(77, 150, 0.67)])
    'negativity from 8 to 67 % at 1:17'
    >>> describe([Level(0, 40, 0.1), Level(42.2, 70.4, 0.7), Level(75, 90, 0.1)])
    'negativity 70 % from 0:42 to 1:10, else 10 %'
    """
    shares = [f"{100 * level.negativity:.0f}" for level in found]
    if len(found) == 2:
        return f"negativity from {shares[0]} to {shares[1]} % at {_at(found[1].start_s)}"
    if len(found) == 3:
        start, end = _at(found[1].start_s), _at(found[1].end_s)
        return f"negativity {shares[1]} % from {start} to {end}, else {shares[0]} %"
    return f"negativity {shares[0]} % throughout" if found else ""


def _at(seconds: float) -> str:
    """A time in whole seconds."""
    return clock(int(seconds))
