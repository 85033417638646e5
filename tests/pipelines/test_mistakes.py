"""Mistakes that people make, and machines that fail: clear lines, right status, a next run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import psutil
import pytest
import soundfile

from tests.conftest import CALLS, with_one_worker
from tests.speechlike import call

RATE = 8_000


def ends(done, status: int, *says: str) -> None:
    """With that status, in one or two lines, without a trace."""
    assert done.returncode == status, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert 1 <= len(lines) <= 2, done.stderr
    for words in says:
        assert words in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for i in range(12):
        soundfile.write(folder / f"good_{i}.wav", call([(1, 4, -20)], 5, seed=i), RATE)
    return folder


def run_words(archive, out, model):
    return ("run", "--input", archive, "--output", out, "--model", model)


def table(out, columns="uri, status, label, confidence, speech_s"):
    return duckdb.sql(
        f"SELECT {columns} FROM '{out}/recordings/**/*.parquet' ORDER BY ALL"
    ).fetchall()


def test_misspelt_option(ser_here, tmp_path):
    done = ser_here("run", "--input", CALLS, "--output", tmp_path, "--chanel-roles", "a,b")
    ends(done, 2, "--chanel-roles is no option; did you mean --channel-roles?")
    done = ser_here("run", "--input", CALLS, "--output", tmp_path, "--flink_mster=x")
    ends(done, 2, "--flink_mster is no option; did you mean --flink_master?")
    done = ser_here("show", "--output", tmp_path, "--recording", "x", "--sav=y")
    ends(done, 2, "did you mean --save?")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--date", "tomorrow"], "a date such as 2026-03-01 expected"),
        (["--workers", "0"], "a whole number above 0 expected"),
        (["--max-reject-ratio", "2"], "a number from 0 to 1 expected"),
        (["--channel-roles", "agent,client"], "'client'"),
        (["--analyse", "agent", "--channel-roles", "customer,customer"], "no channel"),
        (["--uri-fields", "(?P<a>"], "not a regular expression"),
        (["--model", "no-such-model"], "no bundled model of that name"),
        (["--input", "@no-such-list.txt"], "the list cannot be read"),
    ],
)
def test_values_that_cannot_be(ser_here, tmp_path, words, says):
    done = ser_here("run", "--input", CALLS, "--output", tmp_path, *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_pattern_that_matches_nothing(ser_here, tmp_path, level_model):
    done = ser_here(*run_words(tmp_path / "none" / "*.wav", tmp_path / "out", level_model))
    ends(done, 4, "nothing matches")


def test_bundle_whose_fingerprint_differs(ser_here, tmp_path, level_model):
    other = shutil.copytree(level_model, tmp_path / "other")
    card = (other / "card.json").read_text()
    from ser_core import features

    fingerprint = features.get("test_simple").fingerprint
    assert fingerprint in card
    (other / "card.json").write_text(card.replace(fingerprint, "0123456789abcdef"))
    done = ser_here(*run_words(CALLS, tmp_path / "out", other))
    ends(done, 2, "0123456789abcdef", fingerprint)


def test_output_of_another_feature_set(ser_here, tmp_path, archive, level_model):
    out = tmp_path / "out"
    assert ser_here(*run_words(archive / "good_1.wav", out, level_model)).returncode == 0
    done = ser_here("run", "--input", archive, "--output", out, "--model", "seed")
    ends(done, 2, "holds features of 'test_simple'", "'seed193'", "use another folder")


def test_output_that_another_run_holds(ser, ser_here, tmp_path, archive, level_model):
    from pipelines.storage.store import Output

    words = run_words(archive / "good_1.wav", tmp_path / "out", level_model)
    with Output(tmp_path / "out"):
        done = ser(*words)
    ends(done, 5, "another run holds it", f"process {os.getpid()}")
    assert ser_here(*words).returncode == 0


def as_nobody(words, **more):
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return subprocess.run(
        [*command, sys.executable, "-m", "pipelines", *with_one_worker(words)],
        capture_output=True, text=True, **more,
    )  # fmt: skip


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root to become nobody"
)
def test_folders_without_permission(tmp_path, archive, level_model):
    probe = as_nobody(["--version"])
    if probe.returncode:
        pytest.skip("nobody may not run this Python")
    for path in (tmp_path, *tmp_path.parents):
        if path.owner() == "root" and path != Path("/") and path != Path("/tmp"):
            path.chmod(0o755)
    closed, calls = tmp_path / "closed", tmp_path / "calls"
    closed.mkdir(mode=0o700)
    shutil.copytree(archive, calls).chmod(0o755)
    shutil.copytree(level_model, tmp_path / "model").chmod(0o755)
    words = run_words(calls, closed / "out", tmp_path / "model")
    ends(as_nobody(words), 1, "cannot be written: Permission denied")
    (calls / "secret").mkdir(mode=0o700)
    opened = tmp_path / "opened"
    opened.mkdir()
    opened.chmod(0o777)
    words = run_words(calls, opened / "out", tmp_path / "model")
    ends(as_nobody(words), 1, "secret cannot be listed: Permission denied")


@pytest.mark.fault(
    "disk", "The disk of the output is full from the start of a night",
    "status 1 and one line; with room again the same command ends the night",
)  # fmt: skip
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_full_disk(ser, ser_here, tmp_path, archive, level_model):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", small]).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        done = ser(*run_words(archive, small / "out", level_model))
        ends(done, 1, "No space left on device")
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        done = ser_here(*run_words(archive, small / "out", level_model))
        assert done.returncode == 0, done.stderr
        assert len(table(small / "out")) == 12
    finally:
        subprocess.run(["umount", small], check=True)


def start(words) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", *with_one_worker(words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(condition, seconds: float = 180) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_interrupted(ser_here, tmp_path, archive, level_model, number, status):
    out = tmp_path / "out"
    words = (*run_words(archive, out, level_model), "--workers", "2")
    job = start(words)
    assert wait_for(lambda: any(out.glob("_staging/*/progress/*")))
    family = psutil.Process(job.pid).children(recursive=True)
    os.killpg(job.pid, number) if number == signal.SIGINT else job.send_signal(number)
    stdout, stderr = job.communicate(timeout=60)
    ends(subprocess.CompletedProcess(words, job.returncode, stdout, stderr), status, "next command")
    assert family
    assert wait_for(lambda: not any(child.is_running() for child in family), 15)
    assert not list(out.glob("recordings/**/*.parquet"))
    assert "12 labelled" in ser_here(*words).stdout
    assert not [path for path in (out / "_staging").iterdir() if path.is_dir()]


@pytest.mark.long
@pytest.mark.fault(
    "process", "A worker gets SIGKILL in the middle of a night, as for memory",
    "status 1 and one line; the next run ends the night",
)  # fmt: skip
def test_a_worker_killed_from_outside(ser_here, tmp_path, archive, level_model):
    out = tmp_path / "out"
    job = start([*run_words(archive, out, level_model), "--workers", "2"])
    assert wait_for(lambda: _done(out) >= 1)
    workers = [
        child
        for child in psutil.Process(job.pid).children()
        if "pipelines.runners.worker" in child.cmdline()
    ]
    workers[0].kill()
    stdout, stderr = job.communicate(timeout=120)
    done = subprocess.CompletedProcess([], job.returncode, stdout, stderr)
    ends(done, 1, "ended by SIGKILL", "run again")
    assert "12 labelled" in ser_here(*run_words(archive, out, level_model)).stdout


@pytest.fixture(scope="module")
def undisturbed(archive, level_model, tmp_path_factory):
    """The tables of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed")
    words = with_one_worker(run_words(archive, out, level_model))
    subprocess.run([sys.executable, "-m", "pipelines", *words], check=True)
    return table(out)


