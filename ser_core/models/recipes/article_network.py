"""The article's network, untrained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ser_core.models.runtime import load_keras


def article_layers(inputs: int) -> tuple[int, ...]:
    """Widths of the article's hidden layers: twice the inputs, the inputs, and half of them.

    Examples
    --------
    >>> article_layers(193)
    (386, 193, 96)
    """
    return 2 * inputs, inputs, inputs // 2


def dense_network(
    inputs: int,
    outputs: int,
    *,
    layers: Sequence[int] | None = None,
    dropout: float = 0.2,
    mean: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    seed: int = 0,
) -> Any:
    """The article's network: dense layers with ReLU, dropout after each, softmax.

    Parameters
    ----------
    inputs, outputs : int > 0
        Numbers of features and labels.
    layers : sequence of int > 0, optional
        Widths of the hidden layers; the article's by default.
    dropout : float in [0, 1)
        Share of each hidden layer's units that a training step drops.
    mean, variance : np.ndarray [shape=(inputs,)], optional
        If given, the first layer z-scores with them, and the network takes raw features.
    seed : int
        Seed of the first weights and of the dropout. Global state is not changed.

    Returns
    -------
    keras.Model
        Not compiled.
    """
    keras = load_keras()
    seeds = np.random.SeedSequence(seed)

    def new_seed() -> int:
        return int(seeds.spawn(1)[0].generate_state(1)[0] >> 1)

    def dense(width: int, activation: str) -> Any:
        weights = keras.initializers.GlorotUniform(seed=new_seed())
        return keras.layers.Dense(width, activation=activation, kernel_initializer=weights)

    parts = [keras.Input((inputs,))]
    if mean is not None:
        parts.append(keras.layers.Normalization(mean=mean, variance=variance))
    for width in article_layers(inputs) if layers is None else layers:
        parts += [dense(width, "relu"), keras.layers.Dropout(dropout, seed=new_seed())]
    return keras.Sequential([*parts, dense(outputs, "softmax")])
