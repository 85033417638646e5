"""One call as a picture: each channel's wave, its segments, and the emotions over time.

`draw` takes a call and its samples (or None where the audio is missing). It needs no display and no
pyplot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ser_core.emotions import NEGATIVE
from ser_core.errors import SerError
from ser_core.report import call_rows, call_story, style
from ser_core.report.call import Call, Segment
from ser_core.report.style import SOFT

MAX_CHANNELS = 8
_WIDTH_IN, _DPI = 12.0, 120
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 1.15, 0.3, 0.95, 0.95
# Letters of the lines at the top that there is room for.
_LONGEST_NAME, _LONGEST_HEADLINE = 50, 100


@style.styled()
def draw(call: Call, waves: np.ndarray | Sequence[np.ndarray | None] | None, rate: int) -> Figure:
    """Draw a call that was examined.

    Parameters
    ----------
    call : Call
        With 1 to 8 channels. Its quarters are drawn where it has any.
    waves : np.ndarray [shape=(channels, n)], sequence of np.ndarray [shape=(n,)], or None
        Samples, as `ser_core.audio.decode` gives them. A channel that is None is drawn by the
        levels of its segments.
    rate : int > 0
        Sample rate in Hz.

    Returns
    -------
    matplotlib.figure.Figure
        The headline, then one row per channel with its wave and, where it has segments, a row with
        the probabilities of the emotions. Negative emotions are lowest, and the black line on top
        of them is the negativity. Segments that are unsure are hatched.

    Raises
    ------
    SerError
        Values that do not fit together; the message names them.
    """
    segments = sorted(call.segments, key=lambda segment: (segment.channel, segment.start_s))
    per_channel = [None] * len(call.by_channel) if waves is None else list(waves)
    _check(call, per_channel, rate)

    drawn = _Drawn(call, per_channel, rate, segments)
    speaking = {segment.channel for segment in segments}
    rows = _layout(len(call.by_channel), speaking, bool(call.quarters))
    height_in = _TOP_IN + _BOTTOM_IN + sum(row.height_in + row.gap_in for row in rows)
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top_in = height_in - _TOP_IN
    for row in rows:
        ax = figure.add_axes(
            (
                _LEFT_IN / _WIDTH_IN,
                (top_in - row.height_in) / height_in,
                1.0 - (_LEFT_IN + _RIGHT_IN) / _WIDTH_IN,
                row.height_in / height_in,
            )
        )
        top_in -= row.height_in + row.gap_in
        _draw_row(ax, row, drawn)
    call_rows.draw_time_axis(ax, drawn.duration_s)
    _draw_legend(figure, drawn, height_in)
    _draw_head(figure, drawn, height_in)
    return figure


@dataclass(frozen=True)
class _Drawn:
    """Arguments of `draw`, checked; the segments in order."""

    call: Call
    waves: Sequence[np.ndarray | None]
    rate: int
    segments: Sequence[Segment]

    @property
    def duration_s(self) -> float:
        assert self.call.duration_s is not None
        return self.call.duration_s

    @property
    def palette(self) -> Mapping[str, str]:
        return style.emotion_colours(self.call.labels)

    @property
    def crowded(self) -> bool:
        return _is_crowded(len(self.call.by_channel))


@dataclass(frozen=True)
class _Row:
    """A row of the picture, and the gap below it; `kind` is wave, emotions or quarters."""

    kind: str
    channel: int
    height_in: float
    gap_in: float


def _is_crowded(channels: int) -> bool:
    return channels > 2


def _layout(channels: int, speaking: set[int], with_quarters: bool) -> list[_Row]:
    """Rows from top to bottom: each channel's wave, with its emotions where it has segments."""
    heights_in = (0.75, 0.55, 0.22) if _is_crowded(channels) else (1.35, 1.1, 0.26)
    wave_in, emotions_in, quarters_in = heights_in
    kinds: list[tuple[str, int, float]] = []
    for channel in range(channels):
        kinds.append(("wave", channel, wave_in))
        if channel in speaking:
            kinds.append(("emotions", channel, emotions_in))
    if with_quarters:
        kinds.append(("quarters", 0, quarters_in))
    gaps_in = [0.06 if kind == "emotions" else 0.2 for kind, _, _ in kinds[1:]]
    return [_Row(*row, gap_in) for row, gap_in in zip(kinds, [*gaps_in, 0.0], strict=True)]


