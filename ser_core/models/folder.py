"""The folder of a bundle: its files, read and checked; and written as a whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ser_core import features
from ser_core.errors import BundleError
from ser_core.models.archive import TRAINING, Archive, FeatureStatistics
from ser_core.models.card import (
    ALIASES,
    ARCHIVE,
    CARD,
    MODEL,
    README,
    REFERENCE,
    SCHEMA,
    Card,
    bundled_names,
    check_features,
    find,
    parse_card,
    read_file,
)
from ser_core.models.card_page import markdown
from ser_core.models.file_checks import ADVICE, DAMAGED, read_arrays
from ser_core.models.network import first_line, load_network
from ser_core.models.signature import PublicKey, check_signature

# The array of `reference.npz` with the labels of the network's outputs; older ones lack it.
LABELS = "labels"


def name_of(folder: str | os.PathLike) -> str:
    """The name that a bundle takes from its folder."""
    return re.sub(r"\W+", "-", Path(folder).resolve().name).strip("-") or "model"


def check_target(folder: str | os.PathLike) -> None:
    """Check that a bundle may be written to a folder, and make the folder's parents.

    Raises
    ------
    BundleError
        The folder holds something else than a bundle, is a file, or cannot be made or written; or
        its path is the name of a bundled model, by which it would never be found.
    """
    if str(folder) in (*bundled_names(), *ALIASES):
        raise BundleError(
            f"{folder}: a bundled model has this name; give another one, such as {folder}-here"
        )
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        occupied = folder.exists() and any(folder.iterdir()) and not (folder / CARD).is_file()
    except OSError as error:
        raise BundleError(f"{folder}: no bundle can be written there: {error}") from error
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise BundleError(f"{folder}: {folder.parent} is not writable; give another folder")
    if occupied:
        raise BundleError(
            f"{folder}: holds files that are not a model bundle; a new or empty folder, or an "
            f"older bundle to replace, expected; give another folder"
        )


@contextmanager
def replaced(folder: str | os.PathLike) -> Iterator[Path]:
    """A working folder that takes the place of `folder` at the end, unless an error occurs.

    Raises
    ------
    BundleError
        As `check_target`, or the files cannot be written.
    """
    folder = Path(folder)
    check_target(folder)
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            # mkdtemp makes a private folder; a bundle is as readable as any folder made here.
            work.chmod(0o777 & ~_umask())
            yield work
            _swap(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise BundleError(f"{folder}: the bundle could not be written: {error}") from error


def read_files(folder: Path, signed_by: PublicKey | None = None) -> tuple[Card, dict[str, bytes]]:
    """The card, and the bytes of the bundle's other files, checked by their hashes.

    Each file is read once, and its hash compared before anything in it is parsed.

    Parameters
    ----------
    folder : Path
    signed_by : PublicKey, optional
        Whose signature the bundle must have.

    Raises
    ------
    BundleError
        A file is missing or was changed, the feature set's fingerprint differs, or the signature
        is missing or another's.
    """
    content = read_file(folder, CARD)
    if signed_by is not None:
        check_signature(folder, signed_by, {CARD: content})
    card = parse_card(folder, content)
    files = {name: read_file(folder, name) for name in card.files if name != CARD}
    if signed_by is not None:
        check_signature(folder, signed_by, {CARD: content, **files})
    expected = {MODEL: card.model_sha256}
    if card.reference_sha256:  # older cards have none
        expected[REFERENCE] = card.reference_sha256
    if card.adapted is not None:
        expected[ARCHIVE] = card.adapted.archive_sha256
    for name, digest in expected.items():
        found = hashlib.sha256(files[name]).hexdigest()
        if found != digest:
            raise BundleError(
                f"{folder / name}: SHA-256 {found[:12]}… found, {digest[:12]}… expected "
                f"by {CARD}; the file was changed or copied in part, copy the bundle again"
            )
    check_features(folder, card)
    return card, files


def read_archive(folder: Path, card: Card, content: bytes) -> Archive:
    """The archive that a bundle was adapted to; `content` is that of `archive.npz`.

    Raises
    ------
    BundleError
        As `Archive.from_bytes`.
    """
    columns = len(features.get(card.feature_set).names)
    return Archive.from_bytes(content, columns, len(card.labels), folder / ARCHIVE)


def read_reference(
    name_or_path: str | os.PathLike, *, signed_by: PublicKey | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a bundle's `reference.npz`; raises as `read_files` and `parse_reference`."""
    return read_card_and_reference(name_or_path, signed_by=signed_by)[1]


