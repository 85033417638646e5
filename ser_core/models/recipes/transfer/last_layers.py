"""The last layers of networks: fitted to labels, with an L2 penalty towards what they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ser_core.models.recipes.calls.members import select_inputs
from ser_core.models.recipes.calls.normaliser import Histories, normalise
from ser_core.models.recipes.transfer.start import LastLayers, Start
from ser_core.models.runtime import load_keras

# L2 penalties towards the starting weights: from "no change at all" downwards.
PENALTIES = (np.inf, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)


@dataclass(frozen=True)
class Embeddings:
    """Outputs of the networks before their last layers.

    The rows are all clips without a history, then those whose channel has other clips, with these
    as their history.

    Parameters
    ----------
    by_network : tuple of np.ndarray [shape=(rows, d)]
    clip : np.ndarray [shape=(rows,)], int
        Index of each row's clip.
    """

    by_network: tuple[np.ndarray, ...]
    clip: np.ndarray

    def of(self, rows: np.ndarray) -> Embeddings:
        """Some of the rows."""
        return Embeddings(tuple(array[rows] for array in self.by_network), self.clip[rows])


def embed(start: Start, matrix: np.ndarray, channel: np.ndarray) -> Embeddings:
    """Embeddings of clips.

    Parameters
    ----------
    start : Start
    matrix : np.ndarray [shape=(n, d)]
        Feature vectors.
    channel : np.ndarray [shape=(n,)], int
        Channel of each clip.
    """
    keras = load_keras()
    n = len(matrix)
    others = other_rows(channel)
    related = np.flatnonzero(others[:, 0] >= 0)
    no_history = np.full((n, 1), -1)
    by_network = []
    for member, network in start.networks:
        trunk = keras.Model(network.inputs, network.layers[-1].input)
        x = select_inputs(start.scale(matrix), member.inputs)
        sums = Histories(x)
        rows = []
        for which, members in ((np.arange(n), no_history), (related, others[related])):
            if len(which):
                weight, *moments = sums.moments(members)
                seen = normalise(x[which], *moments)
                rows.append(trunk.predict([seen, weight], batch_size=256, verbose=0))
        by_network.append(np.concatenate(rows).astype(np.float64))
    return Embeddings(tuple(by_network), np.concatenate([np.arange(n), related]))


def other_rows(channel: np.ndarray) -> np.ndarray:
    """For each row the other rows of its channel, int [n, most]; -1 fills up."""
    _, index, sizes = np.unique(channel, return_inverse=True, return_counts=True)
    others = np.full((len(channel), max(sizes.max() - 1, 1)), -1)
    for which in np.flatnonzero(sizes > 1):
        rows = np.flatnonzero(index == which)
        k = len(rows)
        others[rows, : k - 1] = np.tile(rows, (k, 1))[~np.eye(k, dtype=bool)].reshape(k, k - 1)
    return others


def fit_last_layers(
    embeddings: Embeddings, targets: np.ndarray, first: LastLayers, penalty: float
) -> LastLayers:
    """Multinomial logistic regression of each network, with a penalty towards the first layers.

    A clip counts once, whether or not it has a row with a history, too. The distance from the first
    layers is in units of the inputs' standard deviations.

    Parameters
    ----------
    embeddings : Embeddings
    targets : np.ndarray [shape=(clips, labels)]
        Shares of the annotators.
    first : LastLayers
    penalty : float > 0
        Infinity leaves the first layers as they are.
    """
    from scipy.optimize import minimize

    if np.isinf(penalty):
        return first
    wanted = targets[embeddings.clip].astype(np.float64)
    weight = 1 / np.bincount(embeddings.clip)[embeddings.clip]
    weight /= weight.sum()
    layers = []
    for x, (kernel, bias) in zip(embeddings.by_network, first.layers, strict=True):
        sd = np.maximum(x.std(axis=0), 1e-6)
        scaled = np.concatenate([(x - x.mean(axis=0)) / sd, np.ones((len(x), 1))], axis=1)
        loss = _penalised_loss(scaled, x @ kernel + bias, wanted, weight, penalty)
        found = minimize(
            loss, np.zeros(scaled.shape[1] * wanted.shape[1]), jac=True, method="L-BFGS-B"
        )
        change = found.x.reshape(scaled.shape[1], -1)
        new = change[:-1] / sd[:, None]
        layers.append((kernel + new, bias + change[-1] - x.mean(axis=0) @ new))
    return LastLayers(tuple(layers))


def _penalised_loss(
    scaled: np.ndarray, base: np.ndarray, wanted: np.ndarray, weight: np.ndarray, penalty: float
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Loss and gradient of a change of a layer, flattened, as `minimize` takes them."""
    from scipy.special import log_softmax

    def loss(change: np.ndarray) -> tuple[float, np.ndarray]:
        change = change.reshape(scaled.shape[1], -1)
        log_p = log_softmax(base + scaled @ change, axis=1)
        slope = scaled.T @ (weight[:, None] * (np.exp(log_p) - wanted)) + penalty * change
        cost = -(weight @ (wanted * log_p).sum(axis=1)) + penalty / 2 * np.square(change).sum()
        return cost, slope.ravel()

    return loss


def predict_rows(start: Start, embeddings: Embeddings, last: LastLayers) -> np.ndarray:
    """Probabilities of rows, averaged over networks, [rows, labels]."""
    from scipy.special import softmax

    networks = zip(start.weights, embeddings.by_network, last.layers, strict=True)
    return sum(
        weight * softmax(x @ kernel + bias, axis=1) for weight, x, (kernel, bias) in networks
    )


def total_loss(
    start: Start, embeddings: Embeddings, targets: np.ndarray, last: LastLayers
) -> float:
    """Cross-entropy in nats, summed over rows."""
    answers = np.maximum(predict_rows(start, embeddings, last), 1e-9)
    return float(-(targets[embeddings.clip] * np.log(answers)).sum())
