"""Bundles and vectors for the tests: each is made once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ser_core import models, training
from ser_core.corpora import Corpus, vectors
from ser_core.corpora.corpus import Progress
from ser_core.errors import BundleError
from ser_core.models import Bundle
from ser_core.models.recipes.base import Recipe


@dataclass
class Bench:
    """What the tests share.

    Parameters
    ----------
    work : Path
        Folder of trained bundles.
    corpora : tuple of Corpus
        All that are tested.
    open_names : tuple of str
        Names of the corpora that the default bundle is trained on.
    conditions : tuple of str
        Names in `ser_core.conditions.CONDITIONS`.
    jobs : int, optional
        Processes; one per core by default.
    progress : callable, optional
    """

    work: Path
    corpora: tuple[Corpus, ...]
    open_names: tuple[str, ...]
    conditions: tuple[str, ...]
    jobs: int | None = None
    progress: Progress | None = None
    _kept: dict = field(default_factory=dict, repr=False)

    def corpus(self, name: str) -> Corpus | None:
        """A corpus by its usual spelling; None if it is not there."""
        return next((corpus for corpus in self.corpora if corpus.name == name), None)

    def open_corpora(self) -> list[Corpus]:
        """The corpora that the default bundle is trained on."""
        return [corpus for corpus in self.corpora if corpus.name in self.open_names]

    def vectors(self, corpus: Corpus, feature_set: str, condition: str) -> np.ndarray:
        """Vectors of all utterances of a corpus, float32 [n, d]."""
        key = corpus.name, len(corpus.utterances), feature_set, condition
        if key not in self._kept:
            self._kept[key] = vectors.extract(
                corpus.utterances, feature_set, condition=condition, jobs=self.jobs,
                progress=self.progress,
            )  # fmt: skip
        return self._kept[key]

    def train(self, name: str, corpora: Sequence[Corpus], recipe: Recipe) -> Bundle:
        """A bundle trained on corpora; a finished one with the same settings is loaded."""
        described = [(corpus.name, len(corpus.utterances), corpus.speakers) for corpus in corpora]
        key = hashlib.sha256(repr((recipe, described)).encode()).hexdigest()[:8]
        folder = self.work / "bundles" / f"{name}-{key}"
        if not folder.exists():
            training.train(corpora, recipe, folder, jobs=self.jobs, progress=self.progress)
        return models.load(folder)


def adapt(bundle: Bundle, matrix: np.ndarray, recording: np.ndarray | None = None) -> Bundle | None:
    """The bundle fitted to vectors; None if these are too few, or the bundle is an older one."""
    try:
        return bundle.adapted(matrix, recording)
    except (ValueError, BundleError):
        return None


def leave_out(corpus: Corpus, speakers: set[str]) -> Corpus:
    """A corpus without some of its speakers."""
    kept = tuple(u for u in corpus.utterances if u.speaker not in speakers)
    return replace(corpus, utterances=kept)
