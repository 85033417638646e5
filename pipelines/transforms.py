"""Beam over `ser_core`: examine, predict, write. Each transform calls one pure function.

A recording is one element from `Examine` to `WriteParts`: its URI travels, its audio never
leaves the child process that decoded it.
"""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
import os
import resource
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.utils.windowed_value import WindowedValue

from pipelines import ledger
from pipelines.books import Listed, Part, Seal, check
from pipelines.ledger import Stored
from pipelines.storage import bundles, files, inputs, store
from pipelines.uri_fields import UriFields
from ser_core import models, tables
from ser_core.examine import Examined, Settings, Source
from ser_core.guarded import Examiner, Guard

NAMESPACE = "ser"
# Recordings whose rows are held before they are written as row groups.
ROWS_OF_RECORDINGS = 200
MAX_RECORDINGS_A_BATCH = 32
# A part is closed when its vectors have reached this; smaller ones are merged up to it where
# there are more than a few.
PART_BYTES = 100 << 20
FEW_PARTS = 16
# What a recording costs beside its content, in bytes of telephone audio.
_OPENING_BYTES = 20_000
# Rows that are merged in memory at a time.
ROWS_MERGED = 8_000


@dataclass(frozen=True)
class Item:
    """A recording on its way to the tables, with what its URI tells."""

    examined: Examined
    call_time: dt.datetime | None = None
    meta: dict[str, str | None] = field(default_factory=dict)


def inc_counter(name: str, by: int = 1) -> None:
    """Count for whoever watches the runner; the books never rely on it."""
    Metrics.counter(NAMESPACE, name).inc(by)


@contextmanager
def _spending(cpu_s: dict[str, float], stage: str):
    started = time.thread_time()
    try:
        yield
    finally:
        cpu_s[stage] = cpu_s.get(stage, 0.0) + time.thread_time() - started


def tick(progress: str | None) -> None:
    """Add a byte for a recording done, where this machine counts them."""
    if progress:
        with open(Path(progress) / str(os.getpid()), "ab") as file:
            file.write(b".")


class Dealt(beam.PTransform):
    """A chunk, as shares of about the same work for each of a machine's processes.

    Beam gives each process a share once, and what waits in one is not given to another: left to
    chance, one long call and half of the short ones would be one process's.

    Parameters
    ----------
    chunk : sequence of Source or Stored
    shares : int >= 1
    """

    def __init__(self, chunk: Sequence, shares: int) -> None:
        self._dealt = deal(chunk, shares)

    def expand(self, pipeline):
        return (
            pipeline
            | "Create" >> beam.Create(self._dealt, reshuffle=False)
            | "Deal" >> beam.GroupByKey()
            | "Share" >> beam.FlatMap(lambda dealt: dealt[1])
        )


def deal(chunk: Sequence[Source | Stored], shares: int) -> list[tuple[int, Source | Stored]]:
    """Each element with the share that it goes to: the largest first, to whoever has least.

    (LPT: R. L. Graham 1969, "Bounds on multiprocessing timing anomalies", SIAM J. Applied
    Mathematics 17(2).) A recording counts by its bytes, stored ones by their number, and each a
    little for being opened.
    """
    heap = [(0, share) for share in range(shares)]
    dealt = []
    for element in sorted(chunk, key=_work, reverse=True):
        done, share = heapq.heappop(heap)
        dealt.append((share, element))
        heapq.heappush(heap, (done + _work(element), share))
    return dealt


def _work(element: Source | Stored) -> int:
    if isinstance(element, Stored):
        return len(element.uris)
    return (element.size_bytes or 0) + _OPENING_BYTES


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


class Examine(beam.DoFn):
    """Source -> Item, by a child process that may die.

    Parameters
    ----------
    settings : Settings
    guard : Guard
    fields : UriFields
    progress : str, optional
        A folder of this machine in which each process adds a byte to a file for each recording
        done.
    """

    def __init__(
        self, settings: Settings, guard: Guard, fields: UriFields, progress: str | None = None
    ) -> None:
        self._settings, self._guard = settings, guard
        self._fields, self._progress = fields, progress

    def setup(self):
        self._examiner = Examiner(self._settings, self._guard)
        self._examiner.start()

    def teardown(self):
        self._examiner.close()

    def process(self, source: Source) -> Iterable[Item]:
        try:
            with inputs.as_local_file(source) as path:
                examined = self._examiner.examine(path, source)
        except OSError as error:
            examined = Examined(source, reason="unreadable", detail=f"not fetched: {error}")
        examined.cpu_s["peak_memory_mb"] = self._examiner.peak_memory_mb
        inc_counter(examined.reason or "examined")
        tick(self._progress)
        yield Item(examined, *self._fields.read(source.uri))


