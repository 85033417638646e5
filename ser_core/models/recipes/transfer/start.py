"""The bundle that a training starts from, taken apart and put together again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_core.errors import BundleError
from ser_core.models import bundle
from ser_core.models.card import Card, read_card
from ser_core.models.recipes.calls import networks
from ser_core.models.recipes.calls.material import Scale
from ser_core.models.recipes.calls.members import Member, flat_width
from ser_core.models.runtime import load_keras

_TOLERANCE = 1e-4


@dataclass(frozen=True)
class LastLayers:
    """Last layers: for each network a kernel [d, labels] and a bias [labels]."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class Start:
    """The parts of a bundle: its card, its scale, and its networks one by one."""

    card: Card
    scale: Scale
    networks: tuple[tuple[Member, Any], ...]

    @property
    def weights(self) -> np.ndarray:
        """Weights of the networks in the average; they add up to 1."""
        weights = np.array([member.weight for member, _ in self.networks])
        return weights / weights.sum()

    def assemble(self) -> Any:
        """The bundle's own network again, as a Keras model."""
        return networks.assemble(self.networks, self.scale, len(self.card.labels))

    def assemble_with(self, last: LastLayers, labels: Sequence[str]) -> Any:
        """The networks with other last layers, as one Keras model."""
        members = []
        for (member, old), (kernel, bias) in zip(self.networks, last.layers, strict=True):
            new = networks.network(member, len(labels), flat_width(member))
            new.set_weights(
                [*old.get_weights()[:-2], kernel.astype(np.float32), bias.astype(np.float32)]
            )
            members.append((member, new))
        return networks.assemble(members, self.scale, len(labels))

    def last_layers(self, labels: Sequence[str]) -> LastLayers:
        """The bundle's last layers for other labels.

        A label that the bundle does not have starts from the mean of those that it has.
        """
        layers = []
        own = list(self.card.labels)
        for _, network in self.networks:
            kernel, bias = (array[..., : len(own)] for array in network.layers[-1].get_weights())
            together = np.concatenate([kernel, bias[None]]).astype(np.float64)
            mean = together.mean(axis=1)
            columns = [together[:, own.index(name)] if name in own else mean for name in labels]
            layer = np.stack(columns, axis=1)
            layers.append((layer[:-1], layer[-1]))
        return LastLayers(tuple(layers))


def take_apart(name: str | os.PathLike) -> Start:
    """The parts of a bundle, checked by putting them together again.

    Raises
    ------
    BundleError
        A bundle that recipe `calls` did not make, or whose network is not the one of its card.
    """
    card = read_card(name)
    settings = card.settings.get("networks")
    if card.settings.get("recipe") != "calls" or not settings:
        raise BundleError(
            f"{card.id}: made by recipe {card.settings.get('recipe', 'unknown')!r}; only bundles "
            "of recipe calls can be started from, such as calls or calls-fast"
        )
    keras = load_keras()
    card, model = bundle.load_keras_model(name)
    card = card.base  # of an adapted bundle
    members, left = _match_members(
        [Member.from_settings(member) for member in settings],
        [layer for layer in model.layers if isinstance(layer, keras.Model)],
    )
    scales = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
    scales = [layer for layer in scales if np.asarray(layer.mean).any()]
    if left or len(members) != len(settings) or len(scales) != 1:
        raise BundleError(f"{card.id}: its network is not the one that its card describes")
    mean, variance = (np.ravel(np.asarray(x)) for x in (scales[0].mean, scales[0].variance))
    start = Start(card, Scale(mean, np.sqrt(variance)), tuple(members))
    matrix = np.random.default_rng(0).normal(mean, start.scale.sd, (8, len(mean)))
    before, after = (
        bundle.from_keras(network, card).predict(matrix, np.zeros(8))
        for network in (model, start.assemble())
    )
    if not np.abs(before - after).max() < _TOLERANCE:
        raise BundleError(f"{card.id}: its network is not assembled as recipe calls does it")
    return start


def _match_members(
    members: Sequence[Member], networks_found: Sequence[Any]
) -> tuple[list[tuple[Member, Any]], list[Any]]:
    """Match each member with the first network of its shapes; also returns networks left over."""
    left, matched = list(networks_found), []
    for member in members:
        for i, network in enumerate(left):
            outputs = network.output_shape[-1]
            empty = networks.network(member, outputs, flat_width(member))
            shapes = [weights.shape for weights in network.get_weights()]
            if shapes == [weights.shape for weights in empty.get_weights()]:
                empty.set_weights(network.get_weights())
                matched.append((member, empty))
                del left[i]
                break
    return matched, left
