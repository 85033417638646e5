"""Nights of invented calls, made by numpy in the real schemas: as many as a benchmark needs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ser_core.emotions import ARC_CHANGE, NEGATIVE
from ser_core.tables import runs_schema
from ser_core.tables.schemas import recordings_columns, segments_columns

MODEL = "calls-c0606967"
LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgust")
# How negativity falls to the labels, and the rest of it.
_SPLIT = np.array([0.9, 0.1, 0.12, 0.8, 0.05, 0.03])
_NEGATIVE = np.array([label in NEGATIVE for label in LABELS])
UNSURE_BELOW = 0.4716


@dataclass(frozen=True)
class Plan:
    """What a night is like.

    Parameters
    ----------
    calls : int
    negative : float
        Share of calls with a negative mood.
    by_queue : mapping of str to float
        Other shares for some queues.
    segments : int
        Of a call.
    rejected, silent : float
        Shares of calls.
    """

    calls: int
    negative: float = 0.12
    by_queue: Mapping[str, float] = field(default_factory=dict)
    queues: Sequence[str] = ("billing", "sales", "support", "retention")
    segments: int = 10
    rejected: float = 0.02
    silent: float = 0.01
    model: str = MODEL
    warnings: Sequence[str] = ()


def publish(out: Path, night: dt.date, plan: Plan, *, seed: int = 0) -> str:
    """Publish a night as one run; returns its id."""
    rng = np.random.default_rng([seed, night.toordinal()])
    run_id = f"r{night + dt.timedelta(days=1):%Y%m%d}T021500-{rng.integers(16**6):06x}"
    calls, segments = _tables(rng, night, plan, run_id)
    counts = dict(zip(*np.unique(calls["status"], return_counts=True), strict=True))
    hours = {"audio_hours": "duration_s", "speech_hours": "speech_s"}
    started = dt.datetime.combine(night + dt.timedelta(days=1), dt.time(2, 15), dt.UTC)
    audio_s = float(np.nansum(calls["duration_s"]))
    cpu_s = audio_s / 150 * rng.uniform(0.9, 1.1)
    run = {
        "run_id": run_id,
        "night": night,
        "command": "ser run --input /calls --output /tables --model calls",
        "model_id": plan.model,
        "model_licence": "trained on CREMA-D, ODbL 1.0: any use, with attribution",
        "feature_set": "voice",
        "matched": plan.calls,
        **{name: int(counts.get(name, 0)) for name in ("labelled", "no_speech", "rejected")},
        **{name: float(np.nansum(calls[column])) / 3600 for name, column in hours.items()},
        "warnings": list(plan.warnings),
        "cpu_seconds": cpu_s,
        "peak_memory_mb": 2100.0,
        "table_bytes": plan.calls * 9_000,
        "workers": 8,
        "started": started,
        "ended": started + dt.timedelta(seconds=cpu_s / 8 + 20),
    }
    _write(out, "segments", night, run_id, segments, segments_columns(LABELS))
    columns = recordings_columns(LABELS, ("queue", "team", "call_id"))
    _write(out, "recordings", night, run_id, calls, columns)
    _put(out, "runs", night, run_id, pa.Table.from_pylist([run], schema=runs_schema()))
    return run_id


def _tables(
    rng: np.random.Generator, night: dt.date, plan: Plan, run_id: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    n, m = plan.calls, plan.segments
    queue = rng.choice(plan.queues, n)
    share = np.full(n, plan.negative)
    for name, value in plan.by_queue.items():
        share[queue == name] = value
    mood = np.where(rng.random(n) < share, rng.normal(0.82, 0.1, n), rng.normal(0.16, 0.1, n))
    slope = rng.normal(0, 0.25, n)
    place = (np.arange(m) + 0.5) / m
    noise = rng.normal(0, 0.08, (n, m))
    negativity = mood[:, None] + slope[:, None] * (place - 0.5) + noise
    # Most negative calls become so at some moment.
    calm = place < np.where(mood > 0.5, rng.uniform(-0.3, 0.5, n), 0.0)[:, None]
    negativity = np.clip(np.where(calm, 0.15 + noise, negativity), 0.01, 0.99)
    angry = rng.beta(8, 1.5, (n, 1, 1))  # how far a call's mood is one emotion
    split = angry * _SPLIT + (1 - angry) * np.where(_NEGATIVE, 0.25, 0.5)
    p = np.where(_NEGATIVE, negativity[..., None] * split, (1 - negativity[..., None]) * split)
    p = (p / p.sum(axis=2, keepdims=True)).astype(np.float32)
    whole = p.mean(axis=1)
    seconds = rng.gamma(3, 70, n) + 20
    hour = np.clip(rng.normal(13, 3, n), 7, 20).astype(int)
    second = hour * 3600 + rng.integers(0, 3600, n)
    midnight = np.datetime64(night, "us")
    call_id = np.char.add("c", np.char.zfill(np.arange(n).astype(str), 6))
    stamp = f"{night:%Y%m%d}T"
    clock = [f"{s // 3600:02d}{s // 60 % 60:02d}{s % 60:02d}" for s in second.tolist()]
    uri = [
        f"/calls/{q}/{stamp}{t}_{c}.wav"
        for q, t, c in zip(queue.tolist(), clock, call_id.tolist(), strict=True)
    ]
    quarters = np.stack([part.mean(axis=1) for part in np.array_split(negativity, 4, axis=1)])
    change = quarters[3] - quarters[0]
    status = rng.choice(
        ["labelled", "no_speech", "rejected"],
        n,
        p=[1 - plan.silent - plan.rejected, plan.silent, plan.rejected],
    )
    labelled, rejected = status == "labelled", status == "rejected"
    identity = [f"{night:%Y%m%d}{i:056x}" for i in range(n)]
    names = np.array(LABELS)
    confidence = whole.max(axis=1)

    def where(mask: np.ndarray, values: Any) -> pa.Array:
        return pa.array(np.asarray(values), mask=~mask)

    both = {"uri": uri, "recording_id": identity, "run_id": [run_id] * n}
    calls = {
        **both,
        "features_run_id": [run_id] * n,
        "size_bytes": np.arange(n) + 1000,
        "modified_at": np.full(n, midnight),
        "status": status,
        "reason": where(rejected, rng.choice(["unsupported_format", "empty", "corrupt"], n)),
        "detail": where(rejected, np.full(n, "0 bytes")),
        "call_time": midnight + second.astype("timedelta64[s]"),
        "duration_s": np.where(rejected, np.nan, seconds),
        "codec": where(~rejected, rng.choice(["mulaw", "alaw"], n, p=[0.9, 0.1])),
        "channels": np.full(n, 2, np.int16),
        "sample_rate_hz": np.full(n, 8000, np.int32),
        "speech_s": np.where(labelled, seconds * 0.3, np.where(rejected, np.nan, 0.0)),
        "label": where(labelled, names[whole.argmax(axis=1)]),
        "confidence": where(labelled, confidence),
        "unsure": where(labelled, confidence < UNSURE_BELOW),
        "negativity": where(labelled, whole[:, _NEGATIVE].sum(axis=1)),
        **{f"negativity_q{i + 1}": where(labelled, quarters[i]) for i in range(4)},
        "arc": where(
            labelled,
            np.select([change > ARC_CHANGE, change < -ARC_CHANGE], ["worse", "better"], "level"),
        ),
        **{f"p_{label}": where(labelled, whole[:, i]) for i, label in enumerate(LABELS)},
        "by_channel": _sides(n),
        "meta_queue": queue,
        "meta_team": rng.choice([f"team {i}" for i in range(1, 9)], n),
        "meta_call_id": call_id,
        "model_id": [plan.model] * n,
    }
    rows = np.repeat(np.flatnonzero(labelled), m)
    flat = p[labelled].reshape(-1, len(LABELS))
    start = (place * seconds[:, None])[labelled].ravel()
    segments = {
        **{name: pa.array(values).take(pa.array(rows)) for name, values in both.items()},
        "channel": np.full(len(rows), 1, np.int16),
        "role": ["customer"] * len(rows),
        "start_s": start,
        "end_s": start + np.minimum(9.0, 0.3 * seconds / m)[rows],
        "label": names[flat.argmax(axis=1)],
        "confidence": flat.max(axis=1),
        "unsure": flat.max(axis=1) < 0.6756,
        **{f"p_{label}": flat[:, i] for i, label in enumerate(LABELS)},
    }
    return calls, segments


def _sides(n: int) -> pa.Array:
    pair = [
        {"channel": i, "role": role, "analysed": i == 1, "speech_s": 30.0}
        for i, role in enumerate(("agent", "customer"))
    ]
    kind = dict(recordings_columns((), ()))["by_channel"]
    return pa.array([pair], type=kind).take(pa.array(np.zeros(n, np.int64)))


def _write(
    out: Path, table: str, night: dt.date, run_id: str, values: Mapping[str, Any], columns: Any
) -> None:
    n = len(values["uri"])
    arrays = [
        pa.array(values[name]).cast(kind) if name in values else pa.nulls(n, kind)
        for name, kind in columns
    ]
    arrays = [  # a NaN stands for what is not there
        pc.if_else(pc.is_nan(array), None, array)
        if pa.types.is_float64(array.type) else array
        for array in arrays
    ]  # fmt: skip
    _put(out, table, night, run_id, pa.Table.from_arrays(arrays, schema=pa.schema(columns)))


def _put(out: Path, table: str, night: dt.date, run_id: str, content: pa.Table) -> None:
    folder = Path(out, table, f"date={night}", f"run={run_id}")
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, folder / "part-00000-of-00001.parquet", compression="zstd")
