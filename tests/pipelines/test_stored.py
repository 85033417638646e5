"""Stored features are found where they are, and labels refer to them."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import duckdb
import numpy as np
import pytest

from pipelines import errors, stored
from pipelines.ledger import StoredRecordings
from pipelines.steps.loading import load
from tests.pipelines.outputs import add_run, call

FIRST, SECOND = dt.date(2026, 3, 1), dt.date(2026, 3, 2)


def loaded(out, model=""):
    """What is loaded to be labelled, by URI; and the counts."""
    with StoredRecordings(str(out), model).found() as todo:
        items = [item for element in todo.elements for item in load(element)]
        assert len(items) == len({item.examined.source.uri for item in items})
        return {item.examined.source.uri: item for item in items}, todo.counts


def rows(out, table, columns="*", where="true"):
    return duckdb.sql(
        f"SELECT {columns} FROM read_parquet('{out}/{table}/**/*.parquet', union_by_name=true) "
        f"WHERE {where} ORDER BY ALL"
    ).fetchall()


@pytest.fixture
def nights(tmp_path):
    """Two nights: /c was replaced, /d has no speech, /e was rejected."""
    first = [call(f"/{name}", segments=i + 1) for i, name in enumerate("abc")]
    first += [call("/d", segments=0), call("/e", reason="corrupt")]
    second = [call("/c", "new", segments=3, modified_us=2), call("/f", segments=2)]
    out = tmp_path / "out"
    runs = [add_run(out, first, night=FIRST, parts=2), add_run(out, second, night=SECOND)]
    expected = {item.examined.source.uri: item for item in (*first, *second)}
    del expected["/e"]
    return out, runs, expected


def check(found, expected):
    assert set(found) == set(expected)
    for uri, item in found.items():
        assert item.examined.segments == expected[uri].examined.segments
        if item.examined.segments:
            np.testing.assert_array_equal(item.examined.vectors, expected[uri].examined.vectors)


@pytest.mark.parametrize("size", [1, 2, 500])
def test_what_is_loaded_is_what_was_stored(nights, monkeypatch, size):
    out, (first, second), expected = nights
    monkeypatch.setattr(stored, "ELEMENT", size)
    found, counts = loaded(out)
    check(found, expected)
    assert counts.matched == counts.todo == 5
    runs = {uri: item.features_run_id for uri, item in found.items()}
    assert runs == {"/a": first, "/b": first, "/c": second, "/d": first, "/f": second}


def test_labels_refer_to_the_features_through_labels_compaction_and_forgetting(
    nights, level_model, pitch_model, ser_here
):
    out, (first, second), expected = nights
    vectors = rows(out, "features")
    labels = ("label", "--output", out, "--model")
    assert ser_here(*labels, level_model).returncode == errors.DONE
    # A second run on the first night, so that there is something to compact.
    add_run(out, [call("/g")], night=FIRST)
    expected["/g"] = call("/g")
    assert ser_here("compact", "--output", out).returncode == errors.DONE
    check(loaded(out)[0], expected)
    done = ser_here(*labels, pitch_model)
    assert "6 matched = 5 labelled + 1 without speech" in done.stdout
    check(loaded(out)[0], expected)
    assert "nothing new: 6 matched, 6 already done" in ser_here(*labels, pitch_model).stdout
    made = rows(out, "recordings", "uri, features_run_id, label", "model_id LIKE 'pitch-%'")
    assert {uri: run for uri, run, _ in made if uri != "/g"} == {
        "/a": first, "/b": first, "/c": second, "/d": first, "/f": second,
    }  # fmt: skip
    # Nothing was copied.
    assert len(rows(out, "features", "DISTINCT uri, run_id, start_s")) == len(vectors) + 2
    assert len(rows(out, "features", "DISTINCT run_id")) == 3

    forget = ("forget", "--output", out, "--uri", "/b", "--only", "features")
    assert ser_here(*forget).returncode == errors.DONE
    del expected["/b"]
    found, counts = loaded(out)
    check(found, expected)
    assert counts.matched == 5
    assert "1 recordings have no stored features" in counts.warnings[0]
    again = ser_here(*labels, level_model)
    assert again.returncode == errors.DONE
    assert "5 matched = 4 labelled + 1 without speech" in again.stdout
    assert "1 recordings have no stored features" in again.stdout


def test_files_whose_rows_do_not_belong_together_are_named(nights):
    out, _, _ = nights
    with StoredRecordings(str(out), "").found() as todo:
        element = next(iter(todo.elements))
    with pytest.raises(errors.StoreError, match="vectors expected for /"):
        list(load(replace(element, row_groups=())))
