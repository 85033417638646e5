"""Model bundles: a folder with a trained network, its card, and a few answers to check it by.

`load` gives a `Bundle` whose `predict` turns feature vectors into calibrated probabilities;
`save` writes one. A bundle is taken whole or refused with a `BundleError`: the network is the
one that the card describes, made for the features of this installation, and still gives the
answers that it gave when it was saved.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser_core import features
from ser_core.emotions import (
    CALM,
    UNSURE_RECORDING_BELOW,
    UNSURE_SEGMENT_BELOW,
    check_labels,
)
from ser_core.errors import BundleError, FeatureError, SerError
from ser_core.models.runtime import load_keras

MODEL, CARD, REFERENCE, README = "model.keras", "card.json", "reference.npz", "CARD.md"
# What a bundle cannot be without.
FILES = (MODEL, CARD, REFERENCE)
SCHEMA = 1
# Of a card: what came later, and means its default where it is not there.
_LATER = ("history_share",)
DEFAULT = "calls"
BUNDLED = Path(__file__).parent / "bundled"

# Every call of the network has this many rows, so that a row's numbers don't depend on its
# neighbours (with other sizes they move by 4e-7).
BATCH_ROWS = 64
# The value of `Card.channel_normalisation`, and the other segments that count as much as what is
# known without them.
HISTORY, HISTORY_HALF = "history", 4.0
# Other processors and versions round differently; a wrong network is off by far more.
REFERENCE_TOLERANCE = 1e-3
# A float32 softmax rounds smaller ones to zero, whose logarithm is none.
_SMALLEST = 1e-38
# Layers that run code or read files from outside the bundle.
_UNSAFE_LAYERS = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a bundle says of itself; `card.json`.

    Parameters
    ----------
    name : str
        What people call the model, a word such as `seed`.
    labels : tuple of str
        The emotions, in the order of the network's outputs.
    feature_set, fingerprint : str
        The features that the network was trained on.
    temperature : float > 0
        The network's log-probabilities are divided by it (Guo et al. 2017).
    channel_normalisation : str or None
        How a channel's history is used. `HISTORY`: the network also takes count, mean and variance
        of the channel's other segments. None: not at all.
    temperature_with_history : float > 0, optional
        What the temperature goes to with the length of the history; see `history_weight`.
    history_doubted : two floats in [0, 1], optional
        Of what a history's segments, each taken alone, say on average: the share of one emotion,
        other than neutral and calm, up to which the history is believed, and the one from which
        it is not used at all; see `history_belief`. None: it is always believed.
    history_share : float in (0, 1]
        How much an answer with a history counts at most; the rest is the segment taken alone.
    unsure_segment_below, unsure_recording_below : float in [0, 1]
        Confidence under which a label is called unsure.
    licence : str
        In one line, with what it forbids.
    corpora : sequence of mappings
        Name, licence, count of utterances and speakers, what was skipped.
    settings : mapping
        Everything that the training was told.
    protocol : str
        The key of `results` to quote first.
    results : mapping
        Protocol -> the figures of `ser_core.models.evaluation.Scores`.
    measures : mapping
        Further figures, such as those of groups of labels and of the calibration.
    versions : mapping
        Of the libraries that trained it.
    model_sha256 : str
        Of `model.keras`; filled in by `save`.
    """

    name: str
    labels: tuple[str, ...]
    feature_set: str
    fingerprint: str
    temperature: float = 1.0
    channel_normalisation: str | None = None
    temperature_with_history: float | None = None
    history_doubted: tuple[float, float] | None = None
    history_share: float = 1.0
    unsure_segment_below: float = UNSURE_SEGMENT_BELOW
    unsure_recording_below: float = UNSURE_RECORDING_BELOW
    licence: str = "not stated"
    corpora: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    model_sha256: str = ""

    @property
    def id(self) -> str:
        """Name and the start of the network's hash, such as `seed-1a2b3c4d`."""
        return f"{self.name}-{self.model_sha256[:8]}"


