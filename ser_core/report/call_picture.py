"""One call as a picture: each channel's wave, its segments, and the emotions over time.

`draw` takes plain values: samples (or None where the audio is missing), rows of the table
`segments`, and the verdict of the table `recordings`. It needs no display and no pyplot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from ser_core.report import call_rows, style
from ser_core.report.call_rows import Segment
from ser_core.report.style import SOFT

MAX_CHANNELS = 8
_WIDTH_IN, _DPI = 12.0, 120
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 1.15, 0.3, 0.95, 0.95
_LONGEST_TITLE = 100
_ARC = {
    "worse": "ends worse than it began",
    "better": "ends better than it began",
    "level": "no change from start to end",
}


@dataclass(frozen=True)
class Verdict:
    """Label of the whole call, from the table `recordings`."""

    label: str | None
    confidence: float | None
    unsure: bool | None = False
    arc: str | None = None


@style.styled()
def draw(
    waves: np.ndarray | Sequence[np.ndarray | None] | None,
    rate: int,
    roles: Sequence[str],
    segments: Iterable[Segment],
    *,
    title: str,
    labels: Sequence[str],
    duration_s: float,
    verdict: Verdict | None = None,
    quarters: Sequence[float | None] | None = None,
) -> Figure:
    """Draw a call.

    Parameters
    ----------
    waves : np.ndarray [shape=(channels, n)], sequence of np.ndarray [shape=(n,)], or None
        Samples, as `ser_core.audio.decode` gives them. A channel that is None is drawn by the
        levels of its segments.
    rate : int > 0
        Sample rate in Hz.
    roles : sequence of str
        One per channel, 1 to 8 channels.
    segments : iterable of Segment
        In any order; may be empty.
    title : str
        The recording's name.
    labels : sequence of str
        Labels of the model, in the order of `Segment.probabilities`.
    duration_s : float > 0
        Duration of the recording.
    verdict : Verdict, optional
        The recording's label, confidence and arc, for the line under the title.
    quarters : sequence of 4 floats or None, optional
        Negativity by quarter of the call, 0 to 1; None for a quarter without speech.

    Returns
    -------
    matplotlib.figure.Figure
        One row per channel with its wave and, where it has segments, a row with the probabilities
        of the emotions. Negative emotions are lowest, and the black line on top of them is the
        negativity. Segments that are unsure are hatched.

    Raises
    ------
    SerError
        Values that do not fit together; the message names them.
    """
    segments = sorted(segments, key=lambda segment: (segment.channel, segment.start_s))
    per_channel = [None] * len(roles) if waves is None else list(waves)
    _check(per_channel, rate, roles, segments, labels, duration_s, quarters)

    call = _Call(per_channel, rate, roles, segments, labels, duration_s, quarters or ())
    rows = _layout(len(roles), {segment.channel for segment in segments}, quarters is not None)
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
        _draw_row(ax, row, call)
    call_rows.draw_time_axis(ax, duration_s)
    _draw_legend(figure, call, height_in)
    _draw_head(figure, title, verdict, call, height_in)
    return figure


@dataclass(frozen=True)
class _Call:
    """Arguments of `draw`, checked."""

    waves: Sequence[np.ndarray | None]
    rate: int
    roles: Sequence[str]
    segments: Sequence[Segment]
    labels: Sequence[str]
    duration_s: float
    quarters: Sequence[float | None]

    @property
    def palette(self) -> Mapping[str, str]:
        return style.emotion_colours(self.labels)

    @property
    def crowded(self) -> bool:
        return _is_crowded(len(self.roles))


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


def _draw_row(ax: Axes, row: _Row, call: _Call) -> None:
    call_rows.draw_frame(ax, call.duration_s)
    segments = [segment for segment in call.segments if segment.channel == row.channel]
    if row.kind == "wave":
        call_rows.draw_wave(ax, call.waves[row.channel], call.rate, segments, call.palette)
        call_rows.draw_name(ax, call.roles[row.channel], f"channel {row.channel}")
        if not segments:
            text = "nothing labelled here" if call.segments else "no speech found"
            call_rows.draw_note(ax, text)
    elif row.kind == "emotions":
        call_rows.draw_emotions(ax, segments, call.labels, call.palette, call.duration_s)
        call_rows.draw_name(ax, "emotions", "" if call.crowded else "probability")
    else:
        call_rows.draw_quarters(ax, call.quarters, call.duration_s)
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


def _check(
    waves: Sequence[np.ndarray | None],
    rate: int,
    roles: Sequence[str],
    segments: Sequence[Segment],
    labels: Sequence[str],
    duration_s: float,
    quarters: Sequence[float | None] | None,
) -> None:
    if not 1 <= len(roles) <= MAX_CHANNELS:
        raise SerError(f"{len(roles)} roles found, 1 to {MAX_CHANNELS} channels can be drawn")
    if len(waves) != len(roles):
        raise SerError(f"{len(waves)} waves and {len(roles)} roles found, one each expected")
    if not rate > 0:
        raise SerError(f"rate={rate} found, a number of Hz above 0 expected")
    if not duration_s > 0:
        raise SerError(f"duration_s={duration_s} found, a number of seconds above 0 expected")
    if quarters is not None and len(quarters) != 4:
        raise SerError(f"{len(quarters)} quarters found, 4 expected")
    for segment in segments:
        where = f"the segment at {segment.start_s:.2f} s"
        if not 0 <= segment.channel < len(roles):
            raise SerError(f"{where} is on channel {segment.channel} of {len(roles)}")
        if len(segment.probabilities) != len(labels):
            raise SerError(
                f"{where} has {len(segment.probabilities)} probabilities, "
                f"{len(labels)} labels expected"
            )
        if segment.label not in labels:
            raise SerError(f"{where} is {segment.label!r}, one of {', '.join(labels)} expected")


def _draw_legend(figure: Figure, call: _Call, height_in: float) -> None:
    handles: list[Any] = [
        Patch(color=call.palette[label], label=label)
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


def _draw_head(
    figure: Figure, title: str, verdict: Verdict | None, call: _Call, height_in: float
) -> None:
    """The name of the call, and the verdict below it."""
    if len(title) > _LONGEST_TITLE:
        title = "…" + title[1 - _LONGEST_TITLE :]
    left, line_at = _LEFT_IN / _WIDTH_IN, 1.0 - 0.58 / height_in
    figure.text(
        left,
        1.0 - 0.28 / height_in,
        title,
        fontsize=13,
        fontweight="bold",
        va="center",
        parse_math=False,
    )
    if verdict is not None and verdict.label and verdict.label in call.palette:
        colour = call.palette[verdict.label]
        figure.text(left, line_at, "■", fontsize=15, color=colour, va="center")
        left += 0.25 / _WIDTH_IN
    figure.text(
        left,
        line_at,
        "  ·  ".join(_head_parts(verdict, call)),
        fontsize=10.5,
        color="#444444",
        va="center",
        parse_math=False,
    )


def _head_parts(verdict: Verdict | None, call: _Call) -> list[str]:
    parts = []
    if verdict is not None and verdict.label is not None:
        confidence = "" if verdict.confidence is None else f" {100 * verdict.confidence:.0f} %"
        parts.append(("unsure, perhaps " if verdict.unsure else "") + verdict.label + confidence)
        if verdict.arc is not None:
            parts.append(_ARC.get(verdict.arc, verdict.arc))
    elif verdict is not None:
        parts.append("no label")
    parts.append(call_rows.clock(call.duration_s))
    if any(wave is None for wave in call.waves):
        parts.append(f"without its audio: bars are levels, {call_rows.FLOOR_DBFS:.0f} to 0 dBFS")
    return parts
