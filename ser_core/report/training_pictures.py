"""Pictures of a training, as PNG: learning curves, confusion matrices, the corpus's counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ser_core.report import style
from ser_core.report.style import BAR, FAINT, INK, SERIES, SOFT

if TYPE_CHECKING:
    from ser_core.models.calibration import Bin
    from ser_core.models.recipes.base import Figures
    from ser_core.models.scores import Scores

_TRAIN, _TEST = SERIES[:2]
_MARKERS = "osD^v"


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


@style.styled()
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
    figure = style.figure(8, 3.4)
    figure.suptitle(title, fontsize=10, color=INK)
    epochs = np.arange(1, len(curves["loss"]) + 1)
    panels = zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True)
    for axes, name in panels:
        axes.plot(epochs, curves[name], color=_TRAIN, lw=1.3, label="training")
        axes.plot(epochs, curves[f"test_{name}"], color=_TEST, lw=1.3, label="test")
        axes.set_xlabel("epoch")
        axes.set_title("cross-entropy" if name == "loss" else name)
        axes.set_xlim(0, len(epochs))
        axes.set_ylim(0, 1.02 if name == "accuracy" else None)
        place = "upper left" if name == "loss" else "lower right"
        axes.legend(loc=place)
    return style.png(figure)


@style.styled()
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
    figure = style.figure(len(scores) * (side + 0.5), side + 0.5)
    panels = figure.subplots(1, len(scores), squeeze=False)[0]
    for axes, result in zip(panels, scores, strict=True):
        counts = np.array(result.confusion, dtype=float)
        percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        for (row, column), value in np.ndenumerate(percent):
            ink = "white" if value > 55 else INK if value >= 0.5 else SOFT
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", size=8, color=ink)
        ticks = np.arange(len(labels))
        axes.set_xticks(ticks, labels, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(ticks, labels, fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true (rows add up to 100 %)")
        ends = " ({:.1%} to {:.1%})".format(*result.interval) if result.interval else ""
        title = f"{result.protocol}\nUAR {result.uar:.1%}{ends}"
        axes.set_title(title, fontsize=8.5, loc="center")
    return style.png(figure)


@style.styled()
def conditions(results: Mapping[str, Mapping[str, Scores]]) -> bytes:
    """UAR by condition, with its interval.

    Parameters
    ----------
    results : mapping
        What is known about a speaker -> condition -> Scores.

    Returns
    -------
    bytes
        A PNG.
    """
    names = list(next(iter(results.values())))
    figure = style.figure(7.5, 1.1 + max(0.36, 0.18 * len(results)) * len(names))
    step = min(0.3, 0.8 / len(results))
    axes = figure.subplots()
    for i, (known, by_condition) in enumerate(results.items()):
        places = np.arange(len(names)) + step * (i - (len(results) - 1) / 2)
        scores = [by_condition[name] for name in names]
        uar = np.array([100 * each.uar for each in scores])
        ends = 100 * np.array([each.interval or (each.uar, each.uar) for each in scores]).T
        colour, marker = _series(i)
        axes.errorbar(
            uar, places, xerr=np.abs(ends - uar), fmt=marker, ms=5, lw=1.2, color=colour,
            label=known,
        )  # fmt: skip
        for x, end, y in zip(uar, ends[1], places, strict=True):
            axes.text(end + 0.8, y, f"{x:.1f}", va="center", fontsize=7, color=INK)
    chance = 100 / len(next(iter(next(iter(results.values())).values())).labels)
    axes.axvline(chance, color=SOFT, lw=0.8, ls=":")
    axes.text(chance, -0.7, " chance", fontsize=7.5, color=SOFT, va="center")
    axes.set_yticks(np.arange(len(names)), names, fontsize=8.5)
    axes.set_ylim(len(names) - 0.5, -0.9)
    axes.set_xlim(0, 100)
    axes.set_xlabel("UAR in %, unseen speakers; bars are 95 % intervals")
    axes.legend(loc="center right")
    return style.png(figure)


@style.styled()
def reliability(bins: Mapping[str, Sequence[Bin]]) -> bytes:
    """Reliability diagrams: accuracy by confidence; the diagonal is perfect calibration.

    Parameters
    ----------
    bins : mapping of title to bins
        One panel each. Bins with less than 1 / 500 of the answers are left out.

    Returns
    -------
    bytes
        A PNG.
    """
    figure = style.figure(2.6 * len(bins), 3.0)
    panels = figure.subplots(1, len(bins), squeeze=False, sharey=True)[0]
    for axes, (title, all_bins) in zip(panels, bins.items(), strict=True):
        total = sum(each.count for each in all_bins)
        shown = [each for each in all_bins if each.count >= total / 500]
        axes.plot([0, 1], [0, 1], color=SOFT, lw=0.8, ls=":")
        confidence = [each.confidence for each in shown]
        axes.bar(
            confidence, [each.count / total for each in shown], width=0.04, color=FAINT, zorder=0
        )
        axes.plot(confidence, [each.right for each in shown], "o-", color=_TRAIN, ms=4, lw=1.2)
        axes.set_title(title, fontsize=8)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence")
    panels[0].set_ylabel("share that is right (bars: of all)")
    return style.png(figure)


@style.styled()
def coverage(curves: Mapping[str, tuple[np.ndarray, np.ndarray, tuple[float, float]]]) -> bytes:
    """Risk-coverage curves, with a dot at the threshold for `unsure`.

    Parameters
    ----------
    curves : mapping of legend to coverage [n], risk [n], and both at the threshold

    Returns
    -------
    bytes
        A PNG.
    """
    figure = style.figure(5.2, 3.2)
    axes = figure.subplots()
    for i, (words, (share, risk, place)) in enumerate(curves.items()):
        colour, marker = _series(i)
        # The risk of the few surest jumps about.
        shown = np.arange(len(share))[share >= 0.02][:: max(len(share) // 500, 1)]
        axes.plot(100 * share[shown], 100 * risk[shown], color=colour, lw=1.4, label=words)
        axes.plot(100 * place[0], 100 * place[1], marker, color=colour, ms=6)
        axes.annotate(
            f"{place[0]:.0%} sure, {1 - place[1]:.0%} of them right",
            (100 * place[0], 100 * place[1]), xytext=(-6, 6), textcoords="offset points",
            ha="right", fontsize=7.5, color=INK,
        )  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_ylim(0, None)
    axes.set_xlabel("coverage: share that is called sure, in %")
    axes.set_ylabel("risk: wrong among the sure, in %")
    axes.legend(loc="upper left")
    return style.png(figure)


@style.styled()
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
    figure = style.figure(6, 1.0 + 0.3 * len(counts))
    axes = figure.subplots()
    places = np.arange(len(counts))
    bars = axes.barh(places, list(counts.values()), color=BAR, height=0.68)
    axes.bar_label(bars, padding=4, fontsize=8, color=INK)
    axes.set_yticks(places, list(counts), fontsize=9)
    axes.invert_yaxis()
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([])
    axes.set_title(title, fontsize=10)
    return style.png(figure)


def _series(place: int) -> tuple[str, str]:
    """Colour and marker of a series. Where the colours end, the next marker follows."""
    turn, colour = divmod(place, len(SERIES))
    return SERIES[colour], _MARKERS[turn % len(_MARKERS)]
