"""Parts: Parquet files of one name, one in each table, with the same recordings.

Workers write parts in parallel. Small parts are merged before they are published.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines.books import Part, write_dropped
from pipelines.steps.item import Item
from pipelines.storage import files, published
from pipelines.storage.sums import HashedFile
from pipelines.usage import peak_memory_mb, spending
from ser_core import reversal, tables
from ser_core.examine import Source
from ser_core.tables.sketch import Binning, Sketch

# A part is closed at this size. If there are more than a few parts, smaller ones are merged up
# to it.
PART_BYTES = 100 << 20
FEW_PARTS = 16
# Rows that are merged in memory at a time.
ROWS_MERGED = 8_000


@dataclass(frozen=True)
class Layout:
    """The columns of a run's tables.

    Parameters
    ----------
    labelling : tables.Labelling
    meta : tuple of str
        Names of the columns `meta_<name>`.
    features : bool
        Whether features are written; `ser label` refers to those of earlier runs.
    binning : Binning
        Of the model, for the run's sketch.
    """

    labelling: tables.Labelling
    meta: tuple[str, ...] = ()
    features: bool = True
    binning: Binning = field(default_factory=Binning)

    def schemas(self) -> dict[str, pa.Schema]:
        """Schemas of the tables that a part has files in."""
        features = {"features": tables.features_schema(self.labelling)} if self.features else {}
        return features | {
            "segments": tables.segments_schema(self.labelling),
            "recordings": tables.recordings_schema(self.labelling, self.meta),
        }


class PartWriter:
    """Writes one part in a staging folder."""

    def __init__(self, staged: str, schemas: dict[str, pa.Schema]) -> None:
        self._staged = staged
        self._name = f"part-{uuid.uuid4().hex}.parquet"
        self._files, self._writers, self._sinks = ExitStack(), {}, {}
        self._cpu_s: Counter[str] = Counter()
        self._peak_mb: dict[str, float] = {}
        self._first_uri, self._recordings = "", 0
        self._spectra: list[reversal.Spectra] = []
        self._dropped: list[Source] = []
        self._fences: set[str] = set()
        self._sketch = Sketch()
        with self._naming():
            for table, schema in schemas.items():
                path = files.join(staged, table, self._name)
                sink = self._files.enter_context(files.written(path))
                self._sinks[table] = HashedFile(sink)
                self._writers[table] = tables.writer(self._sinks[table], schema)

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return sum(sink.tell() for sink in self._sinks.values())

    @contextmanager
    def spending(self, stage: str) -> Iterator[None]:
        """Add the CPU seconds that this thread spends meanwhile to the part's."""
        spent: dict[str, float] = {}
        with spending(spent, stage):
            yield
        self._cpu_s.update(spent)

    def write(self, table: str, rows: pa.Table) -> None:
        """Add a row group."""
        with self._naming():
            self._writers[table].write_table(rows)

    def count(self, item: Item) -> None:
        """Add a recording to the part's figures; one that was forgotten to its list of these."""
        if item.forgotten:
            self._dropped.append(item.examined.source)
        else:
            self._first_uri = min(filter(None, [self._first_uri, item.examined.source.uri]))
            self._recordings += 1
        self._cpu_s.update(item.examined.cpu_s)
        self._fences |= {item.fence} if item.fence else set()
        if item.examined.spectra:
            self._spectra.append(item.examined.spectra)
            if len(self._spectra) >= 2 * reversal.SAMPLE:
                self._spectra = list(reversal.sample(self._spectra))
        process = f"{socket.gethostname()}/{os.getpid()}"
        peak_mb = peak_memory_mb() + item.decoder_peak_mb
        self._peak_mb[process] = max(self._peak_mb.get(process, 0.0), peak_mb)

    def add_to_sketch(self, item: Item, probabilities: np.ndarray, layout: Layout) -> None:
        """Add a recording to the part's sketch."""
        self._sketch.add(
            item.examined,
            probabilities,
            layout.labelling.labels,
            {name: item.meta.get(name) for name in layout.meta},
            layout.binning,
        )

    def close(self, merged: Sequence[Part] = ()) -> Part:
        """Close the files. `merged` are the parts whose rows were copied into them."""
        with self._naming(), self.spending("write"):
            for writer in self._writers.values():
                writer.close()
            size_bytes = self.size_bytes
            self._files.close()
            dropped = [name for part in merged for name in part.dropped]
            if self._dropped:
                dropped.append(self._name.replace("part-", "dropped-"))
                write_dropped(files.join(self._staged, dropped[-1]), self._dropped)
        for part in merged:
            self._cpu_s.update(part.cpu_s)
            self._spectra += part.spectra
            self._fences |= set(part.fences)
            self._sketch.merge(part.sketch)
            for process, peak_mb in part.peak_memory_mb.items():
                self._peak_mb[process] = max(self._peak_mb.get(process, 0.0), peak_mb)
        return Part(
            name=self._name,
            first_uri=min([part.first_uri for part in merged], default=self._first_uri),
            recordings=self._recordings + sum(part.recordings for part in merged),
            size_bytes=size_bytes,
            cpu_s=dict(self._cpu_s),
            peak_memory_mb=self._peak_mb,
            spectra=reversal.sample(self._spectra),
            dropped=tuple(dropped),
            sha256={table: sink.sha256 for table, sink in self._sinks.items()},
            fences=tuple(sorted(self._fences)),
            sketch=self._sketch,
        )

    def _naming(self) -> files.naming:
        return files.naming(f"--output: {self._staged}")


def bins(parts: Sequence[Part]) -> list[tuple[Part, ...]]:
    """Group parts that are to be merged, in the order of first URIs, up to `PART_BYTES` each."""
    parts = sorted(parts, key=lambda part: part.first_uri)
    if len(parts) <= FEW_PARTS:
        return [(part,) for part in parts]
    filled: list[list[Part]] = []
    room = 0
    for part in parts:
        if not filled or part.size_bytes > room:
            filled.append([])
            room = PART_BYTES
        filled[-1].append(part)
        room -= part.size_bytes
    return [tuple(group) for group in filled]


def merge(parts: Sequence[Part], staged: str, layout: Layout) -> Part:
    """Merge parts into one with all their rows."""
    if len(parts) == 1:
        return parts[0]
    schemas = layout.schemas()
    writer = PartWriter(staged, schemas)
    with writer.spending("write"):
        for table, schema in schemas.items():
            held: list[pa.Table] = []
            for part in parts:
                path = files.join(staged, table, part.name)
                for rows in published.read_row_groups(path, schema.names):
                    held.append(rows)
                    if sum(map(len, held)) >= ROWS_MERGED:
                        writer.write(table, pa.concat_tables(held))
                        held = []
            if held:
                writer.write(table, pa.concat_tables(held))
    return writer.close(parts)
