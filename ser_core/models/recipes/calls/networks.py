"""The networks of the ensemble, untrained, and their assembly into one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ser_core.features import telephone
from ser_core.models.history import HISTORY_HALF
from ser_core.models.recipes.calls.material import ROWS, Scale
from ser_core.models.recipes.calls.members import FLAT, Member
from ser_core.models.recipes.calls.normaliser import FAR, LEAST_VARIANCE
from ser_core.models.runtime import load_keras


def network(member: Member, outputs: int, inputs: int, *, unroll: bool = False) -> Any:
    """The network of a member, from normalised clips to logits.

    Parameters
    ----------
    outputs : int
        Number of labels of all corpora.
    inputs : int
        Width of the flat features, without the weight.
    unroll : bool
        Unroll recurrent steps instead of looping: a quarter faster to train, slower to load.
    """
    keras = load_keras()
    layers, ops = keras.layers, keras.ops
    keras.utils.set_random_seed(member.seed)
    weight = keras.Input((1,), name="weight")
    if member.kind == "dense":
        x = keras.Input((inputs,), name="flat")
        h = layers.Dropout(0.2)(x)
        h = layers.Concatenate()([h, weight])
        for units in (256, 128):
            h = layers.Dense(units)(h)
            h = layers.LayerNormalization()(h)
            h = layers.Activation("gelu")(h)
            h = layers.Dropout(0.4)(h)
        return keras.Model([x, weight], layers.Dense(outputs)(h))
    x = keras.Input((telephone.STEPS, ROWS), name="picture")
    h = layers.SpatialDropout1D(0.1)(x)
    h = layers.Concatenate()([h, layers.RepeatVector(telephone.STEPS)(weight)])
    if member.kind == "rnn":
        for _ in range(2):
            gru = layers.GRU(member.width, return_sequences=True, unroll=unroll)
            h = layers.Bidirectional(gru)(h)
            h = layers.SpatialDropout1D(0.2)(h)
    else:
        for size, stride in ((5, 1), (3, 2), (3, 1)):
            h = layers.Conv1D(member.width, size, strides=stride, padding="same", use_bias=False)(h)
            h = layers.BatchNormalization()(h)
            h = layers.Activation("relu")(h)
            h = layers.SpatialDropout1D(0.1)(h)
    # Attentive statistics (Okabe, Koshinaka and Shinoda 2018): mean and deviation, four times.
    attention = layers.Softmax(axis=1)(layers.Dense(4)(h))
    mean = layers.Dot(axes=1)([attention, h])
    square = layers.Dot(axes=1)([attention, layers.Multiply()([h, h])])
    variance = layers.Subtract()([square, layers.Multiply()([mean, mean])])
    deviation = ops.sqrt(ops.relu(variance) + 1e-4)
    h = layers.Flatten()(layers.Concatenate()([mean, deviation]))
    h = layers.Dropout(0.3)(h)
    h = layers.Dense(64, activation="relu")(h)
    h = layers.Dropout(0.3)(h)
    return keras.Model([x, weight], layers.Dense(outputs)(h))


def assemble(networks: Sequence[tuple[Member, Any]], scale: Scale, labels: int) -> Any:
    """Assemble networks into one, from vectors as they are extracted to probabilities.

    The inputs are those of a bundle with channel normalisation: vectors [n, dimensions], and the
    count [n, 1], mean and variance [n, dimensions] of each channel's other segments. Scaling and
    the channel normaliser are part of the network.

    Parameters
    ----------
    networks : sequence of Member and network
        Only the logits of the first `labels` outputs are used.
    scale : Scale
    labels : int
    """
    keras = load_keras()
    layers, ops = keras.layers, keras.ops
    d = len(telephone.NAMES)
    vectors, count = keras.Input((d,), name="vectors"), keras.Input((1,), name="history_count")
    mean, variance = (
        keras.Input((d,), name="history_mean"),
        keras.Input((d,), name="history_variance"),
    )
    square = np.square(scale.sd)
    scaled = layers.Normalization(mean=scale.mean, variance=square)
    weight = count / (count + HISTORY_HALF)
    z, z_mean = scaled(vectors), scaled(mean)
    z_variance = layers.Normalization(mean=0.0 * square, variance=np.square(square))(variance)

    def relative(x: Any, mean: Any, variance: Any) -> Any:
        mean, variance = weight * mean, weight * variance + (1.0 - weight)
        if len(x.shape) == 3:
            mean, variance = ops.expand_dims(mean, 1), ops.expand_dims(variance, 1)
        sd = ops.sqrt(ops.maximum(variance, LEAST_VARIANCE))
        return ops.clip((x - mean) / sd, -FAR, FAR)

    def picture(of: Any) -> Any:
        return layers.Reshape((telephone.STEPS, ROWS))(of[:, telephone.PICTURE])

    row_mean = ops.mean(picture(z_mean), axis=1)
    row_square = ops.mean(picture(z_variance) + ops.square(picture(z_mean)), axis=1)
    row_variance = ops.maximum(row_square - ops.square(row_mean), 0.0)
    seen = {"picture": relative(picture(z), row_mean, row_variance)}
    for inputs, which in FLAT.items():
        seen[inputs] = relative(z[:, which], z_mean[:, which], z_variance[:, which])
    total = sum(member.weight for member, _ in networks)
    answers = [
        ops.softmax(model([seen[member.inputs], weight])[:, :labels]) * (member.weight / total)
        for member, model in networks
    ]
    return keras.Model([vectors, count, mean, variance], sum(answers[1:], answers[0]))
