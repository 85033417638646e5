"""Recipe `calls`: small networks over `telephone` features, for voices and lines not heard before.

Several networks are averaged: dense ones over the functionals (some with the thirds), and a
convolutional one over the picture. Each is trained on copies of every clip (`conditions.COPIES`),
on all corpora at once with a softmax for each corpus' emotions, and with histories: what is known
of a channel from its other segments.

**The channel normaliser.** A segment's features are z-scored by those of the channel's other
segments. With n of them, their mean and variance count n / (n + 4), the training speakers' the
rest; that weight is an input. Trained on histories of any size and mood, also one-sided ones,
since a caller may be angry throughout. (Speaker normalisation: C. Busso et al. 2013, "Iterative
feature normalization scheme for automatic emotion detection from speech", IEEE Trans. Affective
Computing 4(4), 386-397.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ser_core.features import telephone
from ser_core.models.runtime import load_keras

CALM = ("neutral", "calm")
# Segments of a history at most; how much of it is believed.
HISTORY_SIZES = (0, 2, 4, 8, 16, 30)
HISTORY_HALF = 4.0
# What a history's variance is at least, in variances of the training speakers.
LEAST_VARIANCE = 0.1
FAR = 6.0
ROWS = len(telephone.PICTURE_ROWS)
FLAT = {"functionals": telephone.FUNCTIONALS, "thirds": slice(0, telephone.PICTURE.start)}


@dataclass(frozen=True)
class Member:
    """One network of the ensemble, and how it is trained.

    Parameters
    ----------
    kind : str
        `dense` over the functionals or `cnn`, `rnn` over the picture.
    inputs : str
        `functionals`, `thirds` (both) or `picture`.
    steps, batch : int
    rate, decay : float
        Of AdamW, along a cosine.
    smoothing, mixup : float
    others : bool
        Also trained on the corpora that are not tested on.
    deltas : bool
        The picture with its steps' differences.
    weight : float
        In the average.
    """

    kind: str = "dense"
    inputs: str = "functionals"
    steps: int = 4_200
    batch: int = 64
    rate: float = 1e-3
    decay: float = 1e-2
    smoothing: float = 0.1
    mixup: float = 0.3
    others: bool = True
    deltas: bool = False
    history: bool = True
    width: int = 96
    weight: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Material:
    """Labelled clips in all their copies.

    Parameters
    ----------
    vectors : np.ndarray [shape=(copies, n, dimensions)], float32
        Of the feature set `telephone`.
    truth : np.ndarray [shape=(n,)], int
        Index among the labels of its corpus.
    corpus : np.ndarray [shape=(n,)], int
        Index into `labels`.
    speaker : np.ndarray [shape=(n,)], int
    labels : tuple of tuples of str
        By corpus.
    """

    vectors: np.ndarray
    truth: np.ndarray
    corpus: np.ndarray
    speaker: np.ndarray
    labels: tuple[tuple[str, ...], ...]

    def of(self, which: np.ndarray) -> Material:
        """Some of the clips."""
        return Material(
            self.vectors[:, which],
            self.truth[which],
            self.corpus[which],
            self.speaker[which],
            self.labels,
        )

    @property
    def calm(self) -> np.ndarray:
        """Which clips are neutral or calm, bool [n]."""
        calm = [[label in CALM for label in labels] for labels in self.labels]
        return np.array([calm[c][t] for c, t in zip(self.corpus, self.truth, strict=True)])


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of training speakers: of each flat feature, of each row.

    `flat_*` are [d], `row_*` are [45]: pictures have one scale for all their steps.
    """

    flat_mean: np.ndarray
    flat_sd: np.ndarray
    row_mean: np.ndarray
    row_sd: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Scale:
        """Of vectors [n, dimensions]."""
        flat, rows = parts(vectors)
        flat = flat.astype(np.float64)
        rows = rows.reshape(-1, ROWS).astype(np.float64)
        return cls(
            flat.mean(0).astype(np.float32),
            np.maximum(flat.std(0), 1e-6).astype(np.float32),
            rows.mean(0).astype(np.float32),
            np.maximum(rows.std(0), 1e-6).astype(np.float32),
        )

    def __call__(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """z-scores: flat [n, d] and rows [n, steps, 45]."""
        flat, rows = parts(vectors)
        return (flat - self.flat_mean) / self.flat_sd, (rows - self.row_mean) / self.row_sd


def parts(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat features [..., d] and picture [..., 32, 45] of vectors."""
    picture = vectors[..., telephone.PICTURE]
    return (
        vectors[..., : telephone.PICTURE.start],
        picture.reshape(*picture.shape[:-1], telephone.STEPS, ROWS),
    )


class Histories:
    """Sums that a history's mean and variance come from, for scaled clips.

    Each clip counts by its flat features and their squares, and by the means over its steps of
    the picture's rows and of their squares.
    """

    def __init__(self, flat: np.ndarray, rows: np.ndarray) -> None:
        self.count = flat.shape[1]
        self._values = np.concatenate([flat, rows.mean(axis=1)], axis=1)
        self._squares = np.concatenate([np.square(flat), np.square(rows).mean(axis=1)], axis=1)

    def moments(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weight, mean and variance as the normaliser takes them.

        Parameters
        ----------
        members : np.ndarray [shape=(m, most)], int
            Clips of each history; -1 where there is none.

        Returns
        -------
        weight [m, 1], mean and variance [m, d + 45]
        """
        there = (members >= 0)[:, :, None]
        n = there.sum(axis=1).astype(np.float32)
        weight = n / (n + np.float32(HISTORY_HALF))
        least = np.maximum(n, 1)
        mean = np.where(there, self._values[members], 0).sum(axis=1) / least
        square = np.where(there, self._squares[members], 0).sum(axis=1) / least
        variance = np.maximum(square - np.square(mean), 0)
        return weight, weight * mean, weight * variance + (1 - weight)


def normalised(
    flat: np.ndarray, rows: np.ndarray, moments: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips as the networks see them: flat [n, d], rows [n, 32, 45], weight [n, 1]."""
    weight, mean, variance = moments
    sd = np.sqrt(np.maximum(variance, LEAST_VARIANCE))
    d = flat.shape[1]
    return (
        np.clip((flat - mean[:, :d]) / sd[:, :d], -FAR, FAR),
        np.clip((rows - mean[:, None, d:]) / sd[:, None, d:], -FAR, FAR),
        weight,
    )


def draw_histories(
    random: np.random.Generator, material: Material, sizes: Sequence[int] = HISTORY_SIZES
) -> np.ndarray:
    """For each clip others of its speaker: any, or only calm ones, or these and one emotion.

    Returns
    -------
    np.ndarray [shape=(n, max(sizes))], int
        Indices of clips; -1 fills up.
    """
    most = max(sizes)
    members = np.full((len(material.truth), most), -1)
    calm = material.calm
    groups = {s: np.flatnonzero(material.speaker == s) for s in np.unique(material.speaker)}
    for i, speaker in enumerate(material.speaker):
        size = sizes[random.integers(len(sizes))]
        if size == 0:
            continue
        others = groups[speaker]
        mood = random.random()
        if mood > 0.5:
            keep = calm[others]
            if mood > 0.5 + 1 / 3:
                there = np.unique(material.truth[others])
                keep = keep | (material.truth[others] == random.choice(there))
            others = others[keep]
        others = others[others != i]
        chosen = random.permutation(others)[:size]
        members[i, : len(chosen)] = chosen
    return members


def network(member: Member, outputs: int, inputs: int) -> Any:
    """The network of a member, from what `normalised` gives to logits.

    Parameters
    ----------
    outputs : int
        Of all corpora together.
    inputs : int
        Width of the flat features, without the weight.
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
    h = x
    if member.deltas:
        before = layers.Cropping1D((0, 2))(layers.ZeroPadding1D(1)(x))
        after = layers.Cropping1D((2, 0))(layers.ZeroPadding1D(1)(x))
        h = layers.Concatenate()([x, layers.Subtract()([after, before])])
    h = layers.SpatialDropout1D(0.1)(h)
    h = layers.Concatenate()([h, layers.RepeatVector(telephone.STEPS)(weight)])
    if member.kind == "rnn":
        for _ in range(2):
            h = layers.Bidirectional(layers.GRU(member.width // 2 + 16, return_sequences=True))(h)
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
        One a corpus, of training speakers only.
    """
    keras = load_keras()
    import tensorflow as tf

    copies, n = material.vectors.shape[:2]
    scaled = [_scaled(material, copy, scales) for copy in range(copies)]
    sums = [Histories(*one) for one in scaled]
    offsets = np.cumsum([0, *(len(labels) for labels in material.labels)])
    outputs = int(offsets[-1])
    targets = np.zeros((n, outputs), dtype=np.float32)
    for c, labels in enumerate(material.labels):
        own = np.flatnonzero(material.corpus == c)
        targets[own, offsets[c] : offsets[c + 1]] = member.smoothing / len(labels)
        targets[own, offsets[c] + material.truth[own]] += 1 - member.smoothing
    flat_of = FLAT.get(member.inputs)
    width = flat_of.stop if flat_of else 0
    model = network(member, outputs, width)
    schedule = keras.optimizers.schedules.CosineDecay(member.rate, member.steps)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=member.decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(model.trainable_variables)
    random = np.random.default_rng(member.seed)

    @tf.autograph.experimental.do_not_convert
    def step(x, weight, t):
        if member.kind != "dense":
            x = _perturbed(x)
        if member.mixup:
            # Beta(a, a) by two gammas.
            a, b = (tf.random.gamma([tf.shape(t)[0], 1], member.mixup) + 1e-6 for _ in range(2))
            share = tf.maximum(a, b) / (a + b)
            order = tf.random.shuffle(tf.range(tf.shape(t)[0]))
            wide = share if len(x.shape) == 2 else share[:, :, None]
            x = wide * x + (1 - wide) * tf.gather(x, order)
            weight = share * weight + (1 - share) * tf.gather(weight, order)
            t = share * t + (1 - share) * tf.gather(t, order)
        with tf.GradientTape() as tape:
            logits = model([x, weight], training=True)
            loss = 0.0
            for low, high in pairwise(offsets):
                loss -= tf.reduce_sum(
                    t[:, low:high] * tf.nn.log_softmax(logits[:, low:high]), axis=1
                )
            loss = tf.reduce_mean(loss)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    @tf.function
    def run(x, weight, t):
        for start in tf.range(0, tf.shape(x)[0] - member.batch + 1, member.batch):
            some = slice(start, start + member.batch)
            step(x[some], weight[some], t[some])

    tf.random.set_seed(member.seed)
    todo = member.steps
    while todo > 0:
        # An epoch is every clip once, in some copy, with some history: as many times as copies.
        xs, ws, ts = [], [], []
        for copy in random.permutation(copies):
            members = draw_histories(random, material) if member.history else None
            flat, rows = scaled[copy]
            if members is None:
                members = np.full((n, 1), -1)
            flat, rows, weight = normalised(flat, rows, sums[copy].moments(members))
            xs.append(rows if flat_of is None else flat[:, flat_of])
            ws.append(weight)
            ts.append(targets)
        order = random.permutation(copies * n)[: todo * member.batch]
        x, weight, t = (np.concatenate(some)[order] for some in (xs, ws, ts))
        run(tf.constant(x), tf.constant(weight), tf.constant(t))
        todo -= len(order) // member.batch
        if on_epoch:
            on_epoch(member.steps - max(todo, 0), member.steps)
        if len(order) < member.batch:
            break
    return model


def _scaled(
    material: Material, copy: int, scales: Sequence[Scale]
) -> tuple[np.ndarray, np.ndarray]:
    vectors = material.vectors[copy]
    flat, rows = (np.empty_like(part) for part in parts(vectors))
    for c, scale in enumerate(scales):
        own = material.corpus == c
        flat[own], rows[own] = scale(vectors[own])
    return flat, rows


def _perturbed(x):
    """Pictures with steps and bands masked, their bands shifted and tilted (SpecAugment)."""
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
