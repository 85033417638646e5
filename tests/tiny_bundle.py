"""Tiny model bundles whose answers follow from the input, for tests of the whole job."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_core import features
from ser_core.models import bundle
from ser_core.models.card import CARD, Card
from ser_core.models.history import HISTORY
from ser_core.models.runtime import load_keras

LABELS = ("calm", "sad", "angry")
COLUMNS = 193


def threshold(dimensions: Sequence[int], edges: Sequence[float], sharpness: float = 1.0):
    """Label k where the mean of some dimensions lies between edges k-1 and k.

    The network is one dense softmax layer: with m the mean, and logits k*m - (e_0 + … + e_k-1),
    label k is ahead of k-1 exactly where m > e_k-1.

    Parameters
    ----------
    dimensions : indices into the vector
    edges : ascending floats, one fewer than there are labels
    sharpness : float > 0
        Logits are multiplied by it: larger gives a confidence nearer to 1.

    Returns
    -------
    callable
        Number of dimensions -> (kernel [d, k], bias [k]).
    """

    def weights(columns: int) -> tuple[np.ndarray, np.ndarray]:
        pick = np.zeros(columns)
        pick[list(dimensions)] = 1 / len(dimensions)
        slopes = np.arange(len(edges) + 1)
        offsets = -np.concatenate([[0.0], np.cumsum(edges)])
        return sharpness * np.outer(pick, slopes), sharpness * offsets

    return weights


def make(
    folder: Path,
    labels: Sequence[str],
    feature_set_id: str,
    weights: Callable[[int], tuple[np.ndarray, np.ndarray]],
    *,
    name: str = "tiny",
    training: tuple[np.ndarray, np.ndarray] | None = None,
    **card: Any,
) -> Path:
    """Write a valid bundle of one dense softmax layer with the given weights.

    Parameters
    ----------
    folder : Path
        Where to write it.
    labels : sequence of str
    feature_set_id : str
        A registered feature set.
    weights : callable
        Number of dimensions -> (kernel, bias), such as `threshold([0], [-300])`.
    training : mean and std of the features in the training, optional
        With them the bundle can be adapted to an archive.
    **card
        Other fields of `Card`, such as `temperature=2.0`.

    Returns
    -------
    Path
        The folder.
    """
    keras = load_keras()
    feature_set = features.get(feature_set_id)
    columns = len(feature_set.names)
    model = keras.Sequential(
        [keras.Input((columns,)), keras.layers.Dense(len(labels), activation="softmax")]
    )
    kernel, bias = weights(columns)
    model.layers[-1].set_weights([np.asarray(kernel, "float32"), np.asarray(bias, "float32")])
    inputs = np.random.default_rng(0).normal(size=(3, columns))
    reference = dict(zip(("feature_mean", "feature_std"), training or (), strict=False))
    bundle.save(
        folder,
        model,
        Card(
            name=name,
            labels=tuple(labels),
            feature_set=feature_set.id,
            fingerprint=feature_set.fingerprint,
            **card,
        ),
        inputs,
        reference=reference,
    )
    return folder


def make_relative(folder: Path, feature_set_id: str = "test_simple", **card: Any) -> Path:
    """Write a bundle that compares a segment with its channel's other ones.

    `angry` where the first dimension is above the mean of the others, `calm` where it is below;
    a channel's only segment is compared with -30.
    """
    keras = load_keras()
    feature_set = features.get(feature_set_id)
    columns = len(feature_set.names)
    vector, count = keras.Input((columns,)), keras.Input((1,))
    mean, variance = keras.Input((columns,)), keras.Input((columns,))
    known = keras.ops.minimum(count, 1.0)
    edge = known * mean[:, :1] + (1.0 - known) * -30.0
    # The variance counts for nothing, but it must be there.
    above = vector[:, :1] - edge + 0.0 * variance[:, :1]
    logits = keras.layers.Concatenate()([0.0 * above, 0.1 * above])
    model = keras.Model([vector, count, mean, variance], keras.ops.softmax(logits))
    bundle.save(
        folder,
        model,
        Card(
            name="relative",
            labels=("calm", "angry"),
            feature_set=feature_set.id,
            fingerprint=feature_set.fingerprint,
            channel_normalisation=HISTORY,
            **card,
        ),
        np.random.default_rng(0).normal(-30, 5, (6, columns)),
    )
    return folder


def vectors(count: int, seed: int = 0) -> np.ndarray:
    """Invented vectors of `seed193`: float32 [count, COLUMNS]."""
    return np.random.default_rng(seed).normal(0, 3, (count, COLUMNS)).astype(np.float32)


def edit_card(folder: Path, **changes) -> None:
    """Change fields of a bundle's card on disk."""
    path = folder / CARD
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