@dataclass(frozen=True)
class Bundle:
    """A model that is loaded and was checked; made by `load`."""

    card: Card
    _network: Callable[..., np.ndarray] = field(repr=False)
    _columns: int = field(repr=False)

    @property
    def id(self) -> str:
        """Name and the start of the network's hash, such as `seed-1a2b3c4d`."""
        return self.card.id

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions, in the order of the columns of `predict`."""
        return self.card.labels

    @property
    def feature_set(self) -> str:
        """Id of the feature set that `predict` expects."""
        return self.card.feature_set

    @property
    def fingerprint(self) -> str:
        """Fingerprint of that feature set."""
        return self.card.fingerprint

    @property
    def licence(self) -> str:
        """In one line, such as "trained on RAVDESS, CC BY-NC-SA 4.0: not for commercial use"."""
        return self.card.licence

    @property
    def unsure_segment_below(self) -> float:
        """Confidence under which a segment's label is called unsure."""
        return self.card.unsure_segment_below

    @property
    def unsure_recording_below(self) -> float:
        """Confidence under which a recording's label is called unsure."""
        return self.card.unsure_recording_below

    def predict(self, matrix: np.ndarray, channel: np.ndarray | None = None) -> np.ndarray:
        """Probabilities of the labels, each row by itself.

        The network sees batches of exactly 64 rows, so the numbers of a row are the same to
        the bit wherever it stands and whatever stands beside it.

        Parameters
        ----------
        matrix : np.ndarray [shape=(n, dimensions of the feature set)]
            Finite vectors as `features.get(feature_set).extract` gives them; n may be 0.
        channel : np.ndarray [shape=(n,)], optional
            Rows of one id are one channel's segments in order. A bundle with channel
            normalisation takes a channel's other segments for its history; without ids, or for a
            channel's only segment, there is none. Others, such as `seed`, ignore it.

        Returns
        -------
        np.ndarray [shape=(n, len(labels))], float32
            Calibrated; each row adds up to 1.

        Raises
        ------
        BundleError
            A matrix of another shape, or one that holds NaN or infinity.
        """
        matrix = np.asarray(matrix, dtype=np.float32)
        if matrix.ndim != 2 or matrix.shape[1] != self._columns:
            raise BundleError(
                f"{self.id}: a matrix of shape {matrix.shape} found, (n, {self._columns}) "
                f"expected: rows of the feature set {self.feature_set}"
            )
        if channel is not None and len(channel) != len(matrix):
            raise BundleError(
                f"{self.id}: {len(channel)} channel ids found, one a row expected: {len(matrix)}"
            )
        if not np.isfinite(matrix).all():
            raise BundleError(f"{self.id}: vectors that hold NaN or infinity found")
        nothing = histories(matrix, None) if self._takes_history else ()
        answers = self._raw(matrix, *nothing)
        temperature = np.full(len(matrix), self.card.temperature)
        if self._takes_history and channel is not None:
            history = histories(matrix, channel)
            belief = self._belief(answers, channel)
            weight = belief * history_weight(history[0][:, 0])
            used = weight > 0
            share = belief[used, None].astype(np.float32)
            related = self._raw(matrix[used], *(one[used] for one in history))
            answers[used] = share * related + (1 - share) * answers[used]
            last = self.card.temperature_with_history or self.card.temperature
            temperature += (last - temperature) * weight
        return calibrate(answers, temperature)

    @property
    def _takes_history(self) -> bool:
        return self.card.channel_normalisation == HISTORY

    def _raw(self, *inputs: np.ndarray) -> np.ndarray:
        """What the network says, not calibrated."""
        answers = [self._network(*batch)[:rows] for _, rows, batch in _padded(inputs)]
        if not answers:
            return np.empty((0, len(self.labels)), dtype=np.float32)
        return np.concatenate(answers).astype(np.float32)

    def _belief(self, alone: np.ndarray, channel: np.ndarray) -> np.ndarray:
        if self.card.history_doubted is None:
            return np.full(len(alone), self.card.history_share)
        _, others, _ = histories(alone, channel)
        return self.card.history_share * history_belief(
            others, self.labels, self.card.history_doubted
        )


