"""Model bundles where they are: bundled, in a folder of this machine, or in an object store."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from pipelines.storage import files
from ser_core import models
from ser_core.models.card import FILES

_MODEL = "model"
T = TypeVar("T")


def check(model: str, option: str = "--model") -> models.Card:
    """A bundle's card, once all of the bundle was seen to be whole.

    Parameters
    ----------
    model : str
    option : str
        By which it was named, for messages.

    Raises
    ------
    BundleError
        It is none.
    StoreError
        It cannot be fetched.
    """
    return _here(model, models.check, option)


def load(model: str, option: str = "--model") -> models.Bundle:
    """A bundle, fetched first where it is in an object store. Raises what `check` does."""
    return _here(model, models.load, option)


def _here(model: str, read: Callable[[str], T], option: str) -> T:
    if not files.is_remote(model):
        return read(model)
    naming = files.naming(f"{option} {model}", "cannot be fetched", "a bundle's folder expected")
    with naming, files.local_copy(model, FILES) as folder:
        return read(folder)


def for_workers(model: str | None, staged: str, *, local: bool) -> str | None:
    """The bundle as workers can reach it: one of this machine's goes to the staging folder.

    Parameters
    ----------
    model : str or None
    staged : str
        Of the run.
    local : bool
        Whether the workers are on this machine.
    """
    if model is None or local or files.is_remote(model) or model in models.bundled_names():
        return model
    with files.naming("--output"):
        for name in FILES:
            with (
                open(os.path.join(model, name), "rb") as source,
                files.written(files.join(staged, _MODEL, name)) as target,
            ):
                target.write(source.read())
    return files.join(staged, _MODEL)
