"""Whole nights, as a user runs them: labels, books, second nights, relabelling, sameness."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
import soundfile

from tests import tiny_bundle
from tests.bad_files import BAD_FILES, make_bad_files
from tests.speechlike import call

RATE = 8_000
ROLES = ("--channel-roles", "agent,customer")
# Customers' turns: (start_s, end_s, level in dB); above -30 dB the model says angry.
TURNS = {
    "worse_1.wav": [(1, 4, -42), (6, 9, -40), (12, 15, -20)],
    "calm_1.wav": [(1, 4, -42), (11, 14, -41)],
    "angry_1.wav": [(2, 6, -20), (8, 14, -18)],
}
AGENT = [(4.5, 5.5, -20), (9.5, 11, -20)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for i, (name, turns) in enumerate(TURNS.items()):
        sides = call(AGENT, 16, f0_hz=170, seed=20 + i), call(turns, 16, noise_db=-90, seed=i)
        soundfile.write(folder / name, np.stack(sides, axis=1), RATE, "PCM_16")
    soundfile.write(folder / "silent_1.wav", np.zeros((RATE, 2)), RATE)
    soundfile.write(folder / "mono_1.wav", call([(1, 4, -20)], 5), RATE, "ULAW")
    make_bad_files(folder / "bad")
    return folder


# All but what differs from run to run.
KEPT = {
    "recordings": "* EXCLUDE (run_id, features_run_id, run, date, processed_at)",
    "segments": "* EXCLUDE (run_id, features_run_id, run, date)",
    "features": "* EXCLUDE (run_id, run, date)",
    "runs": "matched, already_done, labelled, no_speech, rejected, by_reason, mixed",
}


def rows(out, table="recordings", columns="*", where="true"):
    return (
        duckdb.sql(
            f"SELECT {columns} FROM read_parquet('{out}/{table}/**/*.parquet', union_by_name=true, "
            f"hive_partitioning=true) WHERE {where} ORDER BY ALL"
        )
        .to_arrow_table()
        .to_pylist()
    )


def values(out, table="recordings"):
    return rows(out, table, KEPT[table])


@pytest.fixture(scope="module")
def night(archive, level_model, tmp_path_factory):
    from pipelines.cli import main

    out = tmp_path_factory.mktemp("night") / "out"
    status = main(
        [
            *("run", "--input", str(archive), "--output", str(out), "--model", str(level_model)),
            *(*ROLES, "--date", "2026-03-01", "--max-reject-ratio", "1", "--workers", "2"),
            *("--uri-fields", r"(?P<mood>[a-z]+)_(?P<number>\d)\.wav$"),
        ]
    )
    assert status == 0
    return out


def test_one_row_a_file_and_books_that_close(night, archive):
    files = [path for path in archive.rglob("*") if path.is_file() or path.is_symlink()]
    found = rows(night, columns="uri, status, reason")
    assert sorted(row["uri"] for row in found) == sorted(str(path) for path in files)
    (run,) = rows(night, "runs")
    assert run["matched"] == len(files)
    assert (run["labelled"], run["no_speech"], run["already_done"], run["mixed"]) == (4, 1, 0, 1)
    assert run["rejected"] == len(files) - 5 == sum(dict(run["by_reason"]).values())
    assert run["cpu_seconds"] > 0
    assert run["peak_memory_mb"] > 100
    assert run["started"] < run["ended"]
    assert run["run_id"][0].isalpha()


def test_bad_files_have_their_reasons(night):
    found = rows(night, columns="uri, reason, detail, recording_id", where="status = 'rejected'")
    assert {Path(row["uri"]).name: row["reason"] for row in found} == BAD_FILES
    assert all(row["detail"] for row in found)
    assert [r["reason"] for r in found if r["recording_id"] is None] == ["unreadable"]


def test_labels_are_the_models_for_the_right_channel_and_times(night):
    for name, turns in TURNS.items():
        found = rows(
            night,
            "segments",
            "channel, role, start_s, end_s, label, confidence, p_calm, p_angry, rms_db",
            f"uri LIKE '%/{name}'",
        )
        assert len(found) == len(turns)
        for row, (start, end, level_db) in zip(found, turns, strict=True):
            assert (row["channel"], row["role"]) == (1, "customer")
            assert (row["start_s"], row["end_s"]) == pytest.approx((start, end), abs=0.3)
            assert row["label"] == ("angry" if level_db > -30 else "calm")
            # The network is one dense layer: logits 0 and level + 30.
            odds = 1 / (1 + np.exp(-(row["rms_db"] + 30.0)))
            assert row["p_angry"] == pytest.approx(odds, abs=1e-3)
            assert row["p_calm"] == pytest.approx(1 - odds, abs=1e-3)
            assert row["confidence"] == max(row["p_calm"], row["p_angry"])


def test_recordings_add_up_their_segments(night):
    found = {
        row["meta_mood"]: row
        for row in rows(night, where="status = 'labelled' AND meta_mood IS NOT NULL")
    }
    assert {mood: row["label"] for mood, row in found.items()} == {
        "worse": "calm", "calm": "calm", "angry": "angry", "mono": "angry",
    }  # fmt: skip
    assert {mood: row["arc"] for mood, row in found.items()} == {
        "worse": "worse", "calm": "level", "angry": "level", "mono": "level",
    }  # fmt: skip
    worse = found["worse"]
    assert worse["negativity_q1"] < 0.01
    assert worse["negativity_q4"] > 0.99
    segments = rows(night, "segments", where=f"uri = '{worse['uri']}'")
    seconds = [s["end_s"] - s["start_s"] for s in segments]
    expected = np.average([s["p_angry"] for s in segments], weights=seconds)
    assert worse["p_angry"] == pytest.approx(expected, abs=1e-6)
    assert worse["speech_s"] == pytest.approx(sum(seconds))
    agent, customer = worse["by_channel"]
    assert (agent["role"], agent["analysed"], agent["label"]) == ("agent", False, None)
    assert (customer["role"], customer["analysed"], customer["label"]) == ("customer", True, "calm")
    assert agent["speech_s"] > 1


def test_schema(night):
    """Column names and types are the contract."""
    for table, columns in {
        "recordings": [
            "recording_id", "uri", "run_id", "features_run_id", "size_bytes", "modified_at",
            "status", "reason", "detail", "tried_with", "call_time", "duration_s",
            "sample_rate_hz", "channels", "codec", "speech_s", "music_s", "crosstalk_s",
            "clipping_ratio", "snr_db", "bandwidth_hz", "label", "confidence", "unsure",
            "p_calm", "p_angry", "negativity",
            "negativity_q1", "negativity_q2", "negativity_q3", "negativity_q4", "arc", "silence_s",
            "overlap_s", "by_channel", "meta_mood", "meta_number", "model_id", "feature_set",
            "processed_at",
        ],
        "segments": [
            "recording_id", "uri", "run_id", "features_run_id", "channel", "role", "start_s",
            "end_s", "label", "confidence", "unsure", "p_calm", "p_angry", "rms_db",
        ],
        "features": [
            "recording_id", "uri", "run_id", "channel", "role", "start_s", "end_s", "vector",
        ],
    }.items():  # fmt: skip
        for path in night.glob(f"{table}/date=2026-03-01/run=*/part-*.parquet"):
            schema = pq.read_schema(path)
            assert schema.names == columns
            assert schema.metadata[b"schema_version"] == b"1"
            assert schema.metadata[b"feature_set"] == b"test_simple"
            assert schema.metadata[b"model_id"].startswith(b"level-")
            assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    schema = pq.read_schema(next(night.glob("recordings/*/*/*.parquet")))
    assert str(schema.field("modified_at").type) == "timestamp[us, tz=UTC]"
    assert (str(schema.field("channels").type), str(schema.field("p_calm").type)) == (
        "int16",
        "float",
    )
    path = next(night.glob("features/*/*/*.parquet"))
    schema = pq.read_schema(path)
    assert str(schema.field("vector").type) == "fixed_size_list<element: float>[4]"
    assert json.loads(schema.metadata[b"names"])[0] == "level_db"
    column = pq.ParquetFile(path).metadata.row_group(0)
    vector = next(
        column.column(i)
        for i in range(column.num_columns)
        if "vector" in column.column(i).path_in_schema
    )
    assert "BYTE_STREAM_SPLIT" in vector.encodings


def test_readers_open_nested_columns(night):
    files = sorted(str(path) for path in night.glob("recordings/**/*.parquet"))
    frame = pd.concat([pd.read_parquet(path) for path in files])
    assert frame.loc[frame.status == "labelled", "by_channel"].map(len).max() == 2
    frame = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in files])
    speaking = frame.explode("by_channel").unnest("by_channel", separator="_")
    assert speaking["by_channel_role"].is_in(["customer"]).sum() == 4
    frame = pl.read_parquet(str(night / "features/**/*.parquet"))
    assert frame["vector"].dtype == pl.Array(pl.Float32, 4)


def test_a_second_night_does_nothing_and_says_so(night, archive, level_model, ser_here, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(night, out)  # other tests look at the first night alone, in any order
    before = values(out)
    words = ("run", "--input", archive, "--output", out, "--model", level_model, *ROLES)
    done = ser_here(*words, "--max-reject-ratio", "1")
    assert done.returncode == 0
    # A link that is broken is tried again each night.
    assert f"1 rejected + {len(BAD_FILES) + 4} already done" in done.stdout
    assert f"{len(BAD_FILES) - 1} of them rejected earlier" in done.stdout
    assert len(values(out)) == len(before) + 1
    assert len(rows(out, "runs")) == 2


def test_a_touched_file_is_done_again(archive, level_model, ser_here, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    for name in ("calm_1.wav", "angry_1.wav"):
        shutil.copy(archive / name, calls)
    words = ("run", "--input", calls, "--output", tmp_path / "out", "--model", level_model, *ROLES)
    assert "2 labelled" in ser_here(*words).stdout
    done = ser_here(*words)
    assert "nothing new: 2 matched, 2 already done" in done.stdout
    assert done.returncode == 0
    shutil.copy(archive / "angry_1.wav", calls / "calm_1.wav")
    assert (
        "2 matched = 1 labelled + 0 without speech + 0 rejected + 1 already done"
        in ser_here(*words).stdout
    )
    assert len(rows(tmp_path / "out", "runs")) == 3


@pytest.mark.parametrize("how", [("--workers", "3"), ("--workers", "1", "--chunk", "6")])
def test_workers_and_chunks_change_no_row(night, archive, level_model, ser_here, tmp_path, how):
    out = tmp_path / "out"
    words = ("--uri-fields", r"(?P<mood>[a-z]+)_(?P<number>\d)\.wav$", "--max-reject-ratio", "1")
    done = ser_here(
        "run", "--input", archive, "--output", out, "--model", level_model, *ROLES, *words, *how
    )
    assert done.returncode == 0, done.stderr
    first = f"date = '{dt.date(2026, 3, 1)}'"
    for table in ("recordings", "segments", "features"):
        assert rows(out, table, KEPT[table]) == rows(night, table, KEPT[table], first)
    totals = duckdb.sql(
        f"SELECT sum(matched), sum(labelled), sum(rejected) FROM '{out}/runs/**/*.parquet'"
    )
    assert totals.fetchall() == [(len(BAD_FILES) + 5, 4, len(BAD_FILES))]
    assert len(rows(out, "runs")) == (3 if "--chunk" in how else 1)


def test_a_channel_is_compared_with_its_other_segments(archive, ser_here, tmp_path):
    model = tiny_bundle.make_relative(tmp_path / "relative")
    calls = archive / "worse_1.wav", archive / "mono_1.wav"
    done = ser_here(
        "run", "--input", *calls, "--output", tmp_path / "out", "--model", model, *ROLES
    )
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "out", "segments", "uri, start_s, label, rms_db")
    worse = [row["label"] for row in found if row["uri"].endswith("worse_1.wav")]
    assert worse == ["calm", "calm", "angry"]  # -42, -40 and -20 dB
    (alone,) = [row for row in found if row["uri"].endswith("mono_1.wav")]
    assert alone["label"] == "angry"  # against -30 dB


def test_another_model_labels_without_the_audio(
    archive, level_model, pitch_model, ser_here, tmp_path
):
    calls, out = tmp_path / "calls", tmp_path / "out"
    calls.mkdir()
    for name in (*TURNS, "silent_1.wav"):
        shutil.copy(archive / name, calls)
    (calls / "text.wav").write_text("no audio")
    fields = ("--uri-fields", r"(?P<mood>[a-z]+)_(?P<number>\d)\.wav$")
    words = ("--input", calls, "--output", out, *ROLES, *fields)
    done = ser_here("extract", *words, "--feature-set", "test_simple", "--date", "2026-03-01")
    assert (done.returncode, "3 extracted" in done.stdout) == (0, True), done.stderr
    assert {row["status"] for row in rows(out)} == {"extracted", "no_speech", "rejected"}
    assert {row["label"] for row in rows(out, "segments")} == {None}
    shutil.rmtree(calls)
    for model, labels in ((level_model, "calm, angry"), (pitch_model, "sad, neutral, happy")):
        done = ser_here("label", "--output", out, "--model", model, "--date", "2026-03-02")
        assert "4 matched = 3 labelled + 1 without speech" in done.stdout, done.stderr
        name = json.loads((model / "card.json").read_text())["name"]
        made = f"model_id LIKE '{name}-%'"
        found = rows(out, where=made)
        assert len(found) == 4
        assert {row["meta_mood"] for row in found} == {"worse", "calm", "angry", "silent"}
        (run,) = rows(out, "runs", where=made)
        segments = rows(out, "segments", where=f"run_id = '{run['run_id']}'")
        vectors = rows(out, "features", where=f"run_id = '{run['run_id']}'")
        assert len(segments) == 7
        assert not vectors  # those of the first run are referred to
        (first,) = rows(out, "runs", "run_id", "model_id IS NULL")
        assert {row["features_run_id"] for row in (*found, *segments)} == {first["run_id"]}
        assert {row["label"] for row in segments} <= set(labels.split(", "))
        if model == level_model:
            assert all((s["label"] == "angry") == (s["rms_db"] > -30) for s in segments)
    again = ser_here("label", "--output", out, "--model", pitch_model)
    assert "nothing new: 4 matched, 4 already done" in again.stdout
    assert len(rows(out)) == 5 + 4 + 4


def test_labelling_stored_features_gives_what_a_run_gives(
    night, archive, level_model, ser, tmp_path
):
    out = tmp_path / "out"
    fields = ("--uri-fields", r"(?P<mood>[a-z]+)_(?P<number>\d)\.wav$", "--max-reject-ratio", "1")
    words = ("--input", archive, "--output", out, *ROLES, *fields, "--feature-set", "test_simple")
    assert ser("extract", *words).returncode == 0
    assert ser("label", "--output", out, "--model", level_model).returncode == 0
    kept = KEPT["recordings"]
    assert rows(out, "recordings", kept, "model_id IS NOT NULL") == rows(
        night, "recordings", kept, "status <> 'rejected' AND date = '2026-03-01'"
    )


def test_equal_bytes_under_two_names_are_two_recordings(archive, level_model, ser_here, tmp_path):
    for name in ("a.wav", "b.wav"):
        shutil.copy(archive / "calm_1.wav", tmp_path / name)
    out = tmp_path / "out"
    done = ser_here("run", "--input", tmp_path, "--output", out, "--model", level_model, *ROLES)
    assert done.returncode == 0, done.stderr
    found = rows(out, columns="uri, recording_id")
    assert len(found) == 2
    assert found[0]["recording_id"] == found[1]["recording_id"]


def test_too_many_rejections(archive, level_model, ser_here, tmp_path):
    words = ("run", "--input", archive / "bad", archive / "calm_1.wav", "--model", level_model)
    done = ser_here(*words, "--output", tmp_path / "out", *ROLES)
    assert done.returncode == 3
    count = len(BAD_FILES)
    assert f"{count} of {count + 1} recordings were rejected" in done.stdout
    assert len(rows(tmp_path / "out")) == count + 1


def test_the_default_model_labels_the_sample_calls(night_out):
    found = rows(night_out, columns="uri, status, reason, label, confidence, meta_queue, call_time")
    assert len(found) == 13
    assert sum(row["status"] == "labelled" for row in found) == 11
    assert {row["meta_queue"] for row in found} == {"billing", "odd", "sales", "support"}
    assert all(row["call_time"].date() == dt.date(2026, 3, 1) for row in found)
    (run,) = rows(night_out, "runs")
    assert "any use, with attribution" in run["model_licence"]
