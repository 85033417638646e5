"""Recipe `transfer`: its options, and the training from a bundle to a new one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np

from ser_core.corpora import Corpus, manifest
from ser_core.errors import TrainingError
from ser_core.models import bundle
from ser_core.models.card import Card, find, read_card
from ser_core.models.folder import read_reference, read_training
from ser_core.models.provenance import Provenance, describe_training
from ser_core.models.recipes.base import Figures, Recipe, Trained, Work, option
from ser_core.models.recipes.preparation import (
    LabelledClips,
    count_title,
    describe_corpus,
    first_look,
    library_versions,
    licence_line,
)
from ser_core.models.recipes.transfer.last_layers import (
    PENALTIES,
    Embeddings,
    embed,
    fit_last_layers,
    predict_rows,
    total_loss,
)
from ser_core.models.recipes.transfer.measures import Measured, keeps_calibration, measure
from ser_core.models.recipes.transfer.start import LastLayers, Start, take_apart
from ser_core.models.targets import channel_ids

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

    Raises
    ------
    TrainingError
        A value out of bounds.
    """

    name: ClassVar[str] = "transfer"

    start: str | os.PathLike | None = option(  # noqa: RUF009
        None,
        "start from a bundle of recipe calls and fit its last layers only: for few labels "
        "(implies --recipe transfer)",
        metavar="BUNDLE",
        flag="--from",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is None:
            raise TrainingError("recipe transfer needs a bundle to start from: give --from")
        # A bundle that is missing is reported before any audio is read.
        read_card(self.start)

    def train(self, corpora: Sequence[Corpus], work: Work) -> Trained:
        """See `Recipe.train`. All corpora together give the labels and the test."""
        assert self.start is not None
        start = take_apart(self.start)
        given = read_card(self.start)
        if work.say and given.adapted is not None:
            work.say(
                f"{given.id} is adapted to an archive: the training starts from its base, "
                f"{start.card.id}; ser adapt fits the result to the archive again"
            )
        corpora = _with_warnings(corpora, start, work)
        clips = LabelledClips.of(corpora, self)
        matrix = work.extract(clips.utterances, start.card.feature_set)
        channel = channel_ids(clips.utterances)
        embeddings = embed(start, matrix, channel)
        first = start.last_layers(clips.labels)
        found = cross_validate(start, embeddings, first, clips, work)
        if work.say:
            work.say(describe_penalty(found.penalty))
        draft = replace(start.card, name="", labels=clips.labels)
        if not keeps_calibration(start, clips):
            draft = replace(draft, temperature=1.0, temperature_with_history=1.0)
        after = np.empty((2, len(matrix), len(clips.labels)), np.float32)
        for fold, last in found.by_fold.items():
            own = np.flatnonzero(clips.folds == fold)
            model = bundle.from_keras(start.assemble_with(last, clips.labels), draft)
            after[0, own] = model.predict(matrix[own])
            after[1, own] = model.predict(matrix[own], channel[own])
        measured = measure(start, after, clips, matrix, channel)
        last = fit_last_layers(embeddings, clips.targets, first, found.penalty)
        kept = np.random.default_rng(self.seed).choice(len(matrix), _REFERENCE_ROWS)
        base = Provenance.read(read_reference(find(self.start)))
        provenance = describe_training(clips.utterances, matrix, after[0], base=base)
        return Trained(
            start.assemble_with(last, clips.labels),
            self._card(draft, start, measured, corpora, found.penalty),
            matrix[kept],
            _figures(measured, clips, corpora),
            {**read_training(self.start), **provenance.arrays()},
        )

    def _card(
        self,
        draft: Card,
        start: Start,
        measured: Measured,
        corpora: Sequence[Corpus],
        penalty: float,
    ) -> Card:
        settings = {
            name: value
            for name, value in start.card.settings.items()
            if name in ("networks", "history doubted")
        }
        card = replace(
            draft,
            unsure_segment_below=measured.unsure_below,
            licence=f"{licence_line(corpora)}; started from {start.card.id}: {start.card.licence}",
            corpora=[*(describe_corpus(c, draft.labels) for c in corpora), *start.card.corpora],
            settings={
                **settings,
                "recipe": "calls",
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
        if measured.temperature is None:
            return card
        return replace(
            card,
            temperature=measured.temperature,
            temperature_with_history=measured.temperature,
        )


@dataclass(frozen=True)
class CrossValidation:
    """Result of the cross-validation over speakers.

    Parameters
    ----------
    penalty : float
        The penalty of the least loss over all folds.
    by_fold : mapping of fold to LastLayers
        Last layers that were fitted without the fold, with a penalty chosen without it.
    """

    penalty: float
    by_fold: dict[int, LastLayers]


def cross_validate(
    start: Start,
    embeddings: Embeddings,
    first: LastLayers,
    clips: LabelledClips,
    work: Work,
) -> CrossValidation:
    """Fit the last layers without each fold for each penalty, and choose the penalty."""
    fold_count = int(clips.folds.max()) + 1
    fitted: dict[tuple[int, float], LastLayers] = {}
    losses = np.zeros((fold_count, len(PENALTIES)))
    for fold in range(fold_count):
        held_out = clips.folds[embeddings.clip] == fold
        known = embeddings.of(np.flatnonzero(~held_out))
        unknown = embeddings.of(np.flatnonzero(held_out))
        for p, penalty in enumerate(PENALTIES):
            last = fit_last_layers(known, clips.targets, first, penalty)
            fitted[fold, penalty] = last
            losses[fold, p] = total_loss(start, unknown, clips.targets, last)
            work.report("last layers", fold * len(PENALTIES) + p + 1, len(PENALTIES) * fold_count)
        if work.say and fold == 1:
            # The first rows are the clips without a history. The second fold chooses the penalty,
            # since a penalty chosen by the tested speakers flatters.
            own = np.flatnonzero(clips.agreed & (clips.folds == 0))
            last = fitted[0, PENALTIES[int(losses[1].argmin())]]
            answers = predict_rows(start, embeddings.of(own), last)
            work.say(first_look(clips.truth[own], answers, fold_count))
    by_fold = {
        fold: fitted[fold, PENALTIES[int(np.delete(losses, fold, axis=0).sum(axis=0).argmin())]]
        for fold in range(fold_count)
    }
    return CrossValidation(PENALTIES[int(losses.sum(axis=0).argmin())], by_fold)


def describe_penalty(penalty: float) -> str:
    """The chosen penalty in words."""
    if np.isinf(penalty):
        return (
            "the labels do not help with speakers that were held out: the bundle's layers stay as "
            "they were; label more, of more speakers"
        )
    return (
        f"last layers fitted, with an L2 penalty of {penalty:g} towards the starting weights "
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
