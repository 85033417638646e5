"""`ser query`: formats, errors, and what a query may not do."""

import csv
import datetime as dt
import errno
import io
import json
import shutil

import duckdb
import pyarrow.parquet as pq
import pytest

from pipelines import checking, forgetting, querying
from pipelines.storage import erasing, views
from tests import small_tables
from tests.pipelines.outputs import add_run, call

NIGHT = dt.date(2026, 3, 1)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("it's [a] folder") / "date=2020-01-01" / "out"
    small_tables.publish(folder, "r20260301T021500-aaaaaa", ["/c/a.wav", "/c/b.wav"], date=NIGHT)
    return folder


@pytest.fixture
def ask(ser_here, out):
    def run(sql, *words, output=out):
        return ser_here("query", sql, "--output", output, *words)

    return run


def test_a_table(ask):
    done = ask("SELECT uri, negativity, night FROM calls ORDER BY uri")
    assert done.returncode == 0, done.stderr
    for value in ("/c/a.wav", "0.25", "2026-03-01"):
        assert value in done.stdout


def test_values_of_csv_and_json(ask):
    columns = "uri, by_channel, modified_at, p_angry, 1.5 AS price, 'nan'::FLOAT AS nothing"
    done = ask(f"SELECT {columns} FROM calls ORDER BY uri", "--format", "csv")
    first = next(csv.DictReader(done.stdout.splitlines()))
    assert first["modified_at"] == "2026-03-01T02:15:00+00:00"
    assert first["p_angry"] == ""
    assert json.loads(first["by_channel"])[0]["role"] == "customer"
    found = json.loads(ask(f"SELECT {columns} FROM calls", "--format", "json").stdout)
    assert len(found) == 2
    assert found[0]["by_channel"][0]["analysed"] is True
    assert (found[0]["price"], found[0]["nothing"], found[0]["p_angry"]) == (1.5, None, None)
    assert json.loads(ask("FROM calls LIMIT 0", "--format", "json").stdout) == []


@pytest.mark.parametrize("extension", ["csv", "json", "parquet"])
def test_saved_by_the_end_of_the_name(ask, tmp_path, extension):
    path = tmp_path / "new" / f"calls.{extension}"
    done = ask("FROM calls", "--save", path)
    assert done.returncode == 0, done.stderr
    assert "2 rows" in done.stdout + done.stderr
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    if extension == "parquet":
        assert pq.read_table(path).num_rows == 2


def test_the_query_of_a_file_and_of_the_standard_input(ask, tmp_path, monkeypatch):
    file = tmp_path / "count.sql"
    file.write_text("-- how many\nSELECT count(*) AS n FROM calls;\n")
    assert json.loads(ask(f"@{file}", "--format", "json").stdout) == [{"n": 2}]
    monkeypatch.setattr("sys.stdin", io.StringIO(file.read_text()))
    assert json.loads(ask("-", "--format", "json").stdout) == [{"n": 2}]


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT * FROM calls", "PIVOT calls ON label USING count(*)", "DESCRIBE calls",
        "SHOW TABLES", "SUMMARIZE runs", "WITH a AS (FROM calls) FROM a", "FROM features",
    ],
)  # fmt: skip
def test_statements_that_read(ask, sql):
    done = ask(sql)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("COPY (SELECT 1) TO 'OUT/x.csv'", "a statement COPY found, SELECT expected"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'OUT/x.csv'", "a statement COPY found"),
        ("CREATE TABLE a AS SELECT 1", "a statement CREATE found"),
        ("ATTACH 'OUT/x.duckdb'", "a statement ATTACH found"),
        ("SET enable_external_access = true", "a statement SET found"),
        ("FROM read_text('/etc/hostname')", "/etc/hostname"),
        ("FROM read_csv('https://example.com/a.csv')", "example.com"),
        ("FROM out", "Table with name out does not exist"),  # a variable of this module
        ("SELECT 1; SELECT 2", "2 statements found, one expected"),
        ("-- nothing", "no statement found"),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT labl FROM calls", "columns of calls: recording_id, uri"),
        (
            "FROM recordings",
            "the views are calls, segments, features, runs, nights, history, drift",
        ),
        ("SELECT uri::INT FROM calls", "Could not convert string '/c/"),
        ("@/no/such/file.sql", "/no/such/file.sql: cannot be read"),
    ],
)
def test_what_is_refused(ask, out, sql, message):
    before = sorted(out.rglob("*"))
    done = ask(sql.replace("OUT", str(out).replace("'", "''")))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--format", "parquet"), 2, "--format parquet: it is not for reading on a screen"),
        (("--save", "calls.txt"), 2, "the name ends in none of .csv, .json and .parquet"),
        (("--save", "/proc/a.csv"), 2, "--save /proc/a.csv"),
    ],
)
def test_options_that_cannot_be_met(ask, words, status, message):
    done = ask("FROM calls", *words)
    assert done.returncode == status
    assert message in done.stderr


