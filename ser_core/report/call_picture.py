"""One call as a picture: each channel's wave, its segments, and the emotions over time.

`draw` takes plain values: samples (or none, when the audio is gone), the rows of the table
`segments`, and what `recordings` says of the whole. It needs no display and no pyplot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter

from ser_core.emotions import NEGATIVE
from ser_core.errors import SerError

# Okabe & Ito (2008), told apart with every kind of colour vision; grey stands for neutral.
_COLOURS = {
    "neutral": "#9A9A9A",
    "calm": "#56B4E9",
    "happy": "#E69F00",
    "sad": "#0072B2",
    "angry": "#D55E00",
    "fearful": "#CC79A7",
    "disgust": "#009E73",
    "surprised": "#F0E442",
}
# Any other label takes the next of these (Tol's "muted"), in alphabetical order.
_OTHER_COLOURS = ("#882255", "#44AA99", "#332288", "#999933", "#AA4499", "#117733", "#DDCC77")

MAX_CHANNELS = 8
_WIDTH_IN, _DPI = 12.0, 120
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 1.15, 0.3, 0.95, 0.95
_WAVE_COLUMNS = 1400  # about one a pixel
_MAX_SEGMENTS = 300  # more are averaged into as many columns of time
_FLOOR_DBFS = -60.0  # the level at which a bar has no height
_LEAST_PEAK = 0.01  # a channel's wave fills its row, but line noise does not
_INK, _FAINT, _WAVE, _BAR = "#222222", "#8A8A8A", "#3C4048", "#7C828C"
_ARC = {
    "worse": "ends worse than it began",
    "better": "ends better than it began",
    "level": "no change from start to end",
}
_TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


@dataclass(frozen=True)
class Segment:
    """A stretch of speech to draw, as in a row of the table `segments`.

    `probabilities` has a value for each label; `rms_db` (dBFS) is needed only where the
    audio is gone.
    """

    channel: int
    role: str
    start_s: float
    end_s: float
    label: str
    confidence: float
    unsure: bool
    probabilities: Sequence[float]
    rms_db: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What the table `recordings` says of the call as a whole."""

    label: str | None
    confidence: float | None
    unsure: bool | None = False
    arc: str | None = None


def colours(labels: Iterable[str]) -> dict[str, str]:
    """The colour of each label: fixed for RAVDESS's eight, the next free one for others."""
    labels = list(labels)
    others = sorted({label for label in labels if label not in _COLOURS})
    extra = {label: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, label in enumerate(others)}
    return {label: _COLOURS.get(label) or extra[label] for label in labels}


