"""The views of an output folder in SQL: what `calls`, `segments` and the others are.

The row that counts of a URI is that of its latest run. Its segments have the same run, and its
features the run `features_run_id`. Views of the schema `files` have all rows of the files that
count; the views for users are built on them. docs/tables.md describes the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import pyarrow as pa

from pipelines.storage import changes, drift_statements, files
from ser_core.names import folded
from ser_core.tables import Reader, runs_schema
from ser_core.tables.reader import label_names, meta_names, run_of
from ser_core.tables.schemas import UTC, features_columns, recordings_columns, segments_columns

VIEWS = ("calls", "segments", "features", "runs", "nights", "history", "drift")
# A run publishes `recordings` after `segments` and `features`. In this order, what is listed later
# is there for every recording.
TABLES = ("recordings", "segments", "features", "runs")

_LATEST = """\
CREATE OR REPLACE VIEW files.latest AS
SELECT
    uri,
    max(run_id) AS run_id,
    arg_max(features_run_id, run_id) AS features_run_id,
    arg_max(night, run_id) AS night
FROM (
    SELECT
        uri,
        max(run_id) AS run_id,
        arg_max(features_run_id, run_id) AS features_run_id,
        min(date) AS night
    FROM files.recordings
    GROUP BY uri, size_bytes, modified_at
)
GROUP BY uri"""
_CALLS = """\
CREATE OR REPLACE VIEW calls AS
SELECT recordings.*, latest.night
FROM files.recordings AS recordings JOIN files.latest AS latest USING (uri, run_id)"""
_SEGMENTS = """\
CREATE OR REPLACE VIEW segments AS
SELECT segments.*, latest.night
FROM files.segments AS segments JOIN files.latest AS latest USING (uri, run_id)"""
_FEATURES = """\
CREATE OR REPLACE VIEW features AS
SELECT
    features.* REPLACE (latest.run_id AS run_id),
    latest.features_run_id,
    latest.night
FROM files.features AS features JOIN files.latest AS latest
    ON features.uri = latest.uri AND features.run_id = latest.features_run_id"""
_HISTORY = """\
CREATE OR REPLACE VIEW history AS
SELECT *, min(date) OVER (PARTITION BY uri, size_bytes, modified_at) AS night
FROM files.recordings"""
_RUNS = """\
CREATE OR REPLACE VIEW runs AS
SELECT * EXCLUDE (sketch)
FROM files.runs"""
_NIGHTS = """\
CREATE OR REPLACE VIEW nights AS
WITH chunks AS (
    SELECT
        *,
        already_done + waiting + forgotten + skipped AS left_out,
        lag(labelled + extracted + no_speech + rejected) OVER (
            PARTITION BY night, command ORDER BY run_id
        ) AS examined_before
    FROM runs
),
-- The first chunk of a command counts what was left out. It is told by that, or by having no chunk
-- before it that examined anything. What waited for an earlier command is done, or waits again.
waited AS (
    SELECT night, sum(waiting)::BIGINT AS waiting
    FROM (
        SELECT night, arg_max(waiting, run_id) AS waiting
        FROM chunks
        WHERE left_out > 0 OR coalesce(examined_before, 0) = 0
        GROUP BY night, command
    )
    GROUP BY night
),
by_run AS (
    SELECT
        night,
        count(*) AS runs,
        sum(already_done)::BIGINT AS already_done,
        any_value(waited.waiting) AS waiting,
        sum(forgotten)::BIGINT AS forgotten,
        sum(skipped)::BIGINT AS skipped,
        sum(cpu_seconds) AS cpu_seconds,
        min(started) AS started,
        max(ended) AS ended,
        flatten(list(warnings)) AS warnings
    FROM runs JOIN waited USING (night)
    GROUP BY night
),
first_rejected AS (
    SELECT uri, min(date) AS date FROM files.recordings WHERE status = 'rejected' GROUP BY uri
),
by_call AS (
    SELECT
        night,
        count(*) FILTER (status = 'labelled') AS labelled,
        count(*) FILTER (status = 'extracted') AS extracted,
        count(*) FILTER (status = 'no_speech') AS no_speech,
        count(*) FILTER (status = 'rejected') AS rejected,
        count(*) FILTER (status = 'rejected' AND first_rejected.date = night) AS rejected_new,
        count(*) FILTER (
            len(list_filter(by_channel, lambda channel: channel.role = 'mixed')) > 0
        ) AS mixed,
        avg(unsure::INT) FILTER (status = 'labelled') AS unsure_rate,
        sum(negativity * speech_s) FILTER (status = 'labelled')
            / nullif(sum(speech_s) FILTER (status = 'labelled'), 0) AS negativity,
        avg((arc = 'worse')::INT) FILTER (status = 'labelled') AS worse_rate,
        coalesce(sum(duration_s), 0) / 3600 AS audio_hours,
        coalesce(sum(speech_s), 0) / 3600 AS speech_hours,
        arg_max(model_id, run_id) FILTER (model_id IS NOT NULL) AS model_id
    FROM calls LEFT JOIN first_rejected USING (uri)
    GROUP BY night
)
SELECT
    night,
    coalesce(runs, 0) AS runs,
    coalesce(labelled, 0) + coalesce(extracted, 0) + coalesce(no_speech, 0)
        + coalesce(rejected, 0) + coalesce(waiting, 0) AS matched,
    coalesce(labelled, 0) AS labelled,
    coalesce(extracted, 0) AS extracted,
    coalesce(no_speech, 0) AS no_speech,
    coalesce(rejected, 0) AS rejected,
    coalesce(waiting, 0) AS waiting,
    coalesce(rejected_new, 0) AS rejected_new,
    coalesce(mixed, 0) AS mixed,
    coalesce(already_done, 0) AS already_done,
    coalesce(forgotten, 0) AS forgotten,
    coalesce(skipped, 0) AS skipped,
    unsure_rate,
    negativity,
    worse_rate,
    coalesce(audio_hours, 0) AS audio_hours,
    coalesce(speech_hours, 0) AS speech_hours,
    coalesce(cpu_seconds, 0) AS cpu_seconds,
    model_id,
    coalesce(warnings, []) AS warnings,
    started,
    ended