def _draw_row(ax: Axes, row: _Row, drawn: _Drawn) -> None:
    call = drawn.call
    call_rows.draw_frame(ax, drawn.duration_s)
    segments = [segment for segment in drawn.segments if segment.channel == row.channel]
    if row.kind == "wave":
        call_rows.draw_wave(ax, drawn.waves[row.channel], drawn.rate, segments, drawn.palette)
        call_rows.draw_name(ax, call.by_channel[row.channel].role, f"channel {row.channel}")
        if not segments:
            text = "nothing labelled here" if call.segments else "no speech found"
            call_rows.draw_note(ax, text)
    elif row.kind == "emotions":
        call_rows.draw_emotions(ax, segments, call.labels, drawn.palette, drawn.duration_s)
        call_rows.draw_name(ax, "emotions", "" if drawn.crowded else "probability")
    else:
        call_rows.draw_quarters(ax, call.quarters, drawn.duration_s)
        call_rows.draw_name(ax, "negative", "")


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, PDF or SVG, by the path's extension.

    Raises
    ------
    SerError
        An extension that matplotlib cannot write.
    OSError
        A path that cannot be written to.
    """
    path = Path(path)
    known = figure.canvas.get_supported_filetypes()
    kind = path.suffix.lstrip(".").lower()
    if kind not in known:
        raise SerError(
            f"{path}: a picture's name ending in .png, .pdf or .svg expected, "
            f"{path.suffix or 'no extension'} found"
        )
    figure.savefig(path, format=kind, dpi=_DPI)


def _check(call: Call, waves: Sequence[np.ndarray | None], rate: int) -> None:
    channels = len(call.by_channel)
    if not 1 <= channels <= MAX_CHANNELS:
        raise SerError(f"{channels} channels found, 1 to {MAX_CHANNELS} can be drawn")
    if len(waves) != channels:
        raise SerError(f"{len(waves)} waves and {channels} channels found, one each expected")
    if not rate > 0:
        raise SerError(f"rate={rate} found, a number of Hz above 0 expected")
    if call.duration_s is None or not call.duration_s > 0:
        raise SerError(f"duration_s={call.duration_s} found, a number of seconds above 0 expected")
    if call.quarters and len(call.quarters) != 4:
        raise SerError(f"{len(call.quarters)} quarters found, 4 expected")
    for segment in call.segments:
        where = f"the segment at {segment.start_s:.2f} s"
        if not 0 <= segment.channel < channels:
            raise SerError(f"{where} is on channel {segment.channel} of {channels}")
        if len(segment.probabilities) != len(call.labels):
            raise SerError(
                f"{where} has {len(segment.probabilities)} probabilities, "
                f"{len(call.labels)} labels expected"
            )
        if segment.label not in call.labels:
            raise SerError(
                f"{where} is {segment.label!r}, one of {', '.join(call.labels)} expected"
            )


def _draw_legend(figure: Figure, drawn: _Drawn, height_in: float) -> None:
    call = drawn.call
    handles: list[Any] = [
        Patch(color=drawn.palette[label], label=label)
        for label in call_rows.negative_first(call.labels)
    ]
    if call.segments and any(label in NEGATIVE for label in call.labels):
        handles.append(Line2D([], [], color="black", linewidth=1.6, label="negativity"))
    if any(segment.unsure for segment in call.segments):
        handles.append(
            Patch(
                facecolor="white",
                edgecolor=SOFT,
                hatch=call_rows.HATCH,
                linewidth=0,
                label="unsure",
            )
        )
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=((_LEFT_IN - 0.1) / _WIDTH_IN, 0.12 / height_in),
        ncols=min(len(handles), 10),
        fontsize=8.5,
        handlelength=1.2,
        handleheight=1.0,
        columnspacing=1.6,
    )


def _draw_head(figure: Figure, drawn: _Drawn, height_in: float) -> None:
    """The headline, and below it which call it is."""
    call = drawn.call
    left = _LEFT_IN / _WIDTH_IN
    headline = call_story.headline(call)[:_LONGEST_HEADLINE]
    at: dict[str, Any] = {"va": "center", "parse_math": False}
    if call.label is not None and call.label in drawn.palette:
        colour = drawn.palette[call.label]
        figure.text(left, 1 - 0.28 / height_in, "■", fontsize=17, color=colour, va="center")
        left += 0.28 / _WIDTH_IN
    figure.text(left, 1 - 0.28 / height_in, headline, fontsize=14, fontweight="bold", **at)
    name = call.name
    if len(name) > _LONGEST_NAME:
        name = "…" + name[1 - _LONGEST_NAME :]
    parts = [name, *call_story.about(call)]
    if any(wave is None for wave in drawn.waves):
        parts.append(f"without its audio: bars are levels, {call_rows.FLOOR_DBFS:.0f} to 0 dBFS")
    if call.detail:
        parts.append(call.detail)
    figure.text(
        _LEFT_IN / _WIDTH_IN, 1 - 0.58 / height_in, "  ·  ".join(parts), fontsize=9.5,
        color="#444444", **at,
    )  # fmt: skip
