"""The four tables as Arrow schemas (version 1), and their Parquet files.

One row per recording, per segment, per vector and per run. docs/tables.md describes the columns. A
new column is added here, in `rows` and in docs/tables.md; one of `runs` in `runs`.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ser_core import emotions, features

SCHEMA_VERSION = 1
# In the order in which they are published.
TABLES = ("features", "segments", "recordings", "runs")

LABELLED, NO_SPEECH, REJECTED, EXTRACTED = "labelled", "no_speech", "rejected", "extracted"

Column = tuple[str, pa.DataType]

UTC = pa.timestamp("us", tz="UTC")
_KEYS = [("recording_id", pa.string()), ("uri", pa.string()), ("run_id", pa.string())]
# The run whose features the labels were made from.
_FEATURES_RUN = ("features_run_id", pa.string())
PLACE = [
    ("channel", pa.int16()),
    ("role", pa.string()),
    ("start_s", pa.float64()),
    ("end_s", pa.float64()),
]
_VERDICT = [("label", pa.string()), ("confidence", pa.float32()), ("unsure", pa.bool_())]
_CHANNEL = pa.struct(
    [
        ("channel", pa.int16()),
        ("role", pa.string()),
        ("analysed", pa.bool_()),
        ("speech_s", pa.float64()),
        ("label", pa.string()),
        ("confidence", pa.float32()),
    ]
)
# Prefixes of columns: the probability of a label, a named group of --uri-fields.
PROBABILITY, META = "p_", "meta_"
QUARTERS = [f"negativity_q{q + 1}" for q in range(emotions.QUARTERS)]


@dataclass(frozen=True)
class Labelling:
    """What the rows of a run need to know of its model. A run that only extracts has no labels.

    Parameters
    ----------
    model_id : str or None
    labels : tuple of str
    feature_set : str
    unsure_segment_below, unsure_recording_below : float
        Confidence below which a label is `unsure`.
    """

    model_id: str | None
    labels: tuple[str, ...]
    feature_set: str
    unsure_segment_below: float = emotions.UNSURE_SEGMENT_BELOW
    unsure_recording_below: float = emotions.UNSURE_RECORDING_BELOW


def recordings_schema(labelling: Labelling, meta: Sequence[str]) -> pa.Schema:
    """Schema of `recordings`: every input of a run exactly once.

    Parameters
    ----------
    labelling : Labelling
    meta : sequence of str
        Named groups of --uri-fields.
    """
    return _schema(recordings_columns(labelling.labels, meta), labelling)


def recordings_columns(labels: Sequence[str], meta: Sequence[str]) -> list[Column]:
    """The columns of `recordings`."""
    return [
        *_KEYS,
        _FEATURES_RUN,
        ("size_bytes", pa.int64()),
        ("modified_at", UTC),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("tried_with", pa.string()),
        ("call_time", UTC),
        ("duration_s", pa.float64()),
        ("sample_rate_hz", pa.int32()),
        ("channels", pa.int16()),
        ("codec", pa.string()),
        ("speech_s", pa.float64()),
        ("music_s", pa.float64()),
        ("crosstalk_s", pa.float64()),
        ("clipping_ratio", pa.float32()),
        ("snr_db", pa.float32()),
        ("bandwidth_hz", pa.float32()),
        *_VERDICT,
        *probability_columns(labels),
        ("negativity", pa.float32()),
        *((name, pa.float32()) for name in QUARTERS),
        ("arc", pa.string()),
        ("silence_s", pa.float64()),
        ("overlap_s", pa.float64()),
        ("by_channel", pa.list_(_CHANNEL)),
        *((f"{META}{name}", pa.string()) for name in meta),
        ("model_id", pa.string()),
        ("feature_set", pa.string()),
        ("processed_at", UTC),
    ]


def segments_schema(labelling: Labelling) -> pa.Schema:
    """Schema of `segments`: one row per segment."""
    return _schema(segments_columns(labelling.labels), labelling)


def segments_columns(labels: Sequence[str]) -> list[Column]:
    """The columns of `segments`."""
    return [
        *_KEYS,
        _FEATURES_RUN,
        *PLACE,
        *_VERDICT,
        *probability_columns(labels),
        ("rms_db", pa.float32()),
    ]


def features_schema(labelling: Labelling) -> pa.Schema:
    """Schema of `features`: one row per segment, with its vector. The metadata names dimensions."""
    names = features.get(labelling.feature_set).names
    columns = features_columns(pa.list_(pa.float32(), len(names)))
    return _schema(columns, labelling, names=json.dumps(list(names)))


def features_columns(vector: pa.DataType) -> list[Column]:
    """The columns of `features`; `vector` is the type of a vector."""
    return [*_KEYS, *PLACE, ("vector", vector)]


def probability_columns(labels: Sequence[str]) -> list[Column]:
    """The columns of probabilities."""
    return [(f"{PROBABILITY}{label}", pa.float32()) for label in labels]


def _schema(columns: Sequence, labelling: Labelling, **more: str) -> pa.Schema:
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "feature_set": labelling.feature_set,
        "fingerprint": features.get(labelling.feature_set).fingerprint,
        "model_id": labelling.model_id or "",
        **more,
    }
    return pa.schema(columns, metadata=metadata)


def writer(
    path: str | os.PathLike | BinaryIO | io.BufferedIOBase, schema: pa.Schema
) -> pq.ParquetWriter:
    """Open a Parquet file of one of these tables for writing: zstd, vectors split by byte."""
    vectors = {"vector.list.element": "BYTE_STREAM_SPLIT"} if "vector" in schema.names else None
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[
            name for name in schema.names if pa.types.is_string(schema.field(name).type)
        ],
        column_encoding=vectors,
    )
