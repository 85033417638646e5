"""The night as a Beam graph: find, examine, predict, write, close.

A recording is one element from `Examine` to `Write`: its URI travels, its audio never leaves the
child process that decoded it. What each step does to its elements stands in `pipelines.steps`.
"""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from pipelines import ledger
from pipelines.books import Listed, Part
from pipelines.role_rule import RoleRule
from pipelines.steps import closing, predicting
from pipelines.steps.dealing import deal
from pipelines.steps.examining import ExamineRecordings
from pipelines.steps.finding import LISTED, FindToDo
from pipelines.steps.item import Item
from pipelines.steps.loading import LoadStored
from pipelines.steps.parts import Layout
from pipelines.steps.writing import WriteParts
from pipelines.stored import Stored
from pipelines.uri_fields import UriFields
from ser_core.examine import Settings, Source
from ser_core.guarded import Guard
from ser_core.models.signature import PublicKey


def build(
    pipeline: beam.Pipeline,
    *,
    find: FindAll | TakeChunk,
    examine: Examine | Load,
    bundle: str | None,
    signed_by: PublicKey | None = None,
    staged: str,
    layout: Layout,
) -> None:
    """Add one run to a pipeline.

    Parameters
    ----------
    pipeline : beam.Pipeline
        Empty.
    find : FindAll or TakeChunk
        Gives the recordings to do, and the list that the books are compared with.
    examine : Examine or Load
        Turns each recording into facts, segments and vectors.
    bundle : str or None
        The model, as workers can reach it; None extracts features only.
    signed_by : PublicKey, optional
        Whose signature the model must have.
    staged : str
        The run's staging folder.
    layout : Layout
        Of the tables.
    """
    to_do, listed = pipeline | "Find" >> find
    examined = to_do | "Examine" >> examine
    predicted = examined | "Predict" >> Predict(bundle, signed_by)
    parts = predicted | "Write" >> Write(staged, layout)
    (parts, listed) | "Close" >> Close(staged, layout)


class FindAll(beam.PTransform):
    """Begin -> what there is to do, found by a worker and spread over all of them; one Listed."""

    def __init__(self, finder: ledger.Finder, staged: str) -> None:
        self._finder, self._staged = finder, staged

    def expand(self, begin: beam.pvalue.PBegin) -> tuple[beam.PCollection, beam.PCollection]:
        found = (
            begin
            | "Once" >> beam.Create([None], reshuffle=False)
            | "Look"
            >> beam.ParDo(FindToDo(self._finder, self._staged)).with_outputs(LISTED, main="to_do")
        )
        return found.to_do | "Reshuffle" >> beam.Reshuffle(), found[LISTED]


class TakeChunk(beam.PTransform):
    """Begin -> a chunk that the launcher found, in shares of about the same work; one Listed.

    Beam gives each process its share once, and never moves waiting elements to another process.
    Without shares of equal work, one process might get the longest call and half of the others.

    Parameters
    ----------
    chunk : sequence of Source or Stored
    listed : Listed
        The chunk's list in the staging folder.
    processes : int >= 1
        Of this machine.
    """

    def __init__(self, chunk: Sequence[Source | Stored], listed: Listed, processes: int) -> None:
        self._dealt, self._listed = deal(chunk, processes), listed

    def expand(self, begin: beam.pvalue.PBegin) -> tuple[beam.PCollection, beam.PCollection]:
        to_do = (
            begin
            | "Create" >> beam.Create(self._dealt, reshuffle=False)
            | "Deal" >> beam.GroupByKey()
            | "Share" >> beam.FlatMap(lambda dealt: dealt[1])
        )
        return to_do, begin | "Listed" >> beam.Create([self._listed], reshuffle=False)


class Examine(beam.PTransform):
    """Source -> Item, by decoding. The parameters are those of `ExamineRecordings`."""

    def __init__(
        self,
        settings: Settings,
        guard: Guard,
        fields: UriFields,
        roles: RoleRule,
        progress: str | None = None,
        output: str | None = None,
    ) -> None:
        self._do = ExamineRecordings(settings, guard, fields, roles, progress, output)

    def expand(self, sources: beam.PCollection[Source]) -> beam.PCollection[Item]:
        return sources | "Decode" >> beam.ParDo(self._do)


class Load(beam.PTransform):
    """Stored -> Item, from the tables, without the audio."""

    def __init__(self, progress: str | None = None) -> None:
        self._do = LoadStored(progress)

    def expand(self, stored: beam.PCollection[Stored]) -> beam.PCollection[Item]:
        return stored | "Load" >> beam.ParDo(self._do)


class Predict(beam.PTransform):
    """Item -> (Item, probabilities float32 [segments, labels]); without a bundle, no columns."""

    def __init__(self, bundle: str | None, signed_by: PublicKey | None = None) -> None:
        self._bundle, self._signed_by = bundle, signed_by

    def expand(self, items: beam.PCollection[Item]) -> beam.PCollection[predicting.Predicted]:
        if self._bundle is None:
            return items | "NoModel" >> beam.Map(predicting.without_model)
        return items | "Bundle" >> RunInference(
            predicting.BundleHandler(self._bundle, self._signed_by)
        )


class Write(beam.PTransform):
    """(Item, probabilities) -> Part: rows, as one Parquet file in each table."""

    def __init__(self, staged: str, layout: Layout) -> None:
        self._do = WriteParts(staged, layout)

    def expand(self, predicted: beam.PCollection[predicting.Predicted]) -> beam.PCollection[Part]:
        return predicted | "Parts" >> beam.ParDo(self._do)


class Close(beam.PTransform):
    """Parts and one Listed -> the run's seal, once everything is written and the books close.

    Many small parts (a runner's bundles may be of a recording each) are merged first.
    """

    def __init__(self, staged: str, layout: Layout) -> None:
        self._staged, self._layout = staged, layout

    def expand(self, parts_and_listed: tuple[beam.PCollection, beam.PCollection]) -> None:
        # The Listed goes with the parts, so that there is something to gather when there are none.
        (
            parts_and_listed
            | beam.Flatten()
            | "Gather" >> Gather()
            | "Bin" >> beam.FlatMap(closing.bin_parts)
            | "Spread" >> beam.Reshuffle()
            | "Merge" >> beam.Map(closing.merge_bin, self._staged, self._layout)
            | "GatherMerged" >> Gather()
            | "Seal" >> beam.Map(closing.seal, self._staged, self._layout)
        )


class Gather(beam.PTransform):
    """All elements -> one list of them, at one worker."""

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        return (
            elements
            | "Key" >> beam.WithKeys(None)
            | "Group" >> beam.GroupByKey()
            | "List" >> beam.Values()
        )
