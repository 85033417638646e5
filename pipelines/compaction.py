"""Compaction: the small files of a date become one file a table, as far as their columns agree.

Files with other labels, other `meta_` columns or another model keep to themselves, so that every
reader finds the columns and the metadata that it found before. Rows, their order and their run are
kept. Readers of the replaced files have an hour (`changes.GRACE`).
"""

from __future__ import annotations

import datetime as dt
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import publishing
from pipelines.errors import StoreError
from pipelines.storage import changes, files, published, store, sums
from pipelines.storage.rewriting import Rewriting
from ser_core import tables
from ser_core.tables import reader

# Files are merged up to about this size; those above the second are left as they are.
FILE_BYTES, LARGE_BYTES = 100 << 20, 25 << 20
# A row group has at most so many rows and bytes in memory, unless it was larger before.
GROUP_ROWS, GROUP_BYTES = 8_000, 64 << 20
# A change takes effect after about so many bytes, so that the copies of a large archive need no
# more room than this at a time.
CHANGE_BYTES = 2 << 30


@dataclass(frozen=True)
class Merge:
    """Files of one table, date and schema that become one.

    Parameters
    ----------
    table, date : str
    paths : tuple of str
        In the order of their rows.
    size_bytes : int
    """

    table: str
    date: str
    paths: tuple[str, ...]
    size_bytes: int


@dataclass
class Compacted:
    """What a compaction did, or would do.

    Parameters
    ----------
    before, after : dict of str to int
        Numbers of files by table.
    size_bytes : int
        Of the files that are replaced.
    """

    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0

    def line(self) -> str:
        """As text."""
        by_table = ", ".join(
            f"{table} {self.before[table]:,} to {self.after[table]:,}"
            for table in reversed(tables.TABLES)
            if self.before.get(table)
        )
        return (
            f"{sum(self.before.values()):,} files to {sum(self.after.values()):,} ({by_table}; "
            f"{self.size_bytes / 1e6:,.1f} MB rewritten)"
        )


def preview(output: str) -> Compacted:
    """What `compact` would do; nothing is written.

    Raises
    ------
    NothingMatchedError
        There are no tables.
    """
    root = files.absolute(output)
    found = published.open_reader(root)
    published.require_paths(found, "runs")
    return _count(found, list(_merges(found)))


def compact(output: str, say: Callable[[str], None]) -> Compacted:
    """Merge what can be merged.

    Raises
    ------
    NothingMatchedError
        There are no tables.
    HeldError
        As `store.Output`.
    StoreError
        As there; or a file is damaged. What was merged before it stays merged.
    """
    root = files.absolute(output)
    published.require_paths(published.open_reader(root), "runs")
    with publishing.opened(output, say) as held, files.naming(f"--output {root}"):
        found = published.open_reader(root)
        merges = list(_merges(found))
        counted = _count(found, merges)
        for batch in _batches(merges):
            _check(root, batch)
            _apply(held, batch)
    return counted


def _count(found: tables.Reader, merges: Sequence[Merge]) -> Compacted:
    counted = Compacted(size_bytes=sum(merge.size_bytes for merge in merges))
    for table in tables.TABLES:
        count = len(found.paths(table))
        saved = sum(len(merge.paths) - 1 for merge in merges if merge.table == table)
        counted.before[table], counted.after[table] = count, count - saved
    return counted


def _merges(found: tables.Reader) -> Iterator[Merge]:
    """What there is to merge, oldest date first."""
    by_date: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for table in tables.TABLES:
        for path in found.paths(table):
            by_date[reader.night_of(path), table].append(path)
    for (date, table), paths in sorted(by_date.items()):
        if len(paths) > 1:
            yield from _of_date(table, date, paths)


def _of_date(table: str, date: str, paths: Sequence[str]) -> Iterator[Merge]:
    groups: list[tuple[pa.Schema, list[tuple[str, int]]]] = []
    for path in paths:
        with published.open_parquet(path) as file:
            schema, size_bytes = file.schema_arrow, size_of(file)
        if size_bytes >= LARGE_BYTES:
            continue
        for known, members in groups:
            if known.equals(schema, check_metadata=True):
                members.append((path, size_bytes))
                break
        else:
            groups.append((schema, [(path, size_bytes)]))
    for _, members in groups:
        for group in _fill(members):
            if len(group) > 1:
                names = tuple(path for path, _ in group)
                yield Merge(table, date, names, sum(size for _, size in group))


def size_of(file: pq.ParquetFile) -> int:
    """Bytes of the columns of a Parquet file."""
    metadata = file.metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    return sum(
        group.column(i).total_compressed_size for group in groups for i in range(group.num_columns)
    )


def _fill(members: Sequence[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    """Groups of files, in order, each of about `FILE_BYTES`."""
    group: list[tuple[str, int]] = []
    total = 0
    for member in members:
        group.append(member)
        total += member[1]
        if total >= FILE_BYTES:
            yield group
            group, total = [], 0
    if group:
        yield group


def _batches(merges: Sequence[Merge]) -> Iterator[list[Merge]]:
    batch: list[Merge] = []
    for merge in merges:
        batch.append(merge)
        if sum(item.size_bytes for item in batch) >= CHANGE_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _check(root: str, merges: Sequence[Merge]) -> None:
    """Refuse files that have changed since they were written: merged, they could not be told."""
    hashes = sums.read(root)
    for path in (path for merge in merges for path in merge.paths):
        expected = hashes.get(path.removeprefix(f"{root}/"))
        if expected is not None and sums.sha256_of(path) != expected:
            raise StoreError(
                f"{path}: its bytes have changed since it was written, so it is not merged; "
                f"`ser check --output {shlex.quote(root)}` says what to do"
            )


def _apply(output: store.Output, merges: Sequence[Merge]) -> None:
    identity = changes.new_id(dt.datetime.now(dt.UTC))
    change = Rewriting(output, changes.COMPACT, identity)
    for merge in merges:
        schema = published.open_reader(output.root).schema(merge.paths[0])
        with change.new_file(merge.table, merge.date, schema) as writer:
            for rows in _row_groups(merge.paths):
                writer.write_table(rows.cast(schema), row_group_size=len(rows))
        for path in merge.paths:
            change.replace(path)
    change.commit()


def _row_groups(paths: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of files, in groups that are neither tiny nor large."""
    held: list[pa.Table] = []
    for path in paths:
        with published.open_parquet(path) as file:
            for i in range(file.num_row_groups):
                rows = file.read_row_group(i)
                full = sum(map(len, held)) + len(rows) > GROUP_ROWS
                if held and (full or sum(part.nbytes for part in held) > GROUP_BYTES):
                    yield pa.concat_tables(held)
                    held = []
                held.append(rows)
    if held:
        yield pa.concat_tables(held)
