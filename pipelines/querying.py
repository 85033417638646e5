"""Runs SQL over the views of an output folder, and prints or saves the answer.

A query reads the output folder and nothing else: other files, the network and every statement that
writes are refused. Beside its answer only the files of the views are written, if the folder was
moved.
"""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines import logs
from pipelines.commands.query import FORMATS
from pipelines.errors import NothingMatchedError, StoreError, UsageError
from pipelines.storage import files, views
from pipelines.terminal import defuse, plain
from ser_core.errors import SerError

# Rows of the format `table`, which is for people.
MAX_ROWS = 1_000
_BATCH = 10_000
_TRIES = 3
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(ANALYZE\s+)?(\([^)]*\)\s*)?", re.IGNORECASE)


def read_sql(text: str) -> str:
    """The query that an argument gives: itself, @FILE, or - for the standard input.

    Raises
    ------
    UsageError
        The file cannot be read.
    """
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        with open(text[1:], encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{text}: cannot be read: {reason}; a file with a query expected"
        ) from None


def format_of(given: str | None, save: str | None) -> str:
    """The format of the answer: the given one, or that of the file's name, or `table`.

    Raises
    ------
    UsageError
        The file's name does not tell it.
    """
    if given or save is None:
        return given or "table"
    extension = os.path.splitext(save)[1].lstrip(".").lower()
    if extension not in FORMATS[1:]:
        raise UsageError(
            f"--save {save}: the name ends in none of .csv, .json and .parquet; "
            "add --format, such as --format csv"
        )
    return extension


def query(output: str, sql: str, kind: str, save: str | None) -> int:
    """Run a query and write its answer to a file, or print it; returns the number of rows.

    Parameters
    ----------
    output : str
        Folder of the tables.
    sql : str
        One statement.
    kind : str
        One of `FORMATS`.
    save : str or None
        The file; None prints.

    Raises
    ------
    UsageError
        The statement is wrong, or does more than read; or the answer cannot be written.
    NothingMatchedError
        There are no tables.
    StoreError
        They cannot be read.
    """
    if kind == "parquet" and save is None:
        raise UsageError(
            "--format parquet: it is not for reading on a screen; add --save F.parquet"
        )
    _check_reads(sql)
    _renew_views(output)
    try:
        return _answer(output, sql, kind, save)
    except duckdb.Error as error:
        if (problem := views.unread(error)) is not None:
            raise StoreError(f"--output {output}: cannot be read: {problem}") from None
        # Of the values, met while the answer is written.
        raise UsageError(f"SQL: {_first(error)}") from None


def _renew_views(output: str) -> None:
    """Let other programs find the tables where they are now. The query itself needs no file."""
    try:
        views.refresh_if_moved(output)
    except (OSError, SerError, duckdb.Error) as error:
        reason = getattr(error, "strerror", None) or _first(error)
        logs.say(
            f"{files.join(output, views.DATABASE)} is missing or names another folder, and cannot "
            f"be replaced ({reason}); this query goes on in memory",
            stream=sys.stderr,
        )


def _answer(output: str, sql: str, kind: str, save: str | None) -> int:
    for attempt in range(1, _TRIES + 1):
        answer = None
        try:
            with views.connect(output) as db:
                _require_tables(db, output)
                _lock_in(db, files.absolute(output))
                try:
                    answer = _Answer(db.sql(sql))
                except duckdb.Error as error:
                    if views.unread(error) is not None:
                        raise
                    raise _with_advice(error, db, sql) from None
                return _write(answer, kind, save)
        except duckdb.Error as error:
            if views.unread(error) is None:
                raise
            # `ser forget` or `ser compact` may have deleted a file meanwhile. What is printed
            # cannot be taken back; a table is printed at the end.
            printed = answer is not None and save is None and kind != "table"
            if printed or attempt == _TRIES:
                raise
    raise AssertionError("unreachable")


