"""Loading: recordings of earlier runs are read from the tables, so that no audio is needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ledger import Stored
from pipelines.steps.item import Item, tick
from pipelines.storage import files, published
from ser_core.examine import Channel, Examined, Source, SpeechSegment
from ser_core.tables.schemas import META


class LoadStored(beam.DoFn):
    """Stored -> one Item per recording."""

    def __init__(self, progress: str | None) -> None:
        self._progress = progress

    def process(self, stored: Stored) -> Iterable[Item]:
        for item in load(stored):
            tick(self._progress)
            yield item


def load(stored: Stored) -> Iterable[Item]:
    """Read the recordings of a part, as `examine` gave them.

    Raises
    ------
    StoreError
        A file of the part is missing.
    """
    uris = pa.array(stored.uris, type=pa.string())
    with files.naming(
        "--output", "a stored part cannot be read",
        "its files in recordings, segments and features belong together",
    ):  # fmt: skip
        recordings, segments, features = (
            published.read_rows(path, pc.field("uri").isin(uris))
            for path in (stored.recordings, stored.segments, stored.features)
        )
    segment_rows = _by_uri(segments.select([*_names(SpeechSegment), "uri"]))
    vectors = features["vector"].combine_chunks()
    matrix = vectors.flatten().to_numpy(zero_copy_only=False)
    matrix = matrix.reshape(len(features), vectors.type.list_size)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for i, uri in enumerate(features["uri"].to_pylist()):
        rows_of[uri].append(i)
    for row in recordings.to_pylist():
        yield Item(
            examined=_examined(row, segment_rows[row["uri"]], matrix[rows_of[row["uri"]]]),
            call_time=row["call_time"],
            meta={
                name.removeprefix(META): value
                for name, value in row.items()
                if name.startswith(META)
            },
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


def _by_uri(table: pa.Table) -> dict[str, list[dict]]:
    by_uri: dict[str, list[dict]] = defaultdict(list)
    for row in table.to_pylist():
        by_uri[row["uri"]].append(row)
    return by_uri
