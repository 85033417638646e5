"""Training by the article's recipe, measured the article's way and by unseen speakers.

`train` writes a bundle. The network in it has seen every utterance; the figures in its card
come from networks of the same settings that had not seen what they were tested on: one by a
random 70/30 split, as the article does, and one for each fold of speakers. The gap between the
two is what the random split learns of the voices, not of the emotions.
"""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ser_core import __version__, features
from ser_core.corpora import Corpus, Utterance, vectors
from ser_core.corpora.vectors import Progress
from ser_core.emotions import RAVDESS_EIGHT, check_labels
from ser_core.errors import SerError, TrainingError
from ser_core.models import architectures, bundle, calibration
from ser_core.models.card import Card
from ser_core.models.runtime import load_keras
from ser_core.models.scores import Scores, score
from ser_core.models.targets import shares, truths

Say = Callable[[str], None]

SPLITS = ("random", "speaker")
SCALES = ("none", "zscore")
OPTIMIZERS = ("adam", "adamw", "adamax", "nadam", "rmsprop", "sgd")
FEATURE_SET = "seed193"
TEST_SHARE = 0.3
# The bundled model whose data anybody may use for anything.
OPEN = "calls-open"
_REFERENCE_ROWS = 8
_LIBRARIES = ("keras", "numpy", "scikit-learn", "soundfile", "soxr")


@dataclass(frozen=True, kw_only=True)
class SeedRecipe:
    """The article's recipe; the defaults are its own.

    Parameters
    ----------
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
    seed : int >= 0
        Of splits, first weights, order and dropout.
    emotions : tuple of str, optional
        Use these only; all unless given.
    folds : int >= 2
        Of speakers.
    telephone_check : bool
        Test the folds on mu-law copies at 8 kHz too.

    Raises
    ------
    TrainingError
        A value out of bounds.
    """

    split: str | None = None
    scale: str = "none"
    layers: tuple[int, ...] | None = None
    dropout: float = 0.2
    optimizer: str = "adam"
    epochs: int = 200
    batch_size: int = 4
    seed: int = 0
    emotions: tuple[str, ...] | None = None
    folds: int = 6
    telephone_check: bool = True

    def __post_init__(self) -> None:
        if self.split is not None:
            check_choice("split", self.split, SPLITS)
        check_choice("scale", self.scale, SCALES)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_whole("epochs", self.epochs, 1)
        check_whole("batch_size", self.batch_size, 1)
        check_whole("seed", self.seed, 0)
        check_whole("folds", self.folds, 2)
        for width in self.layers or ():
            check_whole("layers", width, 1)
        if not 0 <= self.dropout < 1:
            raise TrainingError(f"dropout={self.dropout!r}: a number from 0 to below 1 expected")
        check_emotions(self.emotions)


@dataclass(frozen=True)
class _Data:
    """A corpus as arrays, one row an utterance."""

    labels: tuple[str, ...]
    speakers: tuple[str, ...]
    truth: np.ndarray
    targets: np.ndarray
    agreed: np.ndarray
    clean: np.ndarray
    mulaw: np.ndarray | None


