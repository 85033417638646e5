"""`ser review`: which segments, exact times and samples, and the list."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

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
from pipelines.storage import files
from ser_core import models
from tests import object_stores, tiny_bundle
from tests.pipelines.review_nights import (  # noqa: F401
    ALL,
    BOTH,
    HOSTILE,
    LABELS,
    RATE,
    archive,
    examined_night,
    invented,
    key,
    labelling,
    made,
    night,
    page_data,
    picked,
    publish,
    quiet,
    read,
    soft_model,
    stored_segments,
)
from tests.speechlike import call


@pytest.fixture(scope="module")
def invented_out(tmp_path_factory):
    """1,000 segments of 40 recordings in three parts."""
    out = tmp_path_factory.mktemp("invented") / "out"
    recordings = list(invented(40, 25))
    publish(out, [recordings[:10], recordings[10:11], recordings[11:]], labelling())
    return out


@pytest.fixture(scope="module")
def relative_model(tmp_path_factory):
    return tiny_bundle.make_relative(tmp_path_factory.mktemp("models") / "relative")


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
    with ledger.StoredRecordings(str(out), "").found() as todo:
        for stored in todo.elements:
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


def test_the_list_reads_back_as_what_the_tables_hold(night, tmp_path):
    rows, page, _ = made(night, tmp_path)
    assert list(rows[0]) == [
        "uri", "channel", "start_s", "end_s", "label", "annotator", "speaker",
        "weight", "recording_id", "run_id",
    ]  # fmt: skip
    known = {(row["uri"], row["channel"], row["start_s"]): row for row in stored_segments(night)}
    assert {Path(uri).name for uri, _, _ in known} == {*HOSTILE, "mono.wav"}
    assert len(rows) == len(known) == 10
    for row in rows:
        segment = known[row["uri"], int(row["channel"]), float(row["start_s"])]
        assert float(row["end_s"]) == segment["end_s"]
        assert (row["recording_id"], row["run_id"]) == (segment["recording_id"], segment["run_id"])
        assert (row["label"], row["annotator"], row["speaker"]) == ("", "", "")
    assert Counter(row["weight"] for row in rows) == {"2.0": 5, "": 5}
    # What would lead a listener is not there.
    items = page_data(page)["items"]
    assert not {"guess", "why", "confidence"} & {key for item in items for key in item}
    assert "the model said" not in re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)


def test_what_was_labelled_is_not_asked_again(night, tmp_path):
    rows, _, _ = made(night, tmp_path)
    heard, unsure = rows[:4], rows[4]
    answers = [*({**row, "label": "calm", "annotator": "ana"} for row in heard)]
    answers.append({**unsure, "annotator": "ana"})
    answers += rows[5:]  # not heard yet
    far, near = tmp_path / "far", tmp_path / "near"
    for folder in (far, near):
        folder.mkdir()
    lines = [list(row.values()) for row in answers]
    (far / "review-ana.csv").write_text(listing.as_csv(list(rows[0]), lines), encoding="utf-8")
    again, _, output = made(night, near, labelled=[str(far / "review-ana.csv")])
    assert "5 segments are labelled already and left out" in output
    left = {(row["uri"], row["start_s"]) for row in rows[5:]}
    assert {(row["uri"], row["start_s"]) for row in again} == left
    # Lists beside the new one count, too; other tables there do not.
    (near / "other.csv").write_text("a,b\n1,2\n")
    (far / "review-ana.csv").rename(near / "review-ana.csv")
    assert {(row["uri"], row["start_s"]) for row in made(night, near)[0]} == left
    with pytest.raises(
        UsageError, match=r"--labelled .*other\.csv: a list of `ser review` expected"
    ):
        made(night, near, labelled=[str(near / "other.csv")])
    every = [[*row.values()] for row in ({**row, "label": "calm"} for row in rows)]
    (near / "all.csv").write_text(listing.as_csv(list(rows[0]), every), encoding="utf-8")
    with pytest.raises(NothingMatchedError, match="all 10 segments are labelled already"):
        made(night, near)


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
        begins_s = max(0.0, float(row["start_s"]) - 5.0)
        cut = slice(round(begins_s * at), round(float(row["end_s"]) * at))
        assert item["lead_s"] == float(row["start_s"]) - begins_s
        assert len(item["wave"]) == 160
        assert max(item["wave"]) <= 99
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
        # In a store a run counts once its row in `runs` is there.
        for folder in {path.parent for path in night.rglob("recordings/*/*/*.parquet")}:
            text = io.BytesIO()
            pq.write_table(pa.table({"run_id": [folder.name.partition("=")[2]]}), text)
            place = folder.relative_to(night / "recordings")
            bucket.put(f"out/runs/{place}/part-00000-of-00001.parquet", text.getvalue())
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
