"""Books that close and books that do not; parts that are cut and merged."""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import books, ledger, usage
from pipelines.books import Books, Listed, Part, Seal
from pipelines.errors import CommandError
from pipelines.steps import parts as parts_module
from pipelines.steps import writing
from pipelines.steps.item import Item
from pipelines.steps.parts import Layout
from pipelines.steps.writing import WriteParts
from pipelines.storage import files
from ser_core import tables
from ser_core.examine import Channel, Examined, Source, SpeechSegment

LAYOUT = Layout(tables.Labelling("m-1", ("calm", "angry"), "test_simple", 0.5, 0.5), ("queue",))


def item(uri: str, segments: int = 1, reason: str | None = None) -> Item:
    spoken = tuple(SpeechSegment(0, "mixed", i, i + 1.0, -20.0) for i in range(segments))
    channels = () if reason else (Channel(0, "mixed", True, float(segments)),)
    return Item(
        Examined(
            Source(uri, 1, 1), reason=reason, detail=reason, duration_s=None if reason else 360.0,
            by_channel=channels, segments=spoken,
            vectors=np.arange(4.0 * segments, dtype=np.float32).reshape(segments, 4),
            cpu_s={"decode": 0.5},
        ),
        decoder_peak_mb=100.0,
    )  # fmt: skip


def write(staged: Path, *bundles: list[Item]) -> list[Part]:
    """Write bundles of items as a runner does."""
    writer = WriteParts(str(staged), LAYOUT)
    writer.setup()
    parts: list[Part] = []
    for bundle in bundles:
        writer.start_bundle()
        for recording in bundle:
            probabilities = np.tile(np.float32([0.25, 0.75]), (len(recording.examined.segments), 1))
            parts += writer.process((recording, probabilities)) or ()
        parts += [element.value for element in writer.finish_bundle() or ()]
    return parts


def given_to(staged: Path, uris: list[str], before: tuple[str, ...] = ()) -> Listed:
    name = "given.parquet"
    with ledger.listing(str(staged / name)) as note:
        for uri in uris:
            note(Source(uri, 1, 1, rejected_before=uri in before))
    return Listed(name, ledger.Matched(matched=len(uris) + 3, already_done=3))


def names(parts: list[Part]) -> list[str]:
    return [part.name for part in parts]


def test_books_that_close(tmp_path):
    items = [item("/a", 2), item("/b", 0), item("/c", 0, "corrupt"), item("/d", 1)]
    parts = write(tmp_path, items[:2], items[2:])
    listed = given_to(tmp_path, ["/d", "/c", "/b", "/a"], before=("/c", "/d"))
    found = books.check(str(tmp_path), names(parts), listed)
    assert found == Books(
        matched=7, already_done=3, labelled=2, no_speech=1, rejected=1, mixed=3,
        audio_hours=pytest.approx(0.3), channel_hours=0.0, speech_hours=pytest.approx(3 / 3600),
        by_reason=Counter(corrupt=1), rejected_before=1,
    )  # fmt: skip
    seal = Seal(found, tuple(parts))
    seal.write(str(tmp_path / "seal.json"))
    assert Seal.read(str(tmp_path / "seal.json")) == seal
    assert seal.books.line().startswith("7 matched = 2 labelled + 1 without speech + 1 rejected")


def test_what_was_left_out_stands_in_the_books(tmp_path):
    counts = ledger.Matched(
        matched=9, already_done=5, waiting=4, skipped=1_200, warnings=("careful",),
        rejected_earlier=Counter(channel_roles_unknown=3, too_long=1),
    )  # fmt: skip
    found = books.of_matched(counts) + Books(rejected=1, by_reason=Counter(corrupt=1))
    Seal(found, ()).write(str(tmp_path / "seal.json"))
    assert Seal.read(str(tmp_path / "seal.json")).books == found
    assert found.line() == (
        "9 matched = 0 labelled + 0 without speech + 1 rejected + 5 already done + 4 waiting "
        "(rejected: corrupt 1); 4 of them rejected earlier (channel_roles_unknown 3, too_long 1); "
        "1,200 files beside them skipped"
    )
    row = tables.runs_schema()
    assert str(row.field("warnings").type).startswith("list<")
    assert {"skipped", "waiting"} <= set(row.names)


def test_a_seal_of_an_older_version_is_read(tmp_path):
    text = '{"books": {"matched": 2, "rejected": 2, "by_reason": {"corrupt": 2}}, "parts": []}'
    (tmp_path / "seal.json").write_text(text)
    found = Seal.read(str(tmp_path / "seal.json")).books
    assert found == Books(matched=2, rejected=2, by_reason=Counter(corrupt=2))


def test_fields_of_the_paths_are_counted(tmp_path):
    morning = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    items = [
        replace(item("/a"), call_time=morning), replace(item("/b"), meta={"queue": "x"}),
        replace(item("/c", 0), call_time=morning, meta={"queue": "x"}), item("/d"),
    ]  # fmt: skip
    parts = write(tmp_path, items)
    listed = given_to(tmp_path, ["/a", "/b", "/c", "/d"])
    found = books.check(str(tmp_path), names(parts), listed, LAYOUT.meta)
    assert (found.with_call_time, found.with_fields) == (2, 3)


def test_nothing_at_all(tmp_path):
    assert books.check(str(tmp_path), [], given_to(tmp_path, [])).examined == 0


