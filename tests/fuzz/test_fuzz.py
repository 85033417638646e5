"""A short run of the fuzzers, and the files that once broke something."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.fuzz import decoding, texts
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import recordings

HOSTILE = Path(__file__).parents[1] / "data" / "hostile"
FILES = sorted(path for path in HOSTILE.iterdir() if path.suffix != ".md")


@pytest.fixture(scope="module")
def seeds():
    pytest.importorskip("av", reason="PyAV (the extra `av`) makes some of the seeds")
    return sorted(recordings().items())


@pytest.mark.fault(
    "input", "Mutated recordings of each format (`make fuzz`: 100,000 and more)",
    "samples in [-1, 1] or a reason; no crash, time and memory within limits",
)  # fmt: skip
def test_mutated_recordings_give_samples_or_a_reason(seeds, tried):
    tried(800)
    outcomes = decoding.decode_many(seeds, 800, seed=1)
    assert outcomes.findings == []
    assert outcomes.by_outcome.total() == 800
    assert outcomes.by_outcome["samples"] > 100
    assert outcomes.by_outcome["corrupt"] > 50
    reached = {"libsndfile", "libFLAC", "libmpg123", "libvorbis", "libopus", "FFmpeg"}
    assert set(outcomes.by_library) == reached


@pytest.mark.parametrize("name", texts.TARGETS)
@pytest.mark.fault(
    "file", "Mutated manifests, cards, `reference.npz`, configurations, lists, tables, label lists",
    "read, or refused by name",
)  # fmt: skip
def test_mutated_texts_are_read_or_refused(name, tried):
    count = 20 if name == "config" else 60
    tried(count)
    outcomes = texts.read_many(name, count, seed=1)
    assert outcomes.findings == []
    assert outcomes.by_outcome.total() == count


@pytest.mark.parametrize("name", texts.TARGETS)
def test_whole_seeds_are_read(name, tmp_path):
    read, extension = texts.TARGETS[name]
    for data in texts.seeds_of(name):
        path = tmp_path / f"file{extension}"
        path.write_bytes(data)
        read(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.fault(
    "file", "Files that once broke something (`tests/data/hostile`)", "each gives its reason"
)
def test_what_broke_something_stays_mended(path, tmp_path):
    name, expected, *_ = path.name.split("-")
    if name == "recording":
        found = decoding.judge(path.read_bytes(), "call.wav", decoding.Outcomes())
        assert found == expected
        return
    read, extension = texts.TARGETS[name.replace("_", " ")]
    copy = tmp_path / f"file{extension}"
    copy.write_bytes(path.read_bytes())
    with pytest.raises(texts.EXPECTED) as error:
        read(copy)
    assert type(error.value).__name__ == expected


def test_mutations_are_repeatable(seeds):
    data = [data for _, data in seeds]
    assert mutate(data, 7, 3) == mutate(data, 7, 3) != mutate(data, 8, 3)


def _wav_of(channels: int, rate_hz: int, promised: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((100, 1)), 8_000, "PCM_16", format="WAV")
    data = bytearray(buffer.getvalue())
    struct.pack_into("<HI", data, 22, channels, rate_hz)
    struct.pack_into("<I", data, 40, promised)
    return bytes(data)


@pytest.mark.fault(
    "input", "Headers that promise 4 GB, or 10,000 files in one", "nothing near it is allocated"
)
def test_a_header_that_promises_4_gb_allocates_nothing_near_it(seeds, tried):
    """Each runs in a process that has 512 MB, and the seeds are not mutated."""
    promises = [_wav_of(2, 192_000, size) for size in (0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFF)]
    flac = bytearray(dict(seeds)["FLAC.flac"])
    flac[21:26] = b"\xff\xff\xff\xff\xff"  # samples
    caf = dict(seeds)["CAF.caf"]
    at = caf.index(b"data") + 4
    # And one that promises 10,000 files of Ogg, none of which is there.
    promises.append(b"x" + b"OggS\0\2" * 10_000 + bytes(1 << 20))
    promises += [bytes(flac), caf[:at] + b"\x7f" + b"\xff" * 7 + caf[at + 8 :]]
    tried(len(promises))
    outcomes = decoding.Outcomes()
    for data in promises:
        found = decoding.decode_many([("", data)], 1, mutated=False)
        assert found.findings == []
        outcomes.add(found)
    assert outcomes.by_outcome.total() == len(promises)
    assert outcomes.slowest_s < decoding.MOST_CPU_S
