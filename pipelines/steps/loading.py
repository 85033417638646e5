"""Loading: recordings of earlier runs are read from the tables, so that no audio is needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import StoreError
from pipelines.steps.item import Item, tick
from pipelines.storage import files, published
from pipelines.stored import Key, Stored, to_matrix
from ser_core.examine import Channel, Examined, Source, SpeechSegment
from ser_core.tables.reader import RUN
from ser_core.tables.schemas import META


class LoadStored(beam.DoFn):
    """Stored -> one Item per recording."""

    def __init__(self, progress: str | None) -> None:
        self._progress = progress

    def process(self, stored: Stored) -> Iterable[Item]:
        for item in load(stored):
            tick(self._progress)
            yield item


def load(stored: Stored) -> Iterator[Item]:
    """Read recordings as `examine` gave them; features one row group at a time.

    Raises
    ------
    StoreError
        A file is missing, or its rows do not belong together.
    """
    with files.naming(
        "--output", "stored recordings cannot be read",
        "their rows in recordings, segments and features belong together; `ser check` tells more",
    ):  # fmt: skip
        recordings = {row["uri"]: row for row in _rows(stored.recordings, stored)}
        segments = defaultdict(list)
        for row in _rows(stored.segments, stored, [*_names(SpeechSegment), "uri", RUN]):
            segments[row["uri"]].append(row)
        without = [key for key in stored.keys if stored.features is None]
        spoken = {key.uri: key for key in stored.keys if stored.features is not None}
        for key in without:
            yield _item(key, recordings[key.uri], [], np.empty((0, 0), np.float32))
        for uri, vectors in _vectors(stored, spoken, {u: len(s) for u, s in segments.items()}):
            yield _item(spoken.pop(uri), recordings[uri], segments[uri], vectors)
        for uri in spoken:
            raise StoreError(
                f"{stored.features}: {len(segments[uri])} vectors expected for {uri}, as many as "
                "it has segments, and not found; `ser check` tells more"
            )


def _vectors(
    stored: Stored, keys: Mapping[str, Key], segments: Mapping[str, int]
) -> Iterator[tuple[str, np.ndarray]]:
    """Each recording's vectors, float32 [segments, dimensions], once all of them are read."""
    if stored.features is None:
        return
    held: dict[str, list[np.ndarray]] = defaultdict(list)
    columns = ["uri", RUN, "vector"]
    for rows in published.read_row_groups(stored.features, columns, stored.row_groups):
        matrix = to_matrix(rows["vector"])
        rows_of: dict[str, list[int]] = defaultdict(list)
        runs = rows[RUN].to_pylist()
        for i, uri in enumerate(rows["uri"].to_pylist()):
            if uri in keys and keys[uri].features_run_id == runs[i]:
                rows_of[uri].append(i)
        for uri, numbers in rows_of.items():
            held[uri].append(matrix[numbers])
            if sum(map(len, held[uri])) == segments.get(uri, 0):
                yield uri, np.concatenate(held.pop(uri))


def _rows(
    paths: Sequence[str], stored: Stored, columns: Sequence[str] | None = None
) -> Iterator[dict]:
    """Rows of files that are those of the recordings."""
    runs = {(key.uri, key.run_id) for key in stored.keys}
    of_them = pc.field("uri").isin(pa.array(stored.uris, type=pa.string())) & pc.field(RUN).isin(
        pa.array(sorted({run for _, run in runs}), type=pa.string())
    )
    for path in paths:
        rows = published.read_rows(path, of_them)
        if columns is not None:
            rows = rows.select(columns)
        yield from (row for row in rows.to_pylist() if (row["uri"], row[RUN]) in runs)


def _item(key: Key, row: dict, segments: list[dict], vectors: np.ndarray) -> Item:
    return Item(
        examined=_examined(row, segments, vectors),
        call_time=row["call_time"],
        meta={
            name.removeprefix(META): value for name, value in row.items() if name.startswith(META)
        },
        features_run_id=key.features_run_id,
    )


def _examined(row: dict, segments: list[dict], vectors: np.ndarray) -> Examined:
    modified = row["modified_at"]
    return Examined(
        source=Source(
            row["uri"],
            row["size_bytes"],
            None if modified is None else pa.scalar(modified, pa.timestamp("us", "UTC")).value,
        ),
        by_channel=tuple(
            Channel(**{name: channel[name] for name in _names(Channel)})
            for channel in row["by_channel"]
        ),
        segments=tuple(
            SpeechSegment(**{name: segment[name] for name in _names(SpeechSegment)})
            for segment in segments
        ),
        vectors=vectors,
        **{
            name: row[name]
            for name in _names(Examined)
            if name in row and name not in ("source", "by_channel")
        },
    )


def _names(kind: type) -> list[str]:
    return [column.name for column in fields(kind)]
