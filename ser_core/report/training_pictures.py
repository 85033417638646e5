"""Pictures of a training, as PNG: learning curves, confusion matrices, the corpus's counts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

if TYPE_CHECKING:
    from ser_core.models.evaluation import Scores

_DPI = 110
_COLOURS = 128
_INK, _SOFT = "#24292f", "#8a929b"
_TRAIN, _TEST = "#4c78a8", "#e4572e"


def learning_curves(curves: Mapping[str, Sequence[float]], title: str) -> bytes:
    """Loss and accuracy by epoch, in training and test.

    Parameters
    ----------
    curves : mapping
        `loss`, `accuracy`, `test_loss`, `test_accuracy`: a value after each epoch.
    title : str

    Returns
    -------
    bytes
        A PNG.
    """
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    figure.suptitle(title, fontsize=10, color=_INK)
    epochs = np.arange(1, len(curves["loss"]) + 1)
    panels = zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True)
    for axes, name in panels:
        axes.plot(epochs, curves[name], color=_TRAIN, lw=1.3, label="training")
        axes.plot(epochs, curves[f"test_{name}"], color=_TEST, lw=1.3, label="test")
        _plain(axes)
        axes.set_xlabel("epoch", fontsize=8, color=_SOFT)
        axes.set_title("cross-entropy" if name == "loss" else name, fontsize=9, loc="left")
        axes.set_xlim(0, len(epochs))
        axes.set_ylim(0, 1.02 if name == "accuracy" else None)
        place = "upper left" if name == "loss" else "lower right"
        axes.legend(loc=place, frameon=False, fontsize=8)
    return _png(figure)


def confusion(scores: Sequence[Scores]) -> bytes:
    """Confusion matrices side by side: the share of each true emotion by predicted one.

    Parameters
    ----------
    scores : sequence of Scores
        One a panel.

    Returns
    -------
    bytes
        A PNG.
    """
    labels = scores[0].labels
    side = 1.6 + 0.36 * len(labels)
    figure = Figure(figsize=(len(scores) * (side + 0.5), side + 0.5), layout="constrained")
    panels = figure.subplots(1, len(scores), squeeze=False)[0]
    for axes, one in zip(panels, scores, strict=True):
        counts = np.array(one.confusion, dtype=float)
        percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        for (row, column), value in np.ndenumerate(percent):
            ink = "white" if value > 55 else _INK if value >= 0.5 else _SOFT
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", size=8, color=ink)
        ticks = np.arange(len(labels))
        axes.set_xticks(ticks, labels, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(ticks, labels, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted", fontsize=8, color=_SOFT)
        axes.set_ylabel("true (rows add up to 100 %)", fontsize=8, color=_SOFT)
        axes.set_title(
            f"{one.protocol}\nUAR {one.uar:.1%} ({one.uar_low:.1%} to {one.uar_high:.1%})",
            fontsize=8.5,
            color=_INK,
        )
    return _png(figure)


def utterance_counts(counts: Mapping[str, int], title: str) -> bytes:
    """Number of utterances of each emotion.

    Parameters
    ----------
    counts : mapping of emotion to int
        In the order to show.
    title : str

    Returns
    -------
    bytes
        A PNG.
    """
    figure = Figure(figsize=(6, 1.0 + 0.3 * len(counts)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(counts))
    bars = axes.barh(places, list(counts.values()), color=_TRAIN, height=0.68)
    axes.bar_label(bars, padding=4, fontsize=8, color=_INK)
    axes.set_yticks(places, list(counts), fontsize=9)
    axes.invert_yaxis()
    _plain(axes)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([])
    axes.set_title(title, fontsize=10, loc="left", color=_INK)
    return _png(figure)


def _plain(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_SOFT)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.grid(False)


def _png(figure: Figure) -> bytes:
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(_DPI)
    canvas.draw()
    file = io.BytesIO()
    # A palette makes a third of the size, and no metadata the same bytes for the same figures.
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(_COLOURS).save(file, format="png", optimize=True)
    return file.getvalue()