def histories(
    matrix: np.ndarray, channel: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row, how many other rows its channel has, their mean and their variance.

    Parameters
    ----------
    matrix : np.ndarray [shape=(n, d)], float32
    channel : np.ndarray [shape=(n,)] or None
        None: nothing is known of anybody.

    Returns
    -------
    count [n, 1], mean and variance [n, d], float32
        Zeros where there is no other row.
    """
    count = np.zeros((len(matrix), 1), dtype=np.float32)
    mean, variance = np.zeros_like(matrix), np.zeros_like(matrix)
    if channel is None:
        return count, mean, variance
    _, index, sizes = np.unique(channel, return_inverse=True, return_counts=True)
    for which in np.flatnonzero(sizes > 1):
        rows = np.flatnonzero(index == which)
        exact, others = matrix[rows].astype(np.float64), len(rows) - 1
        squares = np.square(exact)
        left_out = (exact.sum(axis=0) - exact) / others
        count[rows], mean[rows] = others, left_out
        square = (squares.sum(axis=0) - squares) / others
        variance[rows] = np.maximum(square - np.square(left_out), 0)
    return count, mean, variance


def history_weight(count: np.ndarray) -> np.ndarray:
    """How much a history of so many segments is believed: n / (n + 4)."""
    return count / (count + HISTORY_HALF)


def history_belief(
    others: np.ndarray, labels: Sequence[str], doubted: tuple[float, float]
) -> np.ndarray:
    """How much of a channel's history is used, by what its segments say, each taken alone.

    A caller who is in one mood throughout would pass for normal in it. So a history is doubted
    where one emotion, other than neutral and calm, takes more than a share of it.

    Parameters
    ----------
    others : np.ndarray [shape=(n, k)]
        Mean probabilities of the other segments; zeros where there are none.
    labels : sequence of k str
    doubted : two floats
        See `Card.history_doubted`.

    Returns
    -------
    np.ndarray [shape=(n,)]
        From 0, not at all, to 1.
    """
    moods = others[:, [label not in CALM for label in labels]]
    share = moods.max(axis=1, initial=0.0)
    low, high = doubted
    return np.clip((high - share) / (high - low), 0, 1)


def calibrate(probabilities: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Soften (temperature > 1) or sharpen probabilities; temperature scaling, Guo et al. 2017.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, k)]
    temperature : float > 0, or one a row

    Returns
    -------
    np.ndarray [shape=(n, k)], float32
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    logits /= np.reshape(temperature, (-1, 1))
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def bundled_names() -> tuple[str, ...]:
    """Names of the bundles that come with the package."""
    return tuple(sorted(path.parent.name for path in BUNDLED.glob(f"*/{CARD}")))


def default_name() -> str:
    """Name of the bundle that is used where none is asked for."""
    return DEFAULT


def find(name_or_path: str | os.PathLike) -> Path:
    """Folder of a bundle: a bundled name, else a path.

    Raises
    ------
    BundleError
        Neither a bundled name nor a folder.
    """
    if str(name_or_path) in bundled_names():
        return BUNDLED / str(name_or_path)
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise BundleError(
            f"model {str(name_or_path)!r}: no such folder, and no bundled model of that name "
            f"(there are: {', '.join(bundled_names()) or 'none'}); give the folder that "
            f"`ser train --save` wrote"
        )
    return folder


def read_card(name_or_path: str | os.PathLike) -> Card:
    """Read a bundle's card; needs no TensorFlow and checks nothing but the card.

    Raises
    ------
    BundleError
        No such bundle, or a card that cannot be read.
    """
    folder = find(name_or_path)
    try:
        said = json.loads(_read(folder, CARD))
    except ValueError as error:
        raise BundleError(f"{folder / CARD}: not JSON ({error}); copy the bundle again") from None
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        found = said.get("schema") if isinstance(said, dict) else type(said).__name__
        raise BundleError(
            f"{folder / CARD}: schema {found!r} found, {SCHEMA} expected; "
            f"use the version of this package that wrote the bundle"
        )
    known = [item.name for item in fields(Card)]
    missing = [name for name in known if name not in said and name not in _LATER]
    if missing:
        raise BundleError(f"{folder / CARD}: without {', '.join(missing)}; train the bundle again")
    card = Card(**{name: said[name] for name in known if name in said})
    try:
        card = replace(card, labels=check_labels(card.labels))
    except (SerError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder / CARD}: labels: {error}") from None
    _check_number(folder, card, "temperature", above=0.0, upto=math.inf)
    if card.channel_normalisation not in (None, HISTORY):
        raise BundleError(
            f"{folder / CARD}: channel_normalisation={card.channel_normalisation!r} found, "
            f"{HISTORY!r} or null expected; use the version of this package that wrote the bundle"
        )
    if card.temperature_with_history is not None:
        _check_number(folder, card, "temperature_with_history", above=0.0, upto=math.inf)
    if card.history_doubted is not None:
        card = replace(card, history_doubted=_two_shares(folder, card.history_doubted))
    _check_number(folder, card, "history_share", above=0.0, upto=1.0)
    _check_number(folder, card, "unsure_segment_below", above=-math.ulp(0.0), upto=1.0)
    _check_number(folder, card, "unsure_recording_below", above=-math.ulp(0.0), upto=1.0)
    return card


def load(name_or_path: str | os.PathLike) -> Bundle:
    """Load a bundle from a local folder, or one that comes with the package, by name.

    Raises
    ------
    BundleError
        A folder or file that is missing; a network that is not the card's, that is no Keras
        file, or that would run code of its own; features of another fingerprint; outputs that
        are not one a label; reference answers that are not given again.
    """
    folder = find(name_or_path)
    card, content = _checked(folder)
    columns = len(features.get(card.feature_set).names)
    network = _network(folder / MODEL, content, columns, card)
    bundle = Bundle(card, network, columns)
    _check_reference(folder, bundle)
    return bundle


def load_keras_model(name_or_path: str | os.PathLike) -> tuple[Card, Any]:
    """A bundle's card and its network as a Keras model, for going on with.

    Raises
    ------
    BundleError
        As `load`.
    """
    folder = find(name_or_path)
    card, content = _checked(folder)
    columns = len(features.get(card.feature_set).names)
    return card, _keras_model(folder / MODEL, content, columns, card)


def from_keras(model: Any, card: Card) -> Bundle:
    """A bundle that is not written anywhere."""
    columns = len(features.get(card.feature_set).names)
    return Bundle(card, _function(model, card), columns)


def check(name_or_path: str | os.PathLike) -> Card:
    """Check what needs no TensorFlow, before a long job relies on it: files and features.

    Raises
    ------
    BundleError
        As `load`, but for the network and its answers.
    """
    card, _ = _checked(find(name_or_path))
    return card


def _checked(folder: Path) -> tuple[Card, bytes]:
    """The card, and the bytes of the network that it speaks of."""
    card = read_card(folder)
    content = _read(folder, MODEL)
    found = hashlib.sha256(content).hexdigest()
    if found != card.model_sha256:
        raise BundleError(
            f"{folder / MODEL}: SHA-256 {found[:12]}… found, {card.model_sha256[:12]}… expected "
            f"by {CARD}; the file was changed or copied in part, copy the bundle again"
        )
    _check_features(folder, card)
    return card, content


def save(
    folder: str | os.PathLike,
    model: Any,
    card: Card,
    inputs: np.ndarray,
    *,
    extras: Mapping[str, bytes] | None = None,
) -> Card:
    """Write a bundle, whole or not at all.

    Parameters
    ----------
    folder : path
        Made with its parents. An older bundle there is replaced.
    model : keras.Model
        From feature vectors [n, d] to probabilities [n, len(card.labels)]. Saved without its
        optimizer only if it has none: give one that is not compiled.
    card : Card
        Its `model_sha256` is filled in.
    inputs : np.ndarray [shape=(m, d)]
        A few vectors whose answers are kept, for `load` to check.
    extras : mapping of file name to bytes, optional
        Pictures and the like.

    Returns
    -------
    Card
        As written.

    Raises
    ------
    BundleError
        The folder holds something that is no bundle, or cannot be written.
    """
    from ser_core.models.model_card import markdown

    folder = Path(folder)
    check_target(folder)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        # mkdtemp makes a private folder; a bundle is as readable as any folder made here.
        work.chmod(0o777 & ~_umask())
        model.save(work / MODEL)
        content = (work / MODEL).read_bytes()
        card = replace(card, model_sha256=hashlib.sha256(content).hexdigest())
        inputs = np.asarray(inputs, dtype=np.float32)
        _check_features(folder, card)
        columns = len(features.get(card.feature_set).names)
        network = _network(work / MODEL, content, columns, card)
        # Half of them one channel, the others by themselves.
        channel = np.maximum(np.arange(len(inputs)) - len(inputs) // 2, 0)
        outputs = Bundle(card, network, columns).predict(inputs, channel)
        np.savez(work / REFERENCE, inputs=inputs, channel=channel, outputs=outputs)
        said = {"schema": SCHEMA, "id": card.id, **asdict(card)}
        (work / CARD).write_text(json.dumps(said, indent=1, allow_nan=False) + "\n", "utf-8")
        (work / README).write_text(markdown(card, (extras or {}).keys()), "utf-8")
        for name, data in (extras or {}).items():
            (work / name).write_bytes(data)
        _swap(work, folder)
    except OSError as error:
        raise BundleError(f"{folder}: the bundle could not be written: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return card


def check_target(folder: str | os.PathLike) -> None:
    """Make sure that a bundle may be written to a folder, and that its parent is there.

    Raises
    ------
    BundleError
        It holds something that is no bundle, is a file, or cannot be made.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        occupied = folder.exists() and any(folder.iterdir()) and not (folder / CARD).is_file()
    except OSError as error:
        raise BundleError(f"{folder}: no bundle can be written there: {error}") from error
    if occupied:
        raise BundleError(
            f"{folder}: holds files that are no model bundle, an empty or new folder, or an "
            f"older bundle to replace, expected; give another folder"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _swap(new: Path, folder: Path) -> None:
    """Put a finished folder in place of what is there."""
    old = None
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
        os.replace(folder, old)
    try:
        os.replace(new, folder)
    except OSError:
        if old:
            os.replace(old, folder)
        raise
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _padded(inputs: Sequence[np.ndarray]) -> Iterator[tuple[int, int, list[np.ndarray]]]:
    """Batches of exactly `BATCH_ROWS` rows: where they start, how many are real, the inputs."""
    for start in range(0, len(inputs[0]), BATCH_ROWS):
        rows = min(BATCH_ROWS, len(inputs[0]) - start)
        batch = [np.zeros((BATCH_ROWS, x.shape[1]), dtype=np.float32) for x in inputs]
        for padded, x in zip(batch, inputs, strict=True):
            padded[:rows] = x[start : start + rows]
        yield start, rows, batch


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{folder}: {name} cannot be read ({error.strerror}); a bundle is a folder with "
            f"{MODEL}, {CARD} and {REFERENCE}: copy it again"
        ) from error


def _check_number(folder: Path, card: Card, name: str, *, above: float, upto: float) -> None:
    value = getattr(card, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= upto:
        raise BundleError(
            f"{folder / CARD}: {name}={value!r} found, a number above {max(above, 0.0):g} "
            f"and up to {upto:g} expected"
        )


def _two_shares(folder: Path, value: Any) -> tuple[float, float]:
    try:
        low, high = map(float, value)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 <= low < high <= 1:
        raise BundleError(
            f"{folder / CARD}: history_doubted={value!r} found, two shares from 0 to 1 expected, "
            "the lower one first"
        )
    return low, high


def _check_features(folder: Path, card: Card) -> None:
    """The card's feature set must be the one of this installation."""
    try:
        feature_set = features.get(card.feature_set)
    except FeatureError as error:
        raise BundleError(
            f"{folder}: made for features that are not here: {error}; "
            f"install the package that brings them"
        ) from error
    if feature_set.fingerprint != card.fingerprint:
        raise BundleError(
            f"{folder}: made for {card.feature_set} with fingerprint {card.fingerprint}, but "
            f"this installation's {card.feature_set} has {feature_set.fingerprint}; use the "
            f"version that trained the bundle, or train it again"
        )


def _widths(columns: int, card: Card) -> list[int]:
    """Of the network's inputs."""
    return [columns, 1, columns, columns] if card.channel_normalisation == HISTORY else [columns]


def _keras_model(path: Path, content: bytes, columns: int, card: Card) -> Any:
    """The network, if it is what the card says."""
    _check_safe(path, content)
    keras = load_keras()
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise BundleError(
            f"{path}: Keras {keras.__version__} cannot load it ({_first_line(error)}); "
            f"use the versions that the bundle's card names, or train it again"
        ) from error
    widths = _widths(columns, card)
    found = [x.shape[-1] for x in model.inputs], model.output_shape[-1]
    if found != (widths, len(card.labels)):
        raise BundleError(
            f"{path}: takes {', '.join(map(str, found[0]))} numbers and gives {found[1]} outputs, "
            f"{', '.join(map(str, widths))} and {len(card.labels)} labels expected by {CARD}"
        )
    return model


def _network(path: Path, content: bytes, columns: int, card: Card) -> Callable:
    return _function(_keras_model(path, content, columns, card), card)


def _function(model: Any, card: Card) -> Callable:
    """The network as a function of float32 [64, width of each input] to float32 [64, labels]."""
    import tensorflow as tf

    widths = _widths(len(features.get(card.feature_set).names), card)

    @tf.function(
        input_signature=[tf.TensorSpec([BATCH_ROWS, width], tf.float32) for width in widths],
        autograph=False,
    )
    def call(*batch):
        return model(list(batch) if len(batch) > 1 else batch[0], training=False)

    return lambda *batch: call(*map(tf.constant, batch)).numpy()


def _check_safe(path: Path, content: bytes) -> None:
    """Refuse what is no Keras 3 file, or holds layers that run code of their own."""
    try:
        config = json.loads(zipfile.ZipFile(io.BytesIO(content)).read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise BundleError(
            f"{path}: no Keras 3 file ({_first_line(error)}); save the model as .keras"
        ) from error
    for part in _parts(config):
        name, module = part.get("class_name"), part.get("module")
        own = module is None or str(module).split(".")[0] == "keras"
        activation = (module, name) == ("builtins", "function")  # Keras looks it up by name
        if not (own or activation) or name in _UNSAFE_LAYERS or name == "__lambda__":
            raise BundleError(
                f"{path}: holds {module}.{name}, which may run code of its own; "
                f"only Keras's own layers are loaded"
            )


def _parts(config: Any) -> Iterator[dict]:
    """Every object of a nested Keras configuration."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for item in config:
            yield from _parts(item)


def _check_reference(folder: Path, bundle: Bundle) -> None:
    """Refuse a bundle that does not answer as it did when it was saved."""
    try:
        with np.load(io.BytesIO(_read(folder, REFERENCE)), allow_pickle=False) as kept:
            inputs, outputs = kept["inputs"], kept["outputs"]
            channel = kept.get("channel")
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{folder / REFERENCE}: cannot be read ({_first_line(error)}); copy the bundle again"
        ) from error
    found = bundle.predict(inputs, channel)
    if not len(inputs) or found.shape != outputs.shape:
        raise BundleError(
            f"{folder / REFERENCE}: answers of shape {outputs.shape} found, "
            f"{(max(len(inputs), 1), len(bundle.labels))} expected; train the bundle again"
        )
    off = float(np.abs(found - outputs).max())
    if not off <= REFERENCE_TOLERANCE:
        raise BundleError(
            f"{folder}: answers are off by {off:.3g} from those in {REFERENCE}, at most "
            f"{REFERENCE_TOLERANCE:g} expected; use the versions that the card names: "
            f"{', '.join(f'{k} {v}' for k, v in bundle.card.versions.items()) or 'none named'}"
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
