"""The chart of a call's page: places and sizes of what the template draws as SVG.

Places along time are percentages of the call, so that the chart is as wide as the page and its
texts are not stretched. Heights are pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ser_core.emotions import NEGATIVE
from ser_core.report import style
from ser_core.report.call import Call, Channel, Segment, clock
from ser_core.report.call_rows import bar_height, negative_first, over_time, ticks
from ser_core.report.call_story import Level, levels
from ser_core.report.wave import envelope

# Columns of a wave: at least one for each pixel of most screens.
_COLUMNS = 1000
# Waves are scaled to fill their row, but line noise is not.
_LEAST_PEAK = 0.01
EMOTIONS_PX = 64.0
NEGATIVITY_PX = 72.0


@dataclass(frozen=True)
class Span:
    """A segment in the band above a wave; `number` is its place in the list of the page."""

    number: int
    left: str
    width: str
    segment: Segment
    title: str


@dataclass(frozen=True)
class Box:
    """A rectangle; `left` and `width` in percent, `top` and `height` in pixels."""

    left: str
    width: str
    top: str
    height: str


@dataclass(frozen=True)
class Side:
    """The rows of a channel.

    Parameters
    ----------
    channel : Channel
    spans : tuple of Span
    wave : str
        The outline, as the path of an SVG of 1,000 by 2; empty where the audio is missing.
    bars : tuple of Box
        Levels of the segments, where the audio is missing.
    emotions : mapping of str to tuple of Box
        By label, stacked, the negative ones lowest.
    negativity : tuple of Box
        One a segment; `top` is where its line lies.
    steps : tuple of (Box, Level)
        The levels of the headline.
    """

    channel: Channel
    spans: tuple[Span, ...]
    wave: str
    bars: tuple[Box, ...]
    emotions: Mapping[str, tuple[Box, ...]]
    negativity: tuple[Box, ...]
    steps: tuple[tuple[Box, Level], ...]


@dataclass(frozen=True)
class Tick:
    """A time on the axis; `is_minor` is left out on phones, `anchor` is SVG's `text-anchor`."""

    left: str
    text: str
    is_minor: bool
    anchor: str


def in_order(call: Call) -> list[Segment]:
    """The segments by time, as the page lists and numbers them."""
    return sorted(call.segments, key=lambda segment: (segment.start_s, segment.channel))


def sides(call: Call, waves: np.ndarray | None) -> list[Side]:
    """The rows of each channel of a call that was examined.

    Parameters
    ----------
    call : Call
    waves : np.ndarray [shape=(channels, n)], or None
        None where the audio is missing.
    """
    listed = in_order(call)
    numbers = {id(segment): number for number, segment in enumerate(listed)}
    peak = _LEAST_PEAK if waves is None else max(_LEAST_PEAK, float(np.abs(waves).max(initial=0)))
    found = []
    for row, channel in enumerate(call.by_channel):
        own = [segment for segment in listed if segment.channel == channel.channel]
        wave = "" if waves is None or row >= len(waves) else _outline(waves[row] / peak)
        spans = tuple(_span(numbers[id(segment)], segment, call) for segment in own)
        steps = tuple((_step(level, call), level) for level in levels(own, call.labels))
        found.append(
            Side(
                channel,
                spans,
                wave,
                () if wave else tuple(_bar(segment, call) for segment in own),
                _emotions(own, call),
                tuple(_negativity(segment, call) for segment in own),
                steps,
            )
        )
    return found


def axis(duration_s: float) -> list[Tick]:
    """Times at a round distance."""
    with_hours = duration_s >= 3600
    return [
        Tick(
            _percent(seconds, duration_s),
            clock(seconds, with_hours=with_hours),
            bool(number % 2),
            "start" if number == 0 else "end" if seconds > 0.97 * duration_s else "middle",
        )
        for number, seconds in enumerate(ticks(duration_s))
    ]


def colours(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Fill and ink of each label, negative ones first."""
    palette = style.emotion_colours(labels)
    return {label: (palette[label], _ink_on(palette[label])) for label in negative_first(labels)}


def _ink_on(colour: str) -> str:
    """Black or white, whichever can be read better (WCAG 2.2, relative luminance)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def _percent(seconds: float, duration_s: float) -> str:
    return f"{min(100.0, 100.0 * seconds / duration_s):.3f}%"


def _place(start_s: float, end_s: float, duration_s: float) -> tuple[str, str]:
    return _percent(start_s, duration_s), _percent(end_s - start_s, duration_s)


def _duration_s(call: Call) -> float:
    return call.duration_s or 1.0


def _span(number: int, segment: Segment, call: Call) -> Span:
    left, width = _place(segment.start_s, segment.end_s, _duration_s(call))
    unsure = "unsure, perhaps " if segment.unsure else ""
    title = (
        f"{clock(segment.start_s)} to {clock(segment.end_s)}, {segment.role}: "
        f"{unsure}{segment.label} {100 * segment.confidence:.0f} %, "
        f"negativity {100 * segment.negativity(call.labels):.0f} %"
    )
    return Span(number, left, width, segment, title)


def _outline(wave: np.ndarray) -> str:
    """The extremes of a wave as a closed path, 1,000 wide, from -1 (top) to 1."""
    low, high = envelope(wave, _COLUMNS)
    x = np.arange(len(low)) * (1000.0 / max(1, len(low)))
    upper = [f"{at:g} {-value:.3g}" for at, value in zip(x, high, strict=True)]
    lower = [f"{at:g} {-value:.3g}" for at, value in zip(x[::-1], low[::-1], strict=True)]
    return f"M{'L'.join([*upper, *lower])}Z" if len(low) else ""


def _bar(segment: Segment, call: Call) -> Box:
    """A segment's level, from -60 to 0 dBFS; heights are percent of the row."""
    height = 100.0 * bar_height(segment.rms_db)
    left, width = _place(segment.start_s, segment.end_s, _duration_s(call))
    return Box(left, width, f"{50 - height / 2:.1f}%", f"{height:.1f}%")


def _emotions(segments: Sequence[Segment], call: Call) -> dict[str, tuple[Box, ...]]:
    if not segments or not call.labels:
        return {}
    starts, ends, probabilities = over_time(segments, _duration_s(call))
    bottom = np.zeros(len(starts))
    found = {}
    for label in negative_first(call.labels):
        heights = probabilities[:, call.labels.index(label)]
        found[label] = tuple(
            Box(
                *_place(start_s, end_s, _duration_s(call)),
                f"{EMOTIONS_PX * (1.0 - below - height):.2f}",
                f"{EMOTIONS_PX * height:.2f}",
            )
            for start_s, end_s, below, height in zip(starts, ends, bottom, heights, strict=True)
        )
        bottom = bottom + heights
    return found


def _negativity(segment: Segment, call: Call) -> Box:
    height = NEGATIVITY_PX * segment.negativity(call.labels)
    left, width = _place(segment.start_s, segment.end_s, _duration_s(call))
    return Box(left, width, f"{NEGATIVITY_PX - height:.2f}", f"{height:.2f}")


def _step(level: Level, call: Call) -> Box:
    height = NEGATIVITY_PX * level.negativity
    left, width = _place(level.start_s, level.end_s, _duration_s(call))
    return Box(left, width, f"{NEGATIVITY_PX - height:.2f}", f"{height:.2f}")


def has_negative(call: Call) -> bool:
    """Whether a label of the model is negative."""
    return any(label in NEGATIVE for label in call.labels)
