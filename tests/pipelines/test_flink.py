"""Nights on a Flink cluster give the tables of a night on one machine, whatever is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import psutil
import pytest
import soundfile

from tests import tiny_bundle
from tests.bad_files import BAD_FILES, make_bad_files
from tests.conftest import CALLS as CALLS_DIR
from tests.conftest import ROOT
from tests.flink.cluster import Cluster
from tests.speechlike import call

RATE = 8_000
CALLS = 300
# Of the same archive, for the nights that are disturbed: their model takes its time.
FEW = "c00[0-5]*.wav"
WORDS = (
    *("--channel-roles", "agent,customer", "--date", "2026-03-01"),
    *("--uri-fields", r"(?P<queue>[a-z]+)(?P<number>\d+)\.wav$"),
)


# Asks for the job's settings as Beam's boot program does, and becomes Beam's plain worker.
BEAMS_BOOT = """#!{python}
import argparse, os, sys
sys.path.insert(0, {root!r})
from pipelines.runners import boot
parser = argparse.ArgumentParser()
for name in ("id", "provision_endpoint", "control_endpoint", "logging_endpoint"):
    parser.add_argument("--" + name)
options, _ = parser.parse_known_args()
words = [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"]
os.execve(sys.executable, words, {{**os.environ, **boot.worker_environment(options)}})
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"no {' and no '.join(missing)} here: Flink needs Java 17 and Maven")
    with Cluster(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for i in range(CALLS):
        level_db = -20 if i % 3 else -42
        agent = call([(0.3, 1, -20)], 3, f0_hz=170, seed=CALLS + i)
        sides = agent, call([(0.5, 2.5, level_db)], 3, seed=i)
        soundfile.write(folder / f"c{i:04}.wav", np.stack(sides, axis=1), RATE, "PCM_16")
    make_bad_files(folder / "bad")
    return folder


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory):
    """As `level_model`; decoding takes long enough for a kill to hit it."""
    folder, edge = tmp_path_factory.mktemp("models") / "slow", tiny_bundle.threshold([0], [-30.0])
    return tiny_bundle.make(folder, ("calm", "angry"), "test_slow", edge, name="slow")


@pytest.mark.long
def test_a_cluster_gives_the_tables_of_one_machine_whatever_is_killed(
    cluster, archive, level_model, slow_model, ser, tmp_path
):
    """One test, so that one cluster serves it wherever the tests are spread."""
    whole = Night(cluster, archive, level_model, tmp_path / "whole", ser)
    few = Night(cluster, str(archive / FEW), slow_model, tmp_path / "few", ser)
    the_same_tables(whole)
    the_same_bits_by_either_start(Night(cluster, CALLS_DIR, "calls", tmp_path / "bundled", ser))
    after_a_killed_taskmanager(few)
    after_a_killed_worker(few)
    after_a_stopped_launcher(few)


def the_same_tables(night):
    out = night.folder / "flink"
    done = night.finished(night.start(out))
    assert "parallelism 2 (its slots: 2)" in done.stdout
    assert f"{CALLS} labelled + 0 without speech + {len(BAD_FILES)} rejected" in done.stdout
    night.check(out)


def the_same_bits_by_either_start(night):
    """Workers started by `ser-worker`, and as Beam's own boot program starts them."""
    out = night.folder / "ser-worker"
    night.finished(night.start(out))
    night.check(out)
    boot = night.folder / "boot"
    boot.write_text(BEAMS_BOOT.format(python=sys.executable, root=str(ROOT)))
    boot.chmod(0o755)
    config = json.dumps({"command": str(boot), "env": {"PYTHONPATH": os.environ["PYTHONPATH"]}})
    out = night.folder / "beam"
    night.finished(night.start(out, "--environment_type=PROCESS", f"--environment_config={config}"))
    night.check(out)


def after_a_killed_taskmanager(night):
    out = night.folder / "taskmanager"
    launcher = night.start(out)
    worker = night.decoding(out)
    taskmanager = night.cluster.name_of(worker.parent())
    night.cluster.kill_taskmanager(taskmanager)
    assert wait_for(lambda: not worker.is_running(), 30)  # though nobody told it
    night.cluster.start_taskmanager(taskmanager)
    night.finished(launcher)
    assert night.restarts(out) > 0
    night.check(out)


def after_a_killed_worker(night):
    out = night.folder / "worker"
    launcher = night.start(out)
    night.decoding(out).kill()
    night.finished(launcher)
    assert night.restarts(out) > 0
    night.check(out)


