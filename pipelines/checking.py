"""Verifying an output folder: files, hashes, schemas, books, and that what is forgotten is gone.

Nothing is written and no lock is taken. Each finding says what to do about it.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.checking_rows import Checked, Damage, check_rows
from pipelines.errors import NothingMatchedError, StoreError
from pipelines.storage import (
    changes,
    erasing,
    files,
    forgotten,
    published,
    store,
    sums,
    views,
)
from ser_core import tables
from ser_core.errors import SerError
from ser_core.tables import reader
from ser_core.tables.schemas import META, PROBABILITY

_TABLE_FILE = re.compile(
    rf"(?P<table>{'|'.join(tables.TABLES)})/date=\d{{4}}-\d\d-\d\d/run=(?P<run>[^/]+)/"
    r"part-[^/]+\.parquet"
)
# What else may lie in an output folder, relative to it.
_KNOWN = re.compile(
    r"_lock|_changes\.json|_views\.sql|ser\.duckdb|_staging/holder\.json"
    r"|(_forgotten|_sums|_attempts)/[^/]+\.json"
)
# Rows of these columns are counted; a file without them is no file of the table.
_NEEDED = {
    "recordings": ("recording_id", "uri", "run_id", "size_bytes", "modified_at", "status"),
    "segments": ("recording_id", "uri", "run_id", "channel", "start_s", "end_s"),
    "features": ("recording_id", "uri", "run_id", "channel", "start_s", "end_s", "vector"),
    "runs": ("run_id", "night", "matched", "labelled", "no_speech", "rejected"),
}
# An output that changes all the time is checked so often.
_TRIES = 3


def check(output: str) -> Checked:
    """Verify an output folder, again if it changed meanwhile.

    Raises
    ------
    NothingMatchedError
        There are no tables.
    StoreError
        It cannot be listed.
    """
    root = files.absolute(output)
    for attempt in range(1, _TRIES + 1):
        before = _listed(root)
        # What another command publishes or changes meanwhile is no finding.
        try:
            checked = _check(root, sorted(before))
        except StoreError:
            if attempt == _TRIES or not _has_changed(root, before):
                raise
        else:
            if not checked.findings or attempt == _TRIES or not _has_changed(root, before):
                return checked
    raise AssertionError("unreachable")


def _listed(root: str) -> dict[str, files.Found]:
    """All files of an output folder, by their path in it."""
    with files.naming(f"--output {root}", "cannot be read"):
        return {item.path.removeprefix(f"{root}/"): item for item in files.below(root)}


def _has_changed(root: str, before: dict[str, files.Found]) -> bool:
    """Whether files are others than before; attempts and the lock are no part of the tables."""
    listed = _listed(root)
    names = [name for name in {*listed, *before} if not name.startswith(("_attempts/", "_lock"))]
    return any(listed.get(name) != before.get(name) for name in names)


def _check(root: str, names: list[str]) -> Checked:
    checked = Checked()
    try:
        log = forgotten.read(root)
    except StoreError as error:
        log = []
        checked.add("log", str(error), "restore it from a backup")
    found = published.open_reader(root)
    published.require_paths(found, "runs")
    held = store.is_held(root)
    _check_names(root, names, held, checked)
    damaged: list[Damage] = []
    readable = _check_files(root, found, damaged, checked)
    check_rows(readable, damaged, log, checked)
    # Both read all files that count.
    if not any(finding.kind in ("file", "schema", "hash") for finding in checked.findings):
        # The command that holds it may be erasing.
        if not held:
            _check_forgotten(root, log, checked)
        _check_views(root, checked)
    return checked


# ---------------------------------------------------------------- files


def _check_names(root: str, names: list[str], held: bool, checked: Checked) -> None:
    """Files that belong to nothing. A command that holds the output has files of its own."""
    ids = {change.id for change in changes.read(root)}
    staged = {name.split("/")[1] for name in names if name.startswith("_staging/")}
    for identity in sorted(staged - {"holder.json"}):
        if not held:
            checked.add("file", f"_staging/{identity}: {_INTERRUPTED}", _FINISHES)
    for name in names:
        found = _TABLE_FILE.fullmatch(name)
        if found is None:
            if name.startswith("_staging/") or _KNOWN.fullmatch(name):
                continue
            unfinished = name.removesuffix(files.UNFINISHED)
            if not (_KNOWN.fullmatch(unfinished) or views.UNFINISHED.fullmatch(unfinished)):
                checked.add("file", f"{name}: belongs to no table", "move it elsewhere")
            elif not held:
                checked.add("file", f"{name}: {_INTERRUPTED}", _FINISHES)
        elif changes.is_change(found["run"]) and found["run"] not in ids and not held:
            if found["run"] in staged:
                checked.add("file", f"{name}: {_INTERRUPTED}; it does not count", _FINISHES)
            else:
                checked.add(
                    "file",
                    f"{name}: {changes.NAME} does not name the change that wrote it, so its rows "
                    "do not count",
                    f"restore the {changes.NAME} that belongs to these tables from a backup; "
                    "without one, keep the file: the rows may be nowhere else",
                )


_INTERRUPTED = "an interrupted command left it"
_FINISHES = (
    "the next command that writes into the output finishes it or takes it away, a small file an "
    "hour later"
)


def _check_files(
    root: str, found: tables.Reader, damaged: list[Damage], checked: Checked
) -> dict[str, list[str]]:
    """Read each file that counts, whole; gives those that can be read, by table.

    `damaged` gets those that are damaged.
    """
    broken: list[str] = []
    hashes = sums.read(root, broken)
    for path in broken:
        checked.add(
            "hash", f"{path}: damaged", "restore it from a backup, or delete it: hashes are lost"
        )
    readable: dict[str, list[str]] = {}
    sets: Counter[tuple[str, str]] = Counter()
    vectors: Counter[str] = Counter()
    for table in tables.TABLES:
        readable[table] = []
        for path in found.paths(table):
            checked.files += 1
            expected = hashes.get(path.removeprefix(f"{root}/"))
            checked.without_hash += expected is None
            schema = _read_file(path, table, expected, damaged, checked)
            if schema is None:
                continue
            readable[table].append(path)
            if table != "runs":
                sets[reader.feature_set_of(schema)] += 1
            if table == "features":
                vectors[str(schema.field("vector").type)] += 1
    for counts, kind in ((sets, "feature sets"), (vectors, "lengths of vectors")):
        if len(counts) > 1:
            checked.add(
                "schema",
                f"several {kind} found: "
                + ", ".join(f"{value} in {count:,} files" for value, count in counts.items()),
                "an output holds one; move the others' files to a folder of their own, then ser "
                "compact",
            )
    return readable


def _read_file(
    path: str, table: str, expected: str | None, damaged: list[Damage], checked: Checked
) -> pa.Schema | None:
    """Check the hash, the schema and each value of a file; None if it cannot be read."""
    try:
        if expected is not None and sums.sha256_of(path) != expected:
            text = "its bytes have changed since it was written"
            damaged.append(Damage("hash", path, text))
        with published.open_parquet(path) as file:
            schema = file.schema_arrow
            missing = [name for name in _NEEDED[table] if name not in schema.names]
            if missing:
                damaged.append(Damage("schema", path, f"no column {', '.join(missing)}"))
                return None
            for i in range(file.num_row_groups):
                rows = file.read_row_group(i)
                rows.validate(full=True)
                checked.rows[table] += len(rows)
    except (SerError, OSError, pa.ArrowException, ValueError) as error:
        text = str(error).strip().partition("\n")[0]
        damaged.append(Damage("file", path, f"cannot be read: {text}"))
        return None
    version = int((schema.metadata or {}).get(b"schema_version", b"0"))
    if version > tables.SCHEMA_VERSION:
        checked.add(
            "schema",
            f"{path}: schema version {version}, up to {tables.SCHEMA_VERSION} expected",
            "check it with the version of ser that wrote it",
        )
    for name, expected_type in _types()[table].items():
        if name in schema.names and schema.field(name).type != expected_type:
            found = schema.field(name).type
            text = f"{name} is {found}, {expected_type} expected"
            damaged.append(Damage("schema", path, text))
    return schema


@functools.cache
def _types() -> dict[str, dict[str, pa.DataType]]:
    plain = tables.Labelling(None, (), "seed193")
    schemas = {
        "recordings": tables.recordings_schema(plain, ()),
        "segments": tables.segments_schema(plain),
        "features": tables.features_schema(plain),
        "runs": tables.runs_schema(),
    }
    return {
        table: {
            item.name: item.type
            for item in schema
            if item.name != "vector" and not item.name.startswith((META, PROBABILITY))
        }
        for table, schema in schemas.items()
    }


# ---------------------------------------------------------------- what was forgotten, views


def _check_forgotten(root: str, log: list[forgotten.Forgetting], checked: Checked) -> None:
    done = {change.id for change in changes.read(root)}
    unfinished = [e for e in log if e.kind != forgotten.RENAMED and e.id not in done]
    for entry in unfinished:
        checked.add(
            "forgotten",
            f"the forgetting of {entry.at:%Y-%m-%d %H:%M} UTC was interrupted",
            "the next command that writes into the output finishes it, such as ser compact",
        )
    # Its rows are still there.
    if unfinished:
        return
    marks = forgotten.marks(log)
    if not marks:
        return
    left = erasing.find(root, marks).files
    if left:
        checked.add(
            "forgotten",
            f"{sum(left.values()):,} rows of forgotten calls are in {len(left):,} files, the "
            f"first: {min(left)}",
            "forget them again; were files restored from a backup?",
        )


def _check_views(root: str, checked: Checked) -> None:
    if views.is_stale(root):
        checked.add(
            "views",
            f"{views.DATABASE} and {views.SQL} are not those of these tables, or cannot be read",
            "the next command that writes into the output makes them anew, such as ser compact; "
            "if the folder was moved, ser query does",
        )


# ---------------------------------------------------------------- freshness


def newest_labels(output: str) -> dt.datetime:
    """When the newest run that labelled a recording ended.

    Raises
    ------
    NothingMatchedError
        There is none.
    """
    found = published.open_reader(files.absolute(output))
    ended = []
    for path in published.require_paths(found, "runs"):
        for rows in published.read_row_groups(path, ["labelled", "ended"]):
            times = rows["ended"].filter(pc.greater(rows["labelled"], 0))
            if len(times):
                ended.append(pc.max(times).as_py())
    if not ended:
        raise NothingMatchedError(f"--output {output}: no run in it has labelled a recording yet")
    return max(ended)