def test_an_output_without_tables(ask, tmp_path):
    done = ask("FROM calls", output=tmp_path / "none")
    assert done.returncode == 4
    assert "no tables found; `ser run` fills them" in done.stderr


def test_long_answers_are_cut_on_the_screen_only(ask):
    done = ask("FROM range(1500)")
    assert "the first 1,000 rows" in done.stderr
    assert len(ask("FROM range(1500)", "--format", "csv").stdout.splitlines()) == 1501


# ---------------------------------------------------------------- what changes meanwhile


def nights_by_duckdb(out) -> int:
    with duckdb.connect(str(out / "ser.duckdb"), read_only=True) as db:
        return db.execute("SELECT sum(labelled) FROM nights").fetchone()[0]


@pytest.mark.parametrize("how", ["moved", "copied", "no database", "no text"])
def test_other_programs_find_an_output_that_was_moved(ask, tmp_path, how):
    old, out = tmp_path / "it's [o]ld", tmp_path / "new"
    add_run(old, [call("/a.wav")])
    if how == "moved":
        old.rename(out)
    else:
        shutil.copytree(old, out)
    for name in {"no database": ["ser.duckdb"], "no text": ["_views.sql"]}.get(how, []):
        (out / name).unlink()
    if how == "copied":
        add_run(old, [call("/b.wav")])
    assert "views" in {finding.kind for finding in checking.check(str(out)).findings}
    before = set(out.rglob("*")) | {out / "ser.duckdb", out / "_views.sql"}
    done = ask("SELECT sum(labelled) AS n FROM nights", "--format", "csv", output=out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "n\n1\n", "")
    assert nights_by_duckdb(out) == 1
    assert checking.check(str(out)).findings == []
    assert set(out.rglob("*")) == before


def test_the_views_of_an_output_that_stays_are_left_to_the_commands_that_write(ask, tmp_path):
    """Also under another name of the same folder."""
    out, link = tmp_path / "it's [a] folder", tmp_path / "link"
    add_run(out, [call("/a.wav")])
    link.symlink_to(out)
    # As between a publication and the views that follow it.
    small_tables.publish(out, "r20990101T000000-aaaaaa", ["/b.wav"], date=NIGHT)
    text, database = out / "_views.sql", out / "ser.duckdb"
    before = text.read_text(), database.stat().st_ino
    for output in (out, link):
        assert ask("FROM nights", output=output).returncode == 0
        assert (text.read_text(), database.stat().st_ino) == before


def test_an_output_that_was_moved_and_cannot_be_written(ask, tmp_path, monkeypatch):
    add_run(tmp_path / "old", [call("/a.wav")])
    out = tmp_path / "new"
    (tmp_path / "old").rename(out)

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    before = (out / "_views.sql").read_text()
    monkeypatch.setattr(views.files, "written", refused)
    done = ask("SELECT uri FROM calls", "--format", "csv", output=out)
    assert (done.returncode, done.stdout) == (0, "uri\n/a.wav\n")
    assert len(done.stderr.splitlines()) == 1
    assert "cannot be replaced (Permission denied); this query goes on in memory" in done.stderr
    assert (out / "_views.sql").read_text() == before


