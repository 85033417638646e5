"""The channel normaliser: clips relative to the other clips of their channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ser_core.models.history import history_weight
from ser_core.models.recipes.calls.material import Material

HISTORY_SIZES = (0, 2, 4, 8, 16, 30)
# Moods of the training histories, with their probabilities: any clips; neutral or calm ones; these
# and one emotion; one emotion only.
MOODS = {"any": 0.5, "calm": 0.25, "calm and one": 0.1, "one": 0.15}
# Smallest variance of a history, in variances of the training speakers.
LEAST_VARIANCE = 0.1
FAR = 6.0


class Histories:
    """Moments of histories: sets of clips.

    A picture counts as the mean of its steps.

    Parameters
    ----------
    x : np.ndarray [shape=(n, d) or (n, 32, 45)]
        As `part` gives it.
    """

    def __init__(self, x: np.ndarray) -> None:
        squares = np.square(x)
        if x.ndim == 3:
            x, squares = x.mean(axis=1), squares.mean(axis=1)
        self._sums = np.concatenate([x, squares], axis=1)

    def moments(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weight, mean and variance of histories, as the normaliser takes them.

        Parameters
        ----------
        members : np.ndarray [shape=(m, most)], int
            Clips of each history; -1 fills up.

        Returns
        -------
        weight [m, 1], mean and variance [m, d or 45]
        """
        from scipy.sparse import csr_array

        real = members >= 0
        n = real.sum(axis=1)
        least = np.maximum(n, 1).astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(n)])
        shares = np.repeat(1 / least, n)
        share = csr_array((shares, members[real], ends), shape=(len(members), len(self._sums)))
        mean, square = np.split(share @ self._sums, 2, axis=1)
        variance = np.maximum(square - np.square(mean), 0)
        weight = history_weight(n).astype(np.float32)[:, None]
        return weight, weight * mean, weight * variance + (1 - weight)


def normalise(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Clips relative to their channel's history, as the networks take them.

    Parameters
    ----------
    x : np.ndarray [shape=(m, d) or (m, 32, 45)]
    mean, variance : np.ndarray [shape=(m, d) or (m, 45)]
        As `Histories.moments` gives them.
    """
    sd = np.sqrt(np.maximum(variance, LEAST_VARIANCE))
    if x.ndim == 3:
        mean, sd = mean[:, None], sd[:, None]
    return np.clip((x - mean) / sd, -FAR, FAR)


def draw_histories(
    random: np.random.Generator, material: Material, sizes: Sequence[int] = HISTORY_SIZES
) -> np.ndarray:
    """Draw a history for each clip: other clips of its speaker in one of `MOODS`.

    Returns
    -------
    np.ndarray [shape=(n, max(sizes))], int
        Indices of clips; -1 fills up.
    """
    most = max(sizes)
    members = np.full((len(material.truth), most), -1)
    calm = material.calm
    for speaker in np.unique(material.speaker):
        own = np.flatnonzero(material.speaker == speaker)
        truth, k = material.truth[own], len(own)
        mood = random.choice(len(MOODS), size=(k, 1), p=list(MOODS.values()))
        emotion = random.choice(np.unique(truth), size=(k, 1)) == truth
        wanted = np.choose(
            mood, [np.ones_like(emotion), np.tile(calm[own], (k, 1)), calm[own] | emotion, emotion]
        )
        # The others in random order, those of other moods last.
        order = random.random((k, k)) + ~wanted + 2 * np.eye(k)
        chosen = np.argsort(order, axis=1)[:, :most]
        size = np.minimum(random.choice(sizes, size=(k, 1)), (order < 1).sum(axis=1, keepdims=True))
        used = np.arange(chosen.shape[1]) < size
        members[own, : chosen.shape[1]] = np.where(used, own[chosen], -1)
    return members
