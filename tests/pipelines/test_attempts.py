"""What each start of a command that writes leaves: attempt, summary, metrics, log lines."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families

from pipelines import errors, logs, metrics, reporting, summary
from pipelines.storage import attempts, store
from tests.conftest import ROOT
from tests.pipelines import outputs
from tests.pipelines.outputs import add_run
from tests.speechlike import call

SCHEMA = json.loads((ROOT / "docs" / "summary.schema.json").read_text())
LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d (INFO|WARNING|ERROR) (\S+) (.*)"
)


def written(out: Path) -> list[dict]:
    """The attempts of an output, oldest first."""
    return [json.loads(path.read_text()) for path in sorted((out / attempts.FOLDER).iterdir())]


def gauges(text: str) -> dict[str, float]:
    """Values by name, and by name and further label; each name has a help and a type."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation.endswith(".")
        for sample in family.samples:
            more = [v for k, v in sample.labels.items() if k not in ("output", "command")]
            found[" ".join([sample.name, *more])] = sample.value
    return found


def checked_summary(path: Path) -> dict:
    content = json.loads(path.read_text())
    jsonschema.validate(content, SCHEMA, cls=jsonschema.Draft202012Validator)
    return content


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for i in range(2):
        soundfile.write(folder / f"good_{i}.wav", call([(1, 4, -20)], 5, seed=i), 8_000)
    (folder / "bad.wav").write_bytes(b"no audio")
    return folder


@pytest.fixture(scope="module")
def night(tmp_path_factory, archive, level_model):
    """A night with a summary and metrics; and the process's output."""
    folder = tmp_path_factory.mktemp("night")
    words = ["run", "--input", archive, "--output", folder / "out", "--model", level_model]
    words += ["--summary", folder / "deep" / "er" / "s.json", "--metrics", folder / "ser.prom"]
    words += ["--date", "2026-03-01", "--workers", "1", "--max-reject-ratio", "0.3"]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *map(str, words)], capture_output=True, text=True
    )
    return folder, done


def test_a_night_that_ends_with_3(night):
    folder, done = night
    assert done.returncode == errors.TOO_MANY_REJECTIONS, done.stderr
    [attempt] = written(folder / "out")
    assert (attempt["status"], attempt["exit_code"]) == ("done", 3)
    assert attempt["message"].startswith("1 of 3 recordings were rejected, more than")
    assert attempt["run_ids"] == [attempt["run_id"]]
    assert attempt["seconds"] > 0
    assert attempt["command"].startswith("ser run --input ")
    content = checked_summary(folder / "deep" / "er" / "s.json")
    books = content["books"]
    assert (books["matched"], books["labelled"], books["rejected"]) == (3, 2, 1)
    outcomes = [count for name, count in books.items() if name not in metrics.NO_OUTCOMES]
    assert books["matched"] == sum(outcomes)
    assert sum(content["reasons"].values()) == 1
    assert content["nights"] == ["2026-03-01"]
    assert content["message"] == attempt["message"]
    assert content["audio_hours"] == pytest.approx(10 / 3600, rel=0.01)
    [drift] = content["drift"]
    assert (drift["night"], drift["calls"], drift["alarms"]) == ("2026-03-01", 2, [])
    assert "level_db" in {row["variable"] for row in drift["rows"]}
    found = gauges((folder / "ser.prom").read_text())
    assert found["ser_last_exit_code"] == 3
    assert found["ser_last_recordings labelled"] == 2
    assert found["ser_last_audio_seconds"] == pytest.approx(10, rel=0.01)
    assert metrics.SUCCESS not in found
    ended = dt.datetime.fromisoformat(attempt["ended"]).timestamp()
    assert found[metrics.FAILURE] == ended


def test_log_lines_have_time_level_and_run(night):
    folder, done = night
    lines = [LOG_LINE.fullmatch(line) for line in done.stdout.splitlines()]
    assert all(lines), done.stdout
    [attempt] = written(folder / "out")
    assert lines[0][2] == "-"
    assert {line[2] for line in lines[1:]} == {attempt["run_id"]}


