"""Five nights of the simulated month (benchmarks/month.py)."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems

from tests import small_tables
from tests.object_stores import KEYS
from tests.tiny_bundle import make, threshold


def test_the_reader_sees_an_output_in_a_store(tmp_path, monkeypatch):
    """And what is wrong with it: here a labelled call without segments."""
    from benchmarks import month
    from benchmarks.nights import reader, stores

    for name in (*KEYS, "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "")  # so that it is as before, afterwards
    small_tables.publish(tmp_path / "out", "r1", ["a.wav", "b.wav"], date=dt.date(2026, 3, 1))
    (tmp_path / "groups.json").write_text("[]")
    before = FileSystems._pipeline_options
    try:
        with stores.on_s3(tmp_path, "s3") as place:
            for path in filter(Path.is_file, (tmp_path / "out").rglob("*")):
                name = str(path.relative_to(tmp_path / "out"))
                if not name.startswith("segments"):
                    place.put(name, path.read_bytes(), 0)
            found = list(reader.look(place.archive, tmp_path))
            assert found == ["a labelled call without segments: 2"]
            tables = month.tables_of(replace(place, output=place.archive, archive=""))
            assert tables["calls"]["uri"].to_pylist() == ["a.wav", "b.wav"]
    finally:
        FileSystems._pipeline_options = before


@pytest.fixture
def models(level_model, tmp_path):
    """Two bundles of one feature set: the second calls more speech angry."""
    louder = make(
        tmp_path / "model", ("calm", "angry"), "test_simple", threshold([0], [-33.0]), name="louder"
    )
    return level_model, louder


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_nights_with_accidents_end_as_undisturbed_ones(models, tmp_path):
    """Roles swapped and corrected, kills, a customer forgotten, new labels; with a reader."""
    from benchmarks import month
    from benchmarks.nights.commands import in_this_process

    nights: list[str] = []
    wrong, counts = month.compare(
        tmp_path, ["disk"], 3, 5, (4, 8), models, say=nights.append, run=in_this_process
    )
    assert not wrong, "\n".join([*nights, *wrong])
    assert len(nights) == 7
    assert '"skipped": []' in counts
