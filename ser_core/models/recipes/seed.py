"""Training by the article's recipe, measured the article's way and by unseen speakers.

The network in the bundle has seen every utterance; the figures in its card
come from networks of the same settings that had not seen what they were tested on: one by a
random 70/30 split, as the article does, and one for each fold of speakers. The gap between the
two is what the random split learns of the voices, not of the emotions.
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
    "split at random, as --split asks: one voice stands in training and test, so that figure tells "
    "how well voices are remembered; quote the one by speaker"
)


@dataclass(frozen=True, kw_only=True)
class SeedRecipe(Recipe):
    """The article's recipe; the defaults are its own.

    Parameters
    ----------
    emotions, folds, seed
        As in `Recipe`; the seed is that of splits, first weights, order and dropout.
    feature_set : str
        A registered feature set, such as one of an installed package.
    split : str, optional
        `random` (70/30 over utterances) or `speaker` (folds of speakers): gives the learning
        curves and the figures to quote first. Random unless given, as the article, and then
        both are measured. One's own recordings are split by speaker, and at random only where
        that is asked for here: one voice would stand in training and test.
    scale : str
        `none`, or `zscore`: each feature less its mean, by its standard deviation, both of the
        training part.
    layers : tuple of int >= 1, optional
        Widths of the hidden layers; (386, 193, 96) for 193 features unless given.
    dropout : float in [0, 1)
        After each hidden layer.
    optimizer : str
        One of `OPTIMIZERS`, with Keras's settings.
    epochs, batch_size : int >= 1
        The last epoch's network is used, whatever the test says.
    telephone_check : bool
        Test the folds on mu-law copies at 8 kHz too.

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
        FEATURE_SET, f"train on these features, such as an installed package's ({FEATURE_SET})",
        metavar="NAME",
    )  # fmt: skip
    split: str | None = option(
        None,
        "how the headline figures are held out (default: random, and both are reported; "
        "for your own recordings speaker, since one voice in training and test flatters)",
        choices=SPLITS,
    )
    scale: str = option("none", "default: none, as the article", choices=SCALES)
    layers: tuple[int, ...] | None = option(
        None, "default: 2x, 1x and half the features", parse=whole_numbers, metavar="N,N,…"
    )
    dropout: float = option(0.2, "after each layer (default: 0.2)", parse=float, metavar="P")
    optimizer: str = option("adam", "of Keras (default: adam)", metavar="NAME")
    epochs: int = option(200, "default: 200", parse=int, metavar="N")
    batch_size: int = option(4, "default: 4", parse=int, metavar="N")
    telephone_check: bool = True

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
        """That one's own recordings are split at random, where that is asked for."""
        return [AT_RANDOM] if self.split == "random" and any(c.own for c in corpora) else []

    def train(self, corpora: Sequence[Corpus], work: Work) -> Trained:
        """See `Recipe.train`."""
        feature_set = features.get(self.feature_set)
        clips = LabelledClips.of(corpora, self)
        clean = work.extract(clips.utterances, self.feature_set)
        mulaw = None
        if self.telephone_check:
            mulaw = work.extract(clips.utterances, self.feature_set, "mulaw")
        own = any(corpus.own for corpus in corpora)
        split = self.split or ("speaker" if own else "random")
        at_random = split == "random" or not own
        epochs = _Epochs(work, (self.folds + 1 + at_random) * self.epochs)
        results, curves = {}, {}
        if at_random:
            results["random"], curves["random"] = _by_random_split(clips, clean, self, epochs)
        by_speaker, curves["speaker"], temperature = _by_speaker(
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
        return Trained(model, card, clean[kept], figures)

    def _settings(self, split: str, inputs: int) -> dict[str, Any]:
        """What the card says of the training; the feature set is a field of its own there."""
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

    The steps of an epoch are one compiled loop: Keras's own `fit` takes twice the time at a
    batch of four.

    Parameters
    ----------
    matrix : np.ndarray [shape=(n, d)], float32
    targets : np.ndarray [shape=(n, labels)], float32
        One for the true label, or shares of annotators.
    recipe : SeedRecipe
    test : tuple of matrix and truth, optional
        Looked at after each epoch, for the learning curves only.
    on_epoch : callable, optional
        Called after each epoch.

    Returns
    -------
    tuple of the network (not compiled) and its learning curves, empty without `test`

    Raises
    ------
    TrainingError
        The weights became infinite or NaN.
    """
    keras = load_keras()
    import tensorflow as tf

    moments = {}
    if recipe.scale == "zscore":
        # In double precision: among the features are powers of 1e-6 and of 1e3.
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
    def step(batch_inputs, batch_targets):
        with tf.GradientTape() as tape:
            answers = model(batch_inputs, training=True)
            losses = keras.losses.categorical_crossentropy(batch_targets, answers)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    @tf.function
    def epoch(order):
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
    """The network's probabilities as they are, not calibrated, float32 [n, outputs]."""
    return np.asarray(model(matrix, training=False))


class _Epochs:
    """Counts epochs over all the trainings, for one bar of progress."""

    def __init__(self, work: Work, total: int) -> None:
        self._work, self._total, self._done = work, total, 0

    def __call__(self) -> None:
        self._done += 1
        self._work.report("training", self._done, self._total)


def _by_random_split(
    clips: LabelledClips, clean: np.ndarray, recipe: SeedRecipe, on_epoch: Callable[[], None]
) -> tuple[Scores, dict[str, list[float]]]:
    """Scores and learning curves of the article's split."""
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
    conditions: Mapping[str, np.ndarray | None],
    recipe: SeedRecipe,
    on_epoch: Callable[[], None],
    work: Work,
) -> tuple[dict[str, Scores], dict[str, list[float]], float]:
    """Scores of the pooled folds, curves of the first, and the temperature that fits them."""
    matrices = {name: matrix for name, matrix in conditions.items() if matrix is not None}
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
    return scores, first, temperature


def _loss_and_accuracy(probabilities: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Cross-entropy in nats, and the share of right labels."""
    accuracy = float((probabilities.argmax(axis=1) == truth).mean())
    return calibration.cross_entropy(probabilities, truth), accuracy