def test_a_second_night_finds_nothing_and_is_a_success(night, archive, level_model, ser_here):
    folder, _ = night
    words = ("run", "--input", archive, "--output", folder / "out", "--model", level_model)
    words += ("--summary", folder / "s2.json", "--metrics", folder / "ser.prom", "--log-format")
    failed = gauges((folder / "ser.prom").read_text())[metrics.FAILURE]
    done = ser_here(*words, "json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {tuple(line) for line in lines} == {("time", "level", "run_id", "attempt", "message")}
    content = checked_summary(folder / "s2.json")
    assert content["books"]["already_done"] == 3
    assert content["message"].startswith("nothing new: 3 matched, 3 already done")
    # What went before this success.
    assert [attempt["exit_code"] for attempt in content["attempts"]] == [3]
    found = gauges((folder / "ser.prom").read_text())
    assert found[metrics.FAILURE] == failed  # survives
    assert found[metrics.SUCCESS] >= failed


def test_refused_and_failed_ones_are_recorded(tmp_path, archive, level_model, ser_here):
    out, where = tmp_path / "out", tmp_path / "s.json"
    prom = tmp_path / "ser.prom"

    def attempt(*words):
        done = ser_here(*words, "--output", out, "--summary", where, "--metrics", prom)
        content = checked_summary(where)
        assert content["exit_code"] == done.returncode
        assert content["books"] is None
        assert gauges(prom.read_text())["ser_last_exit_code"] == done.returncode
        return content

    run = ("run", "--input", archive)
    # No folder is made for a command that has a usage error.
    assert attempt(*run, "--model", "none")["status"] == "refused"
    assert not out.exists()
    out.mkdir()
    found = attempt(*run, "--model", "none")
    assert "model 'none': no such folder" in found["message"]
    assert attempt(*run, "--workers", "x")["message"].startswith("argument --workers: 'x' found")
    assert "did you mean --workers?" in attempt(*run, "--wokers", "1")["message"]
    # Of Beam.
    assert "--max_num_workers: invalid int" in attempt(*run, "--max_num_workers=x")["message"]
    assert attempt("run", "--input", "/none/*.wav", "--model", level_model)["exit_code"] == 4
    with store.Output(out):
        held = attempt(*run, "--model", level_model)
    assert held["status"] == "refused"
    assert "another run holds it" in held["message"]
    config = tmp_path / "f.toml"
    config.write_text("worker = 1")
    assert "did you mean workers?" in attempt(*run, "--config", config)["message"]
    statuses = [(item["status"], item["exit_code"]) for item in written(out)]
    assert sorted(statuses) == [("failed", 4)] + 5 * [("refused", 2)] + [("refused", 5)]
    assert len(held["attempts"]) == 5  # none has ended well since


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('days = "three"', "days: 'three' found"),
        ("dayz = 3", "dayz: no command has such an option"),
        ('password = "k"', "password found, but secrets are not read"),
    ],
)
def test_a_mistake_in_the_file_is_reported_where_the_file_says(tmp_path, ser_here, text, message):
    (tmp_path / "tables").mkdir()
    config = tmp_path / "f.toml"
    config.write_text(
        f'output = "tables"\nmetrics = "ser.prom"\nsummary = 3\nlog-format = "json"\n{text}\n'
        '[sales]\noutput = "sales"\nsummary = "s.json"\nlog_format = "text"\n'
    )
    done = ser_here("run", "--config", config)
    assert done.returncode == errors.USAGE
    line = json.loads(done.stderr)
    [attempt] = written(tmp_path / "tables")
    assert (line["level"], line["attempt"]) == ("error", attempt["id"])
    assert message in line["message"] == attempt["message"]
    assert attempt["status"] == "refused"
    assert gauges((tmp_path / "ser.prom").read_text())["ser_last_exit_code"] == errors.USAGE
    done = ser_here("run", "--config", config, "--section", "sales")
    assert message in LOG_LINE.fullmatch(done.stderr.strip())[3]
    content = checked_summary(tmp_path / "s.json")
    assert message in content["message"]
    assert content["output"] == str(tmp_path / "sales")
    # The command line wins.
    ser_here("run", "--config", config, "--output", tmp_path / "tables", "--log-format", "text")
    assert len(written(tmp_path / "tables")) == 2


