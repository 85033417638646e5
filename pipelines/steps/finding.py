"""Finding what there is to do, in a worker: on a cluster."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from pipelines import ledger
from pipelines.books import Listed
from pipelines.storage import files

# Name of the output for the Listed.
LISTED = "listed"


class FindToDo(beam.DoFn):
    """One element -> each Source or Stored to do; and one Listed, on the output `LISTED`."""

    def __init__(self, finder: ledger.Finder, staged: str) -> None:
        self._finder, self._staged = finder, staged

    def process(self, _: None) -> Iterator[Any]:
        # A failed attempt may have left another list.
        name = f"given-{uuid.uuid4().hex}.parquet"
        with (
            self._finder.found() as todo,
            files.naming("--output"),
            ledger.listing(files.join(self._staged, name)) as note,
        ):
            for element in todo.elements:
                note(element)
                yield element
        yield beam.pvalue.TaggedOutput(LISTED, Listed(name, todo.counts))
