"""All blocks of docs/queries.md run on the output of a night and give correct results.

The fixture `night_out` is the output folder of `ser run` over tests/data/calls, with
the `--uri-fields` of the page.
"""

import datetime as dt
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot

from pipelines.storage import changes, views
from pipelines.storage.changes import COMPACT, Change
from tests import small_tables

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))


def blocks(section: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


QUERIES = [
    pytest.param(code, id=title)
    for title, section in SECTIONS.items()
    for code in blocks(section, "sql")
]
[WITH_DUCKDB] = blocks(SECTIONS["pandas"], "python")
FILES, *RECIPES = blocks(SECTIONS["The files that count"], "python")


def at(code: str, folder) -> str:
    return code.replace("OUT/", f"{Path(folder).as_posix()}/")


@pytest.fixture
def tables(night_out):
    with views.connect(night_out) as connection:
        yield connection


def rows(tables, code):
    return tables.sql(code).to_arrow_table().to_pylist()


def count(tables, condition):
    return tables.sql(f"SELECT count(*) FROM calls WHERE {condition}").fetchall()[0][0]


def query(number: int) -> str:
    title = next(title for title in SECTIONS if title.startswith(f"{number}. "))
    [code] = blocks(SECTIONS[title], "sql")
    return code


def test_the_page_has_all_blocks():
    numbered = [title.split(". ")[0] for title in SECTIONS if title[0].isdigit()]
    assert numbered == [str(i + 1) for i in range(10)]
    assert TEXT.count("```sql") == len(QUERIES) == 12
    assert TEXT.count("```python") == 4


@pytest.mark.parametrize("code", QUERIES)
def test_query_runs(tables, code):
    rows(tables, code)


def test_calls_has_one_row_per_uri_and_segments_match(tables):
    uris = tables.sql("SELECT count(DISTINCT uri) FROM history").fetchall()[0][0]
    assert count(tables, "true") == uris > 0
    orphans = "SELECT count(*) FROM segments ANTI JOIN calls USING (run_id, uri)"
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


@pytest.mark.parametrize("code", [WITH_DUCKDB, *RECIPES], ids=["DuckDB", "pandas", "Polars"])
@pytest.mark.parametrize("changed", [False, True])
def test_recipe_gives_the_rows_of_the_view(night_out, tmp_path, code, changed, capsys):
    out = tmp_path / "out"
    shutil.copytree(night_out, out)
    if changed:
        replace_recordings(out)
    views.refresh(out)
    found: dict = {}
    exec(at(FILES, out), found)
    exec(at(code, out), found)
    with views.connect(out) as db:
        uris = db.execute("SELECT uri FROM calls ORDER BY uri").fetchall()
        columns = {name for name, *_ in db.execute("DESCRIBE calls").fetchall()}
    assert sorted(found["calls"]["uri"]) == [uri for (uri,) in uris]
    assert columns - {"night"} <= set(found["calls"].columns) <= columns
    assert "labelled" in capsys.readouterr().out


def replace_recordings(out):
    """Merge the files of `recordings`, and leave behind one of a change that never became true."""
    now = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
    change = Change(changes.new_id(now), COMPACT, now, tuple(
        str(path.relative_to(out)) for path in out.glob("recordings/*/*/*")
    ))  # fmt: skip
    rows = pa.concat_tables(pq.ParquetFile(out / path).read() for path in change.replaced)
    date = dt.date(2026, 3, 1)
    small_tables.write(out, "recordings", rows, date=date, run=change.id)
    small_tables.write(out, "recordings", rows, date=date, run=changes.new_id(now))
    changes.add(str(out), change)


@pytest.mark.parametrize("dialect", ["bigquery", "athena"])
def test_external_tables_have_the_rows_of_the_views(night_out, dialect):
    """Their views, translated for DuckDB, over all files and over copies that a change made."""
    [code] = blocks(SECTIONS["BigQuery and Athena"], dialect)
    with views.connect(night_out) as db:
        db.execute("CREATE SCHEMA ser")
        for table in ("recordings", "segments", "runs"):
            files = (
                f"FROM read_parquet('{night_out}/{table}/*/*/*.parquet', hive_partitioning=true)"
            )
            again = f"{files} UNION ALL BY NAME (SELECT * REPLACE ('c1' AS run) {files})"
            db.execute(f"CREATE VIEW ser.{table}_files AS {again}")
        # sqlglot does not know BigQuery's external tables.
        for statement in re.findall(r"CREATE OR REPLACE VIEW [^;]*", code):
            db.execute(sqlglot.transpile(statement, read=dialect, write="duckdb")[0])
        for view in ("calls", "segments"):
            keys = "uri, run_id" + (", channel, start_s" if view == "segments" else "")
            found, expected = (
                db.execute(f"SELECT {keys}, label FROM {schema}.{view} ORDER BY ALL").fetchall()
                for schema in ("ser", "main")
            )
            assert found == expected != []
