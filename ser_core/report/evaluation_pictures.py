"""Pictures of an evaluation, as PNG: narrow ones, legible on a phone, sharp on a good screen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ser_core.models.evaluation import Evaluation, Result, Tested
from ser_core.models.evaluation_plan import CHANNEL, NOTHING
from ser_core.report.training_pictures import _INK, _SOFT, _plain, _png

WIDTH_IN, DPI = 3.9, 220
# Pixels of a page that the pictures take: two of theirs to one.
WIDTH_PX = round(WIDTH_IN * DPI / 2)
# Okabe & Ito (2008), told apart with every kind of colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
KNOWN = {NOTHING: "nothing known", CHANNEL: "channel known"}
_ROW_IN = 0.16
_SIZE = 8.5


def uar(evaluation: Evaluation) -> bytes:
    """UAR by condition with its interval: a colour a bundle, hollow where the channel is known.

    Returns
    -------
    bytes
        A PNG.
    """
    series = [(i, one, known) for i, one in enumerate(evaluation.bundles) for known in one.known]
    figure, axes = _rows(evaluation.conditions, len(series), "UAR in %, with 95 % intervals")
    for at, (i, one, known) in enumerate(series):
        for row, condition in enumerate(evaluation.conditions):
            scores = one.of(condition, known).scores
            _whisker(axes, scores.uar, scores.interval, _place(row, at, len(series)), i, known)
    chance = 100 / len(evaluation.bundles[0].labels)
    axes.axvline(chance, color=_SOFT, lw=0.9, ls=":")
    axes.set_xlim(0, 100)
    handles = [_handle(i, known, one.id, len(one.known)) for i, one, known in series]
    _legend(figure, [*handles, Line2D([], [], color=_SOFT, lw=0.9, ls=":", label="chance")])
    return _png(figure, DPI)


def differences(evaluation: Evaluation) -> bytes:
    """The first bundle's UAR less the second's by condition, with its interval.

    Returns
    -------
    bytes
        A PNG.
    """
    known = list(dict.fromkeys(one.known for one in evaluation.differences))
    words = "← second better   points of UAR   first better →"
    figure, axes = _rows(evaluation.conditions, len(known), words)
    for one in evaluation.differences:
        place = _place(
            evaluation.conditions.index(one.condition), known.index(one.known), len(known)
        )
        ends = None if one.low is None or one.high is None else (one.low, one.high)
        _whisker(axes, one.difference, ends, place, None, one.known)
    axes.axvline(0, color=_SOFT, lw=0.9)
    reach = max(*np.abs(axes.get_xlim()), 2.0)
    axes.set_xlim(-reach, reach)
    if len(known) > 1:
        _legend(figure, [_handle(None, one, "", len(known)) for one in known])
    return _png(figure, DPI)


def reliability(tested: Tested, known: str, conditions: Sequence[str]) -> bytes:
    """How often a confidence is right, by condition; the diagonal is what it promises.

    Bins of less than a hundredth of the answers are left out.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = _square("confidence", "share that is right")
    axes.plot([0, 1], [0, 1], color=_SOFT, lw=0.9, ls=":")
    for colour, one in zip(COLOURS, _results(tested, known, conditions), strict=False):
        total = sum(each.count for each in one.reliability)
        some = [each for each in one.reliability if each.count >= total / 100]
        axes.plot(
            [each.confidence for each in some], [each.right for each in some], "o-",
            color=colour, ms=3.5, lw=1.3,
            label=f"{one.condition}: off by {100 * one.calibration_error:.1f} points",
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    _legend(figure, axes.get_legend_handles_labels()[0])
    return _png(figure, DPI)


def coverage(tested: Tested, known: str, conditions: Sequence[str]) -> bytes:
    """What is wrong among the surest, by how many these are; a dot at the bundle's threshold.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = _square("coverage: the surest, in % of all", "risk: wrong among them, in %")
    for colour, one in zip(COLOURS, _results(tested, known, conditions), strict=False):
        # The few surest jump about.
        some = [point for point in one.coverage if point.coverage >= 0.02]
        axes.plot(
            [100 * point.coverage for point in some], [100 * point.risk for point in some],
            color=colour, lw=1.4, label=f"{one.condition}: {100 * one.sure:.0f} % are sure",
        )  # fmt: skip
        if one.right_if_sure is not None:
            axes.plot(100 * one.sure, 100 * (1 - one.right_if_sure), "o", color=colour, ms=6)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    _legend(figure, axes.get_legend_handles_labels()[0])
    return _png(figure, DPI)


def _results(tested: Tested, known: str, conditions: Sequence[str]) -> list[Result]:
    return [tested.of(condition, known) for condition in conditions]


def _rows(names: Sequence[str], series: int, words: str):
    height = 1.0 + len(names) * _ROW_IN * (series + 1) + 0.2 * series
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(words, fontsize=_SIZE, color=_INK)
    axes.tick_params(axis="y", length=0)
    _plain(axes)
    axes.tick_params(labelsize=_SIZE)
    axes.grid(axis="x", color="#e6eaee", lw=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _square(across: str, up: str):
    figure = Figure(figsize=(WIDTH_IN, 3.7), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(across, fontsize=_SIZE, color=_INK)
    axes.set_ylabel(up, fontsize=_SIZE, color=_INK)
    _plain(axes)
    axes.tick_params(labelsize=_SIZE)
    return figure, axes


def _place(row: int, at: int, series: int) -> float:
    return row + (at - (series - 1) / 2) / (series + 1)


def _whisker(axes, value: float, ends, place: float, colour: int | None, known: str) -> None:
    ink = _INK if colour is None else COLOURS[colour]
    if ends:
        axes.plot([100 * end for end in ends], [place, place], color=ink, lw=1.4)
    axes.plot(100 * value, place, **_marker(ink, known))


def _marker(ink: str, known: str) -> dict:
    face = ink if known == NOTHING else "white"
    return {"marker": "o", "ms": 5.5, "color": ink, "mfc": face, "mew": 1.4, "ls": "none"}


def _handle(colour: int | None, known: str, name: str, kinds: int) -> Line2D:
    said = [*([name] if name else []), *([KNOWN[known]] if kinds > 1 else [])]
    ink = _INK if colour is None else COLOURS[colour]
    return Line2D([], [], **_marker(ink, known), label=", ".join(said))


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    # Beside the handles, since a label that begins with _ would be left out.
    legend = figure.legend(
        handles, [str(one.get_label()) for one in handles], loc="outside lower left",
        frameon=False, fontsize=_SIZE, handlelength=1.4, labelspacing=0.25,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name is text, whatever it holds
