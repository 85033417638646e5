"""Page of an evaluation: one bundle, or two side by side, on corpora under several conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ser_core.conditions import CONDITIONS
from ser_core.models import verdict
from ser_core.models.evaluation import Evaluation
from ser_core.report import evaluation_pictures as pictures
from ser_core.report import pages, style

# Conditions whose tables are open at first, with the worst one.
_SHOWN = ("clean", "mulaw")
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Curves:
    """Pictures of the confidence of one bundle, PNG each."""

    title: str
    reliability: bytes
    coverage: bytes


@dataclass(frozen=True)
class Section:
    """An evaluation with its verdict, and its pictures, PNG each."""

    about: Evaluation
    verdict: str
    names: tuple[str, ...]
    short: tuple[str, ...]
    labels_compared: str
    shown: tuple[str, ...]
    uar: bytes
    differences: bytes | None
    curves: tuple[Curves, ...]


def page(evaluations: Sequence[Evaluation]) -> str:
    """Page of evaluations, one section each.

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
        sections=[_section(evaluation) for evaluation in evaluations],
        bundles=evaluations[0].bundles,
        conditions={name: condition.title for name, condition in CONDITIONS.items()},
        known=pictures.KNOWN,
        colours=style.SERIES,
        width=pictures.WIDTH_PX,
        verdict=verdict,
    )


def _section(evaluation: Evaluation) -> Section:
    shown = _shown(evaluation)
    kinds = [(tested, known) for tested in evaluation.bundles for known in tested.known]
    return Section(
        about=evaluation,
        verdict=verdict.verdict(evaluation),
        names=verdict.names(evaluation),
        short=verdict.short_names(evaluation),
        labels_compared=verdict.labels_compared(evaluation),
        shown=shown,
        uar=pictures.uar(evaluation),
        differences=pictures.differences(evaluation, verdict.short_names(evaluation))
        if evaluation.differences
        else None,
        curves=tuple(
            Curves(
                title=tested.id + (f", {pictures.KNOWN[known]}" if len(tested.known) > 1 else ""),
                reliability=pictures.reliability(tested, known, shown),
                coverage=pictures.coverage(tested, known, shown),
            )
            for tested, known in kinds
        ),
    )


def _shown(evaluation: Evaluation) -> tuple[str, ...]:
    """Conditions whose tables are open at first, in order."""
    if len(evaluation.conditions) <= _MOST_SHOWN:
        return evaluation.conditions
    chosen = {*_SHOWN, verdict.worst(evaluation.bundles[0])}
    return tuple(condition for condition in evaluation.conditions if condition in chosen)
