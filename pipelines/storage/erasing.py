"""Erasing what a forgetting marks from everything in an output folder.

`erase` finds the rows by their marks alone, so a forgetting that was killed at any moment after its
marks were written can be finished by another command, which knows no name.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage import changes, files, forgotten, published
from pipelines.storage.forgotten import Forgetting, Marks
from pipelines.storage.rewriting import Rewriting
from ser_core.tables import reader

if TYPE_CHECKING:
    from pipelines.storage.store import Output

# Readers that have just opened a list of files may go on for so long before they are deleted.
GRACE_S = 5.0
ATTEMPTS = "_attempts"
# Stands for the path of a recording that was forgotten.
NOBODY = "(forgotten)"


@dataclass
class Hits:
    """Rows that are marked.

    Parameters
    ----------
    files : dict of str to int
        Number of marked rows by path, of published files that hold any. Also files that do not
        count any more and are still there.
    rows : dict of str to int
        Number of marked rows that count, by table.
    size_bytes : float
        Their share of the files, by number of rows.
    uris, recording_ids : set of str
        Of the recordings; the ids are those that the erased table holds.
    nights : set of str
        Dates of the marked rows that count.
    """

    files: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    size_bytes: float = 0.0
    uris: set[str] = field(default_factory=set)
    recording_ids: set[str] = field(default_factory=set)
    nights: set[str] = field(default_factory=set)


def find(root: str, marks: Marks, only: str | None = None) -> Hits:
    """Find the rows that marks mean.

    Parameters
    ----------
    root : str
        The output folder.
    marks : Marks
    only : str, optional
        `features` for the rows of this table alone.

    Raises
    ------
    StoreError
        Something cannot be read.
    """
    hits = Hits()
    is_live = changes.live_filter(root, changes.read(root))
    erased = ("segments", "features") if only is None else (only,)
    by_table = {table: published.every_path(root, table) for table in erased}
    dates = set()
    for path in published.every_path(root, "recordings"):
        if _search(hits, path, marks, count_it=only is None, is_live=is_live):
            dates.add(reader.night_of(path))
    # A row of segments and features lies under the date of the run that wrote it, as does the row
    # of recordings of the same run.
    for paths in by_table.values():
        for path in paths:
            if reader.night_of(path) in dates:
                _search(hits, path, marks, count_it=True, is_live=is_live)
    return hits


def _search(
    hits: Hits, path: str, marks: Marks, *, count_it: bool, is_live: Callable[[str], bool]
) -> bool:
    """Whether a file holds marked rows; they are added to the hits if they are to be counted."""
    table = table_of(path)
    marked = 0
    with published.open_parquet(path) as file:
        columns = _FILE_COLUMNS if table == "recordings" else ["recording_id"]
        for rows in reader.read_row_groups(file, columns, path):
            mask = mask_of(rows, table, marks)
            if not mask.any():
                continue
            marked += int(mask.sum())
            found = rows.filter(pa.array(mask))
            if table == "recordings":
                hits.uris.update(found["uri"].to_pylist())
            if count_it:
                hits.recording_ids.update(found["recording_id"].unique().to_pylist())
        total, size_bytes = file.metadata.num_rows, _size_bytes(file.metadata)
    if marked and count_it:
        hits.files[path] = marked
        if is_live(path):
            hits.rows[table] = hits.rows.get(table, 0) + marked
            hits.size_bytes += size_bytes * marked / total
            hits.nights.add(reader.night_of(path))
    return marked > 0


def _size_bytes(metadata: Any) -> int:
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    return sum(group.column(i).total_compressed_size for group in groups for i in _columns(group))


def _columns(group: Any) -> range:
    return range(group.num_columns)


_FILE_COLUMNS = ["uri", "size_bytes", "modified_at", "recording_id"]


def mask_of(rows: pa.Table, table: str, marks: Marks) -> np.ndarray:
    """Which rows of a table are marked, by their file or by their bytes: bool [n]."""
    mask = _marked_ids(rows["recording_id"], marks)
    if table == "recordings":
        columns = [rows["uri"], rows["size_bytes"], rows["modified_at"].cast(pa.int64())]
        versions = zip(*(column.to_pylist() for column in columns), strict=True)
        mask |= marks.has_files(versions)
    return mask


def _marked_ids(column: pa.ChunkedArray, marks: Marks) -> np.ndarray:
    coded = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
    if not len(coded):
        return np.zeros(0, dtype=bool)
    known = marks.has_recordings(coded.dictionary.to_pylist())
    return known[coded.indices.to_numpy(zero_copy_only=False)]


# ---------------------------------------------------------------- erasing


def erase(output: Output, forgetting: Forgetting) -> Hits:
    """Erase what a forgetting marks; it is gone when this returns. It may be called again.

    Parameters
    ----------
    output : Output
        Held.
    forgetting : Forgetting
        Its file in the log is written.

    Raises
    ------
    StoreError
        Something cannot be read or written.
    """
    root = output.root
    marks, only = forgetting.marks, forgetting.only
    with files.naming(f"--output {root}"):
        hits = find(root, marks, only)
        is_live = changes.live_filter(root, changes.read(root))
        change = Rewriting(output, changes.FORGET, forgetting.id)
        for path, marked in hits.files.items():
            change.replace(path)
            if is_live(path):
                _rewrite(change, path, marks, marked)
        if only is None:
            for path in published.every_path(root, "runs"):
                _rewrite_runs(change, path, hits.uris, counts=is_live(path))
            _clear_attempts(root, hits.uris)
        change.commit()
        expire(root)
    return hits


def expire(root: str) -> None:
    """Delete replaced files whose time is over; readers that have just listed them go on first.

    Raises
    ------
    StoreError
        As `changes.expire`.
    """
    log = changes.read(root)
    if any(change.kind == changes.FORGET and change.replaced for change in log):
        time.sleep(GRACE_S)
    changes.expire(root, now=dt.datetime.now(dt.UTC))


def finish(output: Output) -> list[str]:
    """Erase what interrupted forgettings did not; returns lines for the user.

    Raises
    ------
    StoreError
        As `erase`.
    """
    log = forgotten.read(output.root)
    if not log:
        return []
    done = {change.id for change in changes.read(output.root)}
    lines = []
    for forgetting in log:
        if forgetting.kind == forgotten.RENAMED or forgetting.id in done:
            continue
        hits = erase(output, forgetting)
        rows = sum(hits.rows.values())
        lines.append(f"an interrupted forgetting is finished: {rows:,} rows are erased")
    return lines


def _rewrite(change: Rewriting, path: str, marks: Marks, marked: int) -> None:
    """Write the rows of a file that are not marked, if there are any."""
    table, date = table_of(path), reader.night_of(path)
    with published.open_parquet(path) as file:
        if file.metadata.num_rows == marked:
            return
        schema = file.schema_arrow
        with change.new_file(table, date, schema) as writer:
            for i in range(file.num_row_groups):
                rows = file.read_row_group(i)
                mask = mask_of(rows, table, marks)
                if not mask.all():
                    writer.write_table(rows.filter(pa.array(~mask)).cast(schema))


def table_of(path: str) -> str:
    """The table of a published file."""
    return path.split("/")[-4]


def _rewrite_runs(change: Rewriting, path: str, uris: set[str], *, counts: bool) -> None:
    """Take the paths of recordings out of the texts of `runs`.

    A file that does not count any more is not written anew: it goes.
    """
    with published.open_parquet(path) as file:
        schema, rows = file.schema_arrow, file.read()
    names = [item.name for item in schema if _is_text(item.type)]
    found = rows.select(names).to_pylist()
    clear = Clearing(uris)
    texts = [{name: clear(value) for name, value in row.items()} for row in found]
    if texts == found:
        return
    change.replace(path)
    if not counts:
        return
    for name in names:
        column = pa.array([row[name] for row in texts], schema.field(name).type)
        rows = rows.set_column(schema.get_field_index(name), schema.field(name), column)
    with change.new_file("runs", reader.night_of(path), schema) as writer:
        writer.write_table(rows.cast(schema))


def _is_text(kind: pa.DataType) -> bool:
    return kind == pa.string() or (pa.types.is_list(kind) and kind.value_type == pa.string())


class Clearing:
    """Takes the paths of recordings out of texts, also out of those in lists and dictionaries.

    Parameters
    ----------
    uris : set of str
    """

    def __init__(self, uris: set[str]) -> None:
        # The longest first: one path may be the beginning of another.
        self._uris = sorted(uris, key=len, reverse=True)
        # Whatever names one of them holds what all of them begin with.
        self._prefix = os.path.commonprefix(self._uris)  # noqa: RUF071
        self._known: dict[str, str] = {}

    def __call__(self, value: Any) -> Any:
        match value:
            case str():
                return self._clear(value)
            case list():
                return [self(item) for item in value]
            case dict():
                return {key: self(item) for key, item in value.items()}
        return value

    def _clear(self, text: str) -> str:
        if not self._uris or self._prefix not in text:
            return text
        if text not in self._known:
            cleared = text
            for uri in self._uris:
                if uri in cleared:
                    cleared = cleared.replace(uri, NOBODY)
            self._known[text] = cleared
        return self._known[text]


def _clear_attempts(root: str, uris: set[str]) -> None:
    """Take the paths of recordings out of the files of attempts."""
    clear = Clearing(uris)
    if not uris:
        return
    for found in list(files.below(files.join(root, ATTEMPTS))):
        if not found.path.endswith(".json"):
            continue
        text = files.read_text(found.path)
        try:
            content = json.loads(text)
        except ValueError:
            continue
        cleared = clear(content)
        if cleared != content:
            files.write_whole(found.path, json.dumps(cleared))
