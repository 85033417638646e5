"""`ser review`: which segments, exact times and samples, and a page that takes labels."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import os
import re
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipelines import ledger
from pipelines.errors import NothingMatchedError, UsageError
from pipelines.review import (
    DISAGREEMENT,
    KINDS,
    LEAST_SURE,
    RANDOM,
    clips,
    disagreement,
    listing,
    selection,
)  # fmt: skip
from pipelines.review.selection import Request
from pipelines.storage import files, inputs, published, store
from ser_core import models, tables
from ser_core.examine import Channel, Examined, Settings, SpeechSegment, examine
from tests import object_stores, tiny_bundle
from tests.browser import chromium
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
def invented_out(tmp_path_factory):
    """1,000 segments of 40 recordings in three parts."""
    out = tmp_path_factory.mktemp("invented") / "out"
    recordings = list(invented(40, 25))
    publish(out, [recordings[:10], recordings[10:11], recordings[11:]], labelling())
    return out


@pytest.fixture(scope="module")
def soft_model(tmp_path_factory):
    """Loud speech is angry, quiet speech calm, and what is between not sure."""
    folder = tmp_path_factory.mktemp("models") / "soft"
    return tiny_bundle.make(
        folder, LABELS, "test_simple", tiny_bundle.threshold([0], [-30.0], 0.2), name="soft"
    )


@pytest.fixture(scope="module")
def relative_model(tmp_path_factory):
    return tiny_bundle.make_relative(tmp_path_factory.mktemp("models") / "relative")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    levels = [(-42, -33, -20), (-41, -29, -25), (-24, -20, -31)]
    for i, (name, (a, b, c)) in enumerate(zip(HOSTILE, levels, strict=True)):
        turns = [(1, 3.5, a), (5, 7.1, b), (9, 11, c)]
        sides = call([(3.6, 4.8, -20)], 12, seed=20 + i), call(turns, 12, noise_db=-90, seed=i)
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
        inputs.match([str(archive)], date=dt.date.today()), key=lambda source: source.uri
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


# ---------------------------------------------------------------- which


@given(
    st.integers(0, 500),
    st.lists(st.floats(0.01, 100), min_size=1, max_size=3),
)
def test_shares_add_up_and_are_off_by_less_than_one(n, shares):
    by = list(zip(KINDS, shares, strict=False))
    parts = selection.split_by_shares(n, by)
    assert sum(parts.values()) == n
    for kind, share in by:
        assert abs(parts[kind] - n * share / sum(shares)) < 1 + 1e-9


def test_the_least_sure_are_the_least_sure(invented_out):
    found = picked(invented_out, n=30, by=((LEAST_SURE, 1.0),), per_recording=100).choices
    stored = sorted(stored_segments(invented_out), key=lambda row: row["confidence"])
    assert {key(choice) for choice in found} == {
        (row["uri"], row["channel"], row["start_s"]) for row in stored[:30]
    }
    assert {choice.why for choice in found} == {LEAST_SURE}
    assert {choice.weight for choice in found} == {None}


def test_one_odd_call_does_not_fill_the_list(invented_out):
    found = picked(invented_out, n=60, by=((LEAST_SURE, 1.0),), per_recording=2).choices
    assert len(found) == 60
    assert max(Counter(choice.uri for choice in found).values()) == 2
    # Of each recording its own least sure ones.
    rows = stored_segments(invented_out)
    for choice in found:
        surer = [
            row
            for row in rows
            if row["uri"] == choice.uri and row["confidence"] < choice.confidence
        ]
        assert len(surer) < 2


def test_what_does_not_fit_is_said(invented_out):
    lines = []
    wanted = Request(str(invented_out), n=200, by=((LEAST_SURE, 1.0),), per_recording=3)
    found = selection.select(wanted, say=lines.append, progress=quiet)
    assert len(found.choices) == 3 * 40
    assert "200 requested, but at most 3 per recording (--per-recording)" in "\n".join(lines)


def test_random_ones_are_drawn_from_all_alike(tmp_path):
    """Over many seeds each segment comes as often as any other: chi-square of the counts."""
    publish(tmp_path / "out", [list(invented(10, 20))], labelling())
    counts, seeds, n, total = Counter(), 40, 50, 200
    for seed in range(seeds):
        found = picked(tmp_path / "out", n=n, by=((RANDOM, 1.0),), seed=seed).choices
        assert len({key(choice) for choice in found}) == n
        assert {choice.weight for choice in found} == {total / n}
        counts.update(map(key, found))
    expected = seeds * n / total
    times = [counts.get(key_, 0) for key_ in counts] + [0] * (total - len(counts))
    # Without replacement a count's variance is smaller by the share that is not drawn.
    statistic = sum((time - expected) ** 2 for time in times) / (expected * (1 - n / total))
    assert abs(statistic - total) < 4 * np.sqrt(2 * total)


def test_the_list_is_the_same_for_a_seed_and_another_for_another(invented_out, tmp_path):
    # Also where the same segments lie in other parts, in another order.
    recordings = list(invented(40, 25))
    publish(tmp_path / "out", [recordings[::-2], recordings[::2]], labelling())
    first = picked(invented_out, n=40, seed=5)
    again = picked(tmp_path / "out", n=40, seed=5)
    assert [(key(choice), choice.why) for choice in again.choices] == [
        (key(choice), choice.why) for choice in first.choices
    ]
    other = picked(invented_out, n=40, seed=6)
    assert {key(choice) for choice in other.choices if choice.why == RANDOM} != {
        key(choice) for choice in first.choices if choice.why == RANDOM
    }
    # A longer list holds the random ones of a shorter one, and kinds are mixed.
    longer = picked(invented_out, n=80, seed=5)
    assert {key(choice) for choice in first.choices if choice.why == RANDOM} <= {
        key(choice) for choice in longer.choices if choice.why == RANDOM
    }
    half = Counter(choice.why for choice in first.choices[:20])
    assert min(half[RANDOM], half[LEAST_SURE]) >= 4


def test_no_segment_twice_and_few_of_a_recording(invented_out, soft_model):
    found = picked(invented_out, n=150, by=ALL, against=str(soft_model), per_recording=3).choices
    assert len({key(choice) for choice in found}) == 150
    assert Counter(choice.why for choice in found) == {LEAST_SURE: 50, DISAGREEMENT: 50, RANDOM: 50}
    hard = Counter(choice.uri for choice in found if choice.why != RANDOM)
    assert max(hard.values()) == 3
    assert {choice.weight for choice in found if choice.why == RANDOM} == {20.0}


def test_all_where_there_are_fewer(invented_out):
    lines = []
    wanted = Request(str(invented_out), n=5000, by=BOTH, per_recording=1)
    found = selection.select(wanted, say=lines.append, progress=quiet).choices
    assert len({key(choice) for choice in found}) == 1000
    assert Counter(choice.why for choice in found) == {LEAST_SURE: 500, RANDOM: 500}
    assert "the night has only 1,000 segments" in "\n".join(lines)


def test_only_the_latest_row_of_the_night_counts(tmp_path):
    out = tmp_path / "out"
    first, second = list(invented(6, 10)), list(invented(6, 10, seed=1))
    publish(out, [list(invented(3, 10, prefix="old"))], labelling(), date="2026-02-28",
            run_id="r20260228T010000-aaaaaa")  # fmt: skip
    publish(out, [first], labelling(), run_id="r20260301T010000-aaaaaa")
    # Another model the same night; one recording has since become something without speech.
    publish(out, [second[:5], list(invented(6, 10, reason="corrupt"))[5:]],
            labelling(model_id="tiny-2"), run_id="r20260301T020000-aaaaaa")  # fmt: skip
    # Nothing but what is tried again each night.
    publish(out, [list(invented(1, 10, prefix="gone", reason="unreadable"))], labelling(),
            date="2026-03-02", run_id="r20260302T010000-aaaaaa")  # fmt: skip
    found = picked(out)
    assert (found.night, found.segments) == ("night 2026-03-01", 50)
    assert {choice.run_id for choice in found.choices} == {"r20260301T020000-aaaaaa"}
    confidences = {key(choice): choice.confidence for choice in found.choices}
    assert confidences == {
        (row["uri"], row["channel"], row["start_s"]): row["confidence"]
        for row in stored_segments(out, "run_id = 'r20260301T020000-aaaaaa'")
    }
    earlier = picked(out, run_id="r20260301T010000-aaaaaa")
    assert (earlier.segments, earlier.night) == (60, "run r20260301T010000-aaaaaa")
    assert picked(out, date="2026-02-28").segments == 30
    with pytest.raises(NothingMatchedError, match="no labelled segment"):
        picked(out, date="2026-03-02")
    with pytest.raises(NothingMatchedError, match="the nights 2026-03-02, 2026-03-01, 2026-02-28"):
        picked(out, date="2026-03-09")


def test_labels_of_the_page_are_those_of_the_rows_that_count(tmp_path):
    out = tmp_path / "out"
    publish(out, [list(invented(4, 5))], labelling(("old", "older")), run_id="r1-a")
    publish(out, [list(invented(4, 5))[:2]], labelling(("sad", "happy")), run_id="r2-a")
    publish(out, [list(invented(4, 5))[2:]], labelling(("happy", "angry")), run_id="r3-a")
    found = picked(out, n=20, by=BOTH)
    assert set(found.labels) == {"sad", "happy", "angry"}
    assert {choice.label for choice in found.choices} <= set(found.labels)


# ---------------------------------------------------------------- what another bundle message


def test_divergence_is_that_of_jensen_and_shannon():
    p = np.array([[1, 0], [0.5, 0.5], [0.3, 0.7], [2, 6], [0, 0]])
    q = np.array([[0, 1], [1, 0], [0.3, 0.7], [0.25, 0.75], [1, 1]])
    # H(3/4, 1/4) - (H(1/2, 1/2) + H(1, 0)) / 2
    known = 2 - 0.75 * np.log2(3) - 0.5
    assert disagreement.divergence(p, q) == pytest.approx([1, known, 0, 0, 0], abs=1e-12)


def scores(out, model) -> dict:
    from pipelines.steps.predicting import BundleHandler

    handler = BundleHandler(str(model))
    found = {}
    for path in published.open_reader(out).paths("recordings"):
        beside = tables.beside(path, "segments"), tables.beside(path, "features")
        uris = published.open_parquet(path).read(columns=["uri"])["uri"].to_pylist()
        stored = ledger.Stored(path, *beside, tuple(uris))
        for *place, score in disagreement.disagreements(stored, handler, handler.load_model()):
            found[tuple(place)] = score
    return found


def test_a_bundle_agrees_with_itself_with_its_history_too(archive, relative_model, tmp_path):
    out = examined_night(tmp_path / "out", archive, relative_model)
    found = scores(out, relative_model)
    assert len(found) == len(stored_segments(out)) == 10
    assert set(found.values()) == {0.0}


def test_two_bundles_disagree_by_what_they_say(night, relative_model):
    found = scores(night, relative_model)
    bundle = models.load(relative_model)
    vectors = duckdb.sql(
        f"SELECT * FROM '{night}/features/**/*.parquet' ORDER BY uri, start_s"
    ).fetchnumpy()
    theirs = bundle.predict(
        np.array([list(vector) for vector in vectors["vector"]]), channel=vectors["uri"].astype(str)
    )
    rows = {(row["uri"], row["channel"], row["start_s"]): row for row in stored_segments(night)}
    places = zip(vectors["uri"], vectors["channel"], vectors["start_s"], strict=True)
    for place, q in zip(places, theirs.astype(float), strict=True):
        p = np.array([rows[place]["p_calm"], rows[place]["p_angry"]], dtype=float)
        m = (p + q) / 2
        expected = (np.sum(p * np.log2(p / m)) + np.sum(q * np.log2(q / m))) / 2
        assert found[place] == pytest.approx(expected, abs=1e-6)
    chosen = picked(night, n=2, by=((DISAGREEMENT, 1.0),), against=str(relative_model)).choices
    assert {found[key(choice)] for choice in chosen} == set(sorted(found.values())[-2:])


@pytest.mark.parametrize(
    ("labels", "message"), [(("sad", "happy"), "at least two in common"), (LABELS, None)]
)
def test_bundles_are_compared_over_the_labels_they_share(invented_out, tmp_path, labels, message):
    three = (*labels, "surprised")
    weights = tiny_bundle.threshold([0], [-30.0, 0.0], 0.2)
    model = tiny_bundle.make(tmp_path / "three", three, "test_simple", weights)
    wanted = {"n": 10, "by": ((DISAGREEMENT, 1.0),), "against": str(model)}
    if message:
        with pytest.raises(UsageError, match=message):
            picked(invented_out, **wanted)
    else:
        assert len(picked(invented_out, **wanted).choices) == 10


# ---------------------------------------------------------------- the list and the clips


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


def test_the_list_reads_back_as_what_the_tables_hold(night, tmp_path):
    rows, page, _ = made(night, tmp_path)
    assert list(rows[0]) == [
        "uri", "channel", "start_s", "end_s", "label", "annotator", "speaker",
        "why", "weight", "confidence", "recording_id", "run_id",
    ]  # fmt: skip
    known = {(row["uri"], row["channel"], row["start_s"]): row for row in stored_segments(night)}
    assert {Path(uri).name for uri, _, _ in known} == {*HOSTILE, "mono.wav"}
    assert len(rows) == len(known) == 10
    for row in rows:
        segment = known[row["uri"], int(row["channel"]), float(row["start_s"])]
        assert float(row["end_s"]) == segment["end_s"]
        assert np.float32(row["confidence"]) == np.float32(segment["confidence"])
        assert (row["recording_id"], row["run_id"]) == (segment["recording_id"], segment["run_id"])
        assert (row["label"], row["annotator"], row["speaker"]) == ("", "", "")
        assert (row["weight"] == "2.0") == (row["why"] == "random")
    # What would lead a listener is not there.
    assert all("guess" not in item for item in page_data(page)["items"])
    assert "the model said" not in re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)


def test_guess_and_speaker_where_they_are_asked_for(night, tmp_path):
    rows, page, _ = made(night, tmp_path, show_guess=True, speaker_field="meta_speaker")
    known = {(row["uri"], row["start_s"]): row["label"] for row in stored_segments(night)}
    assert all(row["guess"] == known[row["uri"], float(row["start_s"])] for row in rows)
    assert [item["guess"] for item in page_data(page)["items"]] == [row["guess"] for row in rows]
    assert {row["speaker"] for row in rows} == {"x"}
    with pytest.raises(UsageError, match=r"--speaker-field customer: .* columns found: speaker"):
        made(night, tmp_path, speaker_field="customer")


def test_clips_are_the_segments_samples_and_nothing_else(night, tmp_path):
    rows, page, output = made(night, tmp_path, clips=str(tmp_path / "the clips"))
    assert "delete them when you are done" in output
    items = page_data(page)["items"]
    assert len(list((tmp_path / "the clips").iterdir())) == len(rows)
    for row, item in zip(rows, items, strict=True):
        clip, rate = soundfile.read(tmp_path / item["url"].replace("%20", " "), dtype="int16")
        samples, at = soundfile.read(row["uri"], dtype="int16", always_2d=True)
        cut = slice(round(float(row["start_s"]) * at), round(float(row["end_s"]) * at))
        assert rate == at
        np.testing.assert_array_equal(clip, samples[cut, int(row["channel"])])
        assert item["clip"]
    # A second time gives the same files, not more.
    again, page, _ = made(night, tmp_path, clips=str(tmp_path / "the clips"))
    assert (again, page_data(page)["items"]) == (rows, items)
    assert len(list((tmp_path / "the clips").iterdir())) == len(rows)


@pytest.mark.parametrize("blocks", [[5, 5, 5], [15], [1] * 15, [7, 1, 7]])
def test_spans_are_cut_across_blocks(blocks):
    samples = np.arange(30).reshape(2, 15)
    edges = np.cumsum([0, *blocks])
    parts = (samples[:, a:b] for a, b in pairwise(edges))
    spans = [(1, 3, 12), (0, 0, 5), (0, 14, 15), (1, 5, 6)]
    for found, (channel, start, end) in zip(clips.cut(parts, spans), spans, strict=True):
        np.testing.assert_array_equal(found, samples[channel, start:end])


def test_recordings_that_went_or_changed_are_said_and_not_played(archive, soft_model, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    for i, name in enumerate(("gone", "changed", "touched", "same")):
        samples = call([(1, 4, -20)], 5, seed=i)
        soundfile.write(calls / f"{name}.wav", samples, RATE, "PCM_16")
    out = examined_night(tmp_path / "out", calls, soft_model)
    (calls / "gone.wav").unlink()
    soundfile.write(calls / "changed.wav", call([(1, 4, -20)], 5, seed=9), RATE, "PCM_16")
    os.utime(calls / "touched.wav", (1, 1))
    for place in (None, str(tmp_path / "clips")):
        rows, page, output = made(out, tmp_path, clips=place)
        items = {item["name"]: item for item in page_data(page)["items"]}
        assert (len(rows), len(items)) == (4, 4)
        assert "no longer exists" in items["gone.wav"]["problem"]
        assert "was replaced after" in items["changed.wav"]["problem"]
        assert not any(items[name]["url"] for name in ("gone.wav", "changed.wav"))
        assert all(items[name]["url"] for name in ("touched.wav", "same.wav"))
        assert output.count("1 of 4 segments cannot be played") == 2


def test_recordings_in_a_store_want_clips(tmp_path):
    out = tmp_path / "out"
    publish(out, [list(invented(3, 2, root="s3://calls"))], labelling())
    _, page, output = made(out, tmp_path)
    assert "6 of 6 segments cannot be played" in output
    assert "--clips" in output
    assert {item["url"] for item in page_data(page)["items"]} == {""}


def test_a_list_with_labels_is_not_written_over(night, tmp_path):
    made(night, tmp_path)
    made(night, tmp_path)
    path = tmp_path / "list.csv"
    with open(path, newline="", encoding="utf-8") as file:
        columns, *rows = csv.reader(file)
    rows[4][columns.index("label")] = "calm"
    for content, message in (
        (listing.as_csv(columns, rows), "it holds labels"),
        ("mine,alone\n1,2\n", "another file"),
        ("\0", "another file"),
    ):
        path.write_text(content, encoding="utf-8", newline="")
        with pytest.raises(UsageError, match=message):
            made(night, tmp_path)
        assert path.read_bytes().decode() == content


def test_tables_and_recordings_in_a_store(night, archive, soft_model, tmp_path, monkeypatch):
    """Real client, real server on loopback: the same list as here, and the same clips."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    for name, value in object_stores.KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    with object_stores.s3() as bucket:
        files.set_beam_options(PipelineOptions(bucket.options()))
        # The night's tables, as they would be with the recordings in the store.
        for path in archive.iterdir():
            bucket.put(f"calls/{path.name}", path.read_bytes())
        for path in night.rglob("*.parquet"):
            table = pq.read_table(path, partitioning=None)
            at = table.schema.get_field_index("uri")
            uris = [f"{bucket.url}/calls/{Path(uri).name}" for uri in table["uri"].to_pylist()]
            moved = table.set_column(at, table.schema.field("uri"), pa.array(uris))
            moved = moved.replace_schema_metadata(table.schema.metadata)
            text = io.BytesIO()
            pq.write_table(moved, text)
            bucket.put(f"out/{path.relative_to(night)}", text.getvalue())
        local, remote = tmp_path / "here", tmp_path / "there"
        for folder, out in ((local, night), (remote, f"{bucket.url}/out")):
            folder.mkdir()
            made(out, folder, n=20, by=ALL, against=str(soft_model), clips=str(folder / "clips"))
    names = [f"{item['name']} {item['start_s']}" for item in page_data(read(local))["items"]]
    assert sorted(names) == sorted(
        f"{item['name']} {item['start_s']}" for item in page_data(read(remote))["items"]
    )

    def clip_bytes(folder):
        return Counter(path.read_bytes() for path in (folder / "clips").iterdir())

    assert clip_bytes(local) == clip_bytes(remote)
    assert clip_bytes(local).total() == 10


