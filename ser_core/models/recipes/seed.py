"""Recipe `seed`: the article's network, measured the article's way and by speaker.

The network in the bundle is trained on all utterances. The figures in its card come from networks
of the same settings that were not trained on the tested utterances: one for the article's random
70/30 split, and one for each fold of speakers. The gap between the two shows how far the random
split measures known voices instead of emotions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from ser_core import features
from ser_core.corpora import Corpus
from ser_core.errors import TrainingError
from ser_core.models import calibration
from ser_core.models.card import Card
from ser_core.models.provenance import describe_training
from ser_core.models.recipes import article_network
from ser_core.models.recipes.base import (
    SIMPLER,
    Figures,
    Recipe,
    Trained,
    Work,
    check_choice,
    check_whole,
    option,
    whole_numbers,
)
from ser_core.models.recipes.preparation import (
    LabelledClips,
    count_title,
    describe_corpus,
    first_look,
    library_versions,
    licence_line,
)
from ser_core.models.runtime import load_keras
from ser_core.models.scores import Scores, score

SPLITS = ("random", "speaker")
SCALES = ("none", "zscore")
OPTIMIZERS = ("adam", "adamw", "adamax", "nadam", "rmsprop", "sgd")
FEATURE_SET = "seed193"
TEST_SHARE = 0.3
_REFERENCE_ROWS = 8
AT_RANDOM = (
    "--split random puts one voice in training and test, so its figure shows how well voices are "
    "remembered; quote the figure by speaker"
)


@dataclass(frozen=True, kw_only=True)
class SeedRecipe(Recipe):
    """The article's recipe. The defaults are the article's values.

    Parameters
    ----------
    emotions, folds, seed
        As in `Recipe`. The seed is that of splits, first weights, order and dropout.
    feature_set : str
        Name of a registered feature set, built in or from an installed package.
    split : str, optional
        `random` (70/30 over utterances) or `speaker` (folds of speakers): the split of the learning
        curves and of the figures to quote first. By default random, as in the article, and both are
        measured. One's own recordings are split by speaker, and at random only on request, since
        each voice would be in both training and test.
    scale : str
        `none`, or `zscore`: subtract each feature's mean and divide by its standard deviation, both
        from the training data.
    layers : tuple of int >= 1, optional
        Widths of the hidden layers. By default (386, 193, 96) for 193 features.
    dropout : float in [0, 1)
        Dropout after each hidden layer.
    optimizer : str
        One of `OPTIMIZERS`, with Keras's default settings.
    epochs, batch_size : int >= 1
        The network of the last epoch is used, without early stopping.

    Raises
    ------
    TrainingError
        A value out of bounds.
    FeatureError
        No feature set of that name.
    """

    name: ClassVar[str] = "seed"
    simpler: ClassVar[str] = SIMPLER

    feature_set: str = option(
        FEATURE_SET,
        f"feature set to train on, built in or from a package (default: {FEATURE_SET})",
        metavar="NAME",
    )
    split: str | None = option(
        None,
        "split of the figures to quote first; both are reported (default: random, but speaker for "
        "your own recordings, since figures are too good if a voice is in training and test)",
        choices=SPLITS,
    )
    scale: str = option(
        "none", "scaling of the features (default: none, as in the article)", choices=SCALES
    )
    layers: tuple[int, ...] | None = option(
        None,
        "widths of the hidden layers (default: 2, 1 and 0.5 times the features)",
        parse=whole_numbers,
        metavar="N,N,…",
    )
    dropout: float = option(
        0.2, "dropout after each layer (default: 0.2)", parse=float, metavar="P"
    )
    optimizer: str = option("adam", "one of Keras's optimizers (default: adam)", metavar="NAME")
    epochs: int = option(200, "training epochs (default: 200)", parse=int, metavar="N")
    batch_size: int = option(4, "utterances per step (default: 4)", parse=int, metavar="N")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split is not None:
            check_choice("split", self.split, SPLITS)
        check_choice("scale", self.scale, SCALES)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_whole("epochs", self.epochs, 1)
        check_whole("batch_size", self.batch_size, 1)
        for width in self.layers or ():
            check_whole("layers", width, 1)
        features.get(self.feature_set)
        if not 0 <= self.dropout < 1:
            raise TrainingError(f"dropout={self.dropout!r}: a number from 0 to below 1 expected")

    def warnings(self, corpora: Sequence[Corpus]) -> list[str]:
        """Warn of a random split of one's own recordings."""
        return [AT_RANDOM] if self.split == "random" and any(c.own for c in corpora) else []

    def train(self, corpora: Sequence[Corpus], work: Work) -> Trained:
        """See `Recipe.train`."""
        feature_set = features.get(self.feature_set)
        clips = LabelledClips.of(corpora, self)
        clean = work.extract(clips.utterances, self.feature_set)
        mulaw = work.extract(clips.utterances, self.feature_set, "mulaw")
        own = any(corpus.own for corpus in corpora)
        split = self.split or ("speaker" if own else "random")
        at_random = split == "random" or not own
        epochs = _Epochs(work, (self.folds + 1 + at_random) * self.epochs)
        results, curves = {}, {}
        if at_random:
            results["random"], curves["random"] = _by_random_split(clips, clean, self, epochs)
        by_speaker, curves["speaker"], temperature, unseen = _by_speaker(
            clips, {"speaker": clean, "speaker_mulaw": mulaw}, self, epochs, work
        )
        results |= by_speaker
        model, _ = fit(clean, clips.targets, self, on_epoch=epochs)
        card = Card(
            name="",
            labels=clips.labels,
            feature_set=feature_set.id,
            fingerprint=feature_set.fingerprint,
            temperature=temperature,
            licence=licence_line(corpora),
            corpora=[describe_corpus(corpus, clips.labels) for corpus in corpora],
            settings=self._settings(split, len(feature_set.names)),
            protocol=split,
            results={name: asdict(scores) for name, scores in results.items()},
            versions=library_versions(),
        )
        curves_of = results[split].protocol if split == "random" else "the first fold by speaker"
        figures = Figures(
            confusion=[results[name] for name in ("random", "speaker") if name in results],
            counts=clips.counts,
            counts_title=count_title(clips, corpora),
            learning_curves=(f"Learning curves: {curves_of}", curves[split]),
        )
        kept = np.random.default_rng(self.seed).choice(len(clean), _REFERENCE_ROWS)
        provenance = describe_training(clips.utterances, clean, unseen)
        return Trained(model, card, clean[kept], figures, provenance.arrays())

    def _settings(self, split: str, inputs: int) -> dict[str, Any]:
        """The settings for the card, without the feature set, which is a field of the card."""
        settings = {"recipe": self.name, **asdict(self)}
        del settings["feature_set"]
        layers = article_network.article_layers(inputs) if self.layers is None else self.layers
        return {**settings, "split": split, "layers": layers, "test_share": TEST_SHARE}


