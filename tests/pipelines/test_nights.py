"""The right night: which days a command matches, whatever the clock does. See docs/nights.md."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from argparse import Namespace
from contextlib import contextmanager
from dataclasses import replace
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pytest
import soundfile

from pipelines import backfill, errors, logs, nightly, nights
from pipelines.chunks import Chunk, chunks
from pipelines.errors import UsageError
from pipelines.job import Job, Task
from pipelines.ledger import Matched, NewRecordings, Todo
from pipelines.runners.runner import Runner
from pipelines.storage import inputs
from ser_core import tables
from ser_core.examine import Source
from tests.speechlike import call

BERLIN = ZoneInfo("Europe/Berlin")
DATED = "/calls/{date:%Y/%m/%d}/*.wav"


def options(**given) -> Namespace:
    names = ("date", "days", "first_date", "last_date", "time_zone")
    return Namespace(**{**dict.fromkeys(names), "input": [DATED], **given})


def dates(*texts: str) -> tuple[dt.date, ...]:
    return tuple(map(dt.date.fromisoformat, texts))


@pytest.fixture
def clock(monkeypatch):
    """Sets the time of this machine, whose zone is Berlin's."""

    def put(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> None:
        time = dt.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)
        monkeypatch.setattr(nights, "now", lambda: time)

    return put


# ---------------------------------------------------------------- the table of docs/nights.md


@pytest.mark.parametrize(
    ("now", "fold", "yesterday"),
    [
        ("2026-03-29T02:15", 0, "2026-03-28"),  # does not exist: cron runs it at 03:00
        ("2026-03-29T03:00", 0, "2026-03-28"),
        ("2026-03-30T00:15", 0, "2026-03-29"),  # 24 hours earlier it is the 28th
        ("2026-10-25T02:15", 0, "2026-10-24"),  # comes twice
        ("2026-10-25T02:15", 1, "2026-10-24"),
        ("2026-10-25T23:45", 0, "2026-10-24"),
        ("2026-10-26T00:15", 0, "2026-10-25"),  # 24 hours earlier it is the 25th at 00:15
        ("2026-01-01T00:00", 0, "2025-12-31"),
        ("2028-03-01T02:15", 0, "2028-02-29"),
    ],
)
def test_nights_of_23_and_25_hours(clock, now, fold, yesterday):
    clock(now, fold=fold)
    (night,) = nights.choose(options(date="yesterday", days=3))
    day = dt.date.fromisoformat(yesterday)
    assert night.date == day
    assert night.dates == (day, day - dt.timedelta(days=1), day - dt.timedelta(days=2))


@pytest.fixture
def looked_up(tmp_path):
    """The files that a nightly run matches of an archive with one file a day, by their day."""
    for day in range(1, 9):
        (tmp_path / f"2026-03-{day:02d}").mkdir()
        (tmp_path / f"2026-03-{day:02d}" / f"{day}.wav").touch()
    pattern = f"{tmp_path}/{{date:%Y-%m-%d}}/*.wav"

    def find(**given) -> list[str]:
        return [
            "".join(sorted(source.uri[-5] for source in inputs.match([pattern], dates=night.dates)))
            for night in nights.choose(options(input=[pattern], **given))
        ]

    return find


NIGHTLY = {"date": "yesterday", "days": 3}


def test_a_timer_at_a_quarter_past_two_meets_the_whole_day_before(clock, looked_up):
    clock("2026-03-05T02:15")
    assert looked_up(**NIGHTLY) == ["234"]  # today's is for the next night
    assert looked_up() == ["5"]  # without --date: the morning's few


def test_what_comes_later_than_three_days_needs_more_days_or_a_backfill(clock, looked_up):
    clock("2026-03-06T02:15")
    assert "2" not in looked_up(**NIGHTLY)[0]
    assert "2" in looked_up(date="yesterday", days=4)[0]
    assert looked_up(first_date=dt.date(2026, 3, 2), last_date=dt.date(2026, 3, 2)) == ["2"]


def test_a_night_that_is_missed_is_made_up_for_by_the_next(clock, looked_up):
    clock("2026-03-04T02:15")
    before = looked_up(**NIGHTLY)[0]
    clock("2026-03-06T02:15")  # that of the 5th is missing
    assert set("12345") == {*before, *looked_up(**NIGHTLY)[0]}