@pytest.mark.parametrize(
    ("given", "bundles", "says"),
    [
        (["/a", "/b"], [[item("/a")]], "1 recordings are missing, the first: /b"),
        (["/a"], [[item("/a")], [item("/a")]], "are duplicated or not in the list"),
        (["/a"], [[item("/a"), item("/x")]], "duplicated or not in the list, the first: /x"),
        (["/a", "/a"], [[item("/a")]], "1 recordings are missing"),
    ],
)
def test_books_that_do_not_close(tmp_path, given, bundles, says):
    parts = write(tmp_path, *bundles)
    with pytest.raises(CommandError, match=says):
        books.check(str(tmp_path), names(parts), given_to(tmp_path, given))


def test_a_list_that_is_not_what_matched(tmp_path):
    parts = write(tmp_path, [item("/a")])
    listed = replace(given_to(tmp_path, ["/a"]), counts=ledger.Matched(5, already_done=3))
    with pytest.raises(CommandError, match="1 recordings are listed, 2 expected"):
        books.check(str(tmp_path), names(parts), listed)


@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        ("features", lambda rows: rows.slice(1), "have different numbers of segments and features"),
        ("segments", lambda rows: rows.slice(0, 0), "segments and features, the first: /a"),
        ("both", lambda rows: rows.slice(0, 0), "have speech but no segments"),
        ("recordings", lambda rows: rows.set_column(
            rows.column_names.index("status"), "status", [["no_speech"]]
        ), "have segments but should have none"),
    ],
)  # fmt: skip
def test_tables_that_do_not_belong_together(tmp_path, table, change, says):
    (part,) = write(tmp_path, [item("/a", 2)])
    for name in ("features", "segments") if table == "both" else (table,):
        path = tmp_path / name / part.name
        rows = pq.ParquetFile(path).read()
        pq.write_table(change(rows), path)
    with pytest.raises(CommandError, match=says):
        books.check(str(tmp_path), [part.name], given_to(tmp_path, ["/a"]))


# ---------------------------------------------------------------- parts


@given(st.lists(st.integers(1, 150 << 20), max_size=60))
@settings(max_examples=50, deadline=None)
def test_bins_hold_all_parts_up_to_a_size(sizes):
    parts = [Part(f"{i}", f"/{i:03d}", 1, size, {}, {}) for i, size in enumerate(sizes)]
    bins = parts_module.bins(parts[::-1])
    assert [part for group in bins for part in group] == parts
    if len(parts) <= parts_module.FEW_PARTS:
        assert all(len(group) == 1 for group in bins)
        return
    totals = [sum(part.size_bytes for part in group) for group in bins]
    assert all(
        total <= parts_module.PART_BYTES or len(group) == 1
        for total, group in zip(totals, bins, strict=True)
    )
    # No two neighbours would have fitted into one.
    assert all(
        total + following[0].size_bytes > parts_module.PART_BYTES
        for total, following in zip(totals, bins[1:], strict=False)
    )


def test_a_part_is_closed_when_it_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "ROWS_OF_RECORDINGS", 5)
    monkeypatch.setattr(parts_module, "PART_BYTES", 1)
    parts = write(tmp_path, [item(f"/{i:02d}") for i in range(12)])
    assert [part.recordings for part in parts] == [5, 5, 2]
    assert [part.first_uri for part in parts] == ["/00", "/05", "/10"]
    books.check(str(tmp_path), names(parts), given_to(tmp_path, [f"/{i:02d}" for i in range(12)]))


def test_merged_parts_hold_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_module, "ROWS_MERGED", 4)
    items = [item(f"/{i:02d}", i % 3, "corrupt" if i % 5 == 4 and i % 3 == 0 else None)
            for i in range(14)]  # fmt: skip
    parts = write(tmp_path, *[[recording] for recording in items])
    assert len(parts) == 14
    merged = parts_module.merge(parts, str(tmp_path), LAYOUT)
    for table in ("features", "segments", "recordings"):
        before = [row for part in parts for row in rows(tmp_path / table / part.name)]
        after = pq.ParquetFile(tmp_path / table / merged.name)
        assert rows(tmp_path / table / merged.name) == before
        assert after.schema_arrow.metadata[b"model_id"] == b"m-1"
    assert after.num_row_groups < 6
    assert merged.recordings == 14
    assert merged.first_uri == "/00"
    assert set(merged.cpu_s) == {"decode", "write"}  # CPU seconds and nothing else
    assert merged.cpu_s["decode"] == pytest.approx(7.0)
    assert merged.size_bytes > 0
    ((process, peak_mb),) = merged.peak_memory_mb.items()
    assert process.endswith(f"/{os.getpid()}")
    assert peak_mb == pytest.approx(usage.peak_memory_mb() + 100.0, abs=20)
    uris = [recording.examined.source.uri for recording in items]
    assert books.check(str(tmp_path), [merged.name], given_to(tmp_path, uris)).examined == 14


def rows(path: Path) -> list[dict]:
    return pq.ParquetFile(path).read().to_pylist()


def test_parts_beside_each_other(tmp_path):
    """Parts that a failed attempt left behind are not counted."""
    (part,) = write(tmp_path, [item("/a")])
    write(tmp_path, [item("/a")])
    assert len(list((tmp_path / "recordings").iterdir())) == 2
    assert books.check(str(tmp_path), [part.name], given_to(tmp_path, ["/a"])).labelled == 1
    assert files.exists(str(tmp_path / "recordings" / part.name))
