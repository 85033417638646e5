"""Verifying an output folder: files, hashes, schemas, books, and that what is forgotten is gone.

Nothing is written and no lock is taken. Each finding says what to do about it.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import NothingMatchedError, StoreError
from pipelines.storage import changes, erasing, files, forgotten, published, sums, views
from ser_core import tables
from ser_core.errors import SerError
from ser_core.tables import database, reader
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
_RESTORE = "restore it from a backup, or forget its calls and run again over their audio"
_SPOKEN = (tables.LABELLED, tables.EXTRACTED)


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Parameters
    ----------
    kind : str
        Stable name: `file`, `hash`, `schema`, `books`, `rows`, `forgotten`, `views`, `log`.
    text : str
        What was found.
    advice : str
        What to do.
    """

    kind: str
    text: str
    advice: str


@dataclass
class Checked:
    """The result of a check.

    Parameters
    ----------
    findings : list of Finding
    files, without_hash : int
        Files of tables that were read, and those among them that have no hash.
    rows : dict of str to int
        By table.
    erased : int
        Rows of recordings that the books hold and that were forgotten.
    """

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    without_hash: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    erased: int = 0

    def add(self, kind: str, text: str, advice: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(kind, text, advice))


def check(output: str) -> Checked:
    """Verify an output folder.

    Raises
    ------
    NothingMatchedError
        There are no tables.
    StoreError
        It cannot be listed.
    """
    root = files.absolute(output)
    checked = Checked()
    try:
        log = forgotten.read(root)
    except StoreError as error:
        log = []
        checked.add("log", str(error), "restore it from a backup")
    found = published.open_reader(root)
    published.require_paths(found, "runs")
    _check_names(root, checked)
    readable = _check_files(root, found, checked)
    with database.connect() as db:
        _fill(db, readable, checked)
        checked.erased = sum(
            entry.counts.get("recordings", 0) for entry in log if entry.only is None
        )
        _check_books(db, checked)
        _check_rows(db, log, checked)
    # Both read all files that count.
    if not any(finding.kind in ("file", "schema", "hash") for finding in checked.findings):
        _check_forgotten(root, log, checked)
        _check_views(root, checked)
    return checked


# ---------------------------------------------------------------- files


def _check_names(root: str, checked: Checked) -> None:
    """Files that belong to nothing."""
    ids = {change.id for change in changes.read(root)}
    with files.naming(f"--output {root}", "cannot be read"):
        names = sorted(item.path.removeprefix(f"{root}/") for item in files.below(root))
    held = "_staging/holder.json" in names
    staged = {name.split("/")[1] for name in names if name.startswith("_staging/")}
    for identity in sorted(staged - {"holder.json"}):
        if not held:
            checked.add(
                "file",
                f"_staging/{identity}: an interrupted command left it",
                "the next command that writes into the output finishes it or takes it away",
            )
    for name in names:
        found = _TABLE_FILE.fullmatch(name)
        if found is None:
            if not name.startswith("_staging/") and not _KNOWN.fullmatch(name):
                checked.add("file", f"{name}: belongs to no table", "move it elsewhere")
        elif changes.is_change(found["run"]) and found["run"] not in ids and not held:
            checked.add(
                "file",
                f"{name}: of a change that was not completed; it does not count",
                "the next command that writes takes it away; if it does not, delete it",
            )


def _check_files(root: str, found: tables.Reader, checked: Checked) -> dict[str, list[str]]:
    """Read each file that counts, whole; gives those that can be read, by table."""
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
            schema = _read_file(path, table, expected, checked)
            if schema is None:
                continue
            readable[table].append(path)
            if table != "runs":
                sets[reader.feature_set_of(schema)] += 1
            if table == "features":
                vectors[str(schema.field("vector").type)] += 1
    for counted, what in ((sets, "feature sets"), (vectors, "lengths of vectors")):
        if len(counted) > 1:
            checked.add(
                "schema",
                f"several {what} found: "
                + ", ".join(f"{value} in {count:,} files" for value, count in counted.items()),
                "an output holds one; move the others' files to a folder of their own",
            )
    return readable


