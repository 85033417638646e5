"""Finding what there is to do, where a worker does it: on a cluster."""

from __future__ import annotations

import uuid

import apache_beam as beam

from pipelines import ledger
from pipelines.books import Listed
from pipelines.storage import files


class Find(beam.PTransform):
    """Begin -> what there is to do, found by a worker: sources or stored parts; and one Listed.

    Parameters
    ----------
    finder : ledger.Finder
    staged : str
        The run's staging folder: the list for the books goes there.
    """

    LISTED = "listed"

    def __init__(self, finder: ledger.Finder, staged: str) -> None:
        self._finder, self._staged = finder, staged

    def expand(self, begin):
        found = (
            begin
            | "Once" >> beam.Create([None], reshuffle=False)
            | "Look"
            >> beam.ParDo(_Find(self._finder, self._staged)).with_outputs(
                self.LISTED, main="elements"
            )
        )
        return found.elements, found[self.LISTED]


class _Find(beam.DoFn):
    def __init__(self, finder: ledger.Finder, staged: str) -> None:
        self._finder, self._staged = finder, staged

    def process(self, _):
        # An attempt that failed may have left another list.
        name = f"given-{uuid.uuid4().hex}.parquet"
        with (
            self._finder.found() as todo,
            files.naming("--output"),
            ledger.listing(files.join(self._staged, name)) as note,
        ):
            for element in todo.elements:
                note(ledger.uris(element))
                yield element
        yield beam.pvalue.TaggedOutput(
            Find.LISTED, Listed(name, todo.matched, todo.matched - todo.todo)
        )
