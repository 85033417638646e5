"""`ser plan`: what it counts, what it expects, and what it says to a program."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines import costs, errors, publishing
from pipelines.costs import Costs, Rates, Run, Work
from pipelines.planning import _Expected, _Probe
from pipelines.storage import published
from tests.pipelines.outputs import add_run, call

RATES = Rates(0.0, 1.0, 10.0, 100.0, 0.0, 10.0, 1_000.0)


@pytest.fixture
def plan(ser_here, tmp_path, level_model):
    def run(*words, status=errors.DONE):
        given = ("--output", tmp_path / "out", "--model", level_model, "--json", *words)
        done = ser_here("plan", "--input", tmp_path / "calls", *given)
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout)

    return run


def record(path, seconds=2.0, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros((round(8_000 * seconds), channels)), 8_000)
    stat = os.stat(path)
    return {"modified_us": stat.st_mtime_ns // 1000, "size": stat.st_size}


def test_the_archive_is_compared_with_the_tables(plan, tmp_path):
    calls = tmp_path / "calls"
    stored = []
    for name in ("done", "changed", "broken", "gone"):
        at = record(calls / f"{name}.wav")
        reason = "corrupt" if name == "broken" else None
        item = call(f"{calls}/{name}.wav", modified_us=at["modified_us"], reason=reason)
        source = item.examined.source
        object.__setattr__(source, "size_bytes", at["size"])
        stored.append(item)
    stored.append(call("/elsewhere/a.wav"))  # which the pattern does not cover
    add_run(tmp_path / "out", stored)
    record(calls / "new.wav", 3.0)
    record(calls / "changed.wav", 4.0)
    (calls / "gone.wav").unlink()
    (calls / "notes.txt").write_text("a sidecar")
    found = plan()
    expected = {
        "matched": 4, "already_done": 2, "to_do": 2, "changed": 1, "vanished": 1, "skipped": 1,
        "first_vanished": f"{calls}/gone.wav", "rejected_before": {"corrupt": 1}, "redone": 0,
        "headers_read": 2, "audio_hours_error": 0, "exit_status": 0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["audio_hours"] == pytest.approx(7 / 3600)
    again = plan("--redo", "rejected")
    assert (again["to_do"], again["redone"], again["rejected_before"]) == (3, 1, {})


def test_a_plan_tells_when_most_will_be_rejected(plan, tmp_path):
    for i in range(3):
        record(tmp_path / "calls" / f"{i}.wav", channels=2)
    found = plan(status=errors.WOULD_REJECT)
    assert found["problems"] == {"channel_roles_unknown (--channel-roles)": 3}
    assert plan("--channel-roles", "agent,customer")["problems"] == {}


def test_what_is_said_of_the_model_is_not_in_the_json(ser_here, tmp_path):
    record(tmp_path / "calls" / "a.wav")
    words = ("--input", tmp_path / "calls", "--output", tmp_path / "out", "--json")
    done = ser_here("plan", *words, "--model", "calls-open")
    assert json.loads(done.stdout)["to_do"] == 1
    assert "--model calls-open is now called calls" in done.stderr


def test_hours_of_a_sample_and_their_uncertainty():
    """The interval of 95 % covers the truth about as often as it says."""
    random = np.random.default_rng(0)
    count, covered = 2_000, 0
    for _ in range(200):
        seconds = random.lognormal(5, 1, count)
        probes = [_Probe(s, 2) for s in random.choice(seconds, 300, replace=False)]
        expected = _Expected.of(probes, count, 0.0)
        covered += abs(expected.audio_h - seconds.sum() / 3600) <= expected.audio_h_error
        assert expected.channel_h == pytest.approx(2 * expected.audio_h)
    assert 175 <= covered <= 200
    # A rejected recording has no hours, and one without a duration is as long as the others.
    mixed = [_Probe(3600.0), _Probe(None), _Probe(problem="corrupt")]
    assert _Expected.of(mixed, 3, 0.0).audio_h == pytest.approx(2.0)
    assert _Expected.of(mixed, 3, 0.0).audio_h_error == 0.0
    # Where no header tells a duration, calls are as long as earlier ones.
    silent = [_Probe(None, 2), _Probe(None, 2), _Probe(problem="corrupt")]
    assert _Expected.of(silent, 3, 1800.0).audio_h == pytest.approx(1.0)
    assert _Expected.of(silent, 3, 1800.0).channel_h == pytest.approx(2.0)


def test_costs_are_those_of_earlier_runs_in_proportion():
    wall_s = costs.START_S + 80.0
    done = Run(Work(10, 1.0, 2.0, 0.5), 160.0, wall_s, table_bytes=1_200, workers=2)
    known = Costs(RATES, (done,))
    assert known.cpu_s(done.work) == pytest.approx(160.0)
    assert known.table_bytes(done.work) == pytest.approx(1_200)
    assert known.wall_s(160.0, 2) == pytest.approx(wall_s)
    assert known.wall_s(160.0, 4) == pytest.approx(costs.START_S + 40.0)
    assert known.cpu_s(Work(20, 2.0, 4.0, 1.0)) == pytest.approx(320.0)
    assert known.speech_share == 0.5
    assert known.call_s == pytest.approx(360.0)
    # Each night of a backfill starts its workers.
    assert known.wall_s(160.0, 2, runs=3) == pytest.approx(wall_s + 2 * costs.START_S)
    assert Work(10, 1.0, 2.0, 0.5, runs=3).cpu_s(Rates(7.0, *[0.0] * 6)) == 21.0
    assert Costs(RATES).cpu_s(Work(10, 1.0, 2.0, 0.5)) == 80.0


def test_a_run_that_a_later_command_publishes_has_the_time_of_its_work(tmp_path, monkeypatch):
    """Else a plan would take the hours until then for its work."""
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "publish", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            add_run(tmp_path, [call("/a")])
    (seal,) = tmp_path.glob("_staging/*/seal.json")
    sealed = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(hours=10)
    os.utime(seal, (sealed.timestamp(),) * 2)
    with publishing.opened(str(tmp_path), lambda line: None):
        pass
    (path,) = published.open_reader(tmp_path).paths("runs")
    assert pq.read_table(path, partitioning=None)["ended"].to_pylist() == [sealed]


def test_runs_that_decode_nothing_do_not_count(tmp_path):
    add_run(tmp_path, [call("/a")])  # without settings, as `ser label`
    reader = published.open_reader(tmp_path)
    assert costs.read(reader, "voice").runs == ()
    assert costs.read(reader, "voice").basis.startswith("an estimate")


def test_without_a_run_on_this_machine_those_on_others_count(tmp_path):
    """As in a cluster, where each night has a pod of another name."""
    for hosts, elsewhere in ((("pod-1", "pod-2"), True), (("pod-1", socket.gethostname()), False)):
        out = tmp_path / hosts[1]
        for host in hosts:
            add_run(out, [call(f"/{host}")])
        reader = published.open_reader(out)
        for path, host in zip(reader.paths("runs"), hosts, strict=True):
            row = pq.read_table(path, partitioning=None).to_pylist()[0]
            row |= {"host": host, "settings": {"a": "b"}, "channel_hours": 0.1}
            schema = pq.read_schema(path)
            pq.write_table(pa.Table.from_pylist([row], schema), path)
        known = costs.read(reader, "voice")
        assert (len(known.runs), known.elsewhere) == (2 if elsewhere else 1, elsewhere)
        assert known.basis.endswith(", on other machines") == elsewhere