def train(
    corpora: Sequence[Corpus],
    recipe: SeedRecipe,
    save_to: str | Path,
    *,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Path:
    """Train a bundle and measure it.

    Parameters
    ----------
    corpora : sequence of Corpus
        At least one.
    recipe : SeedRecipe
    save_to : path
        Folder of the bundle, whose name it takes; an older bundle there is replaced.
    jobs, cache : optional
        Processes that extract features, and where vectors are kept; see
        `ser_core.corpora.vectors.extract`.
    progress : callable, optional
        Called with a stage, how much of it is done, and of how much.
    say : callable, optional
        Called with a line for a person: a first look at the first fold.

    Returns
    -------
    Path
        The folder, with `CARD.md` and three pictures beside the bundle's own files.

    Raises
    ------
    TrainingError
        Emotions that the corpora don't have, fewer speakers than folds, or a training that
        diverged.
    CorpusError
        Files that cannot be read: all of them.
    BundleError
        A folder that no bundle may be written to; told before the training.
    """
    from ser_core.report import training_pictures as pictures

    save_to = Path(save_to)
    bundle.check_target(save_to)
    utterances, labels = select(corpora, recipe.emotions)
    folds = speaker_folds(utterances, recipe.folds, recipe.seed)
    feature_set = features.get(FEATURE_SET)

    def extract(condition: str) -> np.ndarray:
        return vectors.extract(
            utterances,
            FEATURE_SET,
            condition=condition,
            jobs=jobs,
            cache=cache,
            progress=progress,
        )

    data = _Data(
        labels=labels,
        speakers=tuple(utterance.speaker for utterance in utterances),
        truth=truths(utterances, labels),
        targets=shares(utterances, labels),
        agreed=np.array([one.agreed for one in utterances]),
        clean=extract("clean"),
        mulaw=extract("mulaw") if recipe.telephone_check else None,
    )
    split = recipe.split or ("speaker" if any(one.own for one in corpora) else "random")
    at_random = split == "random" or not any(one.own for one in corpora)
    epochs = _Epochs(progress, (recipe.folds + 1 + at_random) * recipe.epochs)
    results, curves = {}, {}
    if at_random:
        results["random"], curves["random"] = _by_random_split(data, recipe, epochs)
    by_speaker, curves["speaker"], temperature = _by_speaker(data, folds, recipe, epochs, say)
    model, _ = fit(data.clean, data.targets, recipe, on_epoch=epochs)
    results |= by_speaker

    counts = Counter(utterance.emotion for utterance in utterances)
    names = ", ".join(corpus.name for corpus in corpora)
    curves_of = results[split].protocol if split == "random" else "the first fold by speaker"
    told = [results[name] for name in ("random", "speaker") if name in results]
    extras = {
        "learning_curves.png": pictures.learning_curves(
            curves[split], f"Learning curves: {curves_of}"
        ),
        "confusion.png": pictures.confusion(told),
        "utterances.png": pictures.utterance_counts(
            {label: counts[label] for label in labels},
            f"{len(utterances):,} utterances of {names}",
        ),
    }
    card = Card(
        name=re.sub(r"\W+", "-", save_to.resolve().name).strip("-") or "model",
        labels=labels,
        feature_set=feature_set.id,
        fingerprint=feature_set.fingerprint,
        temperature=temperature,
        licence=licence(corpora),
        corpora=[described(corpus, labels) for corpus in corpora],
        settings={
            "recipe": "seed",
            **asdict(recipe),
            "split": split,
            "layers": architectures.article_layers(len(feature_set.names))
            if recipe.layers is None
            else recipe.layers,
            "test_share": TEST_SHARE,
        },
        protocol=split,
        results={name: asdict(scores) for name, scores in results.items()},
        versions=versions(),
    )
    some = np.random.default_rng(recipe.seed).choice(len(utterances), _REFERENCE_ROWS)
    bundle.save(save_to, model, card, data.clean[some], extras=extras)
    return save_to


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
    model = architectures.dense_network(
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
    def step(some_inputs, some_targets):
        with tf.GradientTape() as tape:
            answers = model(some_inputs, training=True)
            losses = keras.losses.categorical_crossentropy(some_targets, answers)
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
            for prefix, (some, labels) in (("", (matrix, targets.argmax(axis=1))), ("test_", test)):
                loss, accuracy = _loss_and_accuracy(answer(model, some), labels)
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


def speaker_folds(utterances: Sequence[Utterance], folds: int, seed: int = 0) -> np.ndarray:
    """Deal speakers out to folds, evenly by sex, then by utterances.

    Utterances on which annotators are divided do not count: every fold has somebody to test.

    Parameters
    ----------
    utterances : sequence of n utterances
    folds : int >= 2
    seed : int
        Of the order among speakers with as many utterances.

    Returns
    -------
    np.ndarray [shape=(n,)], int
        Each utterance's fold; a speaker has one.

    Raises
    ------
    TrainingError
        Fewer speakers than folds.
    """
    asked = testable(utterances)
    spoken = {utterance.speaker: 0 for utterance in utterances}
    spoken |= Counter(utterance.speaker for utterance in utterances if utterance.agreed)
    sex = {utterance.speaker: utterance.sex for utterance in utterances}
    if len(asked) < folds:
        divided = len(spoken) - len(asked)
        raise TrainingError(
            f"folds={folds}, but the corpora have {len(asked)} speakers with these emotions"
            + (f", {divided} more on whom annotators are divided" if divided else "")
            + (
                "; give at most that many folds (2 at least)"
                if len(asked) > 1
                else "; label recordings of two speakers or more: one trains, another one tests"
            )
        )
    shuffled = np.random.default_rng(seed).permutation(sorted(spoken))
    order = sorted(shuffled, key=lambda speaker: (sex[speaker], -spoken[speaker]))
    fold_of: dict[str, int] = {}
    dealt: Counter[int] = Counter()
    of_sex: Counter[tuple] = Counter()
    for speaker in order:
        fold = min(
            range(folds),
            key=lambda one: (of_sex[one, sex[speaker]], dealt[one], one),
        )
        fold_of[speaker] = fold
        of_sex[fold, sex[speaker]] += 1
        dealt[fold] += spoken[speaker]
    return np.array([fold_of[utterance.speaker] for utterance in utterances])


def testable(utterances: Sequence[Utterance]) -> set[str]:
    """Speakers of whom annotators agree on something: who can be tested."""
    return {utterance.speaker for utterance in utterances if utterance.agreed}


class _Epochs:
    """Counts epochs over all the trainings, for one bar of progress."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self) -> None:
        self._done += 1
        if self._progress:
            self._progress("training", self._done, self._total)


def _by_random_split(
    data: _Data, recipe: SeedRecipe, on_epoch: Callable[[], None]
) -> tuple[Scores, dict[str, list[float]]]:
    from sklearn.model_selection import train_test_split

    known, unknown = train_test_split(
        np.arange(len(data.truth)), test_size=TEST_SHARE, random_state=recipe.seed
    )
    unknown = unknown[data.agreed[unknown]]
    test = data.clean[unknown], data.truth[unknown]
    model, curves = fit(
        data.clean[known],
        data.targets[known],
        recipe,
        test=test,
        on_epoch=on_epoch,
    )
    scores = score(
        test[1],
        answer(model, test[0]),
        labels=data.labels,
        speakers=[data.speakers[i] for i in unknown],
        protocol="random split, 70 % to train on, 30 % to test",
    )
    return scores, curves


def _by_speaker(
    data: _Data,
    folds: np.ndarray,
    recipe: SeedRecipe,
    on_epoch: Callable[[], None],
    say: Say | None,
) -> tuple[dict[str, Scores], dict[str, list[float]], float]:
    """Scores of the pooled folds, curves of the first, and the temperature that fits them."""
    conditions = {"speaker": data.clean}
    if data.mulaw is not None:
        conditions["speaker_mulaw"] = data.mulaw
    shape = len(data.truth), len(data.labels)
    pooled = {name: np.empty(shape, dtype=np.float32) for name in conditions}
    first: dict[str, list[float]] = {}
    for fold in range(recipe.folds):
        unseen = folds == fold
        asked = unseen & data.agreed
        model, curves = fit(
            data.clean[~unseen],
            data.targets[~unseen],
            recipe,
            test=None if fold else (data.clean[asked], data.truth[asked]),
            on_epoch=on_epoch,
        )
        first = first or curves
        for name, matrix in conditions.items():
            pooled[name][unseen] = answer(model, matrix[unseen])
        if say and not fold:
            say(first_look(data.truth[asked], pooled["speaker"][asked], recipe.folds))
    words = {
        "speaker": f"{recipe.folds} folds by speaker, pooled",
        "speaker_mulaw": f"{recipe.folds} folds by speaker, tested on 8 kHz mu-law",
    }
    asked = np.flatnonzero(data.agreed)
    scores = {
        name: score(
            data.truth[asked],
            probabilities[asked],
            labels=data.labels,
            speakers=[data.speakers[i] for i in asked],
            protocol=words[name],
        )
        for name, probabilities in pooled.items()
    }
    temperature = calibration.fit_temperature(pooled["speaker"][asked], data.truth[asked])
    return scores, first, temperature


def first_look(truth: np.ndarray, probabilities: np.ndarray, folds: int) -> str:
    """What the first fold says, before the others are trained."""
    from sklearn.metrics import recall_score

    uar = recall_score(truth, probabilities.argmax(axis=1), average="macro", zero_division=0)
    guess = 1 / len(np.unique(truth))
    return (
        f"a first look, fold 1 of {folds}: UAR {uar:.1%} on {len(truth):,} clips of unheard "
        f"speakers (a guess has {guess:.1%}); the other folds follow"
    )


# With less than this a model had better be simple. Of each emotion the public corpora have about
# 200 clips of 24 speakers (RAVDESS) or 70 of 10 (EMO-DB).
FEW_CLIPS, FEW_SPEAKERS = 50, 10


def advice(utterances: Sequence[Utterance], labels: Sequence[str]) -> list[str]:
    """What to do where there are few data: simplify."""
    counts = Counter(one.emotion for one in utterances)
    speakers = len({one.speaker for one in utterances})
    scarce = [f"{label} {counts[label]}" for label in labels if counts[label] < FEW_CLIPS]
    said = []
    if scarce:
        said.append(
            f"few clips of {', '.join(scarce)} ({FEW_CLIPS} each wanted): take fewer emotions "
            "(--emotions, or a --label-map that joins some)"
        )
    if speakers < FEW_SPEAKERS:
        said.append(
            f"{speakers} speakers ({FEW_SPEAKERS} wanted): figures will have wide intervals"
        )
    return said


def select(
    corpora: Sequence[Corpus], emotions: Sequence[str] | None
) -> tuple[tuple[Utterance, ...], tuple[str, ...]]:
    """The utterances to train on, and the labels: RAVDESS's in its order, then others."""
    utterances = tuple(one for corpus in corpora for one in corpus.utterances)
    there = {one.emotion for one in utterances}
    missing = sorted(set(emotions or ()) - there)
    if missing:
        raise TrainingError(
            f"emotions: no utterance is {' or '.join(missing)}; "
            f"the corpora have: {', '.join(sorted(there))}"
        )
    wanted = there if emotions is None else set(emotions)
    known = [label for label in RAVDESS_EIGHT if label in wanted]
    try:
        labels = check_labels((*known, *sorted(wanted - set(known))))
    except SerError as error:
        raise TrainingError(f"the corpora's emotions: {error}") from None
    return tuple(one for one in utterances if one.emotion in wanted), labels


def described(corpus: Corpus, labels: Sequence[str]) -> dict[str, Any]:
    used = [one for one in corpus.utterances if one.emotion in labels]
    return {
        "name": corpus.name,
        "licence": corpus.licence,
        "note": corpus.note,
        "utterances": len(used),
        "speakers": len({one.speaker for one in used}),
        "by_emotion": {label: sum(one.emotion == label for one in used) for label in labels},
        "other_emotions": len(corpus.utterances) - len(used),
        "skipped": dict(corpus.skipped),
        "warnings": list(corpus.warnings),
        "agreement": None if corpus.agreement is None else corpus.agreement.as_json(),
    }


def _loss_and_accuracy(probabilities: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Cross-entropy in nats, and the share of right labels."""
    accuracy = float((probabilities.argmax(axis=1) == truth).mean())
    return calibration.cross_entropy(probabilities, truth), accuracy


def licence(corpora: Sequence[Corpus]) -> str:
    """What a model of these corpora may be used for, in one line, and the way out."""
    said = "trained on " + "; ".join(f"{one.name}, {one.licence}" for one in corpora)
    if all(one.any_use for one in corpora):
        return said
    return f"{said}. For commercial use take {OPEN}, or train on calls of your own (ser train)"


def versions() -> dict[str, str]:
    load_keras()
    import tensorflow as tf

    return {
        "ser-pipeline": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        **{name: version(name) for name in _LIBRARIES},
    }


def check_emotions(emotions: Sequence[str] | None) -> None:
    """Refuse what is no label set; None is all that there are."""
    if emotions is not None:
        try:
            check_labels(emotions)
        except SerError as error:
            raise TrainingError(f"emotions: {error}") from None


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise TrainingError(f"{name}={value!r}: one of {', '.join(choices)} expected")


def check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TrainingError(f"{name}={value!r}: a whole number, {least} or more, expected")
