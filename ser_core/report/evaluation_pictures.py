"""Pictures of an evaluation, as PNG, narrow enough for a phone, sharp on a good screen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ser_core.models.evaluation import Evaluation, Result, Tested
from ser_core.models.evaluation_plan import CHANNEL, NOTHING
from ser_core.report import style
from ser_core.report.style import INK, SERIES, SOFT

WIDTH_IN, DPI = 3.9, 220
# Width of the pictures on a page: two pixels of a picture are one of the page.
WIDTH_PX = round(WIDTH_IN * DPI / 2)
KNOWN = {NOTHING: "nothing known", CHANNEL: "channel known"}
_ROW_IN = 0.16
_LONGEST_NAME = 14
_SIZE = 8.5


@style.styled(_SIZE)
def uar(evaluation: Evaluation) -> bytes:
    """UAR by condition with its interval: one colour per bundle, hollow where the channel is known.

    Returns
    -------
    bytes
        A PNG.
    """
    series = [
        (i, tested, known) for i, tested in enumerate(evaluation.bundles) for known in tested.known
    ]
    figure, axes = _rows(evaluation.conditions, len(series), "UAR in %, with 95 % intervals")
    for at, (i, tested, known) in enumerate(series):
        for row, condition in enumerate(evaluation.conditions):
            scores = tested.of(condition, known).scores
            _whisker(axes, scores.uar, scores.interval, _place(row, at, len(series)), i, known)
    chance = 100 / len(evaluation.bundles[0].labels)
    axes.axvline(chance, color=SOFT, lw=0.9, ls=":")
    axes.set_xlim(0, 100)
    handles = [_handle(i, known, tested.id, len(tested.known)) for i, tested, known in series]
    _legend(figure, [*handles, Line2D([], [], color=SOFT, lw=0.9, ls=":", label="chance")])
    return style.png(figure, dpi=DPI)


@style.styled(_SIZE)
def differences(evaluation: Evaluation, names: Sequence[str]) -> bytes:
    """The first bundle's UAR less the second's by condition, with its interval.

    Parameters
    ----------
    evaluation : Evaluation
    names : sequence of two str
        Short names of the bundles.

    Returns
    -------
    bytes
        A PNG.
    """
    known = list(dict.fromkeys(difference.known for difference in evaluation.differences))
    words = "points of UAR"
    figure, axes = _rows(evaluation.conditions, len(known), words)
    for difference in evaluation.differences:
        row = evaluation.conditions.index(difference.condition)
        place = _place(row, known.index(difference.known), len(known))
        ends = None
        if difference.low is not None and difference.high is not None:
            ends = (difference.low, difference.high)
        _whisker(axes, difference.difference, ends, place, None, difference.known)
    axes.axvline(0, color=SOFT, lw=0.9)
    reach = max(*np.abs(axes.get_xlim()), 2.0)
    axes.set_xlim(-reach, reach)
    for side, name in enumerate(names):
        # The first is better on the right.
        arrow = f"{_cut(name)} better →" if side == 0 else f"← {_cut(name)} better"
        axes.set_title(arrow, loc="right" if side == 0 else "left", color=SOFT, parse_math=False)
    if len(known) > 1:
        _legend(figure, [_handle(None, kind, "", len(known)) for kind in known])
    return style.png(figure, dpi=DPI)


@style.styled(_SIZE)
def reliability(tested: Tested, known: str, conditions: Sequence[str]) -> bytes:
    """Reliability diagram: accuracy by confidence; the diagonal is perfect calibration.

    Bins with less than a hundredth of the answers are left out.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = _square("confidence", "share that is right")
    axes.plot([0, 1], [0, 1], color=SOFT, lw=0.9, ls=":")
    for colour, result in zip(SERIES, _results(tested, known, conditions), strict=False):
        total = sum(each.count for each in result.reliability)
        shown = [each for each in result.reliability if each.count >= total / 100]
        axes.plot(
            [each.confidence for each in shown], [each.right for each in shown], "o-",
            color=colour, ms=3.5, lw=1.3,
            label=f"{result.condition}: off by {100 * result.calibration_error:.1f} points",
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    _legend(figure, axes.get_legend_handles_labels()[0])
    return style.png(figure, dpi=DPI)


@style.styled(_SIZE)
def coverage(tested: Tested, known: str, conditions: Sequence[str]) -> bytes:
    """Risk-coverage curve by condition, with a dot at the bundle's threshold for `unsure`.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = _square("coverage: the surest, in % of all", "risk: wrong among them, in %")
    for colour, result in zip(SERIES, _results(tested, known, conditions), strict=False):
        # The risk of the few surest jumps about.
        shown = [point for point in result.coverage if point.coverage >= 0.02]
        axes.plot(
            [100 * point.coverage for point in shown], [100 * point.risk for point in shown],
            color=colour, lw=1.4, label=f"{result.condition}: {100 * result.sure:.0f} % are sure",
        )  # fmt: skip
        if result.right_if_sure is not None:
            axes.plot(100 * result.sure, 100 * (1 - result.right_if_sure), "o", color=colour, ms=6)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    _legend(figure, axes.get_legend_handles_labels()[0])
    return style.png(figure, dpi=DPI)


def _results(tested: Tested, known: str, conditions: Sequence[str]) -> list[Result]:
    return [tested.of(condition, known) for condition in conditions]


def _rows(names: Sequence[str], series: int, words: str) -> tuple[Figure, Axes]:
    height = 1.0 + len(names) * _ROW_IN * (series + 1) + 0.2 * series
    figure = style.figure(WIDTH_IN, height)
    axes = figure.subplots()
    axes.set_yticks(np.arange(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(words)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    return figure, axes


def _square(across: str, up: str) -> tuple[Figure, Axes]:
    figure = style.figure(WIDTH_IN, 3.7)
    axes = figure.subplots()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def _place(row: int, at: int, series: int) -> float:
    return row + (at - (series - 1) / 2) / (series + 1)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _whisker(
    axes: Axes,
    value: float,
    ends: tuple[float, float] | None,
    place: float,
    colour: int | None,
    known: str,
) -> None:
    ink = INK if colour is None else SERIES[colour]
    if ends:
        axes.plot([100 * end for end in ends], [place, place], color=ink, lw=1.4)
    axes.plot(100 * value, place, **_marker(ink, known))


def _marker(ink: str, known: str) -> dict:
    face = ink if known == NOTHING else "white"
    return {"marker": "o", "ms": 5.5, "color": ink, "mfc": face, "mew": 1.4, "ls": "none"}


def _handle(colour: int | None, known: str, name: str, kinds: int) -> Line2D:
    parts = [*([name] if name else []), *([KNOWN[known]] if kinds > 1 else [])]
    ink = INK if colour is None else SERIES[colour]
    return Line2D([], [], **_marker(ink, known), label=", ".join(parts))


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    # Labels are passed explicitly: matplotlib would omit those that begin with _.
    legend = figure.legend(
        handles, [str(handle.get_label()) for handle in handles], loc="outside lower left",
        handlelength=1.4, labelspacing=0.25,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name is text, even with dollar signs
