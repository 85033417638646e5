"""All blocks of docs/queries.md run on the output of a night and give correct results.

The fixture `night_out` is the output folder of `ser run` over tests/data/calls, with
the `--uri-fields` of the page.
"""

import re
from pathlib import Path

import duckdb
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
BLOCKS = re.findall(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?^```(sql|python)\n(.*?)^```$",
    PAGE.read_text(encoding="utf-8"),
    flags=re.MULTILINE | re.DOTALL,
)
VIEWS = BLOCKS[0][2]
QUERIES = [pytest.param(code, id=title) for title, kind, code in BLOCKS[1:] if kind == "sql"]
RECIPES = [pytest.param(code, id=title) for title, kind, code in BLOCKS if kind == "python"]


def at(code: str, folder) -> str:
    assert "OUT/" in code or "read_parquet" not in code
    return code.replace("OUT/", f"{Path(folder).as_posix()}/")


@pytest.fixture
def tables(night_out):
    connection = duckdb.connect()
    connection.execute(at(VIEWS, night_out))
    yield connection
    connection.close()


def rows(tables, code):
    return tables.sql(code).to_arrow_table().to_pylist()


def count(tables, condition):
    return tables.sql(f"SELECT count(*) FROM recordings WHERE {condition}").fetchall()[0][0]


def query(number: int) -> str:
    return next(code for title, _, code in BLOCKS if title.startswith(f"{number}. "))


def test_the_page_has_all_blocks():
    assert [title.split(". ")[0] for title, _, _ in BLOCKS[1:11]] == [str(i + 1) for i in range(10)]
    assert PAGE.read_text(encoding="utf-8").count("```sql") == len(QUERIES) + 1
    assert [title for title, kind, _ in BLOCKS if kind == "python"] == ["pandas", "Polars"]


@pytest.mark.parametrize("code", QUERIES)
def test_query_runs(tables, code):
    rows(tables, code)


def test_recordings_has_one_row_per_uri_and_segments_match(tables):
    uris = tables.sql("SELECT count(DISTINCT uri) FROM recordings").fetchall()[0][0]
    assert count(tables, "true") == uris > 0
    orphans = "SELECT count(*) FROM segments ANTI JOIN recordings USING (run_id, uri)"
    assert tables.execute(orphans).fetchone() == (0,)


def test_worst_calls_come_first(tables):
    found = [row["negativity"] for row in rows(tables, query(1))]
    assert found == sorted(found, reverse=True)


def test_queues_and_hours_contain_all_labelled_calls(tables):
    found = rows(tables, query(2))
    assert sum(row["calls"] for row in found) == count(tables, "status = 'labelled'") > 0
    assert all(row["queue"] and 0 <= row["hour"] < 24 for row in found)
    assert all(0.0 <= row["negativity"] <= 1.0 for row in found)


def test_calls_that_ended_worse_have_a_higher_end(tables):
    assert all(row["ended"] > row["began"] for row in rows(tables, query(4)))


def test_times_of_angry_segments_are_minutes_and_seconds(tables):
    assert all(re.fullmatch(r"\d+:\d\d", row["at"]) for row in rows(tables, query(5)))


def test_shares_of_a_queue_add_up(tables):
    by_queue = {}
    for row in rows(tables, query(6)):
        by_queue[row["queue"]] = by_queue.get(row["queue"], 0.0) + row["share"]
    assert by_queue
    assert all(total == pytest.approx(1.0, abs=0.01) for total in by_queue.values())


def test_all_rejections_are_counted(tables):
    found = rows(tables, query(7))
    assert sum(row["recordings"] for row in found) == count(tables, "status = 'rejected'")


def test_shares_of_silence_and_speakers_are_between_0_and_1(tables):
    for row in rows(tables, query(9)):
        assert 0.0 <= row["silence"] <= 1.0
        assert 0.0 <= row["overlap"] <= 1.0
        assert 0.0 <= row["customers_share"] <= 1.0


def test_the_counts_of_a_run_add_up(tables):
    found = rows(tables, query(10))
    assert found
    assert [row["missing"] for row in found] == [0] * len(found)


@pytest.mark.parametrize("code", RECIPES)
def test_recipe_gives_the_latest_row_per_uri(tables, night_out, code, capsys):
    if "polars" in code:
        pytest.importorskip("polars")
    found: dict = {}
    exec(at(code, night_out), found)
    columns = tables.execute("DESCRIBE every_recording").fetchall()
    assert set(found["latest"].columns) == {name for name, *_ in columns}
    uris = tables.execute("SELECT uri FROM recordings ORDER BY uri").fetchall()
    assert sorted(found["latest"]["uri"]) == [uri for (uri,) in uris]
    assert "labelled" in capsys.readouterr().out
