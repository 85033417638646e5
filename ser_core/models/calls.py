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

from ser_core.emotions import CALM
from ser_core.features import telephone
from ser_core.models.history import HISTORY_HALF, history_weight
from ser_core.models.runtime import load_keras

# Of the training, for whatever keeps its results.
VERSION = 2
HISTORY_SIZES = (0, 2, 4, 8, 16, 30)
# Moods of the histories that are trained on: any clips; neutral or calm ones; these and one
# emotion; one emotion only.
MOODS = {"any": 0.5, "calm": 0.25, "calm and one": 0.1, "one": 0.15}
# What a history's variance is at least, in variances of the training speakers.
LEAST_VARIANCE = 0.1
FAR = 6.0
# How often a clip is seen at most: few clips need fewer steps.
EPOCHS_AT_MOST = 200
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
    width : int
        Channels of a `cnn`, units of each direction of an `rnn`.
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
    shares : np.ndarray [shape=(n, labels of all corpora)], float32, optional
        Of the annotators by label, the corpora's labels side by side; all of them for the true
        one unless given.
    tied : np.ndarray [shape=(n,)], bool, optional
        Clips on which annotators are divided, by emotions that are not among the labels, too.
    """

    vectors: np.ndarray
    truth: np.ndarray
    corpus: np.ndarray
    speaker: np.ndarray
    labels: tuple[tuple[str, ...], ...]
    shares: np.ndarray | None = None
    tied: np.ndarray | None = None

    def of(self, which: np.ndarray) -> Material:
        """Some of the clips."""
        return Material(
            self.vectors[:, which],
            self.truth[which],
            self.corpus[which],
            self.speaker[which],
            self.labels,
            None if self.shares is None else self.shares[which],
            None if self.tied is None else self.tied[which],
        )

    @property
    def targets(self) -> np.ndarray:
        """What networks learn: `shares`, or one for the true label; float32 [n, labels]."""
        if self.shares is not None:
            return self.shares
        offsets = np.cumsum([0, *(len(labels) for labels in self.labels)])
        targets = np.zeros((len(self.truth), offsets[-1]), dtype=np.float32)
        targets[np.arange(len(self.truth)), offsets[self.corpus] + self.truth] = 1
        return targets

    @property
    def agreed(self) -> np.ndarray:
        """Clips of which one label has more annotators than any other, bool [n]."""
        most = np.sort(self.targets, axis=1)[:, -2:]
        agreed = most[:, 1] > most[:, 0]
        return agreed if self.tied is None else agreed & ~self.tied

    @property
    def calm(self) -> np.ndarray:
        """Which clips are neutral or calm, bool [n]."""
        calm = [[label in CALM for label in labels] for labels in self.labels]
        return np.array([calm[c][t] for c, t in zip(self.corpus, self.truth, strict=True)])


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of training speakers' vectors, [dimensions] each.

    The picture has one scale a row, for all its steps.
    """

    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Scale:
        """Of vectors [n, dimensions]."""
        exact = vectors.astype(np.float64)
        mean, square = exact.mean(axis=0), np.square(exact).mean(axis=0)
        for moment in (mean, square):
            steps = moment[telephone.PICTURE].reshape(telephone.STEPS, ROWS)
            steps[:] = steps.mean(axis=0)
        sd = np.sqrt(np.maximum(square - np.square(mean), 1e-12))
        return cls(mean.astype(np.float32), sd.astype(np.float32))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """z-scores."""
        return (vectors - self.mean) / self.sd


def part(scaled: np.ndarray, inputs: str) -> np.ndarray:
    """What a member looks at: flat features [n, d], or pictures [n, 32, 45]."""
    if inputs in FLAT:
        return scaled[:, FLAT[inputs]]
    return scaled[:, telephone.PICTURE].reshape(-1, telephone.STEPS, ROWS)


class Histories:
    """Of a set of clips, what the mean and variance of some of them come from.

    A picture counts by its rows, over all steps.

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
        """Weight, mean and variance as the normaliser takes them.

        Parameters
        ----------
        members : np.ndarray [shape=(m, most)], int
            Clips of each history; -1 where there is none.

        Returns
        -------
        weight [m, 1], mean and variance [m, d or 45]
        """
        from scipy.sparse import csr_array

        there = members >= 0
        n = there.sum(axis=1)
        least = np.maximum(n, 1).astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(n)])
        shares = np.repeat(1 / least, n)
        share = csr_array((shares, members[there], ends), shape=(len(members), len(self._sums)))
        mean, square = np.split(share @ self._sums, 2, axis=1)
        variance = np.maximum(square - np.square(mean), 0)
        weight = history_weight(n).astype(np.float32)[:, None]
        return weight, weight * mean, weight * variance + (1 - weight)


def normalised(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Clips as the networks see them: relative to their channel's history."""
    sd = np.sqrt(np.maximum(variance, LEAST_VARIANCE))
    if x.ndim == 3:
        mean, sd = mean[:, None], sd[:, None]
    return np.clip((x - mean) / sd, -FAR, FAR)