def read(folder) -> str:
    return (folder / "list.html").read_text(encoding="utf-8")


# ---------------------------------------------------------------- as a user types it


def test_command(ser, night, tmp_path):
    words = ("review", "--output", night, "--n", "6", "--save", tmp_path / "mine.csv")
    done = ser(*words, "--by", "least-sure=2,random=1", "--annotator", "ana", "--labels", "x,y")
    assert done.returncode == 0, done.stderr
    assert "4 × the model was least sure here" in done.stdout
    assert "2 × drawn at random, each representing 5.0" in done.stdout
    page = (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert (page_data(page)["labels"], page_data(page)["annotator"]) == (["x", "y"], "ana")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--output", "nothing"), 4, "no tables found; `ser run` fills them"),
        (("--date", "2020-01-01"), 4, "the tables hold the nights 2026-03-01"),
        (("--run-id", "r0"), 4, "--run-id r0: nothing found"),
        (("--by", "random=0"), 2, "a number above 0 expected"),
        (("--by", "hardest"), 2, "'hardest' found; least-sure, disagreement, random expected"),
        (("--by", "disagreement"), 2, "--against BUNDLE is missing"),
        (("--by", "random", "--against", "calls"), 2, "is used by --by disagreement only"),
        (("--against", "calls"), 2, "the tables hold 'test_simple'"),
        (("--against", "nobody"), 2, "no bundled model of that name"),
        (("--save", "s3://a/b.csv"), 2, "a local file expected"),
        (("--save", "a.html"), 2, "a name that ends in .csv"),
        (("--labels", "a,b,a"), 2, "'a' twice"),
    ],
)
def test_mistakes(night, tmp_path, monkeypatch, capsys, words, status, message):
    from pipelines.cli import main

    monkeypatch.chdir(tmp_path)
    try:
        ended = main(["review", "--output", str(night), *words])
    except SystemExit as error:
        ended = error.code
    assert (ended, message in capsys.readouterr().err) == (status, True)
    assert not list(tmp_path.glob("*.csv"))


