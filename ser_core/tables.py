"""The four tables as Arrow schemas (version 1), and the rows that go into them.

One row a recording, one a segment, one a vector, one a run. docs/tables.md describes each
column for its readers. A new column is added here and there.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ser_core import emotions, features
from ser_core.examine import Examined, SpeechSegment

SCHEMA_VERSION = 1
# In the order in which they are published.
TABLES = ("features", "segments", "recordings", "runs")

LABELLED, NO_SPEECH, REJECTED, EXTRACTED = "labelled", "no_speech", "rejected", "extracted"

_UTC = pa.timestamp("us", tz="UTC")
_KEYS = [("recording_id", pa.string()), ("uri", pa.string()), ("run_id", pa.string())]
_PLACE = [
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
_QUARTERS = [f"negativity_q{q + 1}" for q in range(emotions.QUARTERS)]


@dataclass(frozen=True)
class Labelling:
    """The model of a run, as rows need it. No labels: a run that only extracts.

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
    """Every input of a run exactly once; `meta` are the named groups of --uri-fields."""
    return _schema(
        [
            *_KEYS,
            ("size_bytes", pa.int64()),
            ("modified_at", _UTC),
            ("status", pa.string()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("call_time", _UTC),
            ("duration_s", pa.float64()),
            ("sample_rate_hz", pa.int32()),
            ("channels", pa.int16()),
            ("codec", pa.string()),
            ("speech_s", pa.float64()),
            ("music_s", pa.float64()),
            ("clipping_ratio", pa.float32()),
            ("snr_db", pa.float32()),
            ("bandwidth_hz", pa.float32()),
            *_VERDICT,
            *_probability_columns(labelling),
            ("negativity", pa.float32()),
            *((name, pa.float32()) for name in _QUARTERS),
            ("arc", pa.string()),
            ("silence_s", pa.float64()),
            ("overlap_s", pa.float64()),
            ("by_channel", pa.list_(_CHANNEL)),
            *((f"meta_{name}", pa.string()) for name in meta),
            ("model_id", pa.string()),
            ("feature_set", pa.string()),
            ("processed_at", _UTC),
        ],
        labelling,
    )


def segments_schema(labelling: Labelling) -> pa.Schema:
    """One row a stretch of speech."""
    columns = [
        *_KEYS,
        *_PLACE,
        *_VERDICT,
        *_probability_columns(labelling),
        ("rms_db", pa.float32()),
    ]
    return _schema(columns, labelling)


def features_schema(labelling: Labelling) -> pa.Schema:
    """One row a stretch of speech, with its vector; the dimensions' names are in the metadata."""
    names = features.get(labelling.feature_set).names
    columns = [*_KEYS, *_PLACE, ("vector", pa.list_(pa.float32(), len(names)))]
    return _schema(columns, labelling, names=json.dumps(list(names)))


def runs_schema() -> pa.Schema:
    """One row a run."""
    return pa.schema(
        [
            ("run_id", pa.string()),
            ("night", pa.date32()),
            ("command", pa.string()),
            ("versions", pa.map_(pa.string(), pa.string())),
            ("model_id", pa.string()),
            ("model_licence", pa.string()),
            ("feature_set", pa.string()),
            *((name, pa.int64()) for name in ("matched", "already_done", LABELLED, EXTRACTED)),
            *((name, pa.int64()) for name in (NO_SPEECH, REJECTED)),
            ("by_reason", pa.map_(pa.string(), pa.int64())),
            ("mixed", pa.int64()),
            ("audio_hours", pa.float64()),
            ("cpu_seconds", pa.float64()),
            ("peak_memory_mb", pa.float64()),
            ("started", _UTC),
            ("ended", _UTC),
        ],
        metadata={"schema_version": str(SCHEMA_VERSION)},
    )


def _probability_columns(labelling: Labelling) -> list[tuple[str, pa.DataType]]:
    return [(f"p_{label}", pa.float32()) for label in labelling.labels]


def _schema(columns, labelling: Labelling, **more: str) -> pa.Schema:
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "feature_set": labelling.feature_set,
        "fingerprint": features.get(labelling.feature_set).fingerprint,
        "model_id": labelling.model_id or "",
        **more,
    }
    return pa.schema(columns, metadata=metadata)


def status(examined: Examined, labelling: Labelling) -> str:
    """The one word that the books count."""
    if examined.reason is not None:
        return REJECTED
    if not examined.segments:
        return NO_SPEECH
    return LABELLED if labelling.labels else EXTRACTED


