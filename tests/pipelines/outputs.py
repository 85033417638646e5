"""Output folders that are filled as runs fill them, but without audio, model or runner."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines import ledger, publishing
from pipelines.books import Listed
from pipelines.steps import closing
from pipelines.steps.item import Item
from pipelines.steps.parts import Layout
from pipelines.steps.writing import WriteParts
from pipelines.storage import published, store
from ser_core import tables
from ser_core.examine import Channel, Examined, Source, SpeechSegment

NIGHT = dt.date(2026, 3, 1)
LABELS = ("calm", "angry")


def identity(content: str) -> str:
    """The id of a recording with this content."""
    return hashlib.sha256(content.encode()).hexdigest()


def call(
    uri: str,
    content: str | None = None,
    *,
    segments: int = 2,
    reason: str | None = None,
    time: dt.datetime | None = None,
    modified_us: int = 1,
    **meta: str,
) -> Item:
    """A recording that was examined; its content is that of its name, if none is given."""
    spoken = tuple(SpeechSegment(0, "mixed", i, i + 1.0, -20.0) for i in range(segments))
    channels = () if reason else (Channel(0, "mixed", True, float(segments)),)
    seed = int(identity(content or uri)[:8], 16)
    return Item(
        Examined(
            Source(uri, 100, modified_us),
            recording_id=None if reason == "unreadable" else identity(content or uri),
            reason=reason,
            detail=reason,
            duration_s=None if reason else 360.0,
            sample_rate_hz=None if reason else 8_000,
            by_channel=channels,
            segments=() if reason else spoken,
            vectors=np.random.default_rng(seed).random((segments, 4), dtype=np.float32),
            cpu_s={"decode": 0.5},
        ),
        call_time=time,
        meta=dict(meta),
    )


def add_run(
    out: str | Path,
    items: Sequence[Item],
    *,
    night: dt.date = NIGHT,
    labels: Sequence[str] = LABELS,
    model: str = "m-1",
    meta: Sequence[str] = ("customer",),
    command: str = "ser run",
    redo: Sequence[str] = (),
    already_done: int = 0,
    parts: int = 1,
) -> str:
    """Publish a run with these recordings; returns its id."""
    layout = Layout(tables.Labelling(model, tuple(labels), "test_simple", 0.5, 0.5), tuple(meta))
    started = dt.datetime.now(dt.UTC)
    with publishing.opened(str(out), lambda line: None) as output:
        start = tables.RunStart(
            run_id=store.new_run_id(started, published.latest_run_id(str(out))),
            night=night,
            command=command,
            versions={"python": "3"},
            model_id=model,
            model_licence="MIT",
            feature_set="test_simple",
            started=started,
            redo=tuple(redo),
        )
        staged = publishing.begin(output, start)
        with ledger.listing(f"{staged}/given.parquet") as note:
            for item in items:
                note(item.examined.source)
        writer = WriteParts(staged, layout)
        writer.setup()
        written = []
        for i in range(parts):
            writer.start_bundle()
            for item in items[i::parts]:
                count = len(item.examined.segments)
                values = np.linspace(0.2, 0.8, len(labels), dtype=np.float32)
                written += writer.process((item, np.tile(values / values.sum(), (count, 1)))) or ()
            written += [element.value for element in writer.finish_bundle() or ()]
        counts = ledger.Matched(len(items) + already_done, already_done=already_done)
        closing.seal([*written, Listed("given.parquet", counts)], staged, layout)
        publishing.publish(output, staged)
    return start.run_id