def fit(
    matrix: np.ndarray,
    targets: np.ndarray,
    recipe: SeedRecipe,
    *,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    on_epoch: Callable[[], None] | None = None,
) -> tuple[Any, dict[str, list[float]]]:
    """Train one network to the last epoch.

    The steps of an epoch are one compiled loop. Keras's `fit` takes twice the time at a batch size
    of four.

    Parameters
    ----------
    matrix : np.ndarray [shape=(n, d)], float32
    targets : np.ndarray [shape=(n, labels)], float32
        1 for the true label, or shares of the annotators.
    recipe : SeedRecipe
    test : tuple of matrix and truth, optional
        Evaluated after each epoch, for the learning curves only.
    on_epoch : callable, optional
        Called after each epoch.

    Returns
    -------
    model : keras.Model
        Not compiled.
    curves : dict of list of float
        Learning curves by name; empty without `test`.

    Raises
    ------
    TrainingError
        The training diverged: weights are infinite or NaN.
    """
    keras = load_keras()
    import tensorflow as tf

    moments = {}
    if recipe.scale == "zscore":
        # In double precision: the features range from 1e-6 to 1e3.
        exact = matrix.astype(np.float64)
        moments = {"mean": exact.mean(axis=0), "variance": exact.var(axis=0)}
    model = article_network.dense_network(
        matrix.shape[1],
        targets.shape[1],
        layers=recipe.layers,
        dropout=recipe.dropout,
        seed=recipe.seed,
        **moments,
    )
    optimizer = keras.optimizers.get(recipe.optimizer)
    optimizer.build(model.trainable_variables)
    inputs = tf.constant(matrix)
    wanted = tf.constant(targets)

    @tf.autograph.experimental.do_not_convert  # only the loop is ours to convert
    def step(batch_inputs: Any, batch_targets: Any) -> None:
        with tf.GradientTape() as tape:
            answers = model(batch_inputs, training=True)
            losses = keras.losses.categorical_crossentropy(batch_targets, answers)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    @tf.function
    def epoch(order: Any) -> None:
        shuffled_inputs, shuffled_targets = tf.gather(inputs, order), tf.gather(wanted, order)
        for start in tf.range(0, len(matrix), recipe.batch_size):
            batch = slice(start, start + recipe.batch_size)
            step(shuffled_inputs[batch], shuffled_targets[batch])

    order = np.random.default_rng(recipe.seed)
    curves: dict[str, list[float]] = {}
    for _ in range(recipe.epochs):
        epoch(tf.constant(order.permutation(len(matrix))))
        if test:
            training = matrix, targets.argmax(axis=1)
            for prefix, (vectors, truth) in (("", training), ("test_", test)):
                loss, accuracy = _loss_and_accuracy(answer(model, vectors), truth)
                curves.setdefault(f"{prefix}loss", []).append(loss)
                curves.setdefault(f"{prefix}accuracy", []).append(accuracy)
        if on_epoch:
            on_epoch()
    if not all(np.isfinite(weights).all() for weights in model.get_weights()):
        raise TrainingError(
            f"the training diverged (weights are not finite) with scale={recipe.scale!r} and "
            f"optimizer={recipe.optimizer!r}; try scale 'zscore' or optimizer 'adam'"
        )
    return model, curves