def draw_histories(
    random: np.random.Generator, material: Material, sizes: Sequence[int] = HISTORY_SIZES
) -> np.ndarray:
    """For each clip others of its speaker, of one mood of `MOODS`.

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
        one = random.choice(np.unique(truth), size=(k, 1)) == truth
        wanted = np.choose(
            mood, [np.ones_like(one), np.tile(calm[own], (k, 1)), calm[own] | one, one]
        )
        # Others in random order, those that are not wanted last.
        order = random.random((k, k)) + ~wanted + 2 * np.eye(k)
        chosen = np.argsort(order, axis=1)[:, :most]
        size = np.minimum(random.choice(sizes, size=(k, 1)), (order < 1).sum(axis=1, keepdims=True))
        there = np.arange(chosen.shape[1]) < size
        members[own, : chosen.shape[1]] = np.where(there, own[chosen], -1)
    return members


def network(member: Member, outputs: int, inputs: int, *, unroll: bool = False) -> Any:
    """The network of a member, from what `normalised` gives to logits.

    Parameters
    ----------
    outputs : int
        Of all corpora together.
    inputs : int
        Width of the flat features, without the weight.
    unroll : bool
        Recurrent steps one after the other instead of in a loop: a quarter faster to train,
        slower to load.
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


def steps_for(member: Member, clips: int) -> int:
    """Steps of a training: the member's, but no clip (a copy counts as one) too often."""
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
        One a corpus, of training speakers only.
    """
    keras = load_keras()
    import tensorflow as tf

    copies, n = material.vectors.shape[:2]
    scaled = [part(_scaled(material, copy, scales), member.inputs) for copy in range(copies)]
    sums = [Histories(x) for x in scaled]
    offsets = np.cumsum([0, *(len(labels) for labels in material.labels)])
    outputs = int(offsets[-1])
    targets = (1 - member.smoothing) * material.targets
    for c, labels in enumerate(material.labels):
        own = material.corpus == c
        targets[own, offsets[c] : offsets[c + 1]] += member.smoothing / len(labels)
    steps, batch = steps_for(member, copies * n), min(member.batch, copies * n)
    model = network(member, outputs, scaled[0].shape[1], unroll=True)
    schedule = keras.optimizers.schedules.CosineDecay(member.rate, steps)
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

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *scaled[0].shape[1:]]),
            tf.TensorSpec([None, 1]),
            tf.TensorSpec([None, outputs]),
        ]
    )
    def run(x, weight, t):
        for start in tf.range(0, tf.shape(x)[0] - batch + 1, batch):
            some = slice(start, start + batch)
            step(x[some], weight[some], t[some])

    tf.random.set_seed(member.seed)
    todo = steps
    while todo > 0:
        # An epoch is every clip once, in some copy, with some history: as many times as copies.
        xs, ws, ts = [], [], []
        for copy in random.permutation(copies):
            members = draw_histories(random, material) if member.history else np.full((n, 1), -1)
            weight, *moments = sums[copy].moments(members)
            xs.append(normalised(scaled[copy], *moments))
            ws.append(weight)
            ts.append(targets)
        order = random.permutation(copies * n)[: todo * batch]
        x, weight, t = (np.concatenate(some)[order] for some in (xs, ws, ts))
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


def assemble(networks: Sequence[tuple[Member, Any]], scale: Scale, labels: int) -> Any:
    """One network of several, from vectors as they are extracted to probabilities.

    Its inputs are what `Bundle.predict` gives where the card says `channel_normalisation`:
    vectors [n, dimensions], and of each channel's other segments their count [n, 1], mean and
    variance [n, dimensions]. Scaling and the channel normaliser are part of it.

    Parameters
    ----------
    networks : sequence of Member and network
        Logits of the first `labels` outputs count.
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

    def relative(x, mean, variance):
        mean, variance = weight * mean, weight * variance + (1.0 - weight)
        if len(x.shape) == 3:
            mean, variance = ops.expand_dims(mean, 1), ops.expand_dims(variance, 1)
        sd = ops.sqrt(ops.maximum(variance, LEAST_VARIANCE))
        return ops.clip((x - mean) / sd, -FAR, FAR)

    def picture(of):
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
