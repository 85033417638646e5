"""One page about how a bundle does on a corpus, or two side by side, under each condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ser_core.conditions import CONDITIONS
from ser_core.models.comparison import Difference
from ser_core.models.evaluation import Evaluation, Tested
from ser_core.models.evaluation_plan import NOTHING
from ser_core.report import evaluation_pictures as pictures
from ser_core.report import pages, style

# The conditions whose tables stand open, where they were asked for; and the worst.
_SHOWN = ("clean", "mulaw")
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Curves:
    """Pictures of one bundle's confidence."""

    title: str
    reliability: bytes
    coverage: bytes


@dataclass(frozen=True)
class Section:
    """An evaluation with its pictures, PNG each."""

    about: Evaluation
    shown: tuple[str, ...]
    uar: bytes
    differences: bytes | None
    curves: tuple[Curves, ...]


def page(evaluations: Sequence[Evaluation]) -> str:
    """The page of evaluations, a section each.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        The same bundles on one corpus after another; one or more.

    Returns
    -------
    str
        HTML; `pages.write` writes it.
    """
    return pages.render(
        "evaluation",
        sections=[_section(one) for one in evaluations],
        bundles=evaluations[0].bundles,
        conditions={name: condition.title for name, condition in CONDITIONS.items()},
        known=pictures.KNOWN,
        colours=style.SERIES,
        width=pictures.WIDTH_PX,
        points=points,
        worst=worst,
        verdict=verdict,
    )


def _section(evaluation: Evaluation) -> Section:
    shown = _shown(evaluation)
    kinds = [(one, known) for one in evaluation.bundles for known in one.known]
    return Section(
        about=evaluation,
        shown=shown,
        uar=pictures.uar(evaluation),
        differences=pictures.differences(evaluation) if evaluation.differences else None,
        curves=tuple(
            Curves(
                title=one.id + (f", {pictures.KNOWN[known]}" if len(one.known) > 1 else ""),
                reliability=pictures.reliability(one, known, shown),
                coverage=pictures.coverage(one, known, shown),
            )
            for one, known in kinds
        ),
    )


def _shown(evaluation: Evaluation) -> tuple[str, ...]:
    """The conditions to speak of first, in order."""
    if len(evaluation.conditions) <= _MOST_SHOWN:
        return evaluation.conditions
    some = {*_SHOWN, worst(evaluation.bundles[0])}
    return tuple(one for one in evaluation.conditions if one in some)


def worst(tested: Tested, known: str = NOTHING) -> str:
    """The condition of the lowest UAR."""
    results = [one for one in tested.results if one.known == known]
    return min(results, key=lambda one: one.scores.uar).condition


def points(value: float | None) -> str:
    """A difference in points, such as "+3.2"; a dash for what there is not."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def verdict(one: Difference, bundles: Sequence[Tested]) -> str:
    """Who is better, if that can be said."""
    if one.told_apart is None:
        return "one speaker: nothing can be said"
    if not one.told_apart:
        return "not told apart"
    return f"{bundles[0 if one.difference > 0 else 1].id} better"