def answer(model: Any, matrix: np.ndarray) -> np.ndarray:
    """Probabilities of a network, not calibrated, float32 [n, outputs]."""
    return np.asarray(model(matrix, training=False))


class _Epochs:
    """Counts the epochs of all trainings, for one progress bar."""

    def __init__(self, work: Work, total: int) -> None:
        self._work, self._total, self._done = work, total, 0

    def __call__(self) -> None:
        self._done += 1
        self._work.report("training", self._done, self._total)


def _by_random_split(
    clips: LabelledClips, clean: np.ndarray, recipe: SeedRecipe, on_epoch: Callable[[], None]
) -> tuple[Scores, dict[str, list[float]]]:
    """Scores and learning curves of the article's random split."""
    from sklearn.model_selection import train_test_split

    known, unknown = train_test_split(
        np.arange(len(clean)), test_size=TEST_SHARE, random_state=recipe.seed
    )
    unknown = unknown[clips.agreed[unknown]]
    test = clean[unknown], clips.truth[unknown]
    model, curves = fit(clean[known], clips.targets[known], recipe, test=test, on_epoch=on_epoch)
    scores = score(
        test[1],
        answer(model, test[0]),
        labels=clips.labels,
        speakers=clips.speakers[unknown],
        protocol="random split, 70 % to train on, 30 % to test",
    )
    return scores, curves


def _by_speaker(
    clips: LabelledClips,
    matrices: Mapping[str, np.ndarray],
    recipe: SeedRecipe,
    on_epoch: Callable[[], None],
    work: Work,
) -> tuple[dict[str, Scores], dict[str, list[float]], float, np.ndarray]:
    """Scores of the pooled folds, learning curves of the first one, temperature, probabilities."""
    clean = matrices["speaker"]
    shape = len(clean), len(clips.labels)
    pooled = {name: np.empty(shape, dtype=np.float32) for name in matrices}
    first: dict[str, list[float]] = {}
    for fold in range(recipe.folds):
        unseen = clips.folds == fold
        asked = unseen & clips.agreed
        model, curves = fit(
            clean[~unseen],
            clips.targets[~unseen],
            recipe,
            test=None if fold else (clean[asked], clips.truth[asked]),
            on_epoch=on_epoch,
        )
        first = first or curves
        for name, matrix in matrices.items():
            pooled[name][unseen] = answer(model, matrix[unseen])
        if work.say and not fold:
            work.say(first_look(clips.truth[asked], pooled["speaker"][asked], recipe.folds))
    words = {
        "speaker": f"{recipe.folds} folds by speaker, pooled",
        "speaker_mulaw": f"{recipe.folds} folds by speaker, tested on 8 kHz mu-law",
    }
    scores = {
        name: score(
            clips.truth[clips.agreed],
            probabilities[clips.agreed],
            labels=clips.labels,
            speakers=clips.speakers[clips.agreed],
            protocol=words[name],
        )
        for name, probabilities in pooled.items()
    }
    temperature = calibration.fit_temperature(
        pooled["speaker"][clips.agreed], clips.truth[clips.agreed]
    )
    return scores, first, temperature, calibration.calibrate(pooled["speaker"], temperature)


def _loss_and_accuracy(probabilities: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Cross-entropy in nats, and accuracy."""
    accuracy = float((probabilities.argmax(axis=1) == truth).mean())
    return calibration.cross_entropy(probabilities, truth), accuracy