def envelope(samples: np.ndarray, columns: int = _WAVE_COLUMNS) -> np.ndarray:
    """The lowest and the highest sample in each of `columns` equal stretches.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
    columns : int > 0
        Fewer come back where there are fewer samples.

    Returns
    -------
    np.ndarray [shape=(2, min(n, columns))]
    """
    samples = np.asarray(samples)
    columns = min(columns, len(samples))
    if columns == 0:
        return np.zeros((2, 0), np.float32)
    first = np.arange(columns) * len(samples) // columns
    return np.stack([np.minimum.reduceat(samples, first), np.maximum.reduceat(samples, first)])


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
        The samples, as `ser_core.audio.decode` gives them. A channel that is None, or all
        of them, is drawn by its segments' levels.
    rate : int > 0
        Sample rate in Hz.
    roles : sequence of str
        One a channel, 1 to 8.
    segments : iterable of Segment
        In any order; none is fine.
    title : str
        The recording's name.
    labels : sequence of str
        The model's, in the order of `Segment.probabilities`.
    duration_s : float > 0
        Of the recording.
    verdict : Verdict, optional
        The recording's label, confidence and arc, for the line under the title.
    quarters : sequence of 4 floats or None, optional
        Negativity by quarter of the call, 0 to 1; None for a quarter without speech.

    Returns
    -------
    matplotlib.figure.Figure
        Each channel that has segments has a wave and, below, the probabilities of the
        emotions, negative ones lowest, so that the black line on top of them is the
        negativity. Segments below the bundle's threshold are hatched.

    Raises
    ------
    SerError
        Values that do not belong together: the message names them.
    """
    segments = sorted(segments, key=lambda segment: (segment.channel, segment.start_s))
    per_channel = [None] * len(roles) if waves is None else list(waves)
    _check(per_channel, rate, roles, segments, labels, duration_s, quarters)

    crowd = len(roles) > 2
    wave_in, emotions_in, strip_in = (0.75, 0.55, 0.22) if crowd else (1.35, 1.1, 0.26)
    spoken = {segment.channel for segment in segments}
    rows: list[tuple[str, int, float]] = []  # what, channel, inches
    for channel in range(len(roles)):
        rows.append(("wave", channel, wave_in))
        if channel in spoken:
            rows.append(("emotions", channel, emotions_in))
    if quarters is not None:
        rows.append(("quarters", 0, strip_in))
    gaps = [0.06 if row[0] == "emotions" else 0.2 for row in rows[1:]]

    height_in = _TOP_IN + _BOTTOM_IN + sum(row[2] for row in rows) + sum(gaps)
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    palette = colours(labels)
    top_in = height_in - _TOP_IN
    with rc_context({"hatch.linewidth": 1.4}):
        for (what, channel, row_in), gap_in in zip(rows, [*gaps, 0.0], strict=True):
            ax = figure.add_axes(
                (
                    _LEFT_IN / _WIDTH_IN,
                    (top_in - row_in) / height_in,
                    1.0 - (_LEFT_IN + _RIGHT_IN) / _WIDTH_IN,
                    row_in / height_in,
                )
            )
            top_in -= row_in + gap_in
            _frame(ax, duration_s)
            own = [segment for segment in segments if segment.channel == channel]
            if what == "wave":
                _draw_wave(ax, per_channel[channel], rate, own, palette)
                _name_row(ax, roles[channel], f"channel {channel}")
                if not own:
                    _note(ax, "nothing labelled here" if segments else "no speech found")
            elif what == "emotions":
                _draw_emotions(ax, own, labels, palette, duration_s)
                _name_row(ax, "emotions", "" if crowd else "probability")
            else:
                _draw_quarters(ax, quarters or (), duration_s)
                _name_row(ax, "negative", "")
        _time_axis(ax, duration_s)
        _legend(figure, segments, labels, palette, height_in)
        silent = any(wave is None for wave in per_channel)
        _head(figure, title, verdict, duration_s, palette, height_in, silent)
    return figure


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


def _check(waves, rate, roles, segments, labels, duration_s, quarters) -> None:
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


def _frame(ax: Axes, duration_s: float) -> None:
    """An empty row: no box, faint lines at the ticks of time."""
    ax.set_xlim(0.0, duration_s)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(FixedLocator(_ticks(duration_s)))
    ax.tick_params(axis="x", length=0, labelbottom=False)
    ax.grid(axis="x", color="#E4E4E4", linewidth=0.7)
    ax.set_axisbelow(True)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _name_row(ax: Axes, name: str, below: str) -> None:
    ax.annotate(
        name,
        (0.0, 0.5),
        (-10, 5 if below else 0),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=10,
        color=_INK,
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
        color=_FAINT,
    )


def _note(ax: Axes, text: str) -> None:
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
        color=_FAINT,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
    )


def _draw_wave(ax, wave, rate, segments, palette) -> None:
    """The wave from -1 to 1, over it a band with the segments' labels."""
    ax.set_ylim(-1.08, 1.62)
    ax.axhline(0.0, color=_WAVE, linewidth=0.6)
    hatched = len(segments) <= _MAX_SEGMENTS  # thinner ones would show a stripe or none
    for label, colour in palette.items():
        for unsure in (False, True):
            own = [s for s in segments if s.label == label and bool(s.unsure) is unsure]
            spans = [(s.start_s, s.end_s - s.start_s) for s in own]
            shade = {"facecolor": "#EEEEEE"} if unsure else {"facecolor": colour, "alpha": 0.22}
            ax.broken_barh(spans, (-1.08, 2.3), linewidth=0, zorder=1, **shade)
            band: dict = {"facecolor": colour}
            if unsure and hatched:
                band = {"facecolor": "white", "edgecolor": colour, "hatch": "/////"}
            elif unsure:
                band["alpha"] = 0.35
            ax.broken_barh(spans, (1.22, 0.4), linewidth=0, zorder=3, **band)
    for segment in segments:
        _name_segment(ax, segment, palette[segment.label])

    if wave is None:
        heights = np.array([_bar_height(segment.rms_db) for segment in segments])
        starts = np.array([segment.start_s for segment in segments])
        widths = np.array([segment.end_s for segment in segments]) - starts
        ax.bar(starts, 2 * heights, widths, -heights, align="edge", color=_BAR, zorder=2)
        return
    low, high = envelope(wave)
    peak = float(np.abs([low, high]).max(initial=_LEAST_PEAK))
    seconds = (np.arange(len(low)) + 0.5) * (len(wave) / rate / max(len(low), 1))
    ax.fill_between(seconds, low / peak, high / peak, color=_WAVE, linewidth=0.3, zorder=2)


