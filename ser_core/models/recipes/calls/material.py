"""Labelled clips in all their copies, and the scale of their features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser_core.emotions import CALM
from ser_core.features import telephone

ROWS = len(telephone.PICTURE_ROWS)


@dataclass(frozen=True)
class Material:
    """Labelled clips in all their copies.

    Parameters
    ----------
    vectors : np.ndarray [shape=(copies, n, dimensions)], float32
        Vectors of the feature set `telephone`.
    truth : np.ndarray [shape=(n,)], int
        Index into the labels of the clip's corpus.
    corpus : np.ndarray [shape=(n,)], int
        Index into `labels`.
    speaker : np.ndarray [shape=(n,)], int
    labels : tuple of tuples of str
        Labels of each corpus.
    shares : np.ndarray [shape=(n, labels of all corpora)], float32, optional
        Shares of the annotators by label, with the corpora's labels side by side. By default the
        true label has all of them.
    tied : np.ndarray [shape=(n,)], bool, optional
        Clips whose annotators are divided, also about emotions that are not among the labels.
    """

    vectors: np.ndarray
    truth: np.ndarray
    corpus: np.ndarray
    speaker: np.ndarray
    labels: tuple[tuple[str, ...], ...]
    shares: np.ndarray | None = None
    tied: np.ndarray | None = None

    def of(self, which: np.ndarray) -> Material:
        """The material of some clips."""
        return Material(
            self.vectors[:, which],
            self.truth[which],
            self.corpus[which],
            self.speaker[which],
            self.labels,
            None if self.shares is None else self.shares[which],
            None if self.tied is None else self.tied[which],
        )

    @property
    def offsets(self) -> np.ndarray:
        """First output of each corpus, and the number of outputs, int [corpora + 1]."""
        return np.cumsum([0, *(len(labels) for labels in self.labels)])

    @property
    def targets(self) -> np.ndarray:
        """Training targets: `shares`, or 1 for the true label; float32 [n, labels]."""
        if self.shares is not None:
            return self.shares
        offsets = self.offsets
        targets = np.zeros((len(self.truth), offsets[-1]), dtype=np.float32)
        targets[np.arange(len(self.truth)), offsets[self.corpus] + self.truth] = 1
        return targets

    @property
    def agreed(self) -> np.ndarray:
        """Clips with a label that has more annotators than any other, bool [n]."""
        most = np.sort(self.targets, axis=1)[:, -2:]
        agreed = most[:, 1] > most[:, 0]
        return agreed if self.tied is None else agreed & ~self.tied

    @property
    def calm(self) -> np.ndarray:
        """Clips that are neutral or calm, bool [n]."""
        calm = [[label in CALM for label in labels] for labels in self.labels]
        return np.array([calm[c][t] for c, t in zip(self.corpus, self.truth, strict=True)])


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of the training speakers' vectors, [dimensions] each.

    Each row of the picture has one scale for all its steps.
    """

    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Scale:
        """The scale of vectors [n, dimensions]."""
        exact = vectors.astype(np.float64)
        mean, square = exact.mean(axis=0), np.square(exact).mean(axis=0)
        for moment in (mean, square):
            steps = moment[telephone.PICTURE].reshape(telephone.STEPS, ROWS)
            steps[:] = steps.mean(axis=0)
        sd = np.sqrt(np.maximum(square - np.square(mean), 1e-12))
        return cls(mean.astype(np.float32), sd.astype(np.float32))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """z-scores of vectors [n, dimensions]."""
        return (vectors - self.mean) / self.sd