def test_a_machine_that_was_off_for_a_week(clock, looked_up):
    clock("2026-03-09T08:00")
    assert looked_up(first_date=dt.date(2026, 3, 2), last_date="yesterday") == list("2345678")


@pytest.mark.parametrize("wrong", ["2026-03-04T02:15", "2026-03-06T02:15"])
def test_a_clock_that_is_wrong_by_a_day(clock, looked_up, wrong):
    clock("2026-03-04T02:15")
    before = looked_up(**NIGHTLY)[0]
    clock(wrong)  # it is the 5th
    at_once = looked_up(**NIGHTLY)[0]
    clock("2026-03-06T02:15")
    assert set("12345") == {*before, *at_once, *looked_up(**NIGHTLY)[0]}


def test_a_day_without_calls_among_the_three_is_named(tmp_path):
    for day in (1, 3):
        (tmp_path / f"2026-03-0{day}").mkdir()
        (tmp_path / f"2026-03-0{day}" / "a.wav").touch()
    pattern = f"{tmp_path}/{{date:%Y-%m-%d}}/*.wav"
    three = dates("2026-03-03", "2026-03-02", "2026-03-01")
    with NewRecordings((pattern,), three, str(tmp_path / "out")).found() as todo:
        assert todo.counts.todo == 2
        (line,) = todo.counts.warnings
    assert f"match nothing, the first: {tmp_path}/2026-03-02/*.wav" in line


def test_days_are_those_of_the_time_zone_and_of_this_machine_by_default(clock):
    clock("2026-03-01T23:30", ZoneInfo("UTC"))
    assert nights.choose(options())[0].date == dt.date(2026, 3, 1)
    assert nights.choose(options(time_zone="Europe/Berlin"))[0].date == dt.date(2026, 3, 2)
    assert nights.resolve("yesterday", "America/Los_Angeles") == dt.date(2026, 2, 28)
    assert nights.resolve(dt.date(2026, 1, 5), "Europe/Berlin") == dt.date(2026, 1, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("date=20260105", "date=2026-01-05"),
        ("date=2026-W02-1", "date=2026-01-05"),
        ("date=yesterday", "date=2026-02-28"),
        ("rejected", "rejected"),
    ],
)
def test_dates_of_a_redo_are_those_of_the_tables(clock, text, expected):
    clock("2026-03-01T08:00")
    assert nights.redo(options(redo=[text])) == (expected,)


def test_a_backfill_is_a_night_for_each_day(clock):
    clock("2026-03-01T02:15")
    found = nights.choose(options(first_date=dt.date(2026, 2, 26), last_date="yesterday"))
    assert [night.date for night in found] == list(dates("2026-02-26", "2026-02-27", "2026-02-28"))
    assert all(night.dates == (night.date,) for night in found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"days": 3, "input": ["/calls"]}, r"--days: no \{date:…\} found in --input /calls"),
        ({"first_date": "today", "last_date": "today", "input": ["/calls"]}, "--from: no .date"),
        ({"first_date": "today"}, "--from: --to is missing"),
        ({"last_date": "today"}, "--to: --from is missing"),
        ({"first_date": "today", "last_date": "yesterday"}, "comes after the last"),
        ({"first_date": "today", "last_date": "today", "days": 2}, "--from and --days"),
        ({"first_date": "today", "last_date": "today", "date": "today"}, "--from and --date"),
        ({"time_zone": "Europe/Berln"}, "--time-zone 'Europe/Berln': no such zone"),
    ],
)
def test_usage_errors(given, message):
    with pytest.raises(UsageError, match=message):
        nights.choose(options(**given))


def test_dates_in_the_lines_of_a_list(tmp_path):
    (tmp_path / "list.txt").write_text("/a/{date:%Y-%m}/*.wav\n/b.wav\n/c/{date:%d}.wav\n")
    patterns = [f"@{tmp_path}/list.txt"]
    assert inputs.names_dates(patterns)
    assert not inputs.names_dates(["/calls/{date}/*.wav"])
    assert list(inputs.expanded(patterns, dates("2026-03-01", "2026-02-28", "2026-02-27"))) == [
        "/a/2026-03/*.wav", "/a/2026-02/*.wav", "/b.wav", "/c/01.wav", "/c/28.wav", "/c/27.wav",
    ]  # fmt: skip