class _Answer:
    """The rows of an answer in batches. The first one is read at once, before anything is written.

    No two columns have one name.

    Parameters
    ----------
    relation : duckdb.DuckDBPyRelation

    Raises
    ------
    duckdb.Error
        Also while it is iterated over: `duckdb.IOException` if a file cannot be read.
    """

    def __init__(self, relation: Any) -> None:
        # Older versions have the second.
        name = "to_arrow_reader" if hasattr(relation, "to_arrow_reader") else "fetch_record_batch"
        self._reader: pa.RecordBatchReader = getattr(relation, name)(_BATCH)
        names = _numbered(self._reader.schema.names)
        self.schema = pa.schema(map(pa.Field.with_name, self._reader.schema, names))
        self._first = self._next()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        batch = self._first
        while batch is not None:
            yield batch
            batch = self._next()

    def _next(self) -> pa.RecordBatch | None:
        try:
            columns = self._reader.read_next_batch().columns
            return pa.RecordBatch.from_arrays(columns, schema=self.schema)
        except StopIteration:
            return None
        except (OSError, pa.ArrowException) as error:
            # Arrow knows DuckDB's errors by their text only.
            text = str(error)
            if text.startswith(("IO Error", "HTTP Error")) or views.TRACEBACK in text:
                raise duckdb.IOException(text) from None
            raise duckdb.Error(text) from None


def _numbered(names: Sequence[str]) -> list[str]:
    """Names of columns, with a number where a name was there before, as DuckDB gives it.

    Examples
    --------
    >>> _numbered(["label", "label", "start_s"])
    ['label', 'label_1', 'start_s']
    """
    found: list[str] = []
    # How often each was there before; DuckDB ignores the case.
    before: dict[str, int] = {}
    for name in names:
        new = name
        while new.lower() in before:
            before[name.lower()] += 1
            new = f"{name}_{before[name.lower()]}"
        before[new.lower()] = 0
        found.append(new)
    return found


def _check_reads(sql: str) -> None:
    """Raise a UsageError unless it is one statement that only reads."""
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError(f"SQL: {_whole(error)}") from None
    if len(statements) != 1:
        found = f"{len(statements)} statements" if statements else "no statement"
        raise UsageError(f'SQL: {found} found, one expected, such as "FROM nights"')
    kind = statements[0].type.name
    inner = _EXPLAIN.match(sql) if kind == "EXPLAIN" else None
    if inner:
        return _check_reads(sql[inner.end() :])
    # PIVOT is several statements to DuckDB.
    if kind not in ("SELECT", "MULTI"):
        raise UsageError(
            f"SQL: a statement {kind} found, SELECT expected: `ser query` only reads; --save "
            "writes the answer to a file"
        )
    return None


def _require_tables(db: Any, output: str) -> None:
    if not db.execute("FROM duckdb_views() WHERE sql LIKE '%read_parquet%'").fetchone():
        raise NothingMatchedError(f"--output {output}: no tables found; `ser run` fills them")


