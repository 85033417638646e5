"""The rows of a call's picture: a channel's wave, its emotions, the quarters, the axis of time.

Each function draws into axes that are as wide as the recording is long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from ser_core.emotions import NEGATIVE
from ser_core.report.call import Segment, clock
from ser_core.report.style import FAINT, INK, SOFT, WAVE
from ser_core.report.wave import envelope

FLOOR_DBFS = -60.0  # the level at which a bar has no height
HATCH = "/////"  # of unsure segments
_WAVE_COLUMNS = 1400  # about one per pixel
_MAX_SEGMENTS = 300  # more segments are averaged into this many columns
_LEAST_PEAK = 0.01  # waves are scaled to fill their row, but line noise is not
_BAR = "#7C828C"
_TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def draw_frame(ax: Axes, duration_s: float) -> None:
    """Empty row: no box, faint lines at the ticks of time."""
    ax.set_xlim(0.0, duration_s)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(FixedLocator(ticks(duration_s)))
    ax.tick_params(axis="x", length=0, labelbottom=False)
    ax.grid(axis="x", color=FAINT, linewidth=0.7)
    ax.set_axisbelow(True)
    for spine in ax.spines.values():
        spine.set_visible(False)


def draw_name(ax: Axes, name: str, below: str) -> None:
    """Name of a row at its left, with a smaller line below it."""
    ax.annotate(
        name,
        (0.0, 0.5),
        (-10, 5 if below else 0),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=10,
        color=INK,
        parse_math=False,
    )
    ax.annotate(
        below,
        (0.0, 0.5),
        (-10, -8),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=7.5,
        color=SOFT,
    )


def draw_note(ax: Axes, text: str) -> None:
    """Remark in the upper right corner of a row."""
    ax.annotate(
        text,
        (1.0, 1.0),
        (-4, -3),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
        style="italic",
        color=SOFT,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
    )


def draw_wave(
    ax: Axes,
    wave: np.ndarray | None,
    rate: int,
    segments: Sequence[Segment],
    palette: Mapping[str, str],
) -> None:
    """Wave from -1 to 1, and a band with the segments' labels above it."""
    ax.set_ylim(-1.08, 1.62)
    ax.axhline(0.0, color=WAVE, linewidth=0.6)
    hatched = len(segments) <= _MAX_SEGMENTS  # hatches of many thin segments could not be seen
    for label, colour in palette.items():
        for unsure in (False, True):
            own = [s for s in segments if s.label == label and bool(s.unsure) is unsure]
            spans = [(s.start_s, s.end_s - s.start_s) for s in own]
            shade = {"facecolor": "#EEEEEE"} if unsure else {"facecolor": colour, "alpha": 0.22}
            ax.broken_barh(spans, (-1.08, 2.3), linewidth=0, zorder=1, **shade)
            band: dict = {"facecolor": colour}
            if unsure and hatched:
                band = {"facecolor": "white", "edgecolor": colour, "hatch": HATCH}
            elif unsure:
                band["alpha"] = 0.35
            ax.broken_barh(spans, (1.22, 0.4), linewidth=0, zorder=3, **band)
    for segment in segments:
        _name_segment(ax, segment, palette[segment.label])

    if wave is None:
        heights = np.array([bar_height(segment.rms_db) for segment in segments])
        starts = np.array([segment.start_s for segment in segments])
        widths = np.array([segment.end_s for segment in segments]) - starts
        ax.bar(starts, 2 * heights, widths, -heights, align="edge", color=_BAR, zorder=2)
        return
    low, high = envelope(wave, _WAVE_COLUMNS)
    peak = float(np.abs([low, high]).max(initial=_LEAST_PEAK))
    seconds = (np.arange(len(low)) + 0.5) * (len(wave) / rate / max(len(low), 1))
    ax.fill_between(seconds, low / peak, high / peak, color=WAVE, linewidth=0.3, zorder=2)


def bar_height(rms_db: float | None) -> float:
    """Height of a level in dBFS, 0.03 to 1; 0.03 for no level."""
    if rms_db is None:
        return 0.03
    return float(np.clip(1.0 - rms_db / FLOOR_DBFS, 0.03, 1.0))