def read_card_and_reference(
    name_or_path: str | os.PathLike, *, signed_by: PublicKey | None = None
) -> tuple[Card, dict[str, np.ndarray]]:
    """The card, and the arrays of `reference.npz`; raises as `read_reference`."""
    folder = find(name_or_path)
    card, files = read_files(folder, signed_by)
    return card, parse_reference(folder, card, files[REFERENCE])


def parse_reference(folder: Path, card: Card, content: bytes) -> dict[str, np.ndarray]:
    """The arrays of `reference.npz`, whose bytes are `content`.

    Raises
    ------
    BundleError
        They cannot be read, or belong to other labels than the card's.
    """
    try:
        reference = read_arrays(folder / REFERENCE, content)
        if missing := {"inputs", "outputs"} - set(reference):
            raise KeyError(*missing)
    except DAMAGED as error:
        raise BundleError(
            f"{folder / REFERENCE}: cannot be read ({first_line(error)}); copy the bundle again"
        ) from error
    labels = tuple(map(str, reference.get(LABELS, card.labels)))
    if labels != tuple(card.labels):
        raise BundleError(
            f"{folder / CARD}: labels {', '.join(card.labels)} found, but the network was trained "
            f"on {', '.join(labels)} ({REFERENCE}); {ADVICE}"
        )
    return reference


def read_training(
    name_or_path: str | os.PathLike, *, signed_by: PublicKey | None = None
) -> dict[str, np.ndarray]:
    """The statistics of a bundle's training, to hand on to `save`; empty in older bundles."""
    reference = read_reference(name_or_path, signed_by=signed_by)
    return {name: reference[name] for name in TRAINING if name in reference}


def read_adaptation(
    name_or_path: str | os.PathLike, *, signed_by: PublicKey | None = None
) -> tuple[FeatureStatistics | None, Archive | None]:
    """A bundle's statistics of its training, and the archive that it is fitted to, if any.

    Needs no TensorFlow.

    Raises
    ------
    BundleError
        A file is missing or was changed, or the feature set's fingerprint differs.
    """
    folder = find(name_or_path)
    card, files = read_files(folder, signed_by)
    columns = len(features.get(card.feature_set).names)
    training = FeatureStatistics.of(parse_reference(folder, card, files[REFERENCE]), columns)
    return training, read_archive(folder, card, files[ARCHIVE]) if ARCHIVE in files else None


def load_keras_model(
    name_or_path: str | os.PathLike, *, signed_by: PublicKey | None = None
) -> tuple[Card, Any]:
    """A bundle's card, and its network as a Keras model to train further.

    Raises
    ------
    BundleError
        As `bundle.load`.
    """
    folder = find(name_or_path)
    card, files = read_files(folder, signed_by)
    return card, load_network(folder / MODEL, files[MODEL], card)


def write_card(folder: Path, card: Card, pictures: Collection[str] = ()) -> None:
    """Write `card.json` and `CARD.md`; the page shows the pictures that lie beside it."""
    fields = {"schema": SCHEMA, "id": card.id, **asdict(card)}
    (folder / CARD).write_text(json.dumps(fields, indent=1, allow_nan=False) + "\n", "utf-8")
    (folder / README).write_text(markdown(card, pictures), "utf-8")


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