def recording_row(
    examined: Examined,
    probabilities: np.ndarray,
    labelling: Labelling,
    *,
    run_id: str,
    call_time: dt.datetime | None,
    meta: Mapping[str, str | None],
    processed_at: dt.datetime,
) -> dict:
    """The row of `recordings`: `probabilities` is float32 [len(segments), len(labels)]."""
    everything = _aggregate(examined, probabilities, labelling, None)
    modified_us = examined.source.modified_us
    return {
        **_keys(examined, run_id),
        "size_bytes": examined.source.size_bytes,
        "modified_at": None if modified_us is None else modified_at(modified_us),
        "status": status(examined, labelling),
        "reason": examined.reason,
        "detail": examined.detail,
        "call_time": call_time,
        "duration_s": examined.duration_s,
        "sample_rate_hz": examined.sample_rate_hz,
        "channels": examined.channels,
        "codec": examined.codec,
        "speech_s": examined.speech_s,
        "music_s": examined.music_s,
        "clipping_ratio": examined.clipping_ratio,
        "snr_db": examined.snr_db,
        "bandwidth_hz": examined.bandwidth_hz,
        **_verdict(everything, labelling.unsure_recording_below),
        **_probability_values(labelling, everything.probabilities),
        "negativity": everything.negativity,
        **dict(zip(_QUARTERS, everything.negativity_by_quarter, strict=True)),
        "arc": everything.arc,
        "silence_s": examined.silence_s,
        "overlap_s": examined.overlap_s,
        "by_channel": [
            {
                "channel": channel.channel,
                "role": channel.role,
                "analysed": channel.analysed,
                "speech_s": channel.speech_s,
                "label": said.label,
                "confidence": said.confidence,
            }
            for channel in examined.by_channel
            for said in [_aggregate(examined, probabilities, labelling, channel.channel)]
        ],
        **{f"meta_{name}": value for name, value in meta.items()},
        "model_id": labelling.model_id,
        "feature_set": labelling.feature_set,
        "processed_at": processed_at,
    }


def segment_rows(
    examined: Examined, probabilities: np.ndarray, labelling: Labelling, *, run_id: str
) -> list[dict]:
    """The rows of `segments`, in the order of `examined.segments`."""
    rows = []
    for i, segment in enumerate(examined.segments):
        verdict: dict = dict.fromkeys(("label", "confidence", "unsure"))
        said = None
        if labelling.labels:
            said = probabilities[i]
            best = int(said.argmax())
            confidence = float(said[best])
            verdict = {
                "label": labelling.labels[best],
                "confidence": confidence,
                "unsure": confidence < labelling.unsure_segment_below,
            }
        rows.append(
            {
                **_keys(examined, run_id),
                **_place(segment),
                **verdict,
                **_probability_values(labelling, said),
                "rms_db": segment.rms_db,
            }
        )
    return rows


def features_table(examined: Sequence[Examined], schema: pa.Schema, *, run_id: str) -> pa.Table:
    """The rows of `features` of several recordings."""
    spoken = [one for one in examined if one.segments]
    places = [
        {**_keys(one, run_id), **_place(segment)} for one in spoken for segment in one.segments
    ]
    vector = schema.field("vector")
    flat = (
        np.concatenate([one.vectors for one in spoken]).ravel()
        if spoken
        else np.empty(0, np.float32)
    )
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(flat, type=pa.float32()), vector.type.list_size
    )
    keys = pa.Table.from_pylist(places, schema=schema.remove(schema.get_field_index("vector")))
    return keys.append_column(vector, vectors).cast(schema)


def writer(path: str | os.PathLike | BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet file of one of these tables: zstd, and vectors as byte streams split."""
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


def modified_at(modified_us: int) -> dt.datetime:
    """The time of `Source.modified_us`, without the rounding of a float."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=modified_us)


def _keys(examined: Examined, run_id: str) -> dict:
    return {
        "recording_id": examined.recording_id,
        "uri": examined.source.uri,
        "run_id": run_id,
    }


def _place(segment: SpeechSegment) -> dict:
    return {name: getattr(segment, name) for name, _ in _PLACE}


def _probability_values(labelling: Labelling, values: Sequence[float] | None) -> dict:
    columns = [name for name, _ in _probability_columns(labelling)]
    if values is None:
        return dict.fromkeys(columns)
    return dict(zip(columns, map(float, values), strict=True))


def _verdict(said: emotions.Aggregate, unsure_below: float) -> dict:
    return {
        "label": said.label,
        "confidence": said.confidence,
        "unsure": None if said.confidence is None else said.confidence < unsure_below,
    }


def _aggregate(
    examined: Examined, probabilities: np.ndarray, labelling: Labelling, channel: int | None
) -> emotions.Aggregate:
    """Over all segments, or over those of one channel."""
    chosen = [
        i
        for i, segment in enumerate(examined.segments)
        if labelling.labels and channel in (None, segment.channel)
    ]
    return emotions.aggregate(
        probabilities[chosen] if chosen else np.empty((0, len(labelling.labels))),
        [examined.segments[i].start_s for i in chosen],
        [examined.segments[i].end_s for i in chosen],
        labels=labelling.labels,
        duration_s=examined.duration_s or 0.0,
    )