def test_a_run_that_is_published_while_a_query_replaces_the_views(ask, tmp_path, monkeypatch):
    add_run(tmp_path / "old", [call("/a.wav")])
    out = tmp_path / "new"
    (tmp_path / "old").rename(out)
    replace, times = views._replace, []

    def meanwhile(*arguments):
        times.append(1)
        if len(times) == 1:
            add_run(out, [call("/b.wav")])
        replace(*arguments)

    monkeypatch.setattr(views, "_replace", meanwhile)
    assert ask("FROM nights", output=out).returncode == 0
    assert len(times) > 2
    assert nights_by_duckdb(out) == 2
    assert checking.check(str(out)).findings == []


def test_a_query_meets_an_erasure_and_is_repeated(tmp_path, ser_here, monkeypatch):
    out = tmp_path / "out"
    add_run(out, [call("/calls/a.wav"), call("/calls/b.wav")])
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)
    lock_in, times = querying._lock_in, []

    def forget_once(db, root):
        if not times:
            request = forgetting.Request("uri", forgetting.by_uri(["/calls/a.wav"]))
            forgetting.forget(root, request, lambda line: None)
        times.append(1)
        lock_in(db, root)

    monkeypatch.setattr(querying, "_lock_in", forget_once)
    done = ser_here("query", "SELECT uri FROM calls", "--output", out, "--format", "csv")
    assert done.stdout.splitlines() == ["uri", "/calls/b.wav"], done.stderr
    assert len(times) == 2


@pytest.mark.parametrize(
    ("words", "status"),
    [(("--save", "a.csv"), 0), (("--format", "table"), 0), (("--format", "json"), 1)],
)
def test_a_file_goes_while_an_answer_is_written(ask, tmp_path, monkeypatch, words, status):
    """What is saved, or printed at the end, is asked for again; what is printed is not."""
    monkeypatch.chdir(tmp_path)
    next_batch, calls_of_it = querying._Answer._next, []

    def fail_once(answer):
        calls_of_it.append(1)
        if len(calls_of_it) == 2:
            raise duckdb.IOException("IO Error: Cannot open file")
        return next_batch(answer)

    monkeypatch.setattr(querying._Answer, "_next", fail_once)
    done = ask("FROM range(15000)", *words)
    assert done.returncode == status, done.stderr
    if status:
        assert "cannot be read: IO Error: Cannot open file" in done.stderr
    elif "--save" in words:
        assert len((tmp_path / "a.csv").read_text().splitlines()) == 15_001


def test_a_value_that_fails_late_is_an_error_of_the_query(ask, tmp_path):
    sql = "SELECT CASE WHEN range = 250000 THEN 'x' ELSE '1' END::INT FROM range(400000)"
    for words in (("--format", "csv"), ("--save", tmp_path / "a.csv")):
        done = ask(sql, *words)
        assert (done.returncode, "SQL: Conversion Error" in done.stderr) == (2, True), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["table", "csv", "json", "parquet"])
def test_columns_of_one_name_are_numbered_as_duckdb_does(ask, tmp_path, format):
    sql = "SELECT 1 AS label, 2 AS label, 3 AS Label, 4 AS label_1, [5] AS label_1_1"
    expected = duckdb.sql(f"FROM ({sql})").columns
    assert len(set(expected)) == 5
    path = tmp_path / "answer"
    done = ask(sql, "--format", format, "--save", path)
    assert done.returncode == 0, done.stderr
    match format:
        case "parquet":
            found = pq.read_table(path).column_names
        case "json":
            found = list(json.loads(path.read_text())[0])
        case "csv":
            found = path.read_text().splitlines()[0].split(",")
        case _:
            found = path.read_text().splitlines()[1].strip("┃ ").split()[::2]
    assert found == expected


def test_a_spreadsheet_takes_no_value_for_a_formula(ask):
    done = ask(
        "SELECT '=cmd|x' AS a, '@b' AS b, -1 AS c, '+49170' AS d, ['=x'] AS e, '-x' AS \"=f\"",
        "--format", "csv",
    )  # fmt: skip
    assert list(csv.reader(io.StringIO(done.stdout))) == [
        ["a", "b", "c", "d", "e", "'=f"],
        ["'=cmd|x", "'@b", "-1", "+49170", '["=x"]', "'-x"],
    ]
    done = ask("SELECT '=cmd|x' AS a", "--format", "json")
    assert json.loads(done.stdout) == [{"a": "=cmd|x"}]
