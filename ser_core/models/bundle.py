"""Model bundles: a folder with a trained network, its card, and a few answers to check it by.

`load` gives a `Bundle` whose `predict` turns feature vectors into calibrated probabilities; `save`
writes one. `load` accepts a bundle only as a whole and raises `BundleError` otherwise: the network
must be the one of the card, match the feature set of this installation, and give the same answers
as when it was saved.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ser_core import features
from ser_core.errors import BundleError
from ser_core.models import archive
from ser_core.models.archive import Archive, FeatureStatistics
from ser_core.models.calibration import calibrate
from ser_core.models.card import (
    ARCHIVE,
    CARD,
    MODEL,
    REFERENCE,
    Adaptation,
    Card,
    check_features,
    find,
)
from ser_core.models.file_checks import check_keras
from ser_core.models.folder import (
    LABELS,
    name_of,
    parse_reference,
    read_archive,
    read_files,
    replaced,
    write_card,
)
from ser_core.models.history import HISTORY, histories, history_belief, history_weight
from ser_core.models.keras_versions import check_keras_version
from ser_core.models.network import as_function, lanes_of, load_network, padded_batches
from ser_core.models.priors import estimate_log_prior
from ser_core.models.provenance import Provenance
from ser_core.models.signature import PublicKey

# Other processors and versions round differently. A wrong network is off by far more.
REFERENCE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Bundle:
    """A loaded and checked model; made by `load`."""

    card: Card
    _network: Callable[..., np.ndarray] = field(repr=False)
    _columns: int = field(repr=False)
    _training: FeatureStatistics | None = field(default=None, repr=False)
    _archive: Archive | None = field(default=None, repr=False)
    # The bytes of its files, from which `save` writes it again.
    _files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def id(self) -> str:
        """Name and the start of a hash of network and archive, such as `seed-1a2b3c4d`."""
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

    @cached_property
    def provenance(self) -> Provenance | None:
        """What it remembers of its training; None for bundles of version 0.1, and unsaved ones."""
        if REFERENCE not in self._files:
            return None
        return Provenance.read(parse_reference(Path(), self.card, self._files[REFERENCE]))

    @property
    def unsure_segment_below(self) -> float:
        """A segment's label with less confidence is unsure."""
        return self.card.unsure_segment_below

    @property
    def unsure_recording_below(self) -> float:
        """A recording's label with less confidence is unsure."""
        return self.card.unsure_recording_below

    @property
    def takes_history(self) -> bool:
        """Whether a channel's other segments change a segment's probabilities; in old bundles."""
        return self.card.channel_normalisation == HISTORY

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
            Rows with one id are one channel's segments in order. A bundle that `takes_history`, of
            version 0.1, uses a channel's other segments as the history of each; without ids, or for
            a channel's only segment, there is no history. Other bundles ignore the ids, with a
            warning.

        Returns
        -------
        np.ndarray [shape=(n, len(labels))], float32
            Calibrated. Each row adds up to 1.

        Raises
        ------
        BundleError
            A matrix of another shape, or with NaN or infinity.
        """
        matrix = self._checked(matrix, channel, "channel")
        if channel is not None and not self.takes_history:
            warnings.warn(
                f"{self.id} takes no history: channel= changes nothing; leave it out", stacklevel=2
            )
        if self._archive is not None:
            matrix = self._archive.map(matrix)
        nothing = histories(matrix, None) if self.takes_history else ()
        answers = self._raw(matrix, *nothing)
        temperature = np.full(len(matrix), self.card.temperature)
        if self.takes_history and channel is not None:
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
        log_prior = None if self._archive is None else self._archive.log_prior
        return calibrate(answers, temperature, log_prior)

    def adapted(
        self,
        matrix: np.ndarray,
        recording: archive.Recordings | None = None,
        *,
        hours: float | None = None,
        date: dt.date | None = None,
    ) -> Bundle:
        """A bundle that is fitted to an archive, without labels.

        Its network is this bundle's, to the byte. It first maps each feature of the archive onto
        the training's, by mean and standard deviation. From about 300 rows on, the archive counts
        in full. An adapted bundle is adapted anew from its base.

        Parameters
        ----------
        matrix : np.ndarray [shape=(n, dimensions of the feature set)]
            Vectors of the archive's speech; n >= 50, better some thousands of many recordings.
        recording : sequence of n ids, optional
            Numbers, texts or tuples. Rows with one id are one recording's. They balance the
            recordings, so that a long one does not decide. By default each row counts alike.
        hours : float, optional
            Hours of speech, for the card.
        date : datetime.date, optional
            For the card; today by default.

        Returns
        -------
        Bundle
            To use, or to `save`.

        Raises
        ------
        ValueError
            Fewer than 50 rows.
        BundleError
            A matrix of another shape, or with NaN or infinity; ids that are not one a row; or a
            bundle that was trained by an older version, which does not know the statistics of its
            training.
        """
        files = {name: content for name, content in self._files.items() if name != ARCHIVE}
        base = replace(self, card=self.card.base, _archive=None, _files=files)
        matrix = base._checked(matrix, recording, "recording")
        if len(matrix) < archive.MIN_ROWS:
            raise ValueError(
                f"{base.id}: {len(matrix)} rows of the archive found, {archive.MIN_ROWS} or more "
                "expected; give the features of more recordings"
            )
        fitted, weights = archive.fit(
            matrix, recording, base.check_adaptable(), base._raw,
            base=base.id, date=(date or dt.date.today()).isoformat(), hours=hours,
        )  # fmt: skip
        here = replace(base, _archive=fitted)
        if archive.ESTIMATE_PRIORS:
            log_prior = estimate_log_prior(here.predict(matrix), weights, self.card.temperature)
            fitted = replace(fitted, log_prior=log_prior)
            here = replace(base, _archive=fitted)
        content = fitted.to_bytes()
        before, after = (bundle.predict(matrix).argmax(axis=1) for bundle in (base, here))
        adaptation = Adaptation.of(fitted, content, self.labels, before, after)
        card = replace(base.card, adapted=adaptation)
        return replace(here, card=card, _files={**base._files, ARCHIVE: content})

    def check_adaptable(self) -> FeatureStatistics:
        """The statistics of the training, by which the bundle can be adapted.

        Raises
        ------
        BundleError
            It does not know them.
        """
        if self._training is None:
            raise BundleError(
                f"{self.id}: cannot be adapted, since it does not hold the mean and standard "
                "deviation of its training (feature_mean and feature_std in reference.npz); "
                "train it again with this version"
            )
        return self._training

    def save(self, folder: str | os.PathLike) -> Card:
        """Write the bundle to a folder, whose name it takes.

        Parameters
        ----------
        folder : path
            Made with its parents. An older bundle there is replaced.

        Returns
        -------
        Card
            As written.

        Raises
        ------
        BundleError
            The folder holds something else than a bundle, or cannot be written; or the bundle was
            never loaded from files.
        """
        if MODEL not in self._files:
            raise BundleError(
                f"{self.id}: made from a Keras model that is not saved; save it with its reference "
                "inputs first (ser_core.models.bundle.save), and load it"
            )
        card = replace(self.card, name=name_of(folder))
        with replaced(folder) as work:
            for name in card.files:
                if name != CARD:
                    (work / name).write_bytes(self._files[name])
            write_card(work, card)
        return card

    def _checked(self, matrix: np.ndarray, ids: archive.Recordings | None, kind: str) -> np.ndarray:
        """The matrix as float32, and finite; with as many ids as rows, if there are ids."""
        matrix = np.asarray(matrix, dtype=np.float32)
        if matrix.shape == (0,):  # of an empty list
            matrix = matrix.reshape(0, self._columns)
        if matrix.ndim != 2 or matrix.shape[1] != self._columns:
            raise BundleError(
                f"{self.id}: a matrix of shape {matrix.shape} found, (n, {self._columns}) "
                f"expected: rows of the feature set {self.feature_set}"
            )
        if ids is not None and len(ids) != len(matrix):
            raise BundleError(
                f"{self.id}: {len(ids)} {kind} ids found, one per row expected: {len(matrix)}"
            )
        if ids is not None and (
            isinstance(ids, str) or not all(isinstance(key, Hashable) for key in ids)
        ):
            raise BundleError(
                f"{self.id}: {kind}={type(ids).__name__} found, a sequence of numbers, texts or "
                "tuples expected, one a row"
            )
        if not np.isfinite(matrix).all():
            raise BundleError(f"{self.id}: vectors that hold NaN or infinity found")
        return matrix

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


def load(name_or_path: str | os.PathLike, *, signed_by: PublicKey | None = None) -> Bundle:
    """Load a bundle from a local folder, or one that comes with the package, by name.

    Parameters
    ----------
    name_or_path : str or path
    signed_by : PublicKey, optional
        Load it only if it has a signature by this key.

    Raises
    ------
    BundleError
        A folder or file is missing. The network or the archive is not the card's, is not a file of
        its kind, or would run code. The feature set's fingerprint differs. The outputs are not one
        per label. The reference answers differ. The version of Keras is known to be unsafe. The
        signature is missing or another's.
    """
    folder = find(name_or_path)
    card, files = read_files(folder, signed_by)
    reference = parse_reference(folder, card, files[REFERENCE])
    bundle = replace(
        from_keras(load_network(folder / MODEL, files[MODEL], card), card, reference),
        _files=files,
    )
    # Not the adapted answers: the file is the base's.
    _check_reference(folder, bundle, reference)
    if ARCHIVE in files:
        bundle = replace(bundle, _archive=read_archive(folder, card, files[ARCHIVE]))
    return bundle


def from_keras(model: Any, card: Card, reference: Mapping[str, np.ndarray] | None = None) -> Bundle:
    """A bundle of a Keras model that is not saved.

    Parameters
    ----------
    model : keras.Model
    card : Card
    reference : mapping of str to np.ndarray, optional
        The arrays of `reference.npz`. With `feature_mean` and `feature_std`, the mean and standard
        deviation of the training's features, the bundle can be adapted.
    """
    columns = len(features.get(card.feature_set).names)
    training = FeatureStatistics.of(reference or {}, columns)
    return Bundle(card, as_function(model, card), columns, training)


def check(name_or_path: str | os.PathLike, *, signed_by: PublicKey | None = None) -> Card:
    """Check a bundle's files and feature set before a long job. Needs no TensorFlow.

    Raises
    ------
    BundleError
        As `load`, except for the network and its answers.
    """
    check_keras_version()
    folder = find(name_or_path)
    card, files = read_files(folder, signed_by)
    check_keras(folder / MODEL, files[MODEL])
    parse_reference(folder, card, files[REFERENCE])
    if ARCHIVE in files:
        read_archive(folder, card, files[ARCHIVE])
    return card


def save(
    folder: str | os.PathLike,
    model: Any,
    card: Card,
    inputs: np.ndarray,
    *,
    reference: Mapping[str, np.ndarray] | None = None,
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
    reference : mapping of str to np.ndarray, optional
        Further arrays for `reference.npz`: `feature_mean` and `feature_std` [d] let the bundle be
        adapted.
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
    further: dict[str, Any] = dict(reference or {})
    with replaced(folder) as work:
        model.save(work / MODEL)
        content = (work / MODEL).read_bytes()
        card = replace(card, model_sha256=hashlib.sha256(content).hexdigest())
        inputs = np.asarray(inputs, dtype=np.float32)
        check_features(Path(folder), card)
        bundle = from_keras(load_network(work / MODEL, content, card), card, further)
        # The first half is one channel, each other row is a channel of its own.
        channel = np.maximum(np.arange(len(inputs)) - len(inputs) // 2, 0)
        outputs = bundle.predict(inputs, channel if bundle.takes_history else None)
        further |= {LABELS: np.array(card.labels)}
        np.savez(work / REFERENCE, inputs=inputs, channel=channel, outputs=outputs, **further)
        digest = hashlib.sha256((work / REFERENCE).read_bytes()).hexdigest()
        card = replace(card, reference_sha256=digest)
        for name, data in (extras or {}).items():
            (work / name).write_bytes(data)
        write_card(work, card, (extras or {}).keys())
    return card


def _check_reference(folder: Path, bundle: Bundle, reference: Mapping[str, np.ndarray]) -> None:
    """Refuse a bundle whose answers differ from those at saving."""
    inputs, outputs = reference["inputs"], reference["outputs"]
    found = bundle.predict(inputs, reference.get("channel") if bundle.takes_history else None)
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