def _lock_in(db: Any, root: str) -> None:
    """Confine a connection to the files of an output folder."""
    folders = [root, views.as_pattern(root)]
    listed = ", ".join(views.text(f"{folder}/") for folder in folders)
    for setting in (
        "python_enable_replacements = false",
        f"allowed_directories = [{listed}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        db.execute(f"SET {setting}")


def _with_advice(error: duckdb.Error, db: Any, sql: str) -> UsageError:
    """The error of a query, with what there is to query."""
    advice = f"the views are {', '.join(views.VIEWS)}"
    if isinstance(error, duckdb.OutOfMemoryException):
        return UsageError(
            f"SQL: {_first(error)}; ask for fewer columns, or for some nights: WHERE night >= …"
        )
    if isinstance(error, duckdb.BinderException):
        words = set(re.findall(r"\w+", sql.lower()))
        for view in views.VIEWS:
            if view in words:
                rows = db.execute(f"DESCRIBE {view}").fetchall()
                advice += f"\ncolumns of {view}: {', '.join(name for name, *_ in rows)}"
    return UsageError(f"SQL: {_whole(error)}\n{advice}")


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _whole(error: duckdb.Error) -> str:
    return str(error).strip().replace("\n\n", "\n")


# ---------------------------------------------------------------- the answer


def _write(answer: _Answer, kind: str, save: str | None) -> int:
    if kind == "parquet":
        assert save is not None
        with _replaced(save, "wb") as file:
            return _write_parquet(answer, file)
    write = {"table": _write_table, "csv": _write_csv, "json": _write_json}[kind]
    with _replaced(save, "w") if save is not None else nullcontext(sys.stdout) as file:
        return write(answer, file)


@contextmanager
def _replaced(path: str, mode: str) -> Iterator[IO]:
    """Write a file that takes its place once it is whole."""
    folder, name = os.path.split(os.path.abspath(path))
    settings: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as temporary:
            new = os.path.join(temporary, name)
            with open(new, mode, **settings) as file:
                yield file
            os.replace(new, path)
    except OSError as error:
        raise UsageError(f"--save {path}: cannot be written: {error.strerror or error}") from error


def _write_parquet(answer: _Answer, file: IO) -> int:
    count = 0
    with pq.ParquetWriter(file, answer.schema, compression="zstd") as writer:
        for batch in answer:
            writer.write_batch(batch)
            count += len(batch)
    return count


def _write_csv(answer: _Answer, file: IO) -> int:
    count = 0
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(map(defuse, answer.schema.names))
    for batch in answer:
        columns = [map(_csv_cell, values) for values in _columns(batch)]
        writer.writerows(zip(*columns, strict=True))
        count += len(batch)
    return count


def _write_json(answer: _Answer, file: IO) -> int:
    count = 0
    names = answer.schema.names
    file.write("[")
    for batch in answer:
        for values in zip(*_columns(batch), strict=True):
            row = dict(zip(names, map(_json_value, values), strict=True))
            file.write((",\n" if count else "\n") + json.dumps(row, ensure_ascii=False))
            count += 1
    file.write("\n]\n" if count else "]\n")
    return count


def _write_table(answer: _Answer, file: IO) -> int:
    table = Table()
    for field in answer.schema:
        number = any(
            is_kind(field.type)
            for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
        )
        table.add_column(
            Text(plain(field.name)), no_wrap=True, justify="right" if number else "left"
        )
    count, more = 0, False
    for batch in answer:
        for values in zip(*_columns(batch), strict=True):
            if count == MAX_ROWS:
                more = True
                break
            table.add_row(*(Text(_shown(value)) for value in values))
            count += 1
        if more:
            break
    console = Console(file=file)
    # A line of a table is never broken, unless a person looks at it.
    wide = console if console.is_terminal else Console(file=file, width=10_000)
    wide.print(table)
    if more:
        print(f"the first {MAX_ROWS:,} rows; --format csv has all", file=sys.stderr)
    return count


def _columns(batch: pa.RecordBatch) -> list[list[Any]]:
    """The values of each column."""
    return [column.to_pylist(maps_as_pydicts="lossy") for column in batch.columns]


def _json_value(value: Any) -> Any:
    """A value as JSON has it: times as ISO text, what is no number as null."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if value is None or isinstance(value, str | int | bool):
        return value
    return float(value) if isinstance(value, decimal.Decimal) else str(_cell(value))


def _csv_cell(value: Any) -> Any:
    """A value as CSV has it; a spreadsheet takes no text for a formula."""
    return defuse(value) if isinstance(value, str) else _cell(value)


def _cell(value: Any) -> Any:
    """A value as text, or as a number."""
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dict | list | tuple):
        return json.dumps(_json_value(value), ensure_ascii=False)
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else value


def _shown(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return "\n".join(map(plain, str(_cell(value)).split("\n")))
