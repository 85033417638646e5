"""Whole nights over an archive in which forgotten calls still lie."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from pipelines import checking
from pipelines.storage import erasing, forgotten, published
from tests.speechlike import call

RATE = 8_000


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)
    folder = tmp_path / "calls"
    folder.mkdir()
    for i, name in enumerate(("20260110T080000_old", "20260301T080000_a", "20260301T090000_b")):
        turns = [(1, 3, -20)]
        soundfile.write(folder / f"{name}.wav", call(turns, 4, seed=i), RATE, "ULAW")
    return folder


def test_forgotten_calls_do_not_come_back(archive, level_model, ser_here, tmp_path):
    out = tmp_path / "out"

    def run(*more: str) -> str:
        done = ser_here(
            "run", "--input", archive, "--output", out, "--model", level_model,
            "--date", "2026-03-01", "--uri-fields", r"(?P<time>\d{8}T\d{6})_", *more,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def labelled() -> set[str]:
        reader = published.open_reader(out)
        paths = reader.paths("recordings")
        uris = [uri for rows in reader.rows(paths, ["uri"]) for uri in rows["uri"].to_pylist()]
        return {uri.rpartition("_")[2] for uri in uris}

    assert "3 matched = 3 labelled" in run()
    done = ser_here("forget", "--output", out, "--uri", archive / "*_a.wav")
    assert done.returncode == 0, done.stderr
    # It lies there as it was; and under another name; and a new call of the same name.
    data = (archive / "20260301T080000_a.wav").read_bytes()
    assert "nothing new: 3 matched, 2 already done, 1 forgotten" in run()
    (archive / "20260301T100000_copy.wav").write_bytes(data)
    soundfile.write(archive / "20260302T080000_a.wav", np.zeros(RATE), RATE)
    text = run("--redo", "date=2026-03-01", "--keep-days", "30")
    assert "5 matched = 2 labelled + 1 without speech + 0 rejected" in text, text
    assert "2 forgotten" in text
    assert "--keep-days 30: 1 calls" in text
    assert labelled() == {"a.wav", "b.wav"}
    # The other name is known now, and is not read again.
    marks = forgotten.read_marks(str(out))
    copy = archive / "20260301T100000_copy.wav"
    stat = copy.stat()
    assert marks.has_files([(str(copy), stat.st_size, stat.st_mtime_ns // 1000)]).all()
    assert "nothing new: 5 matched, 2 already done, 3 forgotten" in run("--keep-days", "30")
    assert checking.check(str(out)).findings == []
    runs = published.open_reader(out)
    counts = [
        count
        for path in runs.paths("runs")
        for rows in published.read_row_groups(path, ["forgotten"])
        for count in rows["forgotten"].to_pylist()
    ]
    assert counts == [0, 1, 2, 3]
