"""`ser export`: what other programs read is what the views hold."""

from __future__ import annotations

import csv
import datetime as dt
import io
from pathlib import Path

import pytest

from pipelines.export import label_tracks
from ser_core.report.call import Call, Segment
from tests import small_tables

NIGHT = dt.date(2026, 3, 1)
HOSTILE = '/calls/billing/=cmd|"x"!A1\t<b>.wav'
URIS = ("/calls/billing/a.wav", HOSTILE, "/calls/sales/b.wav")


@pytest.fixture
def out(tmp_path):
    """Two nights: three calls, and one of them again by a later model."""
    for night, uris, label in ((NIGHT, URIS, "calm"), (dt.date(2026, 3, 2), URIS[:1], "angry")):
        run_id = f"r{night:%Y%m%d}T010000-aaaaaa"
        about = {"p_calm": 0.75, "p_angry": 0.25, "label": label, "arc": "level"}
        found = small_tables.calls(uris, run_id, **about)
        rows = found["segments"].to_pylist()
        rows = [row | {"p_calm": 0.75, "p_angry": 0.25, "label": label} for row in rows]
        rows += [row | {"start_s": 61.5, "end_s": 63.25, "unsure": True} for row in rows]
        found["segments"] = small_tables.rows("segments", rows)
        for table, content in found.items():
            small_tables.write(tmp_path / "out", table, content, date=night, run=run_id)
        small_tables.write(
            tmp_path / "out", "runs", small_tables.runs(run_id, night), date=night, run=run_id
        )
    return tmp_path / "out"


@pytest.fixture
def export(ser_here, out, tmp_path):
    def run(*words, save="x"):
        done = ser_here("export", "--output", out, "--save", tmp_path / save, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return tmp_path / save

    return run


def test_csv_has_a_row_a_segment_and_no_formulas(export):
    text = export("--format", "csv", "--uri", "/calls", save="x.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 6
    by_uri = {row["uri"]: row for row in rows}
    assert set(by_uri) == set(URIS)
    row = by_uri[URIS[0]]  # of the later model
    assert (row["label"], row["call_label"], row["night"]) == ("angry", "angry", "2026-03-01")
    assert (row["negativity"], row["start_s"], row["unsure"]) == ("0.25", "61.5", "true")
    assert not any(value.startswith(("=", "@", "+")) for row in rows for value in row.values())


def test_a_folder_that_audformat_loads(export):
    audformat = pytest.importorskip("audformat")
    folder = export("--format", "audformat", "--uri", "/calls/**")
    db = audformat.Database.load(str(folder))
    assert sorted(db.tables) == ["calls", "customer"]
    assert db.meta["root"] == "/calls"
    assert db.is_portable or "\\" in str(db.files)
    table = db["customer"].get().reset_index()
    assert len(table) == 6
    assert set(table["file"]) == {uri.removeprefix("/calls/") for uri in URIS}
    assert sorted(set(table["start"].dt.total_seconds())) == [0.0, 61.5]
    assert set(table["emotion"]) == {"calm", "angry"}
    assert set(table["p_angry"]) == {0.25}
    assert db["calls"].get().loc["billing/a.wav", "emotion"] == "angry"


def test_label_tracks_for_audacity(export):
    folder = export("--format", "audacity", "--recording", "billing/a.wav")
    [file] = folder.iterdir()
    assert file.name == "a-id-_call.1-customer.txt"
    lines = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    assert lines == [
        ["0.000000", "1.000000", "angry 75 %"],
        ["61.500000", "63.250000", "angry? 75 %"],
    ]


def test_text_for_elan(export):
    folder = export("--format", "elan", "--date", "2026-03-01")
    files = sorted(folder.iterdir())
    assert len(files) == 3
    assert all(file.parent == folder for file in files)
    lines = [line.split("\t") for line in files[0].read_text(encoding="utf-8").splitlines()]
    assert all(len(line) == 4 for line in lines)
    assert ["customer 1 emotion", "00:01:01.500", "00:01:03.250"] in [line[:3] for line in lines]


def test_names_of_files_are_safe_and_differ():
    names = label_tracks.Names()
    given = [
        names.give(Call(uri, "labelled", recording_id="0123456789"))
        for uri in ("/a/../../etc/passwd", "/b/con\n|?.wav", "/c/con\n|?.wav", "/d/" + 300 * "x")
    ]
    assert len({name.casefold() for name in given}) == 4
    for name in given:
        assert Path(name).name == name
        assert name.isprintable()
        assert len(name) < 100


def test_segments_of_two_channels_are_two_tracks():
    segments = tuple(
        Segment(channel, role, 1.0, 2.5, "angry", 0.5, False, (0.5, 0.5))
        for channel, role in ((0, "agent"), (1, "customer"))
    )
    call = Call("/a.wav", "labelled", labels=("calm", "angry"), segments=segments)
    assert [name for name, _ in label_tracks.audacity(call)] == ["0-agent.txt", "1-customer.txt"]
    [(_, text)] = label_tracks.elan(call)
    assert "agent 0 negativity\t00:00:01.000\t00:00:02.500\t50\n" in text


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--date", "2020-01-01"), 4, "night 2020-01-01: no labelled call found"),
        (("--uri", "/nowhere/**"), 4, "no labelled call found"),
        (("--recording", "nobody.wav"), 4, "no id begins"),
        (("--recording", "a.wav", "--date", "2026-03-01"), 2, "not allowed with"),
        (("--save", "s3://a/b"), 2, "a local place expected"),
        (("--save", "."), 2, "a folder found"),
    ],
)
def test_mistakes(ser_here, out, tmp_path, words, status, message):
    if "--save" not in words:
        words = (*words, "--save", "x.csv")
    done = ser_here("export", "--output", out, "--format", "csv", *words, cwd=tmp_path)
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "x.csv").exists()