@pytest.mark.long
@pytest.mark.fault(
    "process",
    "A whole run gets SIGKILL: when matched, started, at its first, middle and last recording, "
    "when sealed",
    "the next run publishes what was sealed, does the rest, and equals an undisturbed one",
)  # fmt: skip
@pytest.mark.parametrize("moment", ["matched", "started", "first", "half", "last", "sealed"])
def test_killed(ser_here, tmp_path, archive, level_model, undisturbed, moment):
    """SIGKILL at several moments; the next run ends with the tables of an undisturbed one."""
    out = tmp_path / "out"
    done = {
        "matched": lambda: any(out.glob("_staging/r*")),
        "started": lambda: len(psutil.Process(job.pid).children()) >= 1,
        "first": lambda: _done(out) >= 1,
        "half": lambda: _done(out) >= 6,
        "last": lambda: _done(out) >= 12,
        "sealed": lambda: any(out.glob("_staging/r*/seal.json")),
    }[moment]
    job = start(run_words(archive, out, level_model))
    assert wait_for(done)
    family = psutil.Process(job.pid).children(recursive=True)
    job.kill()
    job.communicate()
    # The workers end by themselves, and hold nothing.
    assert wait_for(lambda: not any(child.is_running() for child in family), 30)
    again = ser_here(*run_words(archive, out, level_model))
    assert again.returncode == 0, again.stderr
    assert table(out) == undisturbed


def _done(out: Path) -> int:
    return sum(path.stat().st_size for path in out.glob("_staging/r*/progress/*"))


@pytest.mark.long
@pytest.mark.fault(
    "process", "In one night, decoders that crash, hang, eat the memory or raise",
    "one rejected recording each, with the reason; the others are labelled",
)  # fmt: skip
def test_faults_while_decoding_cost_one_recording_each(ser, tmp_path, archive):
    from tests.tiny_bundle import make, threshold

    model = make(tmp_path / "model", ("calm", "angry"), "test_faulty", threshold([0], [-30.0]))
    calls = shutil.copytree(archive, tmp_path / "calls")
    for fault in ("crash", "hang", "eat", "raise"):
        shutil.copy(archive / "good_1.wav", calls / f"{fault}_1.wav")
    loaded = tmp_path / "loaded"
    loaded.mkdir()
    done = ser(
        *run_words(calls, tmp_path / "out", model),
        *("--timeout-s", "8", "--memory-mb", "600", "--max-reject-ratio", "0.5"),
        "--no-fence",  # the planted faults write down what is loaded
        env={"SER_TEST_MODULES": str(loaded)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 labelled + 0 without speech + 4 rejected" in done.stdout
    found = duckdb.sql(
        f"SELECT parse_filename(uri), reason, recording_id IS NOT NULL "
        f"FROM '{tmp_path}/out/recordings/**/*.parquet' WHERE reason IS NOT NULL ORDER BY ALL"
    ).fetchall()
    assert found == [
        ("crash_1.wav", "crashed", True),
        ("eat_1.wav", "crashed", True),
        ("hang_1.wav", "timed_out", True),
        ("raise_1.wav", "crashed", True),
    ]
    assert {path.read_text() for path in loaded.iterdir()} == {""}


def test_help_is_quick_and_has_examples(ser):
    for command in ("run", "extract", "label", "plan", "show", "train", "evaluate"):
        done = ser(command, "--help")
        assert done.returncode == 0
        assert "examples:" in done.stdout
    code = (
        "import sys\nfrom pipelines.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'apache_beam', 'tensorflow', 'pyarrow', 'librosa'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