# ---------------------------------------------------------------- nights, end to end


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A call of one customer, and one of another."""
    folder = tmp_path_factory.mktemp("recorded")
    for i, name in enumerate(("a.wav", "b.wav")):
        sides = call([(4, 5, -20)], 6, f0_hz=170, seed=i), call([(1, 3, -20)], 6, seed=9 + i)
        soundfile.write(folder / name, np.stack(sides, axis=1), 8_000, "PCM_16")
    return folder


@pytest.fixture
def archive(recorded, tmp_path):
    """`add("2026/03/01/x.wav")` records a call."""

    def add(name: str, source: str = "a.wav") -> None:
        path = tmp_path / "calls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(recorded / source, path)

    return add


@pytest.fixture
def run(ser_here, tmp_path, level_model):
    def run(*words, command="run"):
        given = ("--input", f"{tmp_path}/calls/{{date:%Y/%m/%d}}/*.wav")
        given += ("--output", f"{tmp_path}/out")
        roles = ("--channel-roles", "agent,customer")
        return ser_here(command, *given, "--model", level_model, *roles, *words)

    return run


def query(tmp_path, table, columns):
    return duckdb.sql(
        f"SELECT {columns} FROM read_parquet('{tmp_path}/out/{table}/**/*.parquet') ORDER BY ALL"
    ).fetchall()


def test_late_files_are_met_once_and_filed_under_the_night_that_met_them(archive, run, tmp_path):
    archive("2026/03/01/evening.wav")
    assert run("--date", "2026-03-01", "--days", "3").returncode == errors.DONE
    archive("2026/03/01/late.wav", "b.wav")  # copied after midnight
    archive("2026/03/02/next.wav")
    done = run("--date", "2026-03-02", "--days", "3")
    assert "3 matched = 2 labelled" in done.stdout
    assert "1 already done" in done.stdout
    found = query(tmp_path, "recordings", "parse_filename(uri), date::VARCHAR")
    assert found == [
        ("evening.wav", "2026-03-01"), ("late.wav", "2026-03-02"), ("next.wav", "2026-03-02"),
    ]  # fmt: skip
    again = run("--date", "2026-03-03", "--days", "3")
    assert again.returncode == errors.DONE
    assert "nothing new: 3 matched, 3 already done" in again.stdout


def test_a_night_without_calls_shows_what_was_looked_for(run, archive, tmp_path):
    archive("2026/03/01/a.wav")
    done = run("--date", "2026-03-09", "--days", "6")
    assert done.returncode == errors.NOTHING_MATCHED
    assert f"{tmp_path}/calls/2026/03/09/*.wav, {tmp_path}/calls/2026/03/08/" in done.stderr
    assert "2026/03/06/*.wav, …; a pattern" in done.stderr
    assert not list((tmp_path / "out").glob("runs/*"))
    planned = run("--date", "2026-03-09", command="plan")
    assert planned.returncode == errors.NOTHING_MATCHED
    assert f"{tmp_path}/calls/2026/03/09/*.wav;" in planned.stderr


def test_a_backfill_goes_on_over_a_day_without_calls_and_after_a_kill(
    archive, run, tmp_path, monkeypatch
):
    for day in ("01", "02", "04"):
        archive(f"2026/03/{day}/a.wav")
    whole = nightly.run

    def killed_at_the_second(job):
        if job.date.day == 2:
            raise KeyboardInterrupt
        return whole(job)

    words = ("--from", "2026-03-01", "--to", "2026-03-04")
    monkeypatch.setattr(nightly, "run", killed_at_the_second)
    assert run(*words).returncode == errors.INTERRUPTED
    monkeypatch.setattr(nightly, "run", whole)
    done = run(*words, "--expect", "labelled = 1")
    assert done.returncode == errors.NOTHING_MATCHED  # the worst of them
    # The nights that matched something are judged.
    assert done.stdout.count("labelled = 1: met") == 3
    assert "not met" not in done.stdout
    assert "night 2026-03-03 (3 of 4)" in done.stdout
    assert "calls/2026/03/03/*.wav;" in done.stdout
    assert "4 nights: 3 done, 1 without a match" in done.stdout
    assert query(tmp_path, "recordings", "date::VARCHAR") == [
        ("2026-03-01",), ("2026-03-02",), ("2026-03-04",),
    ]  # fmt: skip
    assert query(tmp_path, "runs", "night::VARCHAR, matched, already_done, labelled") == [
        ("2026-03-01", 1, 0, 1), ("2026-03-01", 1, 1, 0), ("2026-03-02", 1, 0, 1),
        ("2026-03-04", 1, 0, 1),
    ]  # fmt: skip


def jobs_of(*days: int, runner: Runner | None = None, **more) -> list[Job]:
    """A job for each of some days of March."""
    runner = runner or Runner()
    labelling = tables.Labelling(None, (), "test_simple")
    lines: list[str] = []
    return [
        Job("out", dt.date(2026, 3, day), "ser run", labelling, runner, say=lines.append, **more)
        for day in days
    ]


@pytest.mark.parametrize(
    ("statuses", "worst"), [((0, 0), 0), ((0, 4), 4), ((4, 3, 0), 3), ((3, 4), 3)]
)
def test_the_status_of_a_backfill_is_the_worst_of_its_nights(monkeypatch, statuses, worst):
    given = iter(statuses)
    monkeypatch.setattr(nightly, "run", lambda job: next(given))
    found = backfill.run(jobs_of(*range(1, len(statuses) + 1)))
    assert tuple(found.values()) == statuses
    assert backfill.worst(found.values()) == worst


def test_lines_of_a_night_never_bear_the_run_of_the_night_before(monkeypatch, capsys):
    logs.configure("json")

    def run(job):
        logs.say("looks")
        logs.set_run(f"r{job.date.day}")
        logs.say("works")
        return errors.DONE

    monkeypatch.setattr(nightly, "run", run)
    backfill.run([replace(job, say=logs.say) for job in jobs_of(1, 2)])
    logs.configure()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ids = [line["run_id"] for line in lines]
    assert ids == [None, None, "r1", None, None, "r2", None], lines


def test_the_line_that_a_chunk_begins_never_bears_the_run_of_the_one_before(capsys):
    logs.configure("json")
    [job] = jobs_of(1, chunk=1)
    sources = [Source(f"/{name}.wav", 1, 1) for name in "ab"]

    class Finder:
        @contextmanager
        def found(self):
            yield Todo(Matched(2), iter(sources))

    for chunk in chunks(replace(job, say=logs.say), Task(Finder(), None, None, None)):
        logs.set_run(f"r{chunk.left}")
    logs.configure()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["run_id"], line["message"]) for line in lines] == [
        (None, "chunk 1 of 2"), (None, "chunk 2 of 2"),
    ]  # fmt: skip


def test_a_redo_in_a_backfill_is_done_when_no_later_night_matches(tmp_path, monkeypatch):
    """So the same command goes on where one was killed, and begins anew once one has ended."""
    for day in (1, 3):
        (tmp_path / f"2026-03-0{day}").mkdir()
        (tmp_path / f"2026-03-0{day}" / "a.wav").touch()
    left = {}

    def run(job):
        start = nightly._record(job, Task(None, None, None, None), Chunk(None, left=5), None)
        left[job.date.day] = start.redo_left
        return errors.DONE

    monkeypatch.setattr(nightly, "run", run)
    given = {"inputs": (f"{tmp_path}/{{date:%Y-%m-%d}}/*.wav",), "redo": ("rejected",)}
    jobs = jobs_of(1, 2, 3, 4, **given)
    backfill.run([replace(job, dates=(job.date,)) for job in jobs])
    assert left == {1: 5 + 1, 2: 5 + 1, 3: 5, 4: 5}


def test_a_backfill_makes_no_templates():
    words = ("--template_location=gs://b/t",)
    with pytest.raises(UsageError, match="--from: a template starts one job"):
        backfill.run(jobs_of(1, 2, runner=Runner("DataflowRunner", beam_options=words)))


def test_a_clock_that_is_put_back_between_two_runs(archive, run, tmp_path, monkeypatch):
    """The newer row of a replaced file counts all the same."""
    from pipelines.storage import store

    archive("2026/03/01/a.wav")
    make = store.new_run_id
    ahead = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)
    monkeypatch.setattr(store, "new_run_id", lambda now, after=None: make(ahead, after))
    assert run("--date", "2026-03-01").returncode == errors.DONE
    monkeypatch.setattr(store, "new_run_id", make)
    archive("2026/03/01/a.wav", "b.wav")
    assert run("--date", "2026-03-01").returncode == errors.DONE
    first, second = query(tmp_path, "recordings", "run_id, recording_id")
    assert first[0].startswith("r20310101T000000-")
    assert second[0].startswith("r20310101T000001-")
    assert first[1] != second[1]
