"""Train a bundle by a recipe, and write it with its pictures.

The one place above models and report: recipes measure, `training_pictures` draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ser_core import features
from ser_core.corpora import Corpus
from ser_core.corpora.corpus import Progress
from ser_core.models import bundle
from ser_core.models.card import NOT_STATED, Card
from ser_core.models.folder import check_target, name_of
from ser_core.models.recipes.base import Recipe, Say, Work


def train(
    corpora: Sequence[Corpus],
    recipe: Recipe,
    save_to: str | Path,
    *,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Path:
    """Train a bundle and measure it.

    Parameters
    ----------
    corpora : sequence of Corpus
        At least one; the recipe says which of them give the labels and the test.
    recipe : Recipe
    save_to : path
        Folder of the bundle, whose name it takes; an older bundle there is replaced.
    jobs : int >= 1, optional
        Processes, of one thread each; one per core by default.
    cache : Path, optional
        Where vectors are kept, so that another training of the same clips needs no audio.
    progress : callable, optional
        Called with a stage, how much of it is done, and of how much.
    say : callable, optional
        Called with a line for a person, such as a first look at the first fold.

    Returns
    -------
    Path
        The folder, with `CARD.md` and pictures beside the bundle's own files.

    Raises
    ------
    TrainingError, CorpusError
        As `Recipe.train`.
    BundleError
        As `Recipe.train`, and before the training for a folder that no bundle may be written to.
    """
    from ser_core.report import training_pictures

    folder = Path(save_to)
    check_target(folder)
    trained = recipe.train(corpora, Work(jobs, cache, progress, say))
    pictures = training_pictures.draw(trained.figures)
    card = replace(trained.card, name=name_of(folder), **_terms(trained.card, corpora))
    bundle.save(
        folder, trained.model, card, trained.inputs, reference=trained.reference, extras=pictures
    )
    return folder


def _terms(card: Card, corpora: Sequence[Corpus]) -> dict[str, Any]:
    """The fields of a card about its licence; those that the recipe filled in are kept.

    A recipe fills them in from the bundle that it started from.
    """
    due = [
        *(corpus.attribution for corpus in corpora),
        features.get(card.feature_set).attribution,
        *card.attribution,
    ]
    free: bool | None = all(corpus.any_use for corpus in corpora)
    if card.any_use is not None or NOT_STATED not in card.licence:
        free = free and card.permits_any_use
    elif card.licence != NOT_STATED:  # of the start; a recipe alone may say nothing
        free = None
    return {
        "any_use": free,
        "attribution": tuple(dict.fromkeys(text for text in due if text)),
    }