FROM by_run FULL JOIN by_call USING (night)
ORDER BY night"""
ON_FILES = (
    _LATEST, _CALLS, _SEGMENTS, _FEATURES, _RUNS, _HISTORY, _NIGHTS, drift_statements.SKETCHES,
    drift_statements.DRIFT,
)  # fmt: skip


def statements(reader: Reader, paths: Mapping[str, Sequence[str]]) -> list[str]:
    """The views, as statements of SQL for DuckDB.

    Parameters
    ----------
    reader : Reader
    paths : mapping of str to sequence of str
        The files of each of `TABLES` that count.

    Raises
    ------
    StoreError
        A file cannot be read.
    """
    by_schema = {
        table: _by_schema(reader, paths[table]) for table in ("recordings", "segments", "runs")
    }
    labels = _names(label_names, by_schema["recordings"], by_schema["segments"])
    features = features_columns(_vector(reader, paths["features"]))
    # All have these columns, and reading the schema of each, with its many names, takes long.
    if paths["features"]:
        by_schema["features"] = {pa.schema(features): list(paths["features"])}
    columns = {
        "recordings": recordings_columns(labels, _names(meta_names, by_schema["recordings"])),
        "segments": segments_columns(labels),
        "features": features,
        "runs": [(field.name, field.type) for field in runs_schema()],
    }
    return [
        "CREATE SCHEMA IF NOT EXISTS files",
        *(
            _over_files(reader.root, table, columns[table], by_schema.get(table, {}))
            for table in TABLES
        ),
        *ON_FILES,
    ]


def _by_schema(reader: Reader, paths: Sequence[str]) -> dict[pa.Schema, list[str]]:
    """Files by their schema, that of the newest file first.

    Files that one run wrote to a table have one schema.
    """
    found: dict[pa.Schema, list[str]] = {}
    of_folder: dict[str, pa.Schema] = {}
    for path in reversed(paths):
        key = path if changes.is_change(run_of(path)) else path.rpartition("/")[0]
        if key not in of_folder:
            of_folder[key] = _schema(reader, path)
        found.setdefault(of_folder[key], []).append(path)
    return {schema: held[::-1] for schema, held in found.items()}


_schemas: dict[str, pa.Schema] = {}


def _schema(reader: Reader, path: str) -> pa.Schema:
    """The schema of a published file, without metadata. It never changes, so it is read once."""
    if path not in _schemas:
        _schemas[path] = reader.schema(path).remove_metadata()
    return _schemas[path]


def _names(
    names_in: Callable[[pa.Schema], Sequence[str]], *found: Mapping[pa.Schema, Sequence[str]]
) -> list[str]:
    """The names of columns of a kind in all schemas, those of the newest files first.

    Names that are one to SQL are written as in the newest file.
    """
    names: dict[bytes, str] = {}
    for schemas in found:
        for schema in schemas:
            for name in names_in(schema):
                names.setdefault(folded(name), name)
    return list(names.values())


def _vector(reader: Reader, paths: Sequence[str]) -> pa.DataType:
    """The type of the vectors; an output folder holds one feature set."""
    if not paths:
        return pa.list_(pa.float32())
    return _schema(reader, paths[-1]).field("vector").type


def _over_files(
    root: str,
    table: str,
    columns: Sequence[tuple[str, pa.DataType]],
    by_schema: Mapping[pa.Schema, Sequence[str]],
) -> str:
    """A view of all rows of a table: its columns, null where a file lacks one, and `date`."""
    types = {name: sql_type(kind) for name, kind in columns}
    # From the name of the folder. `hive_partitioning` would also read a `date=` in the path of OUT.
    first = len(files.join(root, table, "date=")) + 1
    parts = []
    for schema, paths in by_schema.items():
        held = set(map(folded, schema.names))
        values = [_value(table, name, kind, held) for name, kind in types.items()]
        parts.append(
            f"SELECT{_lines(values)},\n    substr(filename, {first}, 10)::DATE AS date\n"
            f"FROM read_parquet([{_lines(map(_literal, paths))}\n], "
            "filename = true, hive_partitioning = false)"
        )
    if not parts:
        nulls = [f"NULL::{kind} AS {quoted(name)}" for name, kind in types.items()]
        parts = [f"SELECT{_lines([*nulls, 'NULL::DATE AS date'])}\nWHERE false"]
    return f"CREATE OR REPLACE VIEW files.{table} AS\n" + "\nUNION ALL\n".join(parts)


def _lines(items: Iterable[str]) -> str:
    return ",".join(f"\n    {item}" for item in items)


def _value(table: str, name: str, kind: str, held: Collection[bytes]) -> str:
    """A column of a file that has these columns, as all files of its table have it."""
    value = f"{quoted(name)}::{kind}" if folded(name) in held else f"NULL::{kind}"
    # What an older version did not write.
    if name == "features_run_id":
        value = f"coalesce({value}, run_id)"
    elif table == "runs" and kind == "BIGINT":
        value = f"coalesce({value}, 0)"
    return f"{value} AS {quoted(name)}"


def quoted(name: str) -> str:
    """The name of a column in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _literal(path: str) -> str:
    return text(as_pattern(path))


def as_pattern(path: str) -> str:
    """A path as DuckDB reads it, which takes local paths for patterns."""
    if files.is_remote(path):
        return path
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def text(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"


_TYPES = {
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    UTC: "TIMESTAMPTZ",
}


def sql_type(kind: pa.DataType) -> str:
    """A type of the tables' columns in SQL.

    Examples
    --------
    >>> sql_type(pa.list_(pa.float32(), 3)), sql_type(pa.map_(pa.string(), pa.int64()))
    ('FLOAT[3]', 'MAP(VARCHAR, BIGINT)')
    """
    if pa.types.is_fixed_size_list(kind):
        return f"{sql_type(kind.value_type)}[{kind.list_size}]"
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    if pa.types.is_map(kind):
        return f"MAP({sql_type(kind.key_type)}, {sql_type(kind.item_type)})"
    if pa.types.is_struct(kind):
        fields = ", ".join(f"{quoted(field.name)} {sql_type(field.type)}" for field in kind)
        return f"STRUCT({fields})"
    return _TYPES[kind]