class BundleHandler(ModelHandler[Item, tuple[Item, np.ndarray], models.Bundle]):
    """Applies a model bundle to the segments of a batch of recordings at once."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def load_model(self) -> models.Bundle:
        return bundles.load(self._model)

    def run_inference(
        self, batch: Sequence[Item], model: models.Bundle, inference_args=None
    ) -> Iterable[tuple[Item, np.ndarray]]:
        spent: dict[str, float] = {}
        with _spending(spent, "predict"):
            spoken = [one.examined for one in batch if one.examined.segments]
            matrix = [one.vectors for one in spoken if one.vectors is not None]
            channels = [
                f"{i}/{segment.channel}" for i, one in enumerate(spoken) for segment in one.segments
            ]
            answers = iter(())
            if matrix:
                answers = iter(model.predict(np.concatenate(matrix), channel=np.asarray(channels)))
        nothing = np.empty((0, len(model.labels)), dtype=np.float32)
        for item in batch:
            share = spent["predict"] / len(batch)
            item.examined.cpu_s["predict"] = share
            count = len(item.examined.segments)
            yield item, np.stack(list(itertools.islice(answers, count))) if count else nothing

    def batch_elements_kwargs(self):
        return {"min_batch_size": 1, "max_batch_size": MAX_RECORDINGS_A_BATCH}

    def get_metrics_namespace(self) -> str:
        return NAMESPACE


class Predict(beam.PTransform):
    """Item -> (Item, probabilities float32 [segments, labels]); without a model, no columns."""

    def __init__(self, model: str | None) -> None:
        self._model = model

    def expand(self, items):
        if self._model is None:
            return items | "NoModel" >> beam.Map(
                lambda item: (item, np.empty((len(item.examined.segments), 0), dtype=np.float32))
            )
        return items | "Bundle" >> RunInference(BundleHandler(self._model))


class WriteParts(beam.DoFn):
    """(Item, probabilities) -> Part: a bundle's rows as one Parquet file in each table.

    Beam's own sink can set no encodings, and gathers all rows in one place for a fixed count
    of files. The parts of one name hold the same recordings in all three tables.
    """

    def __init__(self, staged: str, labelling: tables.Labelling, meta: Sequence[str]) -> None:
        self._staged, self._run_id = staged, store.run_id(staged)
        self._labelling, self._meta = labelling, tuple(meta)

    def setup(self):
        self._schemas = schemas(self._labelling, self._meta)

    def start_bundle(self):
        self._writer: PartWriter | None = None
        self._held: list[tuple[Item, np.ndarray]] = []

    def process(self, element: tuple[Item, np.ndarray]):
        self._held.append(element)
        full = len(self._held) >= ROWS_OF_RECORDINGS
        if full and self._flush().size_bytes >= PART_BYTES:
            yield self._close()

    def finish_bundle(self):
        if self._held:
            self._flush()
        if self._writer is not None:
            window = beam.window.GlobalWindow()
            yield WindowedValue(self._close(), window.max_timestamp(), [window])

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
            for item, probabilities in held:
                recordings.append(
                    tables.recording_row(
                        item.examined,
                        probabilities,
                        self._labelling,
                        run_id=self._run_id,
                        call_time=item.call_time,
                        meta={name: item.meta.get(name) for name in self._meta},
                        processed_at=now,
                    )
                )
                segments += tables.segment_rows(
                    item.examined, probabilities, self._labelling, run_id=self._run_id
                )
            examined = [item.examined for item, _ in held]
            self._writer.write(
                "features",
                tables.features_table(examined, self._schemas["features"], run_id=self._run_id),
            )
            for name, rows in (("segments", segments), ("recordings", recordings)):
                self._writer.write(name, pa.Table.from_pylist(rows, schema=self._schemas[name]))
        for one in examined:
            self._writer.count(one.source.uri, one.cpu_s)
        return self._writer


def schemas(labelling: tables.Labelling, meta: Sequence[str]) -> dict[str, pa.Schema]:
    """Of the three tables that a part has files of."""
    return {
        "features": tables.features_schema(labelling),
        "segments": tables.segments_schema(labelling),
        "recordings": tables.recordings_schema(labelling, tuple(meta)),
    }


class PartWriter:
    """A new part in a staging folder."""

    def __init__(self, staged: str, schemas: dict[str, pa.Schema]) -> None:
        self._staged = staged
        self._name = f"part-{uuid.uuid4().hex}.parquet"
        self._files, self._writers, self._sinks = ExitStack(), {}, {}
        self._cpu_s: Counter[str] = Counter()
        self._peak_mb: dict[str, float] = {}
        self._first_uri, self._recordings = "", 0
        with self._naming():
            for table, schema in schemas.items():
                path = files.join(staged, table, self._name)
                sink = self._files.enter_context(files.written(path))
                self._sinks[table] = sink
                self._writers[table] = tables.writer(sink, schema)

    @property
    def size_bytes(self) -> int:
        """Written so far."""
        return sum(sink.tell() for sink in self._sinks.values())

    @contextmanager
    def spending(self, stage: str) -> Iterator[None]:
        """Counts CPU seconds, also of what is not written in the end."""
        spent: dict[str, float] = {}
        with _spending(spent, stage):
            yield
        self._cpu_s.update(spent)

    def write(self, table: str, rows: pa.Table) -> None:
        """Add a row group."""
        with self._naming():
            self._writers[table].write_table(rows)

    def count(self, uri: str, cpu_s: dict[str, float]) -> None:
        """Add a recording to what the part tells of itself."""
        self._first_uri = min(filter(None, [self._first_uri, uri]))
        self._recordings += 1
        spent = dict(cpu_s)
        child_mb = spent.pop("peak_memory_mb", 0.0)
        own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        process = f"{socket.gethostname()}/{os.getpid()}"
        self._peak_mb[process] = max(self._peak_mb.get(process, 0.0), own_mb + child_mb)
        self._cpu_s.update(spent)

    def close(self, merged: Sequence[Part] = ()) -> Part:
        """Finish the files; `merged` are the parts whose rows they hold, if they were others'."""
        with self._naming(), self.spending("write"):
            for writer in self._writers.values():
                writer.close()
            size_bytes = self.size_bytes
            self._files.close()
        for part in merged:
            self._cpu_s.update(part.cpu_s)
            for process, peak_mb in part.peak_memory_mb.items():
                self._peak_mb[process] = max(self._peak_mb.get(process, 0.0), peak_mb)
        return Part(
            name=self._name,
            first_uri=min([part.first_uri for part in merged], default=self._first_uri),
            recordings=self._recordings + sum(part.recordings for part in merged),
            size_bytes=size_bytes,
            cpu_s=dict(self._cpu_s),
            peak_memory_mb=self._peak_mb,
        )

    def _naming(self) -> files.naming:
        return files.naming(f"--output: {self._staged}")


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


