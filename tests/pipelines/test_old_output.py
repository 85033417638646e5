"""An output that version 0.2.0 wrote is read, checked and carried on.

`tests/data/output-0.2.0` are two nights and a later `ser label` of that version, over five files in
`/calls`: the feature set `test_simple`, the model `level` of `level_model`, then one with its edge
at -10 dB. `archive` makes these files again, as the tables know them.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.speechlike import call

KEPT = Path(__file__).parents[1] / "data" / "output-0.2.0"
RATE_HZ = 8_000
ROLES = ("--channel-roles", "agent,customer")
FIELDS = ("--uri-fields", r"/(?P<time>\d{4}-\d\d-\d\d)/(?P<call>\w+)\.wav$")


@pytest.fixture
def out(tmp_path):
    return Path(shutil.copytree(KEPT, tmp_path / "out"))


@pytest.fixture
def archive(tmp_path, out) -> Path:
    """The recordings, and the tables' URIs and times made theirs."""
    folder = tmp_path / "calls"
    for name, night, level_db in (("a", 1, -20), ("b", 1, -42), ("c", 2, -20), ("new", 2, -20)):
        path = folder / f"2026-03-0{night}" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        sides = call([(0.3, 1, -20)], 3, seed=1), call([(0.5, 2.5, level_db)], 3, seed=2)
        soundfile.write(path, np.stack(sides, axis=1), RATE_HZ, "PCM_16")
    soundfile.write(folder / "2026-03-01" / "silent.wav", np.zeros((16_000, 2)), RATE_HZ, "PCM_16")
    (folder / "2026-03-01" / "broken.wav").write_bytes(b"RIFF no more")
    then = dt.datetime(2026, 2, 28, 17, 33, 20, tzinfo=dt.UTC).timestamp()
    for path in folder.rglob("*.wav"):
        os.utime(path, (then, then))
    for path in out.rglob("*.parquet"):
        rows = pq.read_table(path, partitioning=None)
        if "uri" in rows.column_names:
            column = rows.column_names.index("uri")
            uris = pc.replace_substring(rows["uri"], "/calls", str(folder), max_replacements=1)
            rows = rows.set_column(column, rows.schema.field("uri"), uris.cast(pa.string()))
            pq.write_table(rows, path)
    return folder


def test_it_is_read_and_checked(out, ser_here):
    found = query(ser_here, out, "SELECT uri, status, label, model_id FROM calls ORDER BY uri")
    assert [(Path(uri).stem, status, label, model[:5]) for uri, status, label, model in found] == [
        ("a", "labelled", "calm", "other"),
        ("b", "labelled", "calm", "other"),
        ("broken", "rejected", "", "level"),
        ("silent", "no_speech", "", "other"),
        ("c", "labelled", "calm", "other"),
    ]
    # Then labels had copies of the features: each segment counts once.
    for view in ("segments", "features"):
        assert query(ser_here, out, f"SELECT count(*) FROM {view}") == [["3"]]
    nights = query(ser_here, out, "SELECT night, labelled, rejected FROM nights ORDER BY night")
    assert nights == [["2026-03-01", "2", "1"], ["2026-03-02", "1", "0"]]
    assert query(ser_here, out, "SELECT count(*) FROM history") == [["9"]]
    assert ser_here("show", "--output", out).returncode == 0
    done = ser_here("check", "--output", out)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_carried_on(out, archive, level_model, ser_here):
    words = ("--output", out, "--model", level_model, *ROLES, *FIELDS, "--max-reject-ratio", "1")
    done = ser_here("run", "--input", archive, *words)
    # What 0.2.0 could not read, this version tries again.
    assert "6 matched = 1 labelled + 0 without speech + 1 rejected + 4 already done" in done.stdout
    assert done.returncode == 0, done.stderr
    # Back to the first model: by the features that 0.2.0 stored.
    done = ser_here("label", "--output", out, "--model", level_model)
    assert "3 labelled" in done.stdout, done.stdout
    labels = dict(query(ser_here, out, "SELECT uri, label FROM calls WHERE status = 'labelled'"))
    assert {Path(uri).stem: label for uri, label in labels.items()} == {
        "a": "angry", "b": "calm", "c": "angry", "new": "angry"
    }  # fmt: skip
    done = ser_here("run", "--input", archive, *words, "--redo", "date=2026-03-01")
    assert done.returncode == 0, done.stderr
    assert (
        ser_here("forget", "--output", out, "--uri", archive / "2026-03-02/c.wav").returncode == 0
    )
    assert ser_here("compact", "--output", out).returncode == 0
    found = query(ser_here, out, "SELECT uri FROM calls ORDER BY uri")
    stems = [Path(uri).stem for (uri,) in found]
    assert stems == ["a", "b", "broken", "silent", "new"]
    done = ser_here("check", "--output", out)
    assert done.returncode == 0, done.stdout + done.stderr


def query(ser_here, out: Path, sql: str) -> list[list[str]]:
    done = ser_here("query", sql, "--output", out, "--format", "csv")
    assert done.returncode == 0, done.stderr
    return list(csv.reader(io.StringIO(done.stdout)))[1:]