def _read_file(path: str, table: str, expected: str | None, checked: Checked) -> pa.Schema | None:
    """Check the hash, the schema and each value of a file; None if it cannot be read."""
    try:
        if expected is not None and sums.sha256_of(path) != expected:
            checked.add("hash", f"{path}: its bytes have changed since it was written", _RESTORE)
        with published.open_parquet(path) as file:
            schema = file.schema_arrow
            missing = [name for name in _NEEDED[table] if name not in schema.names]
            if missing:
                checked.add("schema", f"{path}: no column {', '.join(missing)}", _RESTORE)
                return None
            for i in range(file.num_row_groups):
                rows = file.read_row_group(i)
                rows.validate(full=True)
                checked.rows[table] += len(rows)
    except (SerError, OSError, pa.ArrowException, ValueError) as error:
        text = str(error).strip().partition("\n")[0]
        checked.add("file", f"{path}: cannot be read: {text}", _RESTORE)
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
            checked.add("schema", f"{path}: {name} is {found}, {expected_type} expected", _RESTORE)
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


# ---------------------------------------------------------------- rows


_S = pa.string()
_RECORDINGS = pa.schema(
    [("run_id", _S), ("uri", _S), ("features_run_id", _S), ("status", _S), ("recording_id", _S)]
)
_COUNTED = pa.schema([("run_id", _S), ("uri", _S), ("n", pa.int64())])
_OUTCOMES = ("labelled", "extracted", "no_speech", "rejected")
_RUNS = pa.schema([("run_id", _S), *((name, pa.int64()) for name in _OUTCOMES)])


def _fill(db: Any, readable: dict[str, list[str]], checked: Checked) -> None:
    database.fill(db, "recordings", _RECORDINGS, _columns(readable["recordings"], _RECORDINGS))
    database.fill(db, "runs", _RUNS, _columns(readable["runs"], _RUNS))
    for table in ("segments", "features"):
        database.fill(db, table, _COUNTED, _counted(readable[table]))
        db.execute(
            f"CREATE TABLE {table}_of AS SELECT run_id, uri, sum(n) AS n FROM {table} GROUP BY ALL"
        )


def _columns(paths: list[str], schema: pa.Schema) -> Iterator[pa.Table]:
    for path in paths:
        with published.open_parquet(path) as file:
            present = [name for name in schema.names if name in file.schema_arrow.names]
            for rows in reader.read_row_groups(file, present):
                columns = [
                    rows[item.name] if item.name in present else pa.nulls(len(rows), item.type)
                    for item in schema
                ]
                yield pa.table(columns, names=schema.names).cast(schema)


def _counted(paths: list[str]) -> Iterator[pa.Table]:
    for path in paths:
        for rows in published.read_row_groups(path, ["run_id", "uri"]):
            grouped = rows.group_by(["run_id", "uri"]).aggregate([("uri", "count")])
            yield (
                grouped.select(["run_id", "uri", "uri_count"])
                .rename_columns(_COUNTED.names)
                .cast(_COUNTED)
            )


def _check_books(db: Any, checked: Checked) -> None:
    """Rows of each run, compared with its row in `runs`, less what was forgotten."""
    sums_of = ", ".join(f"count(*) FILTER (status = '{name}') AS {name}" for name in _OUTCOMES)
    db.execute(f"CREATE TABLE found AS SELECT run_id, {sums_of} FROM recordings GROUP BY run_id")
    less = " OR ".join(
        f"coalesce(found.{name}, 0) <> coalesce(runs.{name}, 0)" for name in _OUTCOMES
    )
    missing = 0
    for run_id, expected, there, more in db.execute(
        f"SELECT runs.run_id, {_total('runs')}, {_total('found')}, "
        + " OR ".join(f"coalesce(found.{name}, 0) > coalesce(runs.{name}, 0)" for name in _OUTCOMES)
        + f" FROM runs LEFT JOIN found USING (run_id) WHERE {less} ORDER BY 1"
    ).fetchall():
        missing += expected - there
        if more or not checked.erased:
            checked.add(
                "books",
                f"run {run_id}: {there:,} rows in recordings, {expected:,} in its books, by status",
                "restore the files of this run from a backup, or do it again: ser run --redo "
                f"run={run_id}",
            )
    if checked.erased and missing != checked.erased:
        checked.add(
            "books",
            f"{missing:,} rows of recordings are missing from the runs, and {checked.erased:,} "
            "were forgotten",
            "restore the missing files from a backup, or do the calls again from their audio",
        )
    for run_id, count in db.execute(
        "SELECT run_id, count(*) FROM recordings WHERE NOT EXISTS (FROM runs WHERE "
        "runs.run_id = recordings.run_id) GROUP BY run_id ORDER BY 1"
    ).fetchall():
        checked.add(
            "books",
            f"run {run_id}: {count:,} rows in recordings, and no row in runs",
            "restore its file of runs from a backup",
        )
    for run_id, count in db.execute(
        "SELECT run_id, count(*) FROM runs GROUP BY run_id HAVING count(*) > 1 ORDER BY 1"
    ).fetchall():
        checked.add("books", f"run {run_id}: {count} rows in runs", "delete the files that differ")


