"""What earlier runs stored, read again so that another model can label it without the audio."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import StoreError
from pipelines.store import Output
from pipelines.transforms import Item
from ser_core import tables
from ser_core.examine import Channel, Examined, Source, SpeechSegment

META = "meta_"
_KEY = ["uri", "size_bytes", "modified_at"]


@dataclass(frozen=True)
class Stored:
    """Some recordings of one part: the files of this name in all three tables hold them."""

    recordings: str
    segments: str
    features: str
    uris: tuple[str, ...]


def to_label(output: Output, model_id: str) -> tuple[list[Stored], int]:
    """The newest row of every recording that this model has not labelled yet, by part.

    Returns
    -------
    list of Stored, and the count of recordings that could be labelled by any model
    """
    newest: dict[str, tuple[tuple, Path]] = {}
    by_this_model: set[tuple] = set()
    for path in sorted(output.files("recordings"), key=lambda path: path.parent.name):
        rows = pq.ParquetFile(path).read(columns=[*_KEY, "status", "model_id"])
        for uri, size, modified, status, model in zip(
            *(rows[name].to_pylist() for name in rows.column_names), strict=True
        ):
            if status == tables.REJECTED:
                newest.pop(uri, None)  # replaced by something that cannot be labelled
                continue
            newest[uri] = ((uri, size, modified), path)
            if model == model_id:
                by_this_model.add((uri, size, modified))
    by_part: dict[Path, list[str]] = defaultdict(list)
    for uri, (key, path) in newest.items():
        if key not in by_this_model:
            by_part[path].append(uri)
    parts = [
        Stored(str(path), beside(path, "segments"), beside(path, "features"), tuple(sorted(uris)))
        for path, uris in sorted(by_part.items())
    ]
    return parts, len(newest)


def beside(path: Path, table: str) -> str:
    """The part of another table that holds the same recordings as a part of `recordings`."""
    root, name = path.parents[3], path.relative_to(path.parents[2])
    return str(root / table / name)


def stored_meta(output: Output) -> tuple[str, ...]:
    """All names of `meta_` columns that any run wrote, in the order of their appearance."""
    names = {
        name.removeprefix(META): None
        for path in output.files("recordings")
        for name in pq.read_schema(path).names
        if name.startswith(META)
    }
    return tuple(names)


class LoadStored(beam.DoFn):
    """Stored -> one Item a recording."""

    def __init__(self, progress: str) -> None:
        self._progress = progress

    def process(self, stored: Stored) -> Iterable[Item]:
        for item in load(stored):
            with open(Path(self._progress) / str(os.getpid()), "ab") as file:
                file.write(b".")
            yield item


def load(stored: Stored) -> Iterable[Item]:
    """Read the recordings of a part back, as `examine` gave them.

    Raises
    ------
    StoreError
        A file of the part is gone.
    """
    uris = pa.array(stored.uris, type=pa.string())
    try:
        recordings, segments, features = (
            pq.read_table(path, filters=pa.compute.field("uri").isin(uris), partitioning=None)
            for path in (stored.recordings, stored.segments, stored.features)
        )
    except OSError as error:
        raise StoreError(
            f"--output: a stored part cannot be read: {error}; its files in recordings, segments "
            "and features belong together"
        ) from error
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
            Channel(**{name: said[name] for name in _names(Channel)}) for said in row["by_channel"]
        ),
        segments=tuple(
            SpeechSegment(**{name: said[name] for name in _names(SpeechSegment)})
            for said in segments
        ),
        vectors=vectors,
        **{
            name: row[name]
            for name in _names(Examined)
            if name in row and name not in ("source", "by_channel")
        },
    )


def _names(kind) -> list[str]:
    return [one.name for one in fields(kind)]


def _by_uri(table: pa.Table) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = defaultdict(list)
    for row in table.to_pylist():
        found[row["uri"]].append(row)
    return found
