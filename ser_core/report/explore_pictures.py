"""Pictures of labelled speech, as PNG: narrow ones, to be read on a phone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ser_core.features.windows import hann
from ser_core.report.call_picture import colours, envelope

WIDTH_IN = 3.5
_DPI = 150
_INK, _SOFT, _FAINT, _WAVE = "#24292f", "#66707a", "#d7dde3", "#3c4048"
_BOX_PERCENT, _WHISKERS_PERCENT = (25, 50, 75), (5, 95)
_LONGEST_LABEL = 14
_FLAT_COLOURS, _SPECTROGRAM_COLOURS = 32, 48
_WAVE_COLUMNS = 400
# Of the picture's height.
_LABEL_HEIGHT = 0.055
# Spectrograms: up to twice the telephone's band.
RATE_HZ, LONGEST_S = 16_000, 6.0
_MEL_HZ, _BANDS = (60.0, 8_000.0), 64
_FRAME, _HOP, _N_FFT = 400, 160, 512

_MEL_TICKS_HZ = (500, 1_000, 2_000, 4_000, 8_000)
TELEPHONE_TOP_HZ = 4_000
# What is softer than this below an utterance's loudest is drawn alike.
RANGE_DB = 60.0


def boxes(panels: Sequence[tuple[str, Mapping[str, np.ndarray]]], emotions: Sequence[str]) -> bytes:
    """Boxes by emotion: quartiles and median, whiskers from the 5th to the 95th percentile.

    Parameters
    ----------
    panels : sequence of (words under the axis, values by emotion)
        Side by side; emotions without values stay empty.
    emotions : sequence of str
        In the order to show.

    Returns
    -------
    bytes
        A PNG.
    """
    figure = Figure(figsize=(WIDTH_IN, 0.62 + 0.21 * len(emotions)), layout="constrained")
    palette = colours(emotions)
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (said, by_emotion) in zip(every, panels, strict=True):
        for place, emotion in enumerate(emotions):
            values = by_emotion.get(emotion, np.zeros(0))
            values = values[np.isfinite(values)]
            if len(values) == 0:
                continue
            low, middle, high = np.percentile(values, _BOX_PERCENT)
            axes.hlines(place, *np.percentile(values, _WHISKERS_PERCENT), color=_SOFT, lw=0.8)
            axes.barh(place, high - low, left=low, height=0.62, color=palette[emotion], alpha=0.75)
            axes.vlines(middle, place - 0.31, place + 0.31, color=_INK, lw=1.4)
        axes.set_xlabel(said, fontsize=7.5, color=_SOFT)
        axes.grid(axis="x", color=_FAINT, lw=0.6)
        axes.set_axisbelow(True)
        _plain(axes)
        axes.locator_params(axis="x", nbins=4)
    every[0].set_yticks(range(len(emotions)), list(map(_text, emotions)), fontsize=8)
    every[0].set_ylim(len(emotions) - 0.45, -0.55)
    return _png(figure, _FLAT_COLOURS)


def histogram(seconds: np.ndarray) -> bytes:
    """How long utterances last.

    Parameters
    ----------
    seconds : np.ndarray [shape=(n,)]

    Returns
    -------
    bytes
        A PNG.
    """
    figure = Figure(figsize=(WIDTH_IN, 1.9), layout="constrained")
    axes = figure.subplots()
    end = longest_drawn(seconds)
    axes.hist(np.minimum(seconds, end), bins=30, range=(0, end), color="#4c78a8")
    axes.set_xlabel("seconds", fontsize=7.5, color=_SOFT)
    axes.set_ylabel("utterances", fontsize=7.5, color=_SOFT)
    _plain(axes)
    return _png(figure, _FLAT_COLOURS)


def longest_drawn(seconds: np.ndarray) -> float:
    """Where a histogram ends: the few longest of calls would press all others into one bar."""
    return max(1.05 * float(np.percentile(seconds, 99.5)), 0.1)


def sound(samples: np.ndarray, rate: int, mel_db: np.ndarray, *, seconds: float) -> bytes:
    """An utterance's wave, and its log-mel spectrogram below.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        Full scale at 1.0; fills its axis, whose numbers tell the level.
    rate : int > 0
        In Hz.
    mel_db : np.ndarray [shape=(bands, frames)]
        Bands from low to high, even in mel up to 8 kHz; as long as the samples.
    seconds : float
        Where the axis of time ends.

    Returns
    -------
    bytes
        A PNG.
    """
    figure = Figure(figsize=(WIDTH_IN, 2.3), layout="constrained")
    wave, picture = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
    duration_s = len(samples) / rate
    low, high = envelope(samples, _WAVE_COLUMNS)
    at = np.linspace(0, duration_s, len(low))
    wave.fill_between(at, low, high, color=_WAVE, lw=0.4, edgecolor=_WAVE)
    peak = max(float(np.abs(samples).max(initial=0)), 1e-4)
    wave.set_ylim(-1.05 * peak, 1.05 * peak)
    wave.set_yticks([-peak, 0, peak], [f"−{peak:.2g}", "0", f"{peak:.2g}"])
    wave.tick_params(axis="x", length=0)
    bottom, top = mel(np.array(_MEL_HZ))
    loudest = float(mel_db.max())
    picture.imshow(
        mel_db, origin="lower", aspect="auto", interpolation="nearest", cmap="magma",
        vmin=loudest - RANGE_DB, vmax=loudest, extent=(0, duration_s, bottom, top),
    )  # fmt: skip
    picture.axhline(mel(TELEPHONE_TOP_HZ), color="white", lw=1.0, ls=(0, (4, 3)))
    picture.set_yticks(
        [mel(hz) for hz in _MEL_TICKS_HZ], [f"{hz // 100 / 10:g}" for hz in _MEL_TICKS_HZ]
    )
    picture.set_ylabel("kHz", fontsize=7.5, color=_SOFT)
    picture.set_xlabel("seconds", fontsize=7.5, color=_SOFT)
    picture.set_xlim(0, seconds)
    for axes in (wave, picture):
        _plain(axes)
        axes.tick_params(labelsize=7)
    return _png(figure, _SPECTROGRAM_COLOURS)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Levels of 64 mel bands (HTK's formula) from 60 Hz to 8 kHz, at 16 kHz.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]

    Returns
    -------
    np.ndarray [shape=(64, frames)], dB, frames of 25 ms every 10 ms
    """
    padded = np.pad(samples, (0, max(0, _FRAME - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    power = np.square(np.abs(np.fft.rfft(frames * hann(_FRAME, centred=True), _N_FFT)))
    low, high = mel(np.array(_MEL_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, _BANDS + 2) / 2595) - 1)
    hz = np.fft.rfftfreq(_N_FFT, 1 / RATE_HZ)[:, None]
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0, np.minimum(rising, falling))
    # Low bands are narrower than a bin: each has at least the one nearest to its middle.
    nearest = np.abs(hz - edges[1:-1]).argmin(axis=0)
    bank[nearest, np.arange(_BANDS)] = np.maximum(bank[nearest, np.arange(_BANDS)], 1e-3)
    bank /= bank.sum(axis=0)
    return 10 * np.log10(power @ bank + 1e-12).T


def mel(hz):
    """HTK's mel."""
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def scale() -> bytes:
    """The colours of `sound`."""
    figure = Figure(figsize=(WIDTH_IN, 0.55), layout="constrained")
    axes = figure.subplots()
    axes.imshow(
        np.linspace(0, 1, 200)[None], aspect="auto", cmap="magma", extent=(-RANGE_DB, 0, 0, 1)
    )
    axes.set_yticks([])
    axes.set_xlabel("dB below the utterance’s loudest", fontsize=7.5, color=_SOFT)
    _plain(axes)
    return _png(figure, _SPECTROGRAM_COLOURS)


def projection(points: np.ndarray, emotions: Sequence[str], order: Sequence[str]) -> bytes:
    """Utterances as points, each emotion with its name in its middle.

    Parameters
    ----------
    points : np.ndarray [shape=(n, 2)]
    emotions : sequence of n str
    order : sequence of str
        Emotions, in the order that their colours are given.

    Returns
    -------
    bytes
        A PNG.
    """
    figure = Figure(figsize=(WIDTH_IN, 3.3), layout="constrained")
    axes = figure.subplots()
    palette = colours(order)
    names = np.asarray(emotions)
    # One emotion over the other would hide it.
    shuffled = np.random.default_rng(0).permutation(len(points))
    x, y = points[shuffled].T
    axes.scatter(x, y, s=11, alpha=0.6, lw=0, c=[palette[one] for one in names[shuffled]])
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    room = 0.08 * (high - low)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
    there = [emotion for emotion in order if (names == emotion).any()]
    middles = np.array([np.median(points[names == emotion], axis=0) for emotion in there])
    heights = _apart(middles[:, 1], _LABEL_HEIGHT * (high[1] - low[1]))
    for emotion, middle, height in zip(there, middles, heights, strict=True):
        axes.plot(*middle, "o", ms=6.5, color=palette[emotion], mec=_INK, mew=0.8, zorder=5)
        axes.annotate(
            _text(emotion), middle, xytext=(middle[0] + 0.9 * room[0], height), va="center",
            fontsize=8, color=_INK, weight="bold",
            arrowprops={"arrowstyle": "-", "color": _INK, "lw": 0.6, "shrinkA": 0, "shrinkB": 2},
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip
    axes.set_xlabel("first axis", fontsize=7.5, color=_SOFT)
    axes.set_ylabel("second axis", fontsize=7.5, color=_SOFT)
    axes.set_xticks([])
    axes.set_yticks([])
    _plain(axes)
    return _png(figure, 256)


def _apart(heights: np.ndarray, least: float) -> np.ndarray:
    """Heights of labels, moved as little as it takes that no two are nearer than `least`."""
    order = np.argsort(heights)
    moved = heights[order].astype(float)
    for _ in range(50):
        gaps = np.diff(moved)
        for i in np.flatnonzero(gaps < least - 1e-9):
            push = (least - (moved[i + 1] - moved[i])) / 2
            if push > 0:
                moved[i] -= push
                moved[i + 1] += push
    return moved[np.argsort(order)]


def _text(label: str) -> str:
    """A label as it is: no formula, no line breaks, not longer than there is room."""
    label = " ".join(label.split())
    short = label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"
    return short.replace("$", r"\$")


def _plain(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_SOFT)
    axes.tick_params(colors=_INK, labelsize=7.5)


def _png(figure: Figure, palette: int) -> bytes:
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(_DPI)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font does not have
        canvas.draw()
    file = io.BytesIO()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(palette).save(file, format="png", optimize=True)
    return file.getvalue()
