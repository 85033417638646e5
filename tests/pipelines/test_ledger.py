"""What there is to do, compared with sets; also with more recordings than fit into memory."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import ledger, tried_with
from pipelines.ledger import NewRecordings
from pipelines.role_rule import RoleRule
from pipelines.storage import inputs
from pipelines.stored import Key, Stored
from pipelines.tried_with import TriedWith
from pipelines.uri_fields import UriFields
from ser_core import tables
from ser_core.audio import Limits, RawFormat
from ser_core.errors import REJECTION_REASONS
from ser_core.examine import Settings, Source
from ser_core.guarded import Guard
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
    columns = [
        ("uri", pa.string()), ("size_bytes", pa.int64()),
        ("modified_at", pa.timestamp("us", "UTC")), ("reason", pa.string()),
        ("status", pa.string()), ("model_id", pa.string()), ("run_id", pa.string()),
    ]  # fmt: skip
    if any("tried_with" in row for row in rows):
        columns.append(("tried_with", pa.string()))
    schema = pa.schema(columns)
    table = pa.Table.from_pylist(
        [
            {"reason": None, "status": "labelled", "model_id": "m1", "run_id": run, **row}
            for row in rows
        ],
        schema,
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
    found = [inputs.Match(source) for source in (*matched, *matched[:2])]
    patch.setattr(inputs, "scan", lambda *args, **more: iter(found))
    try:
        with NewRecordings((), (NIGHT,), str(out)).found() as todo:
            found = list(todo.elements)
    finally:
        patch.undo()
    assert found == sorted(set(matched) - set(done), key=lambda source: source.uri.encode())
    assert (todo.counts.matched, todo.counts.todo) == (len(matched), len(found))


def test_a_list_far_larger_than_the_memory_it_may_take(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "MEMORY", "40MB")
    n = 40_000
    order = np.random.default_rng(0).permutation(n)
    long = "/calls/" + "x" * 800

    def scan(*args, **more):
        return (inputs.Match(Source(f"{long}/{i:07d}.wav", int(i), 1)) for i in order)

    monkeypatch.setattr(inputs, "scan", scan)
    write(tmp_path, "r1", [key(Source(f"{long}/{i:07d}.wav", i, 1)) for i in range(0, n, 3)])
    with NewRecordings((), (NIGHT,), str(tmp_path)).found() as todo:
        sizes = [source.size_bytes for source in todo.elements]
    assert sizes == [i for i in range(n) if i % 3]


TRIED = TriedWith(
    Settings("test_simple", ("agent", "customer"), limits=Limits(max_duration_s=7200)),
    Guard(timeout_s=60, memory_mb=500),
    RoleRule(("agent", "customer")),
)
CURES = {
    # What changes; the reasons that it may cure.
    "roles": (
        replace(TRIED, roles=RoleRule(("customer", "agent"))), {"channel_roles_unknown"},
    ),
    "table": (
        replace(TRIED, roles=RoleRule(table={"in": ("agent", "customer")}, groups=("direction",))),
        {"channel_roles_unknown"},
    ),
    "role by path": (
        replace(TRIED, roles=RoleRule(("agent", "customer"), groups=("role",))),
        {"channel_roles_unknown"},
    ),
    "hours": (
        replace(TRIED, settings=Settings("test_simple", ("agent", "customer"))),
        {"too_long", "timed_out"},
    ),
    "size": (
        replace(TRIED, settings=replace(TRIED.settings, limits=Limits(7200, 1 << 20))),
        {"too_large"},
    ),
    "raw": (
        replace(TRIED, settings=replace(TRIED.settings, raw=(RawFormat("mulaw", 8000, 2),))),
        {"unsupported_format"},
    ),
    "timeout": (replace(TRIED, guard=Guard(120, 500)), {"timed_out"}),
    "memory": (replace(TRIED, guard=Guard(60, 800)), {"crashed"}),
    "nothing": (replace(TRIED), set()),
    "other fields": (
        replace(TRIED, fields=UriFields("(?P<queue>.)"), settings=replace(
            TRIED.settings, analyse=("customer", "agent"))), set(),
    ),
}  # fmt: skip


def rejected_rows(tried: TriedWith | None) -> list[dict]:
    texts = tried.by_reason() if tried else {}
    return [
        {**key(Source(f"/{reason}", 1, 1)), "reason": reason, "status": "rejected",
         "tried_with": texts.get(reason)}
        for reason in REJECTION_REASONS
    ]  # fmt: skip


def tried_again(out: Path, monkeypatch, tried: TriedWith) -> set[str]:
    sources = [inputs.Match(Source(f"/{reason}", 1, 1)) for reason in REJECTION_REASONS]
    monkeypatch.setattr(inputs, "scan", lambda *args, **more: iter(sources))
    with NewRecordings((), (NIGHT,), str(out), tried).found() as todo:
        found = list(todo.elements)
        earlier = todo.counts.rejected_earlier
    assert all(source.rejected_before for source in found)
    reasons = {source.uri[1:] for source in found}
    assert earlier == Counter(set(REJECTION_REASONS) - reasons)
    return reasons - {"unreadable"}  # which is tried each night


@pytest.mark.parametrize("name", CURES)
def test_a_rejection_is_tried_again_once_what_may_cure_it_has_changed(tmp_path, monkeypatch, name):
    now, cured = CURES[name]
    write(tmp_path, "r1", rejected_rows(TRIED))
    assert tried_again(tmp_path, monkeypatch, now) == cured
    # And once is enough.
    write(tmp_path, "r2", [row for row in rejected_rows(now) if row["reason"] in cured])
    assert tried_again(tmp_path, monkeypatch, now) == set()
    assert tried_again(tmp_path, monkeypatch, TRIED) == set()


@pytest.mark.parametrize(
    ("name", "value", "cured"),
    [
        (
            "__version__",
            "99.0",
            {"unsupported_format", "too_many_channels", "timed_out", "crashed"},
        ),
        ("_extras", lambda: ["av 99"], {"unsupported_format", "crashed"}),
    ],
)
def test_a_version_and_an_extra_cure(tmp_path, monkeypatch, name, value, cured):
    write(tmp_path, "r1", rejected_rows(TRIED))
    monkeypatch.setattr(tried_with, name, value)
    assert tried_again(tmp_path, monkeypatch, TRIED) == cured


def test_outputs_of_older_versions_do_not_tell_what_was_tried(tmp_path, monkeypatch):
    rows = [
        {name: row[name] for name in row if name != "tried_with"} for row in rejected_rows(None)
    ]
    write(tmp_path, "r1", rows)
    assert "tried_with" not in pq.read_schema(next(tmp_path.rglob("*.parquet"))).names
    curable = {name for name, reason in REJECTION_REASONS.items() if reason.cured_by}
    assert curable == {
        "channel_roles_unknown", "too_long", "too_large", "too_many_channels",
        "unsupported_format", "timed_out", "crashed",
    }  # fmt: skip
    assert tried_again(tmp_path, monkeypatch, TRIED) == curable
    # What has been labelled since is done.
    write(tmp_path, "r2", [key(Source("/too_long", 1, 1))])
    with NewRecordings((), (NIGHT,), str(tmp_path), TRIED).found() as todo:
        assert "/too_long" not in [source.uri for source in todo.elements]
        assert "too_long" not in todo.counts.rejected_earlier


def test_beside():
    path = "s3://b/out/recordings/date=2026-03-01/run=r1/part-00000-of-00001.parquet"
    assert tables.beside(path, "segments") == path.replace("recordings", "segments")
    keys = (Key("a", "r1", "r1"), Key("b", "r1", "r0"))
    assert ledger.uris(Stored(keys, ("r",), ("s",), "f")) == ("a", "b")
    assert ledger.uris(Source("a", 1, 1)) == ("a",)