# ---------------------------------------------------------------- the page, in a browser


@pytest.fixture(scope="module")
def browser():
    with chromium("--autoplay-policy=no-user-gesture-required") as running:
        yield running


@pytest.fixture
def visit(browser):
    """Opens a page; gives it, the addresses it asked for, and what went wrong in it."""
    contexts = []

    def open_(path, width=1280, context=None):
        if context is None:
            context = browser.new_context(viewport={"width": width, "height": 800})
            contexts.append(context)
        page = context.new_page()
        asked, faults = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: faults.append(message.text) if message.type == "error" else None,
        )
        page.goto(path.as_uri())
        return page, asked, faults

    yield open_
    for context in contexts:
        context.close()


def name(page, who="ana"):
    page.fill("#annotator", who)
    page.keyboard.press("Enter")


def place(page) -> float:
    return page.evaluate("audio.currentTime")


def until(page, holds: str, seconds: float = 12) -> None:
    """Wait for a condition (Playwright's own waiting needs `eval`, which the page forbids)."""
    ends = time.monotonic() + seconds
    while not page.evaluate(holds):
        assert time.monotonic() < ends, f"never: {holds}"
        page.wait_for_timeout(20)


def test_page_plays_the_segment_alone(visit, night, tmp_path):
    rows, _, _ = made(night, tmp_path)
    page, asked, faults = visit(tmp_path / "list.html")
    for i, row in enumerate(rows[:3]):
        start, end = float(row["start_s"]), float(row["end_s"])
        if i == 1:  # as in a browser that takes no notice of the address's #t=
            page.evaluate("audio.src = audio.src.split('#')[0]")
        page.keyboard.press(" ")
        until(page, "!audio.paused && audio.currentTime > 0 && !audio.seeking")
        seen = [place(page)]
        page.wait_for_timeout(300)
        seen.append(place(page))
        assert start - 0.05 <= seen[0] < seen[1] <= end
        until(page, "audio.paused")
        assert place(page) == pytest.approx(end, abs=0.15)
        page.keyboard.press(" ")
        until(page, f"!audio.paused && audio.currentTime < {end - 0.3}")
        page.keyboard.press("ArrowRight")
    assert not faults
    # Nothing is asked for but the page and the recordings.
    asked_for = {unquote(url.partition("#")[0]) for url in asked}
    assert asked_for <= {f"file://{tmp_path}/list.html", *("file://" + row["uri"] for row in rows)}


