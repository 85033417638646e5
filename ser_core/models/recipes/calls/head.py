"""The classifier: softmax regression with a strong penalty, over one label space for all corpora.

Out of the training's corpora, networks with hidden layers were no better than this: what they
learn beyond the linear is the corpus (docs/accuracy.md, "Trials").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_core.errors import TrainingError
from ser_core.models.runtime import load_keras

_ITERATIONS = 150
# Added to the logits of masked labels: their probability is zero.
_MASKED = -1e4
# Rows are divided by their length, by at least this: as Keras' `UnitNormalization` does.
SMALLEST_LENGTH = 1e-12
# The variance of a constant feature: such that its standardised value does not count.
_HUGE = 1e30


@dataclass(frozen=True)
class Head:
    """A trained classifier.

    Parameters
    ----------
    kernel : np.ndarray [shape=(d, k)], float32
    bias : np.ndarray [shape=(k,)], float32
    """

    kernel: np.ndarray
    bias: np.ndarray

    def __call__(self, scaled: np.ndarray) -> np.ndarray:
        """Probabilities of standardised vectors: [n, d] -> float32 [n, k]."""
        from scipy.special import softmax

        return softmax(scaled @ self.kernel + self.bias, axis=1).astype(np.float32)

    def as_network(self, mean: np.ndarray, std: np.ndarray) -> Any:
        """Keras model from vectors [n, d] to probabilities [n, k], with `head_input` in front.

        A feature with std 0 does not count.
        """
        keras = load_keras()
        inputs = keras.Input((len(self.kernel),), name="vector")
        varies = std > 0
        variance = np.where(varies, np.square(std, dtype=np.float64), _HUGE)
        scaled = keras.layers.Normalization(mean=mean, variance=variance, name="scale")(inputs)
        unit = keras.layers.UnitNormalization(name="unit_length")(scaled)
        levelled = keras.layers.Rescaling(len(self.kernel) ** 0.5, name="length")(unit)
        dense = keras.layers.Dense(len(self.bias), activation="softmax", name="head")
        network = keras.Model(inputs, dense(levelled), name="calls")
        dense.set_weights([np.where(varies[:, None], self.kernel, 0), self.bias])
        return network


def fit(
    scaled: np.ndarray,
    targets: np.ndarray,
    allowed: np.ndarray,
    weight: np.ndarray,
    *,
    decay: float,
    trust: np.ndarray | float = 1.0,
    start: Head | None = None,
) -> Head:
    """Fit a classifier by L-BFGS to the least weighted cross-entropy plus penalty.

    Parameters
    ----------
    scaled : np.ndarray [shape=(n, d)]
        Standardised vectors.
    targets : np.ndarray [shape=(n, k)]
        Shares of the labels; rows add up to 1.
    allowed : np.ndarray [shape=(n, k)], bool
        The labels of each row's corpus. The others are masked: the row says nothing about them.
    weight : np.ndarray [shape=(n,)]
        Weights of the rows, of any scale.
    decay : float >= 0
        Half of it times the squared distance of the kernel from that of `start` is added to the
        mean loss.
    trust : np.ndarray [shape=(d,)] or float > 0
        The penalty of a feature's weights is divided by the square of it.
    start : Head, optional
        Where to start; by default from zeros.

    Raises
    ------
    TrainingError
        The loss is not finite.
    """
    from scipy.optimize import minimize

    x = np.ascontiguousarray(scaled, dtype=np.float32)
    k = targets.shape[1]
    trusted = np.broadcast_to(np.asarray(trust, np.float32), x.shape[1:])
    origin = np.zeros((x.shape[1], k), np.float32) if start is None else start.kernel
    bias = np.zeros(k, np.float32) if start is None else start.bias
    fixed = x @ origin + np.where(allowed, np.float32(0), np.float32(_MASKED))
    # What is looked for has one penalty, and is scaled by the trust to be added to the kernel.
    scale: np.ndarray | np.float32 = trusted[:, None]
    basis = None
    if len(x) < x.shape[1]:
        # The penalty keeps it in the space that the rows span.
        basis, coordinates = np.linalg.qr((x * trusted).T)
        x, scale = np.ascontiguousarray(coordinates.T), np.float32(1)
    weight = (weight / weight.sum()).astype(np.float32)[:, None]
    size = x.shape[1] * k

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        added = values[:size].reshape(-1, k).astype(np.float32)
        logits = fixed + x @ (scale * added) + values[size:].astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        total = exponentials.sum(axis=1, keepdims=True)
        entropy = -float((weight * targets * (logits - np.log(total))).sum(dtype=np.float64))
        slope = weight * (exponentials / total - targets)
        penalty = 0.5 * decay * float(np.square(added, dtype=np.float64).sum())
        gradient = np.concatenate(
            [(scale * (x.T @ slope) + decay * added).ravel(), slope.sum(axis=0)]
        )
        return entropy + penalty, gradient.astype(np.float64)

    first = np.concatenate([np.zeros(size), bias])
    found = minimize(
        loss, first, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS, "maxcor": 15}
    )
    if not np.isfinite(found.fun):
        raise TrainingError(
            "the training diverged: its loss is not finite; check that all vectors of the feature "
            "set are"
        )
    added = found.x[:size].reshape(-1, k)
    kernel = origin + (scale * added if basis is None else trusted[:, None] * (basis @ added))
    return Head(kernel.astype(np.float32), found.x[size:].astype(np.float32))
