"""Model bundles, wherever they are: shipped, in a local folder, or in an object store."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pipelines.storage import files
from ser_core import models
from ser_core.models import folder
from ser_core.models.archive import Archive, FeatureStatistics
from ser_core.models.card import CARD
from ser_core.models.provenance import Provenance
from ser_core.models.signature import SIGNATURE, PublicKey
from ser_core.tables.sketch import Binning

_MODEL = "model"
T = TypeVar("T")


def check(
    model: str, option: str = "--model", *, signed_by: PublicKey | None = None
) -> models.Card:
    """Check that a bundle is complete, and return its card.

    Parameters
    ----------
    model : str
    option : str
        The option that named it, for messages.
    signed_by : PublicKey, optional
        Whose signature it must have.

    Raises
    ------
    BundleError
        It is not a valid bundle.
    StoreError
        It cannot be fetched.
    """
    return _read_bundle(model, models.check, option, signed_by)


def load(
    model: str, option: str = "--model", *, signed_by: PublicKey | None = None
) -> models.Bundle:
    """Load a bundle; one in an object store is fetched first. Raises what `check` raises."""
    return _read_bundle(model, models.load, option, signed_by)


def read_adaptation(model: str) -> tuple[FeatureStatistics | None, Archive | None]:
    """As `ser_core.models.folder.read_adaptation`; raises what `check` raises."""
    return _read_bundle(model, folder.read_adaptation, "--model", None)


def read_binning(model: str) -> Binning:
    """The bins of a run's sketch, from the quantiles of a bundle's training.

    Those of a bundle without quantiles (of version 0.1.0) have neither features nor outputs. Raises
    what `check` raises.
    """
    card, reference = _read_bundle(model, folder.read_card_and_reference, "--model", None)
    known = Provenance.read(reference)
    if known is None:
        return Binning()
    return Binning.of_training(
        card.feature_set,
        card.labels,
        known.quantile_levels,
        known.feature_quantiles,
        known.output_quantiles,
    )


def _read_bundle(model: str, read: Callable[..., T], option: str, signed_by: PublicKey | None) -> T:
    read = partial(read, signed_by=signed_by)
    if not files.is_remote(model):
        return read(model)
    naming = files.naming(f"{option} {model}", "cannot be fetched", "a bundle's folder expected")
    with naming:
        with files.local_copy(model, [CARD]) as copy:
            needed = models.read_card(copy).files
        if signed_by is not None:
            needed = (*needed, SIGNATURE)
        with files.local_copy(model, needed) as copy:
            return read(copy)


def for_workers(model: str | None, staged: str, *, local: bool, signed: bool = False) -> str | None:
    """The bundle at a place that workers can reach; a local one is copied to the staging folder.

    Parameters
    ----------
    model : str or None
    staged : str
        The run's staging folder.
    local : bool
        Whether the workers are on this machine.
    signed : bool
        Whether they check its signature.
    """
    if model is None or local or files.is_remote(model) or model in models.bundled_names():
        return model
    with files.naming("--output"):
        for name in (*models.read_card(model).files, *((SIGNATURE,) if signed else ())):
            with (
                open(os.path.join(model, name), "rb") as source,
                files.written(files.join(staged, _MODEL, name)) as target,
            ):
                target.write(source.read())
    return files.join(staged, _MODEL)