def _total(table: str) -> str:
    return " + ".join(f"coalesce({table}.{name}, 0)" for name in _OUTCOMES)


def _check_rows(db: Any, log: list[forgotten.Forgetting], checked: Checked) -> None:
    """Each recording with its segments and features, and nothing without a recording."""
    spoken = ", ".join(f"'{status}'" for status in _SPOKEN)
    _report(
        db, checked, "rows of recordings are there twice",
        "SELECT any_value(uri) FROM recordings GROUP BY run_id, uri HAVING count(*) > 1",
    )  # fmt: skip
    _report(
        db, checked, "recordings with speech have no segments",
        f"SELECT uri FROM recordings ANTI JOIN segments_of USING (run_id, uri) "
        f"WHERE status IN ({spoken})",
    )  # fmt: skip
    _report(
        db, checked, "recordings without speech have segments",
        f"SELECT uri FROM recordings SEMI JOIN segments_of USING (run_id, uri) "
        f"WHERE status NOT IN ({spoken})",
    )  # fmt: skip
    for table in ("segments", "features"):
        _report(
            db, checked, f"recordings have {table} and no row in recordings",
            f"SELECT uri FROM {table}_of ANTI JOIN recordings USING (run_id, uri)",
        )  # fmt: skip
    marks = forgotten.marks(log, only=forgotten.FEATURES)
    rows = database.fetch(
        db,
        "SELECT r.uri, r.recording_id, f.n FROM recordings AS r JOIN segments_of AS s "
        "ON s.run_id = r.run_id AND s.uri = r.uri LEFT JOIN features_of AS f "
        "ON f.run_id = coalesce(r.features_run_id, r.run_id) AND f.uri = r.uri "
        f"WHERE r.status IN ({spoken}) AND s.n IS DISTINCT FROM f.n",
    )
    wrong: list[str] = []
    for uri, recording_id, count in rows:
        if count is not None or not marks.has_recordings([recording_id])[0]:
            wrong.append(uri)
    if wrong:
        checked.add(
            "rows",
            f"{len(wrong):,} recordings have other numbers of features than of segments, the "
            f"first: {min(wrong)}",
            "restore the files of features from a backup, or do the calls again: ser run --redo",
        )


def _report(db: Any, checked: Checked, text: str, query: str) -> None:
    [(count, first)] = db.execute(f"SELECT count(*), min(uri) FROM ({query}) AS t(uri)").fetchall()
    if count:
        checked.add(
            "rows",
            f"{count:,} {text}, the first: {first}",
            "restore the files that are missing from a backup, or do the calls again: "
            "ser run --redo",
        )


def _check_forgotten(root: str, log: list[forgotten.Forgetting], checked: Checked) -> None:
    done = {change.id for change in changes.read(root)}
    for entry in log:
        if entry.kind != forgotten.RENAMED and entry.id not in done:
            checked.add(
                "forgotten",
                f"the forgetting of {entry.at:%Y-%m-%d %H:%M} UTC was interrupted",
                "the next command that writes into the output finishes it, such as ser compact",
            )
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