def bins(parts: Sequence[Part]) -> list[tuple[Part, ...]]:
    """Parts that are to become one, in the order of their first URIs: each up to `PART_BYTES`."""
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
    return [tuple(some) for some in filled]


def merge(parts: Sequence[Part], staged: str, schemas: Callable[[], dict[str, pa.Schema]]) -> Part:
    """One part with the rows of several."""
    if len(parts) == 1:
        return parts[0]
    writer = PartWriter(staged, schemas())
    with writer.spending("write"):
        for table, schema in schemas().items():
            held: list[pa.Table] = []
            for part in parts:
                path = files.join(staged, table, part.name)
                for rows in ledger.row_groups(path, schema.names):
                    held.append(rows)
                    if sum(map(len, held)) >= ROWS_MERGED:
                        writer.write(table, pa.concat_tables(held))
                        held = []
            if held:
                writer.write(table, pa.concat_tables(held))
    return writer.close(parts)


def _seal(gathered: tuple[None, Iterable[Part | Listed]], staged: str) -> None:
    listed, parts = _apart(gathered)
    parts.sort(key=lambda part: part.first_uri)
    books = check(staged, [part.name for part in parts], listed)
    with files.naming("--output"):
        Seal(books, tuple(parts)).write(files.join(staged, store.SEAL))
