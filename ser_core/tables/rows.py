"""The rows of `recordings`, `segments` and `features`, from examined recordings and probabilities.

docs/tables.md describes each column; a new one is added in `schemas` and here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ser_core import emotions
from ser_core.examine import Examined, SpeechSegment
from ser_core.tables.schemas import (
    EXTRACTED,
    LABELLED,
    META,
    NO_SPEECH,
    PLACE,
    QUARTERS,
    REJECTED,
    Labelling,
    probability_columns,
)  # fmt: skip


def status(examined: Examined, labelling: Labelling) -> str:
    """The status of a recording, which the books count."""
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
    features_run_id: str | None = None,
    tried_with: str | None = None,
    call_time: dt.datetime | None,
    meta: Mapping[str, str | None],
    processed_at: dt.datetime,
) -> dict:
    """The row of `recordings`.

    Parameters
    ----------
    examined : Examined
    probabilities : np.ndarray [shape=(segments, labels)]
    labelling : Labelling
    run_id : str
    features_run_id : str, optional
        The run whose features the labels were made from; by default this one.
    tried_with : str, optional
    call_time : datetime, optional
    meta : mapping
        Values of the named groups of --uri-fields.
    processed_at : datetime
    """
    total = _aggregate(examined, probabilities, labelling, None)
    modified_us = examined.source.modified_us
    return {
        **_keys(examined, run_id),
        "features_run_id": features_run_id or run_id,
        "size_bytes": examined.source.size_bytes,
        "modified_at": None if modified_us is None else modified_at(modified_us),
        "status": status(examined, labelling),
        "reason": examined.reason,
        "detail": examined.detail,
        "tried_with": tried_with,
        "call_time": call_time,
        "duration_s": examined.duration_s,
        "sample_rate_hz": examined.sample_rate_hz,
        "channels": examined.channels,
        "codec": examined.codec,
        "speech_s": examined.speech_s,
        "music_s": examined.music_s,
        "crosstalk_s": examined.crosstalk_s,
        "clipping_ratio": examined.clipping_ratio,
        "snr_db": examined.snr_db,
        "bandwidth_hz": examined.bandwidth_hz,
        **_verdict(total, labelling.unsure_recording_below, never_sure=examined.is_mostly_missing),
        **_probability_values(labelling, total.probabilities),
        "negativity": total.negativity,
        **dict(zip(QUARTERS, total.negativity_by_quarter, strict=True)),
        "arc": total.arc,
        "silence_s": examined.silence_s,
        "overlap_s": examined.overlap_s,
        "by_channel": [
            {
                "channel": channel.channel,
                "role": channel.role,
                "analysed": channel.analysed,
                "speech_s": channel.speech_s,
                "label": verdict.label,
                "confidence": verdict.confidence,
            }
            for channel in examined.by_channel
            for verdict in [_aggregate(examined, probabilities, labelling, channel.channel)]
        ],
        **{f"{META}{name}": value for name, value in meta.items()},
        "model_id": labelling.model_id,
        "feature_set": labelling.feature_set,
        "processed_at": processed_at,
    }


def segment_rows(
    examined: Examined,
    probabilities: np.ndarray,
    labelling: Labelling,
    *,
    run_id: str,
    features_run_id: str | None = None,
) -> list[dict]:
    """The rows of `segments`, in the order of `examined.segments`.

    Parameters
    ----------
    examined : Examined
    probabilities : np.ndarray [shape=(segments, labels)]
    labelling : Labelling
    run_id : str
    features_run_id : str, optional
        The run whose features the labels were made from; by default this one.
    """
    rows = []
    for i, segment in enumerate(examined.segments):
        verdict: dict = dict.fromkeys(("label", "confidence", "unsure"))
        row_probabilities = None
        if labelling.labels:
            row_probabilities = probabilities[i]
            best = int(row_probabilities.argmax())
            confidence = float(row_probabilities[best])
            verdict = {
                "label": labelling.labels[best],
                "confidence": confidence,
                "unsure": confidence < labelling.unsure_segment_below,
            }
        rows.append(
            {
                **_keys(examined, run_id),
                "features_run_id": features_run_id or run_id,
                **_place(segment),
                **verdict,
                **_probability_values(labelling, row_probabilities),
                "rms_db": segment.rms_db,
            }
        )
    return rows


def features_table(examined: Sequence[Examined], schema: pa.Schema, *, run_id: str) -> pa.Table:
    """The rows of `features` of several recordings."""
    spoken = [recording for recording in examined if recording.segments]
    places = [
        {**_keys(recording, run_id), **_place(segment)}
        for recording in spoken
        for segment in recording.segments
    ]
    vector = schema.field("vector")
    flat = (
        np.concatenate([recording.vectors for recording in spoken]).ravel()
        if spoken
        else np.empty(0, np.float32)
    )
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(flat, type=pa.float32()), vector.type.list_size
    )
    keys = pa.Table.from_pylist(places, schema=schema.remove(schema.get_field_index("vector")))
    return keys.append_column(vector, vectors).cast(schema)


def modified_at(modified_us: int) -> dt.datetime:
    """`Source.modified_us` as a time; a float would round it."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=modified_us)


def _keys(examined: Examined, run_id: str) -> dict:
    return {
        "recording_id": examined.recording_id,
        "uri": examined.source.uri,
        "run_id": run_id,
    }


def _place(segment: SpeechSegment) -> dict:
    return {name: getattr(segment, name) for name, _ in PLACE}


def _probability_values(labelling: Labelling, values: Sequence[float] | None) -> dict:
    columns = [name for name, _ in probability_columns(labelling.labels)]
    if values is None:
        return dict.fromkeys(columns)
    return dict(zip(columns, map(float, values), strict=True))


def _verdict(aggregate: emotions.Aggregate, unsure_below: float, *, never_sure: bool) -> dict:
    confidence = aggregate.confidence
    return {
        "label": aggregate.label,
        "confidence": confidence,
        "unsure": None if confidence is None else never_sure or confidence < unsure_below,
    }


def _aggregate(
    examined: Examined, probabilities: np.ndarray, labelling: Labelling, channel: int | None
) -> emotions.Aggregate:
    """Aggregate the probabilities of all segments, or of one channel's."""
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
