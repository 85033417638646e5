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
    from ser_core.models.calibration import Bin
    from ser_core.models.recipes.base import Figures
    from ser_core.models.scores import Scores

_DPI = 110
_COLOURS = 128
_INK, _SOFT = "#24292f", "#8a929b"
_TRAIN, _TEST = _COLOUR = "#4c78a8", "#e4572e"


def draw(figures: Figures) -> dict[str, bytes]:
    """All pictures of a training.

    Returns
    -------
    mapping of file name to bytes
        PNGs, as `CARD.md` shows them.
    """
    pictures = {
        "confusion.png": confusion(figures.confusion),
        "utterances.png": utterance_counts(figures.counts, figures.counts_title),
    }
    if figures.learning_curves:
        title, curves = figures.learning_curves
        pictures["learning_curves.png"] = learning_curves(curves, title)
    if figures.conditions:
        pictures["conditions.png"] = conditions(figures.conditions)
    if figures.reliability:
        pictures["reliability.png"] = reliability(figures.reliability)
    if figures.coverage:
        pictures["coverage.png"] = coverage(figures.coverage)
    return pictures


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
        ends = " ({:.1%} to {:.1%})".format(*one.interval) if one.interval else ""
        axes.set_title(f"{one.protocol}\nUAR {one.uar:.1%}{ends}", fontsize=8.5, color=_INK)
    return _png(figure)


def conditions(results: Mapping[str, Mapping[str, Scores]]) -> bytes:
    """UAR by condition, with its interval.

    Parameters
    ----------
    results : mapping
        What is known of a speaker -> condition -> Scores.

    Returns
    -------
    bytes
        A PNG.
    """
    names = list(next(iter(results.values())))
    figure = Figure(figsize=(7.5, 1.1 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    for i, (said, by_condition) in enumerate(results.items()):
        places = np.arange(len(names)) + 0.3 * (i - (len(results) - 1) / 2)
        uar = np.array([100 * by_condition[name].uar for name in names])
        every = [by_condition[name] for name in names]
        ends = np.array([[100 * end for end in one.interval or (one.uar, one.uar)]
                         for one in every]).T  # fmt: skip
        axes.errorbar(
            uar, places, xerr=np.abs(ends - uar), fmt="o", ms=5, lw=1.2, color=_COLOUR[i],
            label=said,
        )  # fmt: skip
        for x, end, y in zip(uar, ends[1], places, strict=True):
            axes.text(end + 0.8, y, f"{x:.1f}", va="center", fontsize=7, color=_INK)
    chance = 100 / len(next(iter(next(iter(results.values())).values())).labels)
    axes.axvline(chance, color=_SOFT, lw=0.8, ls=":")
    axes.text(chance, -0.7, " chance", fontsize=7.5, color=_SOFT, va="center")
    axes.set_yticks(np.arange(len(names)), names, fontsize=8.5)
    axes.set_ylim(len(names) - 0.5, -0.9)
    axes.set_xlim(0, 100)
    axes.set_xlabel("UAR in %, unheard speakers; bars are 95 % intervals", fontsize=8, color=_SOFT)
    axes.legend(loc="center left", frameon=False, fontsize=8, bbox_to_anchor=(0.17, 0.5))
    _plain(axes)
    return _png(figure)


def reliability(bins: Mapping[str, Sequence[Bin]]) -> bytes:
    """How often a confidence is right; the diagonal is what it promises.

    Parameters
    ----------
    bins : mapping of title to bins
        One a panel; bins of less than a five hundredth of the answers are left out.

    Returns
    -------
    bytes
        A PNG.
    """
    figure = Figure(figsize=(2.6 * len(bins), 3.0), layout="constrained")
    panels = figure.subplots(1, len(bins), squeeze=False, sharey=True)[0]
    for axes, (title, every) in zip(panels, bins.items(), strict=True):
        total = sum(one.count for one in every)
        some = [one for one in every if one.count >= total / 500]
        axes.plot([0, 1], [0, 1], color=_SOFT, lw=0.8, ls=":")
        confidence = [one.confidence for one in some]
        axes.bar(
            confidence, [one.count / total for one in some], width=0.04, color="#d7dde3", zorder=0
        )
        axes.plot(confidence, [one.right for one in some], "o-", color=_TRAIN, ms=4, lw=1.2)
        axes.set_title(title, fontsize=8, loc="left", color=_INK)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence", fontsize=8, color=_SOFT)
        _plain(axes)
    panels[0].set_ylabel("share that is right (bars: of all)", fontsize=8, color=_SOFT)
    return _png(figure)


def coverage(curves: Mapping[str, tuple[np.ndarray, np.ndarray, tuple[float, float]]]) -> bytes:
    """What is wrong among the surest, by how many these are.

    Parameters
    ----------
    curves : mapping of words to coverage, risk, and both at the threshold

    Returns
    -------
    bytes
        A PNG.
    """
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for colour, (said, (share, risk, place)) in zip(_COLOUR, curves.items(), strict=False):
        # The few surest jump about.
        some = np.arange(len(share))[share >= 0.02][:: max(len(share) // 500, 1)]
        axes.plot(100 * share[some], 100 * risk[some], color=colour, lw=1.4, label=said)
        axes.plot(100 * place[0], 100 * place[1], "o", color=colour, ms=6)
        axes.annotate(
            f"{place[0]:.0%} sure, {1 - place[1]:.0%} of them right",
            (100 * place[0], 100 * place[1]), xytext=(-6, 6), textcoords="offset points",
            ha="right", fontsize=7.5, color=_INK,
        )  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_ylim(0, None)
    axes.set_xlabel("coverage: share that is called sure, in %", fontsize=8, color=_SOFT)
    axes.set_ylabel("risk: wrong among the sure, in %", fontsize=8, color=_SOFT)
    axes.legend(loc="upper left", frameon=False, fontsize=8)
    _plain(axes)
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


def _png(figure: Figure, dpi: int = _DPI) -> bytes:
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    file = io.BytesIO()
    # A palette makes a third of the size, and no metadata the same bytes for the same figures.
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(_COLOURS).save(file, format="png", optimize=True)
    return file.getvalue()
