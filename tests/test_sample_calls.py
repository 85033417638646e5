"""The sample calls and the built archive agree with their truth."""

import filecmp
import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.build_calls import build
from benchmarks.calls.material import default_data
from benchmarks.calls.sound import rms
from benchmarks.calls.truth import Truth, Turn, read_truth
from ser_core.errors import REJECTION_REASONS
from tests.bad_files import BAD_FILES, make_bad_files
from tests.make_sample_calls import CALLS, HOLD_CALL, NO_AUDIO, make_all

DATA = Path(__file__).parent / "data"
LIMIT_BYTES = 1_500_000
MADE_WITH = ("1.51", "1.2.2")  # espeak-ng, libsndfile


def read(path):
    raw = {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": "ULAW"}
    samples, rate = soundfile.read(path, always_2d=True, **raw if path.suffix == ".ulaw" else {})
    return samples.T, rate


def levels_db(folder, truth):
    """Levels of a channel within its turns and outside of them."""
    samples, rate = read(folder / truth.file)
    spoken = np.zeros(samples.shape[1], bool)
    for turn in truth.turns:
        for start_s, end_s in turn.speech:
            assert 0.0 <= start_s < end_s <= len(spoken) / rate
            spoken[round(start_s * rate) : round(end_s * rate)] = True
    own = samples[truth.channel]
    return 20 * np.log10(rms(own[spoken]) + 1e-9), 20 * np.log10(rms(own[~spoken]) + 1e-9)


def sample_truth() -> list[Truth]:
    rows = json.loads((DATA / "truth.json").read_text())
    return [Truth(**{**row, "turns": [Turn(**turn) for turn in row["turns"]]}) for row in rows]


def test_the_sample_calls_are_small_and_complete():
    files = [path for path in DATA.glob("calls/*/*") if path.is_file()]
    assert len(files) == len(CALLS) + 3
    assert sum(path.stat().st_size for path in files) < LIMIT_BYTES
    known = {truth.file for truth in sample_truth()} | {NO_AUDIO}
    assert {path.relative_to(DATA).as_posix() for path in files} == known


@pytest.mark.parametrize("truth", sample_truth(), ids=lambda t: f"{Path(t.file).stem}-{t.channel}")
def test_the_turns_of_a_sample_call_have_sound(truth):
    if truth.file == HOLD_CALL:
        assert not truth.turns
        return
    inside, outside = levels_db(DATA, truth)
    assert inside - outside > 20.0


@pytest.mark.long
def test_the_sample_calls_are_reproducible(tmp_path):
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    version = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True).stdout
    found = (version.split()[3], soundfile.__libsndfile_version__)
    if found != MADE_WITH:
        pytest.skip(f"made with espeak-ng and libsndfile {MADE_WITH}, here are {found}")
    make_all(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert filecmp.cmp(path, DATA / path.relative_to(tmp_path), shallow=False), path.name


def test_bad_files_have_known_reasons(tmp_path):
    assert make_bad_files(tmp_path) == BAD_FILES
    assert set(BAD_FILES.values()) <= set(REJECTION_REASONS)
    assert {path.name for path in tmp_path.iterdir()} == set(BAD_FILES)
    assert sum(path.lstat().st_size for path in tmp_path.iterdir()) < 1_000_000


needs_corpora = pytest.mark.skipif(
    not default_data().is_dir(), reason=f"no corpora in {default_data()}; SER_DATA names them"
)


@needs_corpora
def test_the_turns_of_built_calls_have_sound(tmp_path):
    truths = build(tmp_path, n=6, seed=1, minutes=0.5)
    assert [asdict(t) for t in read_truth(tmp_path / "truth.jsonl")] == [asdict(t) for t in truths]
    assert [truth.role for truth in truths] == ["agent", "customer"] * 6
    for truth in truths:
        samples, _ = read(tmp_path / truth.file)
        assert len(samples) == 2
        inside, outside = levels_db(tmp_path, truth)
        assert -32.0 < inside < -14.0
        assert inside - outside > 15.0
        for first, second in zip(truth.turns, truth.turns[1:], strict=False):
            assert first.end_s <= second.start_s


@needs_corpora
def test_a_call_does_not_depend_on_how_many_are_built(tmp_path):
    few = build(tmp_path / "few", n=2, seed=3, minutes=0.3)
    more = build(tmp_path / "more", n=3, seed=3, minutes=0.3)
    assert few == more[:4]
    for truth in few:
        assert filecmp.cmp(tmp_path / "few" / truth.file, tmp_path / "more" / truth.file, False)


def test_without_corpora_the_message_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="set SER_DATA"):
        build(tmp_path / "out", n=1, data=tmp_path)