def _name_segment(ax: Axes, segment: Segment, colour: str) -> None:
    """Write a segment's label into the band, where it fits."""
    left, right = ax.get_xlim()
    width_in = (segment.end_s - segment.start_s) / (right - left) * ax.bbox.width / ax.figure.dpi
    width_pt = width_in * 72.0
    long = f"{segment.label} {100 * segment.confidence:.0f} %"
    for text in (long, segment.label):
        if 4.7 * len(text) + 4.0 < width_pt:
            break
    else:
        return
    red, green, blue = (int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5))
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8} if segment.unsure else None
    ax.text(
        (segment.start_s + segment.end_s) / 2.0,
        1.41,
        text,
        ha="center",
        va="center_baseline",
        fontsize=7.5,
        color="white" if dark and not segment.unsure else INK,
        bbox=box,
        zorder=4,
        parse_math=False,
    )


def draw_emotions(
    ax: Axes,
    segments: Sequence[Segment],
    labels: Sequence[str],
    palette: Mapping[str, str],
    duration_s: float,
) -> None:
    """Stacked probabilities, negative emotions lowest; the line on top of them is negativity."""
    ax.set_ylim(0.0, 1.0)
    ax.set_yticks([0.0, 0.5, 1.0], ["0", "", "1"], fontsize=7, color=SOFT)
    ax.tick_params(axis="y", length=0, pad=2)
    starts, ends, probabilities = over_time(segments, duration_s)
    bottom = np.zeros(len(starts))
    for label in negative_first(labels):
        heights = probabilities[:, list(labels).index(label)]
        ax.bar(
            starts,
            heights,
            ends - starts,
            bottom,
            align="edge",
            color=palette[label],
            linewidth=0,
            zorder=2,
        )
        bottom = bottom + heights
    negative = probabilities[:, [label in NEGATIVE for label in labels]].sum(axis=1)
    if any(label in NEGATIVE for label in labels):
        ax.hlines(negative, starts, ends, color="black", linewidth=1.6, zorder=3)


def over_time(
    segments: Sequence[Segment], duration_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, ends and probabilities of the segments, averaged by time where there are many."""
    starts = np.array([segment.start_s for segment in segments])
    ends = np.array([segment.end_s for segment in segments])
    probabilities = np.array([segment.probabilities for segment in segments], dtype=np.float64)
    if len(segments) <= _MAX_SEGMENTS:
        return starts, ends, probabilities
    edges = np.linspace(0.0, max(duration_s, ends.max()), _MAX_SEGMENTS + 1)
    low, high = edges[:-1, None], edges[1:, None]
    seconds = np.clip(np.minimum(ends, high) - np.maximum(starts, low), 0.0, None)
    spoken = seconds.sum(axis=1) > 0
    seconds = seconds[spoken]
    mean = seconds @ probabilities / seconds.sum(axis=1, keepdims=True)
    return edges[:-1][spoken], edges[1:][spoken], mean


def draw_quarters(ax: Axes, quarters: Sequence[float | None], duration_s: float) -> None:
    """Four cells; darker ones are more negative."""
    ax.set_ylim(0.0, 1.0)
    ax.grid(False)
    width = duration_s / len(quarters)
    for index, value in enumerate(quarters):
        alpha = 0.0 if value is None else 0.06 + 0.6 * float(value)
        ax.bar(
            index * width,
            1.0,
            width,
            align="edge",
            facecolor=(0.70, 0.09, 0.17, alpha),
            edgecolor="white" if value is not None else "#DDDDDD",
            linewidth=2.0 if value is not None else 0.8,
        )
        ax.text(
            (index + 0.5) * width,
            0.48,
            "no speech" if value is None else f"{100 * value:.0f} %",
            ha="center",
            va="center",
            fontsize=8.5,
            color=SOFT if value is None else INK,
        )


def negative_first(labels: Sequence[str]) -> list[str]:
    """Labels in the order in which they are stacked."""
    return sorted(labels, key=lambda label: label not in NEGATIVE)


def ticks(duration_s: float) -> list[float]:
    """Times at a round distance, at most 13."""
    step = next((step for step in _TICKS_S if duration_s / step <= 12), _TICKS_S[-1])
    return np.arange(0.0, duration_s + 1e-6, step).tolist()


def draw_time_axis(ax: Axes, duration_s: float) -> None:
    """Times below the last row."""
    ax.tick_params(axis="x", length=3, labelbottom=True, labelsize=8, colors="#555555")
    with_hours = duration_s >= 3600
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda seconds, _: clock(seconds, with_hours=with_hours))
    )