def test_a_file_that_is_no_toml_gives_a_log_line(tmp_path, ser_here):
    config = tmp_path / "f.toml"
    config.write_text("days =")
    done = ser_here("run", "--config", config, "--summary", tmp_path / "s.json")
    assert LOG_LINE.fullmatch(done.stderr.strip())[1] == "ERROR"
    assert "no valid TOML" in checked_summary(tmp_path / "s.json")["message"]
    assert "no valid TOML" in json.loads(
        ser_here("run", "--config", config, "--log-format", "json").stderr
    )["message"]  # fmt: skip


def test_a_refusal_by_the_parser_is_a_log_line_too(tmp_path, ser_here):
    done = ser_here("run", "--output", tmp_path, "--workers", "x")
    assert LOG_LINE.fullmatch(done.stderr.strip())[3].startswith("argument --workers: 'x' found")


def test_an_address_with_a_secret_is_refused_and_recorded_without_it(tmp_path, ser_here):
    words = ("run", "--input", "s3://key:hunter2@calls/**", "--output", tmp_path, "--summary")
    done = ser_here(*words, tmp_path / "s.json")
    assert LOG_LINE.fullmatch(done.stderr.strip())[1] == "ERROR"
    [attempt] = written(tmp_path)
    assert attempt["message"].startswith("--input: an address with credentials")
    assert "hunter2" not in attempt["command"] + (tmp_path / "s.json").read_text()
    done = ser_here(*words, "s3://key:hunter2@calls/s.json")
    assert (done.returncode, len(done.stderr.splitlines())) == (errors.USAGE, 1)


def test_forget_and_compact_tell_how_they_ended(tmp_path, ser_here):
    out = tmp_path / "out"
    for uri in ("/q/a.wav", "/q/b.wav", "/q/c.wav"):
        add_run(out, [outputs.call(uri)])
    for words, message in (
        (("forget", "--uri", "/q/a.wav"), "erased: 1 calls (rows: 1 recordings"),
        (("compact",), "merged: "),
        (("compact",), "nothing to merge in "),
    ):
        done = ser_here(*words, "--output", out, "--summary", tmp_path / "s.json")
        assert done.returncode == errors.DONE, done.stderr
        content = checked_summary(tmp_path / "s.json")
        assert content["message"].startswith(message)
        assert content["message"] in done.stdout
        assert content["message"] in {attempt["message"] for attempt in written(out)}


def test_targets_that_cannot_be_written(tmp_path, archive, ser_here):
    done = ser_here("run", "--input", archive, "--output", tmp_path, "--summary", tmp_path)
    assert done.returncode == errors.USAGE
    assert f"--summary {tmp_path}: a folder found, a file name expected" in done.stderr
    (tmp_path / "file").touch()
    words = ("--summary", tmp_path / "file" / "s.json", "--metrics", tmp_path / "file" / "m.prom")
    done = ser_here("run", "--input", archive, "--output", tmp_path, *words)
    assert done.returncode == errors.USAGE
    assert "cannot be written" in done.stderr
    assert "the work itself is done" not in done.stderr


def test_the_work_counts_although_a_summary_cannot_be_written(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    report = reporting.Report()
    options = reporting.argparse.Namespace(
        records=True, output=str(tmp_path / "out"), command_line="ser run", log_format=None,
        summary=str(tmp_path / "a" / "s.json"), metrics=None,
    )  # fmt: skip
    report.begin(options)
    (tmp_path / "a").write_text("a file where a folder should be")
    assert report.end(errors.DONE, None) == errors.FAILED
    said = capsys.readouterr().err
    assert "s.json: cannot be written" in said
    assert said.strip().endswith("the work itself is done")
    assert written(tmp_path / "out")[0]["status"] == "done"


def test_a_killed_attempt_is_completed_by_the_next_command(tmp_path):
    out = str(tmp_path)
    code = (
        "import sys, os, signal; from pipelines.storage import attempts, store\n"
        "attempts.begin(sys.argv[1], 'ser run')\n"
        "with store.Output(sys.argv[1]): attempts.note_run('r1'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, out]).returncode == -signal.SIGKILL
    assert written(tmp_path)[0]["status"] == "running"
    with store.Output(out) as output:
        [remark] = output.remarks
        assert "was killed; this one goes on where it ended" in remark
    [attempt] = written(tmp_path)
    assert (attempt["status"], attempt["exit_code"], attempt["run_id"]) == ("killed", None, "r1")
    assert f"process {attempt['pid']} on {attempt['host']}" in attempt["message"]
    with store.Output(out) as output:
        assert output.remarks == []


def test_one_that_still_works_is_left_alone(tmp_path):
    running = attempts.begin(str(tmp_path), "ser run")
    running.close()
    with store.Output(tmp_path) as output:
        assert output.remarks == []
    assert written(tmp_path)[0]["status"] == "running"
    # Another process may have the number by now.
    path = next((tmp_path / attempts.FOLDER).iterdir())
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "started": "2020-01-01T00:00:00+00:00"}))
    with store.Output(tmp_path) as output:
        assert len(output.remarks) == 1


