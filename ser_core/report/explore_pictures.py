"""Pictures of labelled speech, as PNG, narrow enough for a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ser_core.report import style
from ser_core.report.style import BAR, INK, SOFT, WAVE
from ser_core.report.wave import envelope

WIDTH_IN = 3.5
_DPI, _SIZE = 150, 7.5
_BOX_PERCENT, _WHISKERS_PERCENT = (25, 50, 75), (5, 95)
_LONGEST_LABEL = 14
_FLAT_COLOURS, _SPECTROGRAM_COLOURS = 32, 48
_WAVE_COLUMNS = 400
# Share of the picture's height.
_LABEL_HEIGHT = 0.065
# Spectrograms show up to twice the telephone's band.
RATE_HZ, LONGEST_S = 16_000, 6.0
_LOW_HZ, _HIGH_HZ, _BANDS = 60.0, 8_000.0, 64
_FRAME, _HOP, _N_FFT = 400, 160, 1_024
_MEL_TICKS_HZ = (500, 1_000, 2_000, 4_000, 8_000)
TELEPHONE_TOP_HZ = 4_000
# Levels that are softer than the loudest of an utterance by more than this are drawn alike.
RANGE_DB = 60.0


@style.styled(_SIZE)
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
    figure = style.figure(WIDTH_IN, 0.62 + 0.21 * len(emotions))
    palette = style.emotion_colours(emotions)
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (words, by_emotion) in zip(all_axes, panels, strict=True):
        for place, emotion in enumerate(emotions):
            values = by_emotion.get(emotion, np.zeros(0))
            values = values[np.isfinite(values)]
            if len(values) == 0:
                continue
            low, middle, high = np.percentile(values, _BOX_PERCENT)
            axes.hlines(place, *np.percentile(values, _WHISKERS_PERCENT), color=SOFT, lw=0.8)
            axes.barh(place, high - low, left=low, height=0.62, color=palette[emotion], alpha=0.75)
            axes.vlines(middle, place - 0.31, place + 0.31, color=INK, lw=1.4)
        axes.set_xlabel(words)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=4 if len(panels) == 1 else 3)
    all_axes[0].set_yticks(range(len(emotions)), _texts(emotions), fontsize=8)
    all_axes[0].set_ylim(len(emotions) - 0.45, -0.55)
    return style.png(figure, dpi=_DPI, colours=_FLAT_COLOURS)


@style.styled(_SIZE)
def histogram(seconds: np.ndarray) -> bytes:
    """Histogram of the utterances' durations.

    Parameters
    ----------
    seconds : np.ndarray [shape=(n,)]

    Returns
    -------
    bytes
        A PNG.
    """
    figure = style.figure(WIDTH_IN, 1.9)
    axes = figure.subplots()
    end = longest_drawn(seconds)
    axes.hist(np.minimum(seconds, end), bins=30, range=(0, end), color=BAR)
    axes.set_xlabel("seconds")
    axes.set_ylabel("utterances")
    return style.png(figure, dpi=_DPI, colours=_FLAT_COLOURS)


def longest_drawn(seconds: np.ndarray) -> float:
    """End of the axis of a histogram, so that a few long utterances do not flatten the others."""
    return max(1.05 * float(np.percentile(seconds, 99.5)), 0.1)


@style.styled(_SIZE)
def sound(samples: np.ndarray, rate: int, mel_db: np.ndarray, *, seconds: float) -> bytes:
    """Wave of an utterance, and its log-mel spectrogram below.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        Full scale at 1.0. The wave fills its axis, whose numbers show the level.
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
    figure = style.figure(WIDTH_IN, 2.3)
    wave, picture = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
    duration_s = len(samples) / rate
    low, high = envelope(samples, _WAVE_COLUMNS)
    at = np.linspace(0, duration_s, len(low))
    wave.fill_between(at, low, high, color=WAVE, lw=0.4, edgecolor=WAVE)
    peak = max(float(np.abs(samples).max(initial=0)), 1e-4)
    wave.set_ylim(-1.05 * peak, 1.05 * peak)
    wave.set_yticks([-peak, 0, peak], [f"−{peak:.2g}", "0", f"{peak:.2g}"])
    wave.tick_params(axis="x", length=0)
    bottom, top = mel(_LOW_HZ), mel(_HIGH_HZ)
    loudest = float(mel_db.max())
    picture.imshow(
        mel_db, origin="lower", aspect="auto", interpolation="nearest", cmap="magma",
        vmin=loudest - RANGE_DB, vmax=loudest, extent=(0, duration_s, bottom, top),
    )  # fmt: skip
    picture.axhline(mel(TELEPHONE_TOP_HZ), color="white", lw=1.0, ls=(0, (4, 3)))
    picture.set_yticks(
        [mel(hz) for hz in _MEL_TICKS_HZ], [f"{hz // 100 / 10:g}" for hz in _MEL_TICKS_HZ]
    )
    picture.set_ylabel("kHz")
    picture.set_xlabel("seconds")
    picture.set_xlim(0, seconds)
    return style.png(figure, dpi=_DPI, colours=_SPECTROGRAM_COLOURS)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Levels of 64 mel bands (HTK's scale) from 60 Hz to 8 kHz, by librosa.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,)]
        At 16 kHz.

    Returns
    -------
    np.ndarray [shape=(64, frames)]
        In dB; frames of 25 ms every 10 ms.
    """
    import librosa  # it takes seconds to import

    power = librosa.feature.melspectrogram(
        y=np.pad(samples, (0, max(0, _N_FFT - len(samples)))),
        sr=RATE_HZ,
        n_fft=_N_FFT,  # longer than a frame, so that no low band falls between two bins
        win_length=_FRAME,
        hop_length=_HOP,
        n_mels=_BANDS,
        fmin=_LOW_HZ,
        fmax=_HIGH_HZ,
        htk=True,
    )
    return librosa.power_to_db(power, amin=1e-12, top_db=None)


def mel(hz: float) -> float:
    """HTK's mel of a frequency."""
    import librosa

    return float(librosa.hz_to_mel(hz, htk=True))


@style.styled(_SIZE)
def scale() -> bytes:
    """Colour scale of `sound`."""
    figure = style.figure(WIDTH_IN, 0.55)
    axes = figure.subplots()
    axes.imshow(
        np.linspace(0, 1, 200)[None], aspect="auto", cmap="magma", extent=(-RANGE_DB, 0, 0, 1)
    )
    axes.set_yticks([])
    axes.set_xlabel("dB below the utterance’s loudest")
    return style.png(figure, dpi=_DPI, colours=_SPECTROGRAM_COLOURS)


@style.styled(_SIZE)
def projection(points: np.ndarray, emotions: Sequence[str], order: Sequence[str]) -> bytes:
    """Utterances as points, each emotion named at its median.

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
    figure = style.figure(WIDTH_IN, 3.3)
    axes = figure.subplots()
    palette = style.emotion_colours(order)
    names = np.asarray(emotions)
    # In random order, so that no emotion covers another.
    shuffled = np.random.default_rng(0).permutation(len(points))
    x, y = points[shuffled].T
    axes.scatter(x, y, s=11, alpha=0.6, lw=0, c=[palette[name] for name in names[shuffled]])
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    room = 0.08 * (high - low)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
    present = [emotion for emotion in order if (names == emotion).any()]
    middles = np.array([np.median(points[names == emotion], axis=0) for emotion in present])
    least = _LABEL_HEIGHT * (high[1] - low[1] + 2 * room[1])
    heights = _apart(middles[:, 1], least, low[1], high[1])
    centre = (low[0] + high[0]) / 2
    labels = _texts(present)
    for emotion, text, middle, height in zip(present, labels, middles, heights, strict=True):
        # On the side where there is room: no label is cut off by the edge.
        side = 1 if middle[0] <= centre else -1
        axes.plot(*middle, "o", ms=6.5, color=palette[emotion], mec=INK, mew=0.8, zorder=5)
        axes.annotate(
            text, middle, xytext=(middle[0] + side * 0.9 * room[0], height), va="center",
            ha="left" if side > 0 else "right", fontsize=8, color=INK, weight="bold",
            arrowprops={"arrowstyle": "-", "color": INK, "lw": 0.6, "shrinkA": 0, "shrinkB": 2},
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip
    axes.set_xlabel("first axis")
    axes.set_ylabel("second axis")
    axes.set_xticks([])
    axes.set_yticks([])
    return style.png(figure, dpi=_DPI, colours=256)


def _apart(heights: np.ndarray, least: float, low: float, high: float) -> np.ndarray:
    """Heights of labels, moved apart until no two are nearer than `least`, all in [low, high]."""
    order = np.argsort(heights, kind="stable")
    moved = heights[order].astype(float)
    last = len(moved) - 1
    least = min(least, (high - low) / max(last, 1))
    for _ in range(50):
        gaps = np.diff(moved)
        for near in np.flatnonzero(gaps < least - 1e-9):
            push = (least - (moved[near + 1] - moved[near])) / 2
            if push > 0:
                moved[near] -= push
                moved[near + 1] += push
    for i in range(last + 1):
        moved[i] = max(moved[i], moved[i - 1] + least if i else low)
    for i in range(last, -1, -1):
        moved[i] = min(moved[i], moved[i + 1] - least if i < last else high)
    return moved[np.argsort(order)]


def _texts(labels: Sequence[str]) -> list[str]:
    """Labels as plain text: no formula, no line breaks, cut to their room, and told apart."""
    lines = [" ".join(label.split()) for label in labels]
    short = style.distinct_labels(lines, _LONGEST_LABEL)
    return [short[line].replace("$", r"\$") for line in lines]