def test_page_takes_labels_by_keys_and_gives_the_list(visit, night, tmp_path):
    rows, _, _ = made(night, tmp_path)
    page, _, faults = visit(tmp_path / "list.html")
    page.keyboard.press("1")
    assert "Enter your name first" in page.inner_text("#note")
    assert page.evaluate("document.activeElement.id") == "annotator"
    name(page, 'Ana "A", B')
    assert page.inner_text("#progress") == "1 of 10"
    for pressed in ("1", "2", "?", "s", "2"):
        page.keyboard.press(pressed)
    assert page.inner_text("#progress") == "6 of 10"
    assert page.inner_text("#counts") == "3 labelled, 1 not sure, 6 open"
    page.keyboard.press("u")
    assert page.inner_text("#progress") == "5 of 10"
    page.keyboard.press("1")
    page.keyboard.press("Backspace")
    page.keyboard.press("1")
    page.reload()
    assert page.inner_text("#progress") == "6 of 10"
    assert page.inner_text("#counts") == "3 labelled, 1 not sure, 6 open"
    assert page.input_value("#annotator") == 'Ana "A", B'
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#labels button.given").split() == ["1", "calm"]
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename == "review-Ana_A_B.csv"
    expected = [list(rows[0]), *(list(row.values()) for row in rows)]
    for i, label in {1: "calm", 2: "angry", 3: "", 5: "calm"}.items():
        expected[i][4:6] = label, 'Ana "A", B'
    text = Path(waiting.value.path()).read_bytes().decode("utf-8")
    assert text == listing.as_csv(expected[0], expected[1:])
    assert not faults


