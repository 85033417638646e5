"""The bundle that a training starts from: its classifier, and the scale in front of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ser_core.errors import BundleError
from ser_core.models.archive import FeatureStatistics
from ser_core.models.card import Card, read_card
from ser_core.models.folder import load_keras_model, read_training
from ser_core.models.recipes.calls.data import head_input
from ser_core.models.recipes.calls.head import Head
from ser_core.models.runtime import load_keras
from ser_core.models.signature import PublicKey


@dataclass(frozen=True)
class Start:
    """The parts of a bundle of recipe `calls`.

    Parameters
    ----------
    card : Card
    head : Head
    scale : FeatureStatistics
        What vectors are standardised by.
    """

    card: Card
    head: Head
    scale: FeatureStatistics

    def scaled(self, matrix: np.ndarray) -> np.ndarray:
        """What the head sees of vectors [n, d]."""
        return head_input(matrix, self.scale)

    def head_for(self, labels: Sequence[str]) -> Head:
        """The classifier for other labels; new ones start from the mean of those it has."""
        own = list(self.card.labels)
        layer = np.concatenate([self.head.kernel, self.head.bias[None]])
        mean = layer.mean(axis=1)
        columns = [layer[:, own.index(name)] if name in own else mean for name in labels]
        together = np.stack(columns, axis=1)
        return Head(together[:-1], together[-1])


def take_apart(name: str | os.PathLike, *, signed_by: PublicKey | None = None) -> Start:
    """The parts of a bundle; of an adapted one, those of its base.

    Parameters
    ----------
    name : str or path
    signed_by : PublicKey, optional
        Whose signature the bundle must have.

    Raises
    ------
    BundleError
        A bundle that recipe `calls` of this version did not make, or a wrong signature.
    """
    card = read_card(name)
    made_by = card.settings.get("recipe", "unknown")
    if made_by not in ("calls", "transfer") or card.channel_normalisation:
        raise BundleError(
            f"{card.id}: made by recipe {made_by!r}"
            + (" of version 0.2.0 or older" if card.channel_normalisation else "")
            + "; only bundles of recipe calls of this version can be started from, such as calls "
            "or calls-fast"
        )
    keras = load_keras()
    card, model = load_keras_model(name, signed_by=signed_by)
    card = card.base  # of an adapted bundle
    scales = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    heads = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    if len(scales) != 1 or len(heads) != 1:
        raise BundleError(f"{card.id}: its network is not the one that recipe calls makes")
    kernel, bias = heads[0].get_weights()
    scale = FeatureStatistics.of(read_training(name, signed_by=signed_by), len(kernel))
    if scale is None:
        raise BundleError(
            f"{card.id}: reference.npz lacks feature_mean and feature_std; copy the bundle again"
        )
    return Start(card, Head(kernel, bias), scale)
