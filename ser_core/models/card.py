"""Cards of bundles: their fields, how they are read and checked, and where bundles are found.

Reading a card needs no TensorFlow. `read_card` refuses a card with a value out of bounds.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser_core import features
from ser_core.emotions import (
    UNSURE_RECORDING_BELOW,
    UNSURE_SEGMENT_BELOW,
    check_labels,
)
from ser_core.errors import BundleError, FeatureError, SerError
from ser_core.models.archive import Archive
from ser_core.models.file_checks import MAX_CARD_BYTES, MAX_FILE_BYTES, read_bounded
from ser_core.models.history import HISTORY

MODEL, CARD, REFERENCE, README = "model.keras", "card.json", "reference.npz", "CARD.md"
# The files that every bundle has, and the one that an adapted bundle has as well.
FILES = (MODEL, CARD, REFERENCE)
ARCHIVE = "archive.npz"
SCHEMA = 1
# Fields that cards of older versions lack; they have their default then.
_LATER = ("history_share", "adapted", "any_use", "attribution", "reference_sha256")
# By these words the licence of a card without `any_use` is known to be restricted.
_RESTRICTIONS = ("not for commercial use", "for research only")
NOT_STATED = "not stated"
DEFAULT = "calls"
# Names that bundled models once had.
ALIASES = {"calls-open": DEFAULT}
# The bundled model for a feature set that an output may hold, other than the default model's.
_BY_FEATURE_SET = {"telephone": "calls-fast", "seed193": "seed"}
BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What an adapted bundle was fitted to, and what that changed.

    Parameters
    ----------
    base : str
        Id of the bundle that was adapted.
    date : str
        YYYY-MM-DD.
    segments, recordings : int
        Number of stretches of speech of the archive, and of their recordings.
    left_out : int
        Segments that are far from the archive's speech, and did not count.
    hours : float or None
        Hours of speech, where known.
    shares_before, shares_after : mapping of label to float
        Share of each label among these segments, by the base and by the adapted bundle.
    moved : int
        Segments whose label changed.
    archive_sha256 : str
        SHA-256 of `archive.npz`.
    """

    base: str
    date: str
    segments: int
    recordings: int
    left_out: int
    hours: float | None
    shares_before: Mapping[str, float]
    shares_after: Mapping[str, float]
    moved: int
    archive_sha256: str

    @classmethod
    def of(
        cls,
        fitted: Archive,
        content: bytes,
        labels: tuple[str, ...],
        before: np.ndarray,
        after: np.ndarray,
    ) -> Adaptation:
        """The description of an adapted bundle.

        Parameters
        ----------
        fitted : Archive
        content : bytes
            Of `archive.npz`.
        labels : tuple of str
        before, after : np.ndarray [shape=(n,)], int
            Index of each segment's label, by the base and by the adapted bundle.
        """

        def shares(found: np.ndarray) -> dict[str, float]:
            counts = np.bincount(found, minlength=len(labels)) / len(found)
            return dict(zip(labels, counts.tolist(), strict=True))

        return cls(
            base=fitted.base,
            date=fitted.date,
            segments=fitted.statistics.rows,
            recordings=fitted.statistics.recordings,
            left_out=fitted.statistics.left_out,
            hours=fitted.hours,
            shares_before=shares(before),
            shares_after=shares(after),
            moved=int(np.count_nonzero(before != after)),
            archive_sha256=hashlib.sha256(content).hexdigest(),
        )


@dataclass(frozen=True, kw_only=True)
class Card:
    """The description of a bundle; `card.json`.

    Parameters
    ----------
    name : str
        Name of the model, a word such as `seed`.
    labels : tuple of str
        The emotions, in the order of the network's outputs.
    feature_set, fingerprint : str
        The feature set that the network was trained on.
    temperature : float > 0
        The network's log-probabilities are divided by it (Guo et al. 2017).
    channel_normalisation : str or None
        `HISTORY`: the network also takes the count, mean and variance of the channel's other
        segments. None: a channel's history is not used.
    temperature_with_history : float > 0, optional
        The temperature approaches this value as the history gets longer; see `history_weight`.
    history_doubted : two floats in [0, 1], optional
        Two shares of one emotion (other than neutral and calm) in the mean prediction of a
        history's segments. Up to the first, the history is used in full; from the second, not at
        all; see `history_belief`. None: it is always used in full.
    history_share : float in (0, 1]
        Largest weight of a prediction with a history; the rest is the segment's own prediction.
    unsure_segment_below, unsure_recording_below : float in [0, 1]
        A label with less confidence is unsure.
    licence : str
        One line that also names what is forbidden.
    corpora : sequence of mappings
        Name, licence, counts of utterances and speakers, skipped files.
    settings : mapping
        All settings of the training.
    protocol : str
        The key of `results` to quote first.
    results : mapping
        From the protocol to the figures of `ser_core.models.scores.Scores`.
    measures : mapping
        Further figures, such as those of groups of labels and of calibration.
    versions : mapping
        Versions of the libraries that trained it.
    model_sha256 : str
        SHA-256 of `model.keras`; filled in by `save`.
    reference_sha256 : str
        SHA-256 of `reference.npz`; filled in by `save`. Empty in older cards.
    any_use : bool or None
        Whether all corpora permit every use, including commercial use. None in older cards.
    attribution : sequence of str
        What to name where labels are published, by corpus and by feature set.
    adapted : Adaptation or None
        For a bundle that is fitted to an archive.
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
    licence: str = NOT_STATED
    corpora: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    model_sha256: str = ""
    reference_sha256: str = ""
    any_use: bool | None = None
    attribution: Sequence[str] = ()
    adapted: Adaptation | None = None

    @property
    def id(self) -> str:
        """Name and the start of a hash of network and archive, such as `seed-1a2b3c4d`."""
        digest = self.model_sha256
        if self.adapted is not None:
            both = digest + self.adapted.archive_sha256
            digest = hashlib.sha256(both.encode()).hexdigest()
        return f"{self.name}-{digest[:8]}"

    @property
    def permits_any_use(self) -> bool:
        """Whether the licence is known to permit every use, including commercial use."""
        if self.any_use is not None:
            return self.any_use
        return not any(words in self.licence for words in (*_RESTRICTIONS, NOT_STATED))

    @property
    def terms(self) -> str:
        """The licence in a few words."""
        if self.any_use is None and NOT_STATED in self.licence:  # of the model or of its start
            return "use not known"
        if not self.permits_any_use:
            return "not for commercial use"
        return "free for any use" + (" with attribution" if self.attribution else "")

    @property
    def base(self) -> Card:
        """The card of the bundle that was adapted; the card itself, if none was."""
        if self.adapted is None:
            return self
        return replace(self, name=self.adapted.base.rpartition("-")[0], adapted=None)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the bundle needs."""
        return FILES if self.adapted is None else (*FILES, ARCHIVE)


