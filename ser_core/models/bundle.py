"""Model bundles: a folder with a trained network, its card, and a few answers to check it by.

`load` gives a `Bundle` whose `predict` turns feature vectors into calibrated probabilities; `save`
writes one. `load` accepts a bundle only as a whole and raises `BundleError` otherwise: the network
must be the one of the card, match the feature set of this installation, and give the same answers
as when it was saved.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser_core import features
from ser_core.errors import BundleError
from ser_core.models.calibration import calibrate
from ser_core.models.card import (
    CARD,
    MODEL,
    README,
    REFERENCE,
    SCHEMA,
    Card,
    check_features,
    find,
    read_card,
    read_file,
)
from ser_core.models.card_page import markdown
from ser_core.models.history import HISTORY, histories, history_belief, history_weight
from ser_core.models.network import (
    as_function,
    first_line,
    lanes_of,
    load_network,
    padded_batches,
)

# Other processors and versions round differently. A wrong network is off by far more.
REFERENCE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Bundle:
    """A loaded and checked model; made by `load`."""

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
        """One line, such as "trained on RAVDESS, CC BY-NC-SA 4.0: not for commercial use"."""
        return self.card.licence

    @property
    def unsure_segment_below(self) -> float:
        """A segment's label with less confidence is unsure."""
        return self.card.unsure_segment_below

    @property
    def unsure_recording_below(self) -> float:
        """A recording's label with less confidence is unsure."""
        return self.card.unsure_recording_below

    def predict(self, matrix: np.ndarray, channel: np.ndarray | None = None) -> np.ndarray:
        """Probabilities of the labels.

        The network sees batches of exactly 64 rows, and where a channel's rows may stand in them
        depends on the channel alone. So the numbers of a row are the same to the bit whatever else
        is predicted with it.

        Parameters
        ----------
        matrix : np.ndarray [shape=(n, dimensions of the feature set)]
            Finite vectors as `features.get(feature_set).extract` gives them; n may be 0.
        channel : np.ndarray [shape=(n,)], optional
            Rows with one id are one channel's segments in order. A bundle with channel
            normalisation uses a channel's other segments as the history of each; without ids, or
            for a channel's only segment, there is no history. Other bundles, such as `seed`, ignore
            the ids.

        Returns
        -------
        np.ndarray [shape=(n, len(labels))], float32
            Calibrated. Each row adds up to 1.

        Raises
        ------
        BundleError
            A matrix of another shape, or with NaN or infinity.
        """
        matrix = np.asarray(matrix, dtype=np.float32)
        if matrix.ndim != 2 or matrix.shape[1] != self._columns:
            raise BundleError(
                f"{self.id}: a matrix of shape {matrix.shape} found, (n, {self._columns}) "
                f"expected: rows of the feature set {self.feature_set}"
            )
        if channel is not None and len(channel) != len(matrix):
            raise BundleError(
                f"{self.id}: {len(channel)} channel ids found, one per row expected: {len(matrix)}"
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
            lanes = lanes_of(matrix[used], np.asarray(channel)[used])
            related = self._raw(matrix[used], *(moment[used] for moment in history), lanes=lanes)
            answers[used] = share * related + (1 - share) * answers[used]
            last = self.card.temperature_with_history or self.card.temperature
            temperature += (last - temperature) * weight
        return calibrate(answers, temperature)

    @property
    def _takes_history(self) -> bool:
        return self.card.channel_normalisation == HISTORY

    def _raw(self, *inputs: np.ndarray, lanes: np.ndarray | None = None) -> np.ndarray:
        """Answers of the network, not calibrated; `lanes` as for `padded_batches`."""
        answers = np.empty((len(inputs[0]), len(self.labels)), dtype=np.float32)
        for rows, places, batch in padded_batches(inputs, lanes):
            answers[rows] = self._network(*batch)[places]
        return answers

    def _belief(self, alone: np.ndarray, channel: np.ndarray) -> np.ndarray:
        if self.card.history_doubted is None:
            return np.full(len(alone), self.card.history_share)
        _, others, _ = histories(alone, channel)
        return self.card.history_share * history_belief(
            others, self.labels, self.card.history_doubted
        )


def load(name_or_path: str | os.PathLike) -> Bundle:
    """Load a bundle from a local folder, or one that comes with the package, by name.

    Raises
    ------
    BundleError
        A folder or file is missing. The network is not the card's, is not a Keras file, or would
        run code. The feature set's fingerprint differs. The outputs are not one per label. The
        reference answers differ.
    """
    folder = find(name_or_path)
    card, content = _checked(folder)
    bundle = from_keras(load_network(folder / MODEL, content, card), card)
    _check_reference(folder, bundle)
    return bundle


def load_keras_model(name_or_path: str | os.PathLike) -> tuple[Card, Any]:
    """A bundle's card, and its network as a Keras model to train further.

    Raises
    ------
    BundleError
        As `load`.
    """
    folder = find(name_or_path)
    card, content = _checked(folder)
    return card, load_network(folder / MODEL, content, card)


def from_keras(model: Any, card: Card) -> Bundle:
    """A bundle of a Keras model that is not saved."""
    columns = len(features.get(card.feature_set).names)
    return Bundle(card, as_function(model, card), columns)


def check(name_or_path: str | os.PathLike) -> Card:
    """Check a bundle's files and feature set before a long job. Needs no TensorFlow.

    Raises
    ------
    BundleError
        As `load`, except for the network and its answers.
    """
    card, _ = _checked(find(name_or_path))
    return card


def save(
    folder: str | os.PathLike,
    model: Any,
    card: Card,
    inputs: np.ndarray,
    *,
    extras: Mapping[str, bytes] | None = None,
) -> Card:
    """Write a bundle as a whole, or not at all.

    Parameters
    ----------
    folder : path
        Made with its parents. An older bundle there is replaced.
    model : keras.Model
        From feature vectors [n, d] to probabilities [n, len(card.labels)]. Not compiled, since the
        optimizer would be saved, too.
    card : Card
        Its `model_sha256` is filled in.
    inputs : np.ndarray [shape=(m, d)]
        A few vectors whose answers are saved for `load` to check.
    extras : mapping of file name to bytes, optional
        Further files, such as pictures.

    Returns
    -------
    Card
        As written.

    Raises
    ------
    BundleError
        The folder holds something else than a bundle, or cannot be written.
    """
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
        check_features(folder, card)
        bundle = from_keras(load_network(work / MODEL, content, card), card)
        # The first half is one channel, each other row is a channel of its own.
        channel = np.maximum(np.arange(len(inputs)) - len(inputs) // 2, 0)
        outputs = bundle.predict(inputs, channel)
        np.savez(work / REFERENCE, inputs=inputs, channel=channel, outputs=outputs)
        fields = {"schema": SCHEMA, "id": card.id, **asdict(card)}
        text = json.dumps(fields, indent=1, allow_nan=False) + "\n"
        (work / CARD).write_text(text, "utf-8")
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
    """Check that a bundle may be written to a folder, and make the folder's parents.

    Raises
    ------
    BundleError
        The folder holds something else than a bundle, is a file, or cannot be made.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        occupied = folder.exists() and any(folder.iterdir()) and not (folder / CARD).is_file()
    except OSError as error:
        raise BundleError(f"{folder}: no bundle can be written there: {error}") from error
    if occupied:
        raise BundleError(
            f"{folder}: holds files that are not a model bundle; a new or empty folder, or an "
            f"older bundle to replace, expected; give another folder"
        )


def _checked(folder: Path) -> tuple[Card, bytes]:
    """The card, and the bytes of its network."""
    card = read_card(folder)
    content = read_file(folder, MODEL)
    found = hashlib.sha256(content).hexdigest()
    if found != card.model_sha256:
        raise BundleError(
            f"{folder / MODEL}: SHA-256 {found[:12]}… found, {card.model_sha256[:12]}… expected "
            f"by {CARD}; the file was changed or copied in part, copy the bundle again"
        )
    check_features(folder, card)
    return card, content


def _check_reference(folder: Path, bundle: Bundle) -> None:
    """Refuse a bundle whose answers differ from those at saving."""
    try:
        with np.load(io.BytesIO(read_file(folder, REFERENCE)), allow_pickle=False) as kept:
            inputs, outputs = kept["inputs"], kept["outputs"]
            channel = kept.get("channel")
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{folder / REFERENCE}: cannot be read ({first_line(error)}); copy the bundle again"
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


def _swap(new: Path, folder: Path) -> None:
    """Move a finished folder into place; an older one is replaced."""
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
