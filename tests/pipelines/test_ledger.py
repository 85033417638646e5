"""What there is to do, compared with sets; also with more recordings than fit into memory."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import ledger
from pipelines.ledger import NewRecordings, Stored, StoredRecordings
from pipelines.storage import inputs
from ser_core import tables
from ser_core.examine import Source
from ser_core.tables import database

NIGHT = dt.date(2026, 3, 1)
URIS = [f"/calls/{name}.wav" for name in ("a", "b", "ä", "c d", "z", "\U0001f600")]
SOURCES = st.builds(
    lambda uri, size, time: Source(uri, size, time if size is not None else None),
    st.sampled_from(URIS),
    st.one_of(st.none(), st.integers(0, 3)),
    st.integers(0, 3),
)


def write(out: Path, run: str, rows: list[dict], part: int = 0) -> str:
    path = out / f"recordings/date=2026-03-01/run={run}/part-{part:05d}-of-00009.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [("uri", pa.string()), ("size_bytes", pa.int64()),
         ("modified_at", pa.timestamp("us", "UTC")), ("reason", pa.string()),
         ("status", pa.string()), ("model_id", pa.string())]
    )  # fmt: skip
    table = pa.Table.from_pylist(
        [{"reason": None, "status": "labelled", "model_id": "m1", **row} for row in rows], schema
    )
    pq.write_table(table, path, row_group_size=2)
    return str(path)


def key(source: Source) -> dict:
    time = None if source.modified_us is None else pa.scalar(source.modified_us, pa.int64())
    return {
        "uri": source.uri,
        "size_bytes": source.size_bytes,
        "modified_at": None if time is None else time.cast(pa.timestamp("us", "UTC")).as_py(),
    }


@given(st.lists(SOURCES), st.lists(SOURCES, max_size=8), st.lists(SOURCES, max_size=3))
@settings(max_examples=60, deadline=None)
def test_new_is_what_no_run_dealt_with(tmp_path_factory, matched, done, unreadable):
    matched = list({source.uri: source for source in matched}.values())
    out = tmp_path_factory.mktemp("out")
    write(out, "r1", [key(source) for source in done])
    write(out, "r2", [{**key(source), "reason": "unreadable"} for source in unreadable])
    patch = pytest.MonkeyPatch()
    # Overlapping patterns name a file twice.
    patch.setattr(inputs, "match", lambda *args, **more: iter([*matched, *matched[:2]]))
    try:
        with NewRecordings((), NIGHT, str(out)).found() as todo:
            found = list(todo.elements)
    finally:
        patch.undo()
    assert found == sorted(set(matched) - set(done), key=lambda source: source.uri.encode())
    assert (todo.matched, todo.todo) == (len(matched), len(found))


def test_a_list_far_larger_than_the_memory_it_may_take(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "MEMORY", "40MB")
    n = 40_000
    order = np.random.default_rng(0).permutation(n)
    long = "/calls/" + "x" * 800

    def match(*args, **more):
        return (Source(f"{long}/{i:07d}.wav", int(i), 1) for i in order)

    monkeypatch.setattr(inputs, "match", match)
    write(tmp_path, "r1", [key(Source(f"{long}/{i:07d}.wav", i, 1)) for i in range(0, n, 3)])
    with NewRecordings((), NIGHT, str(tmp_path)).found() as todo:
        sizes = [source.size_bytes for source in todo.elements]
    assert sizes == [i for i in range(n) if i % 3]


def test_stored_recordings_by_part(tmp_path):
    """The newest row counts; rejected ones, and those this model has labelled, are left out."""

    def row(name: str, time: int = 1, **more) -> dict:
        return {**key(Source(f"/{name}", 1, time)), **more}

    first = write(tmp_path, "r1", [row("a"), row("b"), row("c"), row("d"), row("e")])
    write(tmp_path, "r2", [row("b", 2, status="rejected", reason="corrupt")])
    write(tmp_path, "r3", [row("a", model_id="m2")])
    third = write(tmp_path, "r3", [row("c", 2, model_id="m3"), row("f", status="no_speech")], 1)
    write(tmp_path, "r4", [row("d", model_id="m2")])
    fourth = write(tmp_path, "r5", [row("d", 2)])
    with StoredRecordings(str(tmp_path), "m2").found() as todo:
        found = {stored.recordings: stored.uris for stored in todo.elements}
    assert found == {first: ("/e",), third: ("/c", "/f"), fourth: ("/d",)}
    assert (todo.matched, todo.todo) == (5, 4)


def test_beside():
    path = "s3://b/out/recordings/date=2026-03-01/run=r1/part-00000-of-00001.parquet"
    assert tables.beside(path, "segments") == path.replace("recordings", "segments")
    assert ledger.uris(Stored("r", "s", "f", ("a", "b"))) == ("a", "b")
    assert ledger.uris(Source("a", 1, 1)) == ("a",)