def test_a_killed_one_is_found_behind_many_that_were_refused(tmp_path):
    folder = tmp_path / attempts.FOLDER
    folder.mkdir()
    base = {"command": "ser run", "host": "elsewhere", "pid": 1}
    started = "2026-03-01T02:15:00+00:00"

    def put(number: int, **content):
        name = f"20990101T{number:06d}Z-aaaaaa"
        text = json.dumps({"id": name, **base, "started": started, **content})
        (folder / f"{name}.json").write_text(text)

    put(0, status="running")  # looked at by the next
    put(1, status="done", opened=True)
    put(2, status="running", opened=True)
    for i in range(3, 30):
        put(i, status="refused")
    (folder / "half.json").write_text("{")
    with store.Output(tmp_path) as output:
        assert len(output.remarks) == 1
    found = {item.id[9:15]: item.status for item in attempts.read(str(tmp_path))}
    assert (found["000000"], found["000002"]) == ("running", "killed")


def test_old_files_go(tmp_path):
    folder = tmp_path / attempts.FOLDER
    folder.mkdir()
    (folder / "20200101T000000Z-aaaaaa.json").write_text("{}")
    (folder / f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-bbbbbb.json").write_text("{}")
    with store.Output(tmp_path):
        pass
    assert [path.name[-11:] for path in folder.iterdir()] == ["bbbbbb.json"]


def test_sigterm_is_recorded(tmp_path, archive, level_model):
    words = ["run", "--input", archive, "--output", tmp_path, "--model", level_model]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip
    process.stdout.readline()  # of the model
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == errors.TERMINATED, told
    assert [item["status"] for item in written(tmp_path)] == ["interrupted"]
    assert LOG_LINE.fullmatch(told.splitlines()[-1])[1] == "ERROR"


def test_metrics_of_odd_names_can_be_parsed():
    current = attempts.Current(
        attempts.Attempt("i", 'ser run "x"', "h", 1, "2026-03-01T00:00:00+00:00", exit_code=0),
        'a "quoted"\\ folder\nof two lines',
    )
    text = metrics.text(current)
    for family in text_string_to_metric_families(text):
        assert {sample.labels["output"] for sample in family.samples} == {current.output}
    # The times survive, for the same output only.
    current.attempt = attempts.replace(current.attempt, exit_code=1)
    assert gauges(metrics.text(current, text))[metrics.SUCCESS] == gauges(text)[metrics.SUCCESS]
    current.output = "another"
    assert metrics.SUCCESS not in gauges(metrics.text(current, text))


def test_lines_on_a_terminal_are_plain(capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal, file = Terminal(), io.StringIO()
    logs.configure(logs=True)
    for stream in (terminal, file):
        logs.say("warning: a file\nof two lines\x1b[31m", stream=stream)
    assert terminal.getvalue().startswith("ser: warning: a file")
    assert LOG_LINE.fullmatch(file.getvalue().strip())[1] == "WARNING"
    logs.configure("json")
    terminal = Terminal()
    logs.say("warning: ä\n", stream=terminal)
    assert json.loads(terminal.getvalue()) | {"time": 0} == {
        "time": 0, "level": "warning", "run_id": None, "attempt": None, "message": "ä\n",
    }  # fmt: skip
    logs.configure()


def test_the_schema_describes_all_keys_and_no_others():
    current = attempts.Current(
        attempts.Attempt("i", "ser run", "h", 1, "2026-03-01T00:00:00+00:00"), None
    )
    assert set(summary.content(current)) == set(SCHEMA["properties"]) == set(SCHEMA["required"])
    assert SCHEMA["properties"]["schema_version"]["const"] == summary.SCHEMA_VERSION
    assert set(SCHEMA["properties"]["status"]["enum"]) == set(attempts.STATUSES)
