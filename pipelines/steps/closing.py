"""Closing: parts are merged, the books are checked, and the run is sealed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from pipelines.books import Listed, Part, Seal, check
from pipelines.steps.parts import Layout, bins, merge
from pipelines.storage import files, store
from ser_core import reversal
from ser_core.tables import sketch

# Parts that are to become one; or the Listed, which goes through as it is.
Bin: TypeAlias = tuple[Part, ...] | Listed


def bin_parts(gathered: Iterable[Part | Listed]) -> list[Bin]:
    """Bins of all parts, and the Listed."""
    listed, parts = _separate(gathered)
    return [listed, *bins(parts)]


def merge_bin(content: Bin, staged: str, layout: Layout) -> Part | Listed:
    """Merge the parts of a bin into one."""
    return content if isinstance(content, Listed) else merge(content, staged, layout)


def seal(gathered: Iterable[Part | Listed], staged: str, layout: Layout) -> None:
    """Check the books of all parts, warn if roles look reversed, and write the run's seal.

    Raises
    ------
    CommandError
        The books do not close.
    """
    listed, parts = _separate(gathered)
    parts.sort(key=lambda part: part.first_uri)
    dropped = [name for part in parts for name in part.dropped]
    names = [part.name for part in parts]
    books = check(staged, names, listed, layout.meta, dropped, features=layout.features)
    reversed_roles = reversal.warning(
        reversal.sample(call for part in parts for call in part.spectra)
    )
    if reversed_roles:
        books = replace(books, warnings=(*books.warnings, reversed_roles))
    with files.naming("--output"):
        sealed = Seal(
            books,
            tuple(parts),
            layout.features,
            tuple(sketch.total(part.sketch for part in parts).rows(layout.binning)),
        )
        sealed.write(files.join(staged, store.SEAL))


def _separate(gathered: Iterable[Part | Listed]) -> tuple[Listed, list[Part]]:
    elements = list(gathered)
    [listed] = [element for element in elements if isinstance(element, Listed)]
    return listed, [element for element in elements if isinstance(element, Part)]
