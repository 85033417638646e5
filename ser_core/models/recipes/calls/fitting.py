"""Training of one network of the ensemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ser_core.features import telephone
from ser_core.models.recipes.calls.material import ROWS, Material, Scale
from ser_core.models.recipes.calls.members import Member, select_inputs
from ser_core.models.recipes.calls.networks import network
from ser_core.models.recipes.calls.normaliser import Histories, draw_histories, normalise
from ser_core.models.runtime import load_keras

# Version of the training; part of the names of kept networks.
VERSION = 2
# Few clips need fewer steps: each is seen at most this often.
EPOCHS_AT_MOST = 200


def steps_for(member: Member, clips: int) -> int:
    """Number of training steps: the member's, or fewer for few clips (copies count)."""
    return max(1, min(member.steps, EPOCHS_AT_MOST * clips // min(member.batch, clips)))


def fit(
    material: Material,
    member: Member,
    scales: Sequence[Scale],
    *,
    on_epoch: Callable[[int, int], None] | None = None,
) -> Any:
    """Train one member to its last step.

    Parameters
    ----------
    material : Material
        Of training speakers only.
    scales : sequence of Scale
        One per corpus, of training speakers only.
    """
    keras = load_keras()
    import tensorflow as tf

    copies, n = material.vectors.shape[:2]
    scaled = [
        select_inputs(_scaled(material, copy, scales), member.inputs) for copy in range(copies)
    ]
    sums = [Histories(x) for x in scaled]
    offsets = material.offsets
    outputs = int(offsets[-1])
    targets = _smoothed_targets(material, member.smoothing)
    steps, batch = steps_for(member, copies * n), min(member.batch, copies * n)
    model = network(member, outputs, scaled[0].shape[1], unroll=True)
    schedule = keras.optimizers.schedules.CosineDecay(member.rate, steps)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=member.decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    random = np.random.default_rng(member.seed)

    @tf.autograph.experimental.do_not_convert
    def step(x: Any, weight: Any, t: Any) -> None:
        if member.kind != "dense":
            x = _perturbed(x)
        if member.mixup:
            x, weight, t = _mixed_up(x, weight, t, member.mixup)
        with tf.GradientTape() as tape:
            loss = _cross_entropy(model([x, weight], training=True), t, offsets)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *scaled[0].shape[1:]]),
            tf.TensorSpec([None, 1]),
            tf.TensorSpec([None, outputs]),
        ]
    )
    def run(x: Any, weight: Any, t: Any) -> None:
        for start in tf.range(0, tf.shape(x)[0] - batch + 1, batch):
            rows = slice(start, start + batch)
            step(x[rows], weight[rows], t[rows])

    tf.random.set_seed(member.seed)
    todo = steps
    while todo > 0:
        x, weight = _draw_epoch(random, material, scaled, sums)
        order = random.permutation(copies * n)[: todo * batch]
        x, weight, t = (array[order] for array in (x, weight, np.tile(targets, (copies, 1))))
        run(tf.constant(x), tf.constant(weight), tf.constant(t))
        todo -= len(order) // batch
        if on_epoch:
            on_epoch(steps - max(todo, 0), steps)
    if member.kind == "rnn":
        unrolled, model = model, network(member, outputs, scaled[0].shape[1])
        model.set_weights(unrolled.get_weights())
    return model


def _scaled(material: Material, copy: int, scales: Sequence[Scale]) -> np.ndarray:
    vectors = material.vectors[copy]
    scaled = np.empty_like(vectors)
    for c, scale in enumerate(scales):
        own = material.corpus == c
        scaled[own] = scale(vectors[own])
    return scaled


def _draw_epoch(
    random: np.random.Generator,
    material: Material,
    scaled: Sequence[np.ndarray],
    sums: Sequence[Histories],
) -> tuple[np.ndarray, np.ndarray]:
    """All copies of all clips, each with a new history: normalised clips, and weights."""
    xs, weights = [], []
    for copy in random.permutation(len(scaled)):
        weight, *moments = sums[copy].moments(draw_histories(random, material))
        xs.append(normalise(scaled[copy], *moments))
        weights.append(weight)
    return np.concatenate(xs), np.concatenate(weights)


def _cross_entropy(logits: Any, t: Any, offsets: np.ndarray) -> Any:
    """Mean cross-entropy, with a softmax for each corpus."""
    import tensorflow as tf

    loss = 0.0
    for low, high in pairwise(offsets):
        loss -= tf.reduce_sum(t[:, low:high] * tf.nn.log_softmax(logits[:, low:high]), axis=1)
    return tf.reduce_mean(loss)


def _smoothed_targets(material: Material, smoothing: float) -> np.ndarray:
    """Targets with label smoothing over the labels of each clip's corpus."""
    offsets = material.offsets
    targets = (1 - smoothing) * material.targets
    for c, labels in enumerate(material.labels):
        own = material.corpus == c
        targets[own, offsets[c] : offsets[c + 1]] += smoothing / len(labels)
    return targets


def _mixed_up(x: Any, weight: Any, t: Any, alpha: float) -> tuple[Any, Any, Any]:
    """A batch blended with itself in another order (mixup), with shares from Beta(alpha, alpha)."""
    import tensorflow as tf

    # Beta by two gammas.
    a, b = (tf.random.gamma([tf.shape(t)[0], 1], alpha) + 1e-6 for _ in range(2))
    share = tf.maximum(a, b) / (a + b)
    order = tf.random.shuffle(tf.range(tf.shape(t)[0]))
    wide = share if len(x.shape) == 2 else share[:, :, None]
    x = wide * x + (1 - wide) * tf.gather(x, order)
    weight = share * weight + (1 - share) * tf.gather(weight, order)
    t = share * t + (1 - share) * tf.gather(t, order)
    return x, weight, t


def _perturbed(x: Any) -> Any:
    """Pictures with masked steps and bands (SpecAugment), and with shifted and tilted bands."""
    import tensorflow as tf

    count = tf.shape(x)[0]
    bands = tf.linspace(-1.0, 1.0, telephone.N_MELS)[None, None, :]
    shift = tf.random.normal([count, 1, 1], stddev=0.2)
    tilt = tf.random.normal([count, 1, 1], stddev=0.2)
    change = tf.pad(shift + tilt * bands, [[0, 0], [0, 0], [0, ROWS - telephone.N_MELS]])
    x = x + change
    for axis, size, most in ((1, telephone.STEPS, 4), (2, telephone.N_MELS, 6)):
        for _ in range(2):
            length = tf.random.uniform([count, 1], 0, most + 1, tf.int32)
            start = tf.random.uniform([count, 1], 0, size, tf.int32)
            at = tf.range(x.shape[axis])[None]
            kept = tf.cast((at < start) | (at >= start + length), tf.float32)
            x = x * (kept[:, :, None] if axis == 1 else kept[:, None, :])
    return x