def after_a_stopped_launcher(night):
    """SIGTERM cancels the job at once. SIGKILL cannot: there the next command does."""
    out = night.folder / "launcher"
    launcher = night.start(out)
    night.decoding(out)
    name = night.job_name(out)
    launcher.send_signal(signal.SIGTERM)
    _, errors = launcher.communicate(timeout=60)
    assert (launcher.returncode, len(errors.splitlines())) == (143, 1), errors
    assert night.job(name)["state"] == "CANCELED"

    launcher = night.start(out)
    night.decoding(out)
    name = night.job_name(out)
    launcher.kill()
    stdout, _ = launcher.communicate()
    assert "cut off" not in stdout  # of the first, nothing was left to cancel
    assert night.job(name)["state"] == "RUNNING"
    done = night.here(out)
    if night.job(name)["state"] == "CANCELED":
        assert f"job {name} of a run that was cut off: cancelled" in done.stdout
    else:  # on a busy machine the job may end before the command looks for it
        assert night.job(name)["state"] == "FINISHED"
        assert "had ended and is published now" in done.stdout
    night.check(out)


class Night:
    """One archive and model: how it is run on the cluster and here, and what must come out."""

    def __init__(self, cluster, archive, model, folder, ser):
        self.cluster, self.folder, self._ser = cluster, folder, ser
        self._words = ("run", "--input", archive, "--model", model, *WORDS)
        self.here(folder / "here")
        self._expected = tables(folder / "here")

    def here(self, out) -> subprocess.CompletedProcess:
        """Run on this machine alone."""
        done = self._ser(*self._words, "--output", out, "--workers", "2")
        assert done.returncode == 0, done.stderr
        return done

    def start(self, out, *options: str) -> subprocess.Popen:
        """Start a run on the cluster."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "pipelines", *map(str, self._words), "--output", str(out)),
                *("--runner=FlinkRunner", f"--flink_master={self.cluster.master}"),
                f"--flink_job_server_jar={self.cluster.jar}",
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finished(self, launcher) -> subprocess.CompletedProcess:
        stdout, stderr = launcher.communicate(timeout=300)
        # Nothing but how far it is, where this takes more than a minute.
        progress = re.compile(
            r"[^ ]+ INFO [^ ]+ [\d,]+ (of [\d,]+ )?recordings( in |, about )[^\n]*"
        )
        lines = [line for line in stderr.splitlines() if not progress.fullmatch(line)]
        assert (launcher.returncode, lines) == (0, []), stdout + stderr
        return subprocess.CompletedProcess([], 0, stdout, stderr)

    def decoding(self, out) -> psutil.Process:
        """A worker in the midst of its recordings, once there is one: it counts them in a file."""
        begun: list[int] = []

        def look():
            for count in out.glob("_staging/*/progress/*"):
                # A run before this one may have left some, which are cleared away.
                with suppress(FileNotFoundError):
                    if count.stat().st_size > 2 and psutil.pid_exists(int(count.name)):
                        begun.append(int(count.name))
            return begun

        assert wait_for(look, 120)
        return psutil.Process(begun[0])

    def check(self, out) -> None:
        """All tables as they are after a night here, and nothing left over."""
        assert tables(out) == self._expected
        assert not [path for path in (out / "_staging").iterdir() if path.is_dir()]

    def job_name(self, out) -> str:
        (note,) = out.glob("_staging/*/job.json")
        return json.loads(note.read_text())["name"]

    def job(self, name: str) -> dict:
        (job,) = [j for j in self.cluster.get("/v1/jobs/overview")["jobs"] if j["name"] == name]
        return job

    def restarts(self, out) -> int:
        """Faults that the cluster saw in the job that filled `out`: a kill can miss all work."""
        ((run_id,),) = duckdb.sql(f"SELECT run_id FROM '{out}/runs/**/*.parquet'").fetchall()
        jid = self.job(f"ser-{run_id.lower()}")["jid"]
        seen = self.cluster.get(f"/v1/jobs/{jid}/exceptions")
        return len(seen["exceptionHistory"]["entries"])


def tables(out: Path) -> dict[str, list]:
    """All rows of all tables, sorted; without what differs from run to run."""
    left_out = {
        "recordings": "run_id, features_run_id, run, processed_at",
        "segments": "run_id, features_run_id, run",
        "features": "run_id, run",
        # The order of floating point additions; compared with fewer digits below.
        "runs": "run_id, run, command, started, ended, cpu_seconds, peak_memory_mb, workers, "
        "table_bytes, audio_hours, channel_hours, speech_hours, by_reason",
    }
    found = {}
    for table, columns in left_out.items():
        hours = ("audio_hours", "channel_hours", "speech_hours")
        more = "".join(f", round({name}, 9)" for name in hours)
        more += ", list_sort(map_entries(by_reason))"
        found[table] = duckdb.sql(
            f"SELECT * EXCLUDE ({columns}){more if table == 'runs' else ''} "
            f"FROM read_parquet('{out}/{table}/**/*.parquet', hive_partitioning = true) "
            "ORDER BY ALL"
        ).fetchall()
    return found


def wait_for(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