def test_page_shows_hostile_names_as_text(visit, night, tmp_path):
    labels = ["<b>bold</b>", "</script><script>document.title='owned'</script>", 'a,"b"', "plain"]
    who = "</script><img src=x onerror=document.title='owned'>"
    rows, _, _ = made(night, tmp_path, labels=labels, annotator=who)
    page, _, faults = visit(tmp_path / "list.html")
    assert page.input_value("#annotator") == who
    seen = set()
    for _ in rows:
        seen.add(page.inner_text("#name"))
        page.keyboard.press("2")
    assert seen == {*HOSTILE, "mono.wav"}
    assert page.title() == "Review: night 2026-03-01"
    assert page.locator("img, b, script:not([id])").count() == 1  # its own script
    with page.expect_download() as waiting:
        page.click("#download")
    with open(waiting.value.path(), newline="", encoding="utf-8") as file:
        back = list(csv.DictReader(file))
    assert {row["label"] for row in back} == {labels[1]}
    assert [row["uri"] for row in back] == [row["uri"] for row in rows]
    assert not faults


def test_page_on_a_phone(visit, night, tmp_path):
    made(night, tmp_path, labels=[*LABELS, "a rather long label that has to be broken somewhere"])
    page, _, faults = visit(tmp_path / "list.html", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    name(page)
    page.click("#play")
    until(page, "!audio.paused && audio.currentTime > 0")
    page.click("#labels button:nth-child(2)")
    page.click("#unsure")
    page.click("#undo")
    assert page.inner_text("#counts") == "1 labelled, 0 not sure, 9 open"
    for button in page.locator("#labels button, #more button, #play").all():
        assert button.bounding_box()["height"] >= 44
    assert not faults


def test_page_plays_clips_also_where_it_was_moved_with_them(visit, night, tmp_path):
    (tmp_path / "here").mkdir()
    rows, _, _ = made(night, tmp_path / "here", clips=str(tmp_path / "here" / "clips"))
    (tmp_path / "here").rename(tmp_path / "there")
    page, asked, _ = visit(tmp_path / "there" / "list.html")
    page.keyboard.press(" ")
    until(page, "audio.currentTime > 0.2")
    seconds = float(rows[0]["end_s"]) - float(rows[0]["start_s"])
    assert page.evaluate("audio.duration") == pytest.approx(seconds, abs=1e-3)
    assert all(url.startswith((tmp_path / "there").as_uri()) for url in asked)


def test_page_says_what_it_cannot_play(visit, soft_model, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    soundfile.write(calls / "a.wav", call([(1, 4, -20)], 5), RATE, "GSM610")
    made(examined_night(tmp_path / "out", calls, soft_model), tmp_path)
    page, _, _ = visit(tmp_path / "list.html")
    page.wait_for_selector("#problem:not([hidden])")
    assert "ser review --clips DIR" in page.inner_text("#problem")


def test_page_keeps_two_annotators_apart(visit, night, tmp_path):
    made(night, tmp_path)
    page, _, _ = visit(tmp_path / "list.html")
    name(page, "ana")
    page.keyboard.press("1")
    page.once("dialog", lambda dialog: dialog.dismiss())
    name(page, "ben")
    assert page.inner_text("#counts") == "0 labelled, 0 not sure, 10 open"
    name(page, "ana")
    assert page.inner_text("#counts") == "1 labelled, 0 not sure, 9 open"
    page.once("dialog", lambda dialog: dialog.accept())
    name(page, "anna")
    assert page.inner_text("#counts") == "1 labelled, 0 not sure, 9 open"


def test_page_tells_the_guess_after_an_answer_only(visit, night, tmp_path):
    rows, _, _ = made(night, tmp_path, show_guess=True)
    page, _, _ = visit(tmp_path / "list.html")
    name(page)
    assert rows[0]["guess"] in LABELS
    assert not page.is_visible("#guess")
    page.keyboard.press("g")
    assert page.inner_text("#guess") == f"The model said: {rows[0]['guess']}"
    page.keyboard.press("1")
    assert not page.is_visible("#guess")
    assert page.inner_text("#before") == f"1: calm; the model said {rows[0]['guess']}."
