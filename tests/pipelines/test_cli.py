"""The command line as a function: what `main` leaves behind in a process that embeds it."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import weakref

import duckdb
import pytest

from pipelines import cli, errors
from pipelines.errors import UsageError


@pytest.fixture
def failing(monkeypatch):
    """`ser model show` fails with what is put here; gives the state while it ran."""
    seen = {}

    def run(options):
        seen.update(disabled=logging.root.manager.disable, handler=signal.getsignal(signal.SIGTERM))
        raise seen["error"]

    monkeypatch.setattr(cli.COMMANDS["model"], "run", run)
    return seen


@pytest.mark.parametrize("error", [UsageError("no"), KeyError("a bug"), KeyboardInterrupt()])
def test_logging_and_the_handler_of_sigterm_are_put_back(failing, capsys, error):
    failing["error"] = error
    before = logging.root.manager.disable, signal.getsignal(signal.SIGTERM)
    assert cli.main(["model", "show"]) in (errors.USAGE, errors.FAILED, errors.INTERRUPTED)
    assert failing["disabled"] == logging.CRITICAL
    assert failing["handler"] != before[1]
    assert (logging.root.manager.disable, signal.getsignal(signal.SIGTERM)) == before


def test_sigterm_ends_a_command_in_order(failing, monkeypatch, capsys):
    monkeypatch.setattr(
        cli.COMMANDS["model"], "run", lambda options: signal.raise_signal(signal.SIGTERM)
    )
    assert cli.main(["model", "show"]) == errors.TERMINATED
    assert "ended by SIGTERM" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("words", "publishes"),
    [
        (["compact", "--output", "out"], True),
        (["compact", "--output", "out", "--dry-run"], False),
        (["train", "--corpus", "ravdess=none", "--save", "new"], False),
        (["query", "SELECT 1", "--output", "out"], False),
        (["model", "show"], False),
    ],
)
def test_only_what_publishes_tables_is_gone_on_with_by_the_next_command(
    monkeypatch, capsys, tmp_path, words, publishes, number
):
    """A training that was ended has published nothing, and no command resumes it."""
    monkeypatch.chdir(tmp_path)
    command = cli.COMMANDS[words[0]]
    monkeypatch.setattr(command, "run", lambda options: signal.raise_signal(number))
    assert cli.main(words) in (errors.TERMINATED, errors.INTERRUPTED)
    ending = "what was published stays, and the next command does the rest"
    if not publishes:
        ending = "before it was done; run it again"
    assert capsys.readouterr().err.rstrip().endswith(ending)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, errors.TERMINATED), (signal.SIGINT, errors.INTERRUPTED)],
)
def test_a_signal_that_is_met_where_nothing_may_be_raised_ends_it_all_the_same(
    monkeypatch, capsys, number, status
):
    """Python forgets what is raised in a callback of the garbage collector."""

    class Thing:
        pass

    def run(options):
        thing = Thing()
        watched = weakref.ref(thing, lambda _: signal.raise_signal(number))
        del thing
        time.sleep(30)
        return watched and errors.DONE

    monkeypatch.setattr(cli.COMMANDS["model"], "run", run)
    hook = sys.unraisablehook
    started = time.monotonic()
    assert cli.main(["model", "show"]) == status
    assert time.monotonic() - started < 10
    assert "Traceback" not in capsys.readouterr().err
    assert sys.unraisablehook is hook


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, errors.TERMINATED), (signal.SIGINT, errors.INTERRUPTED)],
)
def test_a_signal_amid_a_query_is_one(monkeypatch, capsys, number, status):
    """DuckDB raises "Query interrupted" in the place of what the signal raised."""

    def run(options):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), number))
        timer.start()
        pairs = "SELECT sum(a.i * b.i) FROM range(300000) a(i), range(300000) b(i)"
        return duckdb.connect().execute(pairs).fetchall()

    monkeypatch.setattr(cli.COMMANDS["model"], "run", run)
    before = signal.getsignal(signal.SIGINT)
    assert cli.main(["model", "show"]) == status
    assert "Query interrupted" not in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("command", "status"), [("compact", errors.FAILED), ("query", errors.DONE)]
)
def test_a_reader_that_closes_the_output_ends_no_work_silently(
    monkeypatch, capfd, tmp_path, command, status
):
    """`ser plan | head` is done, but what writes into OUT was not."""

    def run(options):
        raise BrokenPipeError

    monkeypatch.setattr(cli.COMMANDS[command], "run", run)
    monkeypatch.setattr(cli.os, "dup2", lambda *descriptors: None)
    words = ["SELECT 1"] if command == "query" else []
    assert cli.main([command, *words, "--output", str(tmp_path)]) == status
    assert ("was closed before the end" in capfd.readouterr().err) is (status == errors.FAILED)
    kept = [json.loads(path.read_text()) for path in tmp_path.glob("_attempts/*.json")]
    assert [attempt["status"] for attempt in kept] == ["failed"] * (command == "compact")


def test_a_command_runs_in_another_thread(failing):
    failing["error"], statuses = UsageError("no"), []
    thread = threading.Thread(target=lambda: statuses.append(cli.main(["model", "show"])))
    thread.start()
    thread.join()
    assert statuses == [errors.USAGE]


def test_options_of_a_command_have_a_public_list():
    assert {"--input", "--max-reject-ratio", "--runner"} <= cli.option_names("run")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--input=", "--output=out"],
        ["run", "--input", "calls", "", "--output=out"],
        ["run", "--input=calls", "--output="],
        ["run", "--input=calls", "--output=out", "--summary="],
        ["forget", "--output=", "--uri=/calls/a.wav"],
        ["query", "FROM calls", "--output="],
    ],
)
def test_an_empty_path_is_not_the_folder_that_a_command_runs_in(ser_here, tmp_path, words):
    (tmp_path / "calls").mkdir()
    done = ser_here(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "an empty text found, a path expected: is a variable of the shell" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"calls"}


@pytest.mark.parametrize("option", ["--condition", "--codec"])
def test_conditions_have_a_new_option_and_the_old_one_works(option, capsys):
    options = cli.parse(["evaluate", "--corpus", "emovo=E", option, "clean", "mulaw"])
    assert options.condition == ["clean", "mulaw"]
    note = "ser: --codec is called --condition now\n" if option == "--codec" else ""
    assert capsys.readouterr().err == note


def test_the_old_option_is_not_in_the_help(capsys):
    with pytest.raises(SystemExit):
        cli.parse(["evaluate", "--help"])
    text = capsys.readouterr().out
    assert "--condition" in text
    assert "--codec" not in text


def test_an_option_that_is_named_like_a_secret_is_refused_in_whole_words(ser_here, tmp_path):
    done = ser_here("run", "--input", "a", "--output", tmp_path, "--password", "hunter2")
    assert "--password is no option; " in done.stderr
    assert "***" not in done.stderr
    assert "hunter2" not in done.stderr