def bundled_names() -> tuple[str, ...]:
    """Names of the bundles that come with the package."""
    return tuple(sorted(path.parent.name for path in BUNDLED.glob(f"*/{CARD}")))


def default_name() -> str:
    """Name of the bundle that is used by default."""
    return DEFAULT


def bundled_for(feature_set: str, fingerprint: str) -> str | None:
    """Name of the bundled model for stored features; None if there is none."""
    for name in (DEFAULT, _BY_FEATURE_SET.get(feature_set)):
        if name in bundled_names():
            card = read_card(name)
            if (card.feature_set, card.fingerprint) == (feature_set, fingerprint):
                return name
    return None


def find(name_or_path: str | os.PathLike) -> Path:
    """Folder of a bundle, by its bundled name or its path.

    Raises
    ------
    BundleError
        Neither a bundled name nor a folder.
    """
    name = ALIASES.get(str(name_or_path), str(name_or_path))
    if name in bundled_names():
        return BUNDLED / name
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise BundleError(
            f"model {str(name_or_path)!r}: no such folder, and no bundled model of that name "
            f"(bundled: {', '.join(bundled_names()) or 'none'}); give the folder that "
            f"`ser train --save` wrote"
        )
    return folder


def read_card(name_or_path: str | os.PathLike) -> Card:
    """Read a bundle's card. Needs no TensorFlow and checks nothing but the card.

    Raises
    ------
    BundleError
        No such bundle, or a card that cannot be read.
    """
    folder = find(name_or_path)
    return parse_card(folder, read_file(folder, CARD))


def parse_card(folder: Path, content: bytes) -> Card:
    """The card of these bytes; `folder` is for messages. Raises what `read_card` raises."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder / CARD}: not JSON ({error}); copy the bundle again") from None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        found = values.get("schema") if isinstance(values, dict) else type(values).__name__
        raise BundleError(
            f"{folder / CARD}: schema {found!r} found, {SCHEMA} expected; "
            f"use the version of this package that wrote the bundle"
        )
    known = _names(Card)
    missing = [name for name in known if name not in values and name not in _LATER]
    if missing:
        raise BundleError(f"{folder / CARD}: {', '.join(missing)} missing; train the bundle again")
    card = Card(**{name: values[name] for name in known if name in values})
    try:
        card = replace(card, labels=check_labels(card.labels))
    except (SerError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder / CARD}: labels: {error}") from None
    if card.any_use not in (None, True, False):
        raise BundleError(
            f"{folder / CARD}: any_use={card.any_use!r} found, true, false or null expected"
        )
    card = replace(card, attribution=tuple(map(str, card.attribution or ())))
    if card.adapted is not None:
        card = replace(card, adapted=_adaptation(folder, card.adapted))
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


def _names(kind: type) -> list[str]:
    return [item.name for item in fields(kind)]


def _adaptation(folder: Path, values: Any) -> Adaptation:
    try:
        return Adaptation(**{name: values[name] for name in _names(Adaptation)})
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"{folder / CARD}: adapted: {error} not found; adapt the bundle again"
        ) from None


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


def check_features(folder: Path, card: Card) -> None:
    """Refuse a card whose feature set differs from this installation's."""
    try:
        feature_set = features.get(card.feature_set)
    except FeatureError as error:
        raise BundleError(
            f"{folder}: made for features that are not installed: {error}; "
            f"install the package that brings them"
        ) from error
    if feature_set.fingerprint != card.fingerprint:
        raise BundleError(
            f"{folder}: made for {card.feature_set} with fingerprint {card.fingerprint}, but "
            f"this installation's {card.feature_set} has {feature_set.fingerprint}; use the "
            f"version that trained the bundle, or train it again"
        )


def read_file(folder: Path, name: str) -> bytes:
    """The bytes of a bundle's file; of a regular one, of a size that a bundle may have."""
    most = MAX_CARD_BYTES if name == CARD else MAX_FILE_BYTES
    try:
        return read_bounded(folder / name, most)
    except OSError as error:
        raise BundleError(
            f"{folder}: {name} cannot be read ({error.strerror}); a bundle is a folder with "
            f"{MODEL}, {CARD} and {REFERENCE}: copy it again"
        ) from error
