"""Beam over `ser_core`: examine, predict, write. Each transform calls one pure function.

A recording is one element from `Examine` to `WriteParts`: its URI travels, its audio never
leaves the child process that decoded it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import os
import resource
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.utils.windowed_value import WindowedValue

from pipelines import store
from pipelines.errors import StoreError
from pipelines.uri_fields import UriFields
from ser_core import models, tables
from ser_core.examine import Examined, Settings, Source
from ser_core.guarded import Examiner, Guard

NAMESPACE = "ser"
# Recordings whose rows are held before they are written as row groups.
ROWS_OF_RECORDINGS = 200
MAX_RECORDINGS_A_BATCH = 32


@dataclass(frozen=True)
class Item:
    """A recording on its way to the tables, with what its URI tells."""

    examined: Examined
    call_time: dt.datetime | None = None
    meta: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One bundle's files, the same name in each table, and what they cost."""

    name: str
    first_uri: str
    recordings: int
    cpu_s: dict[str, float]
    process: int
    peak_memory_mb: float


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


class Examine(beam.DoFn):
    """Source -> Item, by a child process that may die.

    Parameters
    ----------
    settings : Settings
    guard : Guard
    fields : UriFields
    progress : str, optional
        A folder in which each process adds a byte to a file for each recording done.
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
        with store.as_local_file(source) as path:
            examined = self._examiner.examine(path, source)
        examined.cpu_s["peak_memory_mb"] = self._examiner.peak_memory_mb
        inc_counter(examined.reason or "examined")
        if self._progress:
            with open(Path(self._progress) / str(os.getpid()), "ab") as file:
                file.write(b".")
        yield Item(examined, *self._fields.read(source.uri))


class BundleHandler(ModelHandler[Item, tuple[Item, np.ndarray], models.Bundle]):
    """Applies a model bundle to the segments of a batch of recordings at once."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def load_model(self) -> models.Bundle:
        return models.load(self._model)

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
        self._staged, self._run_id = staged, Path(staged).name
        self._labelling, self._meta = labelling, tuple(meta)

    def setup(self):
        self._schemas = {
            "features": tables.features_schema(self._labelling),
            "segments": tables.segments_schema(self._labelling),
            "recordings": tables.recordings_schema(self._labelling, self._meta),
        }

    def start_bundle(self):
        self._writers = None
        self._held: list[tuple[Item, np.ndarray]] = []
        self._first_uri, self._count, self._peak_memory_mb = "", 0, 0.0
        self._cpu_s: dict[str, float] = {}

    def process(self, element: tuple[Item, np.ndarray]):
        self._held.append(element)
        examined = element[0].examined
        self._first_uri = min(filter(None, [self._first_uri, examined.source.uri]))
        self._count += 1
        for stage, seconds in examined.cpu_s.items():
            if stage == "peak_memory_mb":
                self._peak_memory_mb = max(self._peak_memory_mb, seconds)
            else:
                self._cpu_s[stage] = self._cpu_s.get(stage, 0.0) + seconds
        if len(self._held) >= ROWS_OF_RECORDINGS:
            self._flush()

    def finish_bundle(self):
        if not self._count:
            return
        self._flush()
        with self._writing():
            for writer in self._writers.values():
                writer.close()
            for path in self._paths:
                store.sync(path)
        own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        part = Part(
            name=self._name,
            first_uri=self._first_uri,
            recordings=self._count,
            cpu_s=self._cpu_s,
            process=os.getpid(),
            peak_memory_mb=own_mb + self._peak_memory_mb,
        )
        yield WindowedValue(
            part, beam.window.GlobalWindow().max_timestamp(), [beam.window.GlobalWindow()]
        )

    @contextmanager
    def _writing(self):
        with _spending(self._cpu_s, "write"):
            try:
                yield
            except OSError as error:
                raise StoreError(
                    f"--output: {self._staged} cannot be written: {error.strerror or error}; "
                    "mend that and run again: nothing is lost"
                ) from error

    def _flush(self) -> None:
        with self._writing():
            if self._writers is None:
                self._open()
            now = dt.datetime.now(dt.UTC)
            recordings, segments = [], []
            for item, probabilities in self._held:
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
            rows = {
                "features": tables.features_table(
                    [item.examined for item, _ in self._held],
                    self._schemas["features"],
                    run_id=self._run_id,
                ),
                "segments": pa.Table.from_pylist(segments, schema=self._schemas["segments"]),
                "recordings": pa.Table.from_pylist(recordings, schema=self._schemas["recordings"]),
            }
            for name, table in rows.items():
                self._writers[name].write_table(table)
            self._held = []

    def _open(self) -> None:
        self._name = f"part-{uuid.uuid4().hex}.parquet"
        self._writers, self._paths = {}, []
        for name, schema in self._schemas.items():
            path = Path(self._staged) / name / self._name
            self._paths.append(path)
            self._writers[name] = tables.writer(path, schema)


class Seal(beam.PTransform):
    """Parts -> one file that lists those that count: others are left over from failed attempts."""

    def __init__(self, path: str) -> None:
        self._path = path

    def expand(self, parts):
        return (
            parts | "Gather" >> beam.combiners.ToList() | "List" >> beam.Map(_seal, path=self._path)
        )


def _seal(parts: Sequence[Part], path: str) -> None:
    text = json.dumps([asdict(part) for part in sorted(parts, key=lambda part: part.first_uri)])
    store.write_whole(Path(path), text)


def read_seal(path: Path) -> list[Part]:
    """The parts that count, in the order of their first URIs."""
    return [Part(**said) for said in json.loads(path.read_text(encoding="utf-8"))]
