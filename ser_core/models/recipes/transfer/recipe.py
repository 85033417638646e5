"""Recipe `transfer`: its options, and the training from a bundle to a new one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np

from ser_core.corpora import Corpus, manifest
from ser_core.errors import TrainingError
from ser_core.models.calibration import calibrate
from ser_core.models.card import Card, read_card
from ser_core.models.folder import read_reference, read_training
from ser_core.models.provenance import Provenance, describe_training
from ser_core.models.recipes.base import Figures, Recipe, Trained, Work, option
from ser_core.models.recipes.calls.head import Head, fit
from ser_core.models.recipes.preparation import (
    LabelledClips,
    count_title,
    describe_corpus,
    first_look,
    library_versions,
    licence_line,
)
from ser_core.models.recipes.transfer.measures import Measured, measure
from ser_core.models.recipes.transfer.start import Start, take_apart
from ser_core.models.signature import PublicKey

# L2 penalties towards the starting weights: from "no change at all" downwards.
PENALTIES = (np.inf, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
_REFERENCE_ROWS = 12


@dataclass(frozen=True, kw_only=True)
class TransferRecipe(Recipe):
    """Training that starts from a bundle.

    Parameters
    ----------
    emotions, folds, seed
        As in `Recipe`. The seed is that of the folds.
    start : str or path
        A bundle of recipe `calls`: the name of a bundled model, or a folder.
    signed_by : PublicKey, optional
        Whose signature that bundle must have.

    Raises
    ------
    TrainingError
        A value out of bounds.
    """

    name: ClassVar[str] = "transfer"

    start: str | os.PathLike | None = option(  # noqa: RUF009
        None,
        "start from a bundle of recipe calls and stay near it: for few labels "
        "(implies --recipe transfer)",
        metavar="BUNDLE",
        flag="--from",
    )
    signed_by: PublicKey | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is None:
            raise TrainingError("recipe transfer needs a bundle to start from: give --from")
        # A bundle that is missing is reported before any audio is read.
        read_card(self.start)

    def train(self, corpora: Sequence[Corpus], work: Work) -> Trained:
        """See `Recipe.train`. All corpora together give the labels and the test."""
        assert self.start is not None
        start = take_apart(self.start, signed_by=self.signed_by)
        given = read_card(self.start)
        if work.say and given.adapted is not None:
            work.say(
                f"{given.id} is adapted to an archive: the training starts from its base, "
                f"{start.card.id}; ser adapt fits the result to the archive again"
            )
        corpora = _with_warnings(corpora, start, work)
        clips = LabelledClips.of(corpora, self)
        matrix = work.extract(clips.utterances, start.card.feature_set)
        scaled = start.scaled(matrix)
        first = start.head_for(clips.labels)
        found = cross_validate(scaled, first, clips, work)
        if work.say:
            work.say(describe_penalty(found.penalty))
        after = np.empty((len(matrix), len(clips.labels)), np.float32)
        for fold, head in found.by_fold.items():
            after[clips.folds == fold] = head(scaled[clips.folds == fold])
        measured = measure(start, after, clips, scaled)
        head = fit_from(first, scaled, clips.targets, found.penalty)
        kept = np.random.default_rng(self.seed).choice(len(matrix), _REFERENCE_ROWS)
        mean, std = start.scale.mean, start.scale.std
        base = Provenance.read(read_reference(self.start, signed_by=self.signed_by))
        outputs = calibrate(after, measured.temperature)
        provenance = describe_training(clips.utterances, matrix, outputs, base=base)
        return Trained(
            head.as_network(mean, std),
            self._card(start, clips.labels, measured, corpora, found.penalty),
            matrix[kept],
            _figures(measured, clips, corpora),
            {
                **read_training(self.start, signed_by=self.signed_by),
                **provenance.arrays(),
            },
        )

    def _card(
        self,
        start: Start,
        labels: tuple[str, ...],
        measured: Measured,
        corpora: Sequence[Corpus],
        penalty: float,
    ) -> Card:
        return replace(
            start.card,
            name="",
            labels=labels,
            temperature=measured.temperature,
            unsure_segment_below=measured.unsure_below,
            licence=f"{licence_line(corpora)}; started from {start.card.id}: {start.card.licence}",
            corpora=[*(describe_corpus(c, labels) for c in corpora), *start.card.corpora],
            settings={
                "recipe": self.name,
                "from": start.card.id,
                "folds": self.folds,
                "seed": self.seed,
                "held to the start by": "all: nothing was learned"
                if np.isinf(penalty)
                else penalty,
            },
            protocol="after",
            results={name: asdict(scores) for name, scores in measured.results.items()},
            measures=measured.measures,
            versions=library_versions(),
        )


@dataclass(frozen=True)
class CrossValidation:
    """Result of the cross-validation over speakers.

    Parameters
    ----------
    penalty : float
        The penalty of the least loss over all folds.
    by_fold : mapping of fold to Head
        Classifiers that were fitted without the fold, with a penalty chosen without it.
    """

    penalty: float
    by_fold: dict[int, Head]


def cross_validate(
    scaled: np.ndarray, first: Head, clips: LabelledClips, work: Work
) -> CrossValidation:
    """Fit the classifier without each fold for each penalty, and choose the penalty."""
    fold_count = int(clips.folds.max()) + 1
    fitted: dict[tuple[int, float], Head] = {}
    losses = np.zeros((fold_count, len(PENALTIES)))
    for fold in range(fold_count):
        held_out = clips.folds == fold
        for p, penalty in enumerate(PENALTIES):
            head = fit_from(first, scaled[~held_out], clips.targets[~held_out], penalty)
            fitted[fold, penalty] = head
            answers = np.maximum(head(scaled[held_out]), 1e-9)
            losses[fold, p] = -(clips.targets[held_out] * np.log(answers)).sum()
            work.report("penalties", fold * len(PENALTIES) + p + 1, len(PENALTIES) * fold_count)
        if work.say and fold == 1:
            # The second fold chooses the penalty, since a penalty chosen by the tested speakers
            # flatters.
            own = np.flatnonzero(clips.agreed & (clips.folds == 0))
            head = fitted[0, PENALTIES[int(losses[1].argmin())]]
            work.say(first_look(clips.truth[own], head(scaled[own]), fold_count))
    by_fold = {
        fold: fitted[fold, PENALTIES[int(np.delete(losses, fold, axis=0).sum(axis=0).argmin())]]
        for fold in range(fold_count)
    }
    return CrossValidation(PENALTIES[int(losses.sum(axis=0).argmin())], by_fold)


def fit_from(first: Head, scaled: np.ndarray, targets: np.ndarray, penalty: float) -> Head:
    """Fit a classifier that stays near the first one; infinity leaves it as it is."""
    if np.isinf(penalty):
        return first
    weight = np.ones(len(scaled))
    return fit(scaled, targets, np.ones_like(targets, bool), weight, decay=penalty, start=first)


def describe_penalty(penalty: float) -> str:
    """The chosen penalty in words."""
    if np.isinf(penalty):
        return (
            "the labels do not help with speakers that were held out: the bundle's weights stay as "
            "they were; label more, of more speakers"
        )
    return (
        f"fitted with an L2 penalty of {penalty:g} towards the starting weights "
        f"({PENALTIES[-1]:g} is loose, {PENALTIES[1]:g} tight)"
    )


def _with_warnings(corpora: Sequence[Corpus], start: Start, work: Work) -> list[Corpus]:
    """The corpora, with a warning for those whose speakers the start may know."""
    warned = []
    for corpus in corpora:
        if names := _same_speakers(start, corpus):
            warning = (
                f"{start.card.id} was trained on {', '.join(names)}: for speakers who are in both, "
                "the figures flatter, before and after; start from a bundle that was not trained "
                "on them, or rely only on `ser evaluate` on other speakers"
            )
            corpus = replace(corpus, warnings=(*corpus.warnings, warning))
            if work.say:
                work.say(f"warning: {corpus.name}: {warning}")
        warned.append(corpus)
    return warned


def _same_speakers(start: Start, corpus: Corpus) -> list[str]:
    """Corpora of the start's training that may have the same speakers as a corpus."""
    return [
        trained["name"]
        for trained in start.card.corpora
        if trained["name"] == corpus.name or (corpus.own and trained["licence"] == manifest.LICENCE)
    ]


def _figures(measured: Measured, clips: LabelledClips, corpora: Sequence[Corpus]) -> Figures:
    results = measured.results
    return Figures(
        confusion=[results[name] for name in ("after", "before") if name in results],
        counts=clips.counts,
        counts_title=count_title(clips, corpora),
        reliability=measured.bins,
        coverage=measured.curves,
    )
