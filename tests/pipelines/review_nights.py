"""Nights for the tests of `ser review`: invented ones, and one over real sound."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest
import soundfile

from pipelines.review import (
    DISAGREEMENT,
    LEAST_SURE,
    RANDOM,
    listing,
    selection,
)  # fmt: skip
from pipelines.review.selection import Request
from pipelines.storage import inputs, store
from ser_core import tables
from ser_core.examine import Channel, Examined, Settings, SpeechSegment, examine
from tests import tiny_bundle
from tests.speechlike import call

RATE = 8_000
LABELS = ("calm", "angry")
HOSTILE = (
    "<img src=x onerror=document.title='owned'>.wav",
    'a "quoted", call\'s #1?%20&amp;.wav',
    "=1+1;€ ünï.wav",
)
BOTH = ((LEAST_SURE, 1.0), (RANDOM, 1.0))
ALL = ((LEAST_SURE, 1.0), (DISAGREEMENT, 1.0), (RANDOM, 1.0))


def publish(out, parts, labelling, *, date="2026-03-01", run_id="r20260301T010000-aaaaaa"):
    """A run's tables, as a night writes them; a list of (Item, probabilities) a part."""
    from pipelines.steps.parts import Layout
    from pipelines.steps.writing import WriteParts

    with store.Output(out) as output:
        staged = output.stage(run_id)
        write, names = WriteParts(staged, Layout(labelling, ("speaker",))), []
        write.setup()
        for part in parts:
            write.start_bundle()
            for element in part:
                assert not list(write.process(element))
            names += [part.value.name for part in write.finish_bundle()]
        output.publish(staged, names, date=dt.date.fromisoformat(date))


def labelling(labels=LABELS, model_id="tiny-1"):
    return tables.Labelling(model_id, labels, "test_simple")


def invented(count: int, each: int, *, seed=0, root="/calls", prefix="c", reason=None):
    """Recordings that were never made, and what a model might say of them."""
    from pipelines.steps.item import Item

    random = np.random.default_rng(seed)
    for i in range(count):
        uri = f"{root}/{prefix}{i:03d}.wav"
        at = np.cumsum(random.uniform(1.5, 4.0, each))
        segments = tuple(
            SpeechSegment(1, "customer", float(t), float(t + random.uniform(1, 1.4)), -20.0)
            for t in at
        )
        examined = Examined(
            inputs.Source(uri, 1000 + i, 1_700_000_000_000_000 + i),
            recording_id=hashlib.sha256(uri.encode()).hexdigest(),
            reason=reason,
            duration_s=200.0,
            sample_rate_hz=RATE,
            channels=2,
            codec="pcm_s16",
            by_channel=(Channel(0, "agent", False, 1.0), Channel(1, "customer", True, 9.0)),
            segments=segments if reason is None else (),
            vectors=random.normal(-30, 10, (each, 4)).astype(np.float32),
        )
        angry = random.uniform(0, 1, each).astype(np.float32)
        yield Item(examined, None, {"speaker": f"s{i % 7}"}), np.stack([1 - angry, angry], axis=1)


def stored_segments(out, where="true") -> list[dict]:
    return (
        duckdb.sql(f"SELECT * FROM '{out}/segments/**/*.parquet' WHERE {where}")
        .to_arrow_table()
        .to_pylist()
    )


def quiet(*_):
    """Says nothing."""


def picked(out, **about) -> selection.Selection:
    return selection.select(Request(str(out), **about), say=quiet, progress=quiet)


def key(segment) -> tuple:
    return segment.uri, segment.channel, segment.start_s


@pytest.fixture(scope="module")
def soft_model(tmp_path_factory):
    """Loud speech is angry, quiet speech calm, and what is between not sure."""
    folder = tmp_path_factory.mktemp("models") / "soft"
    return tiny_bundle.make(
        folder, LABELS, "test_simple", tiny_bundle.threshold([0], [-30.0], 0.2), name="soft"
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    levels = [(-42, -33, -20), (-41, -29, -25), (-24, -20, -31)]
    for i, (name, (a, b, c)) in enumerate(zip(HOSTILE, levels, strict=True)):
        turns = [(1, 3.5, a), (5, 7.1, b), (9, 11, c)]
        sides = (
            call([(3.6, 4.8, -20)], 12, f0_hz=170, seed=20 + i),
            call(turns, 12, noise_db=-90, seed=i),
        )
        soundfile.write(folder / name, np.stack(sides, axis=1), RATE, "PCM_16")
    soundfile.write(folder / "mono.wav", call([(1, 4, -27)], 5), RATE, "ULAW")
    return folder


def examined_night(out, archive, model, **about) -> Path:
    """A night over real files, without a runner."""
    from pipelines.steps.item import Item
    from pipelines.steps.predicting import BundleHandler

    handler = BundleHandler(str(model))
    bundle = handler.load_model()
    settings = Settings("test_simple", ("agent", "customer"))
    sources = sorted(
        inputs.match([str(archive)], dates=(dt.date.today(),)), key=lambda source: source.uri
    )
    items = [
        Item(examine(source.uri, source, settings), None, {"speaker": "x"}) for source in sources
    ]
    publish(out, [list(handler.run_inference(items, bundle))],
            labelling(bundle.labels, bundle.id), **about)  # fmt: skip
    return out


@pytest.fixture(scope="module")
def night(archive, soft_model, tmp_path_factory):
    return examined_night(tmp_path_factory.mktemp("night") / "out", archive, soft_model)


def made(out, folder, **about):
    """The list, the page, and what was said."""
    lines, wanted = [], {}
    for name in ("n", "by", "against", "speaker_field", "date"):
        if name in about:
            wanted[name] = about.pop(name)
    listing.review(Request(str(out), **wanted), save=str(folder / "list.csv"),
                  say=lines.append, progress=quiet, **about)  # fmt: skip
    with open(folder / "list.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return rows, (folder / "list.html").read_text(encoding="utf-8"), "\n".join(lines)


def page_data(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def read(folder) -> str:
    return (folder / "list.html").read_text(encoding="utf-8")
