"""Closing: parts are merged, the books are checked, and the run is sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import apache_beam as beam
import pyarrow as pa

from pipelines.books import Listed, Part, Seal, check
from pipelines.steps.parts import bins, merge
from pipelines.storage import files, store


class Close(beam.PTransform):
    """Parts and one Listed -> the run's seal, once everything is written and the books close.

    Many small parts (a runner's bundles may be of a recording each) are merged first.

    Parameters
    ----------
    staged : str
    schemas : callable
        Gives `schemas`.
    """

    def __init__(self, staged: str, schemas: Callable[[], dict[str, pa.Schema]]) -> None:
        self._staged, self._schemas = staged, schemas

    def expand(self, parts_and_listed):
        # The Listed goes with the parts, so that there is something to gather when there are none.
        return (
            parts_and_listed
            | beam.Flatten()
            | "Key" >> beam.Map(lambda one: (None, one))
            | "Gather" >> beam.GroupByKey()
            | "Bin" >> beam.FlatMap(_binned)
            | "Spread" >> beam.Reshuffle()
            | "Merge" >> beam.Map(_merged, self._staged, self._schemas)
            | "KeyAgain" >> beam.Map(lambda one: (None, one))
            | "GatherMerged" >> beam.GroupByKey()
            | "Seal" >> beam.Map(_seal, staged=self._staged)
        )


def _binned(gathered: tuple[None, Iterable[Part | Listed]]) -> list[tuple[Part, ...] | Listed]:
    listed, parts = _apart(gathered)
    return [listed, *bins(parts)]


def _merged(
    one: tuple[Part, ...] | Listed, staged: str, schemas: Callable[[], dict[str, pa.Schema]]
) -> Part | Listed:
    return one if isinstance(one, Listed) else merge(one, staged, schemas)


def _apart(gathered: tuple[None, Iterable[Part | Listed]]) -> tuple[Listed, list[Part]]:
    every = list(gathered[1])
    [listed] = [one for one in every if isinstance(one, Listed)]
    return listed, [one for one in every if isinstance(one, Part)]


def _seal(gathered: tuple[None, Iterable[Part | Listed]], staged: str) -> None:
    listed, parts = _apart(gathered)
    parts.sort(key=lambda part: part.first_uri)
    books = check(staged, [part.name for part in parts], listed)
    with files.naming("--output"):
        Seal(books, tuple(parts)).write(files.join(staged, store.SEAL))
