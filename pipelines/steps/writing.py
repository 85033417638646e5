"""Writing: recordings with their probabilities become rows, and rows become parts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.books import Part
from pipelines.steps import parts
from pipelines.steps.item import Item, naming_recording
from pipelines.steps.parts import Layout, PartWriter
from pipelines.steps.predicting import Predicted
from pipelines.storage import store
from ser_core import tables

# Recordings whose rows are kept in memory before they are written as row groups.
ROWS_OF_RECORDINGS = 200


class WriteParts(beam.DoFn):
    """(Item, probabilities) -> Part: the rows of a bundle, as one Parquet file in each table.

    Beam's own sink cannot set encodings. For a fixed number of files it gathers all rows in one
    place.
    """

    def __init__(self, staged: str, layout: Layout) -> None:
        self._staged, self._run_id = staged, store.run_id(staged)
        self._layout = layout

    def setup(self) -> None:
        self._schemas = self._layout.schemas()

    def start_bundle(self) -> None:
        self._writer: PartWriter | None = None
        self._held: list[Predicted] = []

    def process(self, element: Predicted) -> Iterator[Part]:
        self._held.append(element)
        full = len(self._held) >= ROWS_OF_RECORDINGS
        if full and self._flush().size_bytes >= parts.PART_BYTES:
            yield self._close()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._held:
            self._flush()
        if self._writer is not None:
            window = GlobalWindow()
            yield WindowedValue(self._close(), window.max_timestamp(), (window,))

    def _close(self) -> Part:
        assert self._writer is not None
        part, self._writer = self._writer.close(), None
        return part

    def _flush(self) -> PartWriter:
        held, self._held = self._held, []
        if self._writer is None:
            self._writer = PartWriter(self._staged, self._schemas)
        with self._writer.spending("write"):
            now = dt.datetime.now(dt.UTC)
            recordings, segments = [], []
            kept = [(item, values) for item, values in held if not item.forgotten]
            for item, probabilities in kept:
                with naming_recording(item.examined.source.uri):
                    recordings.append(self._recording_row(item, probabilities, now))
                    segments += tables.segment_rows(
                        item.examined,
                        probabilities,
                        self._layout.labelling,
                        run_id=self._run_id,
                        features_run_id=item.features_run_id,
                    )
                    self._writer.add_to_sketch(item, probabilities, self._layout)
            examined = [item.examined for item, _ in kept]
            if kept:
                if self._layout.features:
                    vectors = tables.features_table(
                        examined, self._schemas["features"], run_id=self._run_id
                    )
                    self._writer.write("features", vectors)
                for name, rows in (("segments", segments), ("recordings", recordings)):
                    self._writer.write(name, pa.Table.from_pylist(rows, schema=self._schemas[name]))
        for item, _ in held:
            self._writer.count(item)
        return self._writer

    def _recording_row(self, item: Item, probabilities: np.ndarray, now: dt.datetime) -> dict:
        return tables.recording_row(
            item.examined,
            probabilities,
            self._layout.labelling,
            run_id=self._run_id,
            features_run_id=item.features_run_id,
            tried_with=item.tried_with,
            call_time=item.call_time,
            meta={name: item.meta.get(name) for name in self._layout.meta},
            processed_at=now,
        )