def _bar_height(rms_db: float | None) -> float:
    """A level in dBFS as 0.03 to 1; no level as the least."""
    if rms_db is None:
        return 0.03
    return float(np.clip(1.0 - rms_db / _FLOOR_DBFS, 0.03, 1.0))


def _name_segment(ax: Axes, segment: Segment, colour: str) -> None:
    """Write the label into the band where it fits."""
    left, right = ax.get_xlim()
    width_pt = (segment.end_s - segment.start_s) / (right - left) * ax.bbox.width / _DPI * 72.0
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
        color="white" if dark and not segment.unsure else _INK,
        bbox=box,
        zorder=4,
        parse_math=False,
    )


def _draw_emotions(ax, segments, labels, palette, duration_s) -> None:
    """Stacked probabilities, negative emotions lowest; the line on top of these is negativity."""
    ax.set_ylim(0.0, 1.0)
    ax.set_yticks([0.0, 0.5, 1.0], ["0", "", "1"], fontsize=7, color=_FAINT)
    ax.tick_params(axis="y", length=0, pad=2)
    starts, ends, probabilities = _over_time(segments, duration_s)
    bottom = np.zeros(len(starts))
    for label in _negative_first(labels):
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


def _over_time(segments, duration_s) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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


def _draw_quarters(ax, quarters, duration_s) -> None:
    """Four cells, the darker the more negative."""
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
            color=_FAINT if value is None else _INK,
        )


def _negative_first(labels: Sequence[str]) -> list[str]:
    return sorted(labels, key=lambda label: label not in NEGATIVE)


def _ticks(duration_s: float) -> list[float]:
    """Times at a round distance, at most 13 of them."""
    step = next((step for step in _TICKS_S if duration_s / step <= 12), _TICKS_S[-1])
    return np.arange(0.0, duration_s + 1e-6, step).tolist()


def _clock(seconds: float, *, with_hours: bool = False) -> str:
    """12.5 -> 0:12.5, 75 -> 1:15, 3675 -> 1:01:15."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:02.0f}" if rest == int(rest) else f"{rest:04.1f}"
    return f"{hours}:{minutes:02d}:{text}" if hours or with_hours else f"{minutes}:{text}"


def _time_axis(ax: Axes, duration_s: float) -> None:
    ax.tick_params(axis="x", length=3, labelbottom=True, labelsize=8, colors="#555555")
    with_hours = duration_s >= 3600
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda seconds, _: _clock(seconds, with_hours=with_hours))
    )


def _legend(figure, segments, labels, palette, height_in) -> None:
    handles: list = [Patch(color=palette[label], label=label) for label in _negative_first(labels)]
    if any(label in NEGATIVE for label in labels) and segments:
        handles.append(Line2D([], [], color="black", linewidth=1.6, label="negativity"))
    if any(segment.unsure for segment in segments):
        handles.append(
            Patch(facecolor="white", edgecolor=_FAINT, hatch="/////", linewidth=0, label="unsure")
        )
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=((_LEFT_IN - 0.1) / _WIDTH_IN, 0.12 / height_in),
        ncols=min(len(handles), 10),
        frameon=False,
        fontsize=8.5,
        handlelength=1.2,
        handleheight=1.0,
        columnspacing=1.6,
    )


def _head(figure, title, verdict, duration_s, palette, height_in, silent) -> None:
    """The name of the call, and below it what was found."""
    left = _LEFT_IN / _WIDTH_IN
    if len(title) > 100:
        title = "…" + title[-99:]
    figure.text(
        left,
        1.0 - 0.28 / height_in,
        title,
        fontsize=13,
        fontweight="bold",
        color=_INK,
        va="center",
        parse_math=False,
    )
    parts = []
    if verdict is not None and verdict.label is not None:
        sure = "" if verdict.confidence is None else f" {100 * verdict.confidence:.0f} %"
        parts.append(("unsure, perhaps " if verdict.unsure else "") + verdict.label + sure)
        if verdict.arc is not None:
            parts.append(_ARC.get(verdict.arc, verdict.arc))
    elif verdict is not None:
        parts.append("no label")
    parts.append(_clock(duration_s))
    if silent:
        parts.append(f"without its audio: bars are levels, {_FLOOR_DBFS:.0f} to 0 dBFS")
    chip = 0.0
    if verdict is not None and verdict.label in palette:
        chip = 0.25
        figure.text(
            left,
            1.0 - 0.58 / height_in,
            "■",
            fontsize=15,
            color=palette[verdict.label],
            va="center",
        )
    figure.text(
        left + chip / _WIDTH_IN,
        1.0 - 0.58 / height_in,
        "  ·  ".join(parts),
        fontsize=10.5,
        color="#444444",
        va="center",
        parse_math=False,
    )
