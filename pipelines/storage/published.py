"""Reads the published tables of an output folder, on this machine or in an object store."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import NothingMatchedError, UsageError
from pipelines.storage import changes, files
from ser_core import models, tables
from ser_core.tables import reader

_PART = re.compile(r"date=[^/]+/run=[^/]+/part-[^/]+\.parquet$")


def open_reader(output: str | os.PathLike) -> tables.Reader:
    """A reader of the files that count in an output folder; it opens files when they are needed.

    What `ser compact` and `ser forget` have changed until now is known to it; later changes are
    not. It lists the files of a table anew each time.

    Raises
    ------
    StoreError
        The file of the changes cannot be read.
    """
    root = files.absolute(output)
    # Before any table is listed: files of a later change are not taken for new ones.
    is_live = changes.live_filter(root, changes.read(root))
    if not files.is_remote(root):
        local = tables.Reader(root, open_file=open_parquet)
        return tables.Reader(
            root, lambda table: list(filter(is_live, local.paths(table))), open_parquet
        )
    listed = _RemoteFiles(root, is_live)
    return tables.Reader(root, listed.paths, open_parquet)


@dataclass
class _RemoteFiles:
    """The files of the tables in an object store. A run counts once its row in `runs` is there."""

    root: str
    is_live: Callable[[str], bool]

    def paths(self, table: str) -> list[str]:
        # Rows of `runs` are copied last. So they are listed first.
        runs = self._runs
        paths = filter(self.is_live, _list_objects(self.root, table))
        return [
            path
            for path in paths
            if reader.run_of(path) in runs or changes.is_change(reader.run_of(path))
        ]

    @cached_property
    def _runs(self) -> frozenset[str]:
        paths = _list_objects(self.root, "runs")
        runs = {reader.run_of(path) for path in paths}
        # Of runs whose rows were compacted.
        compacted = [
            path for path in paths if changes.is_change(reader.run_of(path)) and self.is_live(path)
        ]
        for path in compacted:
            for rows in read_row_groups(path, ["run_id"]):
                runs.update(rows["run_id"].to_pylist())
        return frozenset(runs)


def every_path(root: str, table: str) -> list[str]:
    """The files of a table that are there, also those that do not count (any more)."""
    if files.is_remote(root):
        return _list_objects(root, table)
    return tables.Reader(root).paths(table)


def require_paths(published: tables.Reader, table: str) -> list[str]:
    """All published files of a table, oldest night first.

    Raises
    ------
    NothingMatchedError
        There are none.
    """
    paths = published.paths(table)
    if not paths:
        raise NothingMatchedError(
            f"--output {published.root}: no tables found; `ser run` fills them"
        )
    return paths


def _list_objects(root: str, table: str) -> list[str]:
    """All published files of a table in an object store, oldest night first.

    Raises
    ------
    StoreError
        They cannot be listed.
    """
    with files.naming(f"--output {root}", "cannot be read"):
        found = [item.path for item in files.below(files.join(root, table))]
    return sorted(path for path in found if _PART.search(path))


def latest_run_id(output: str | os.PathLike) -> str | None:
    """The latest id of the published runs, by which the rows of a URI are ordered; None if none.

    Raises
    ------
    StoreError
        It cannot be read.
    """
    published = open_reader(output)
    latest = None
    for path in published.paths("runs"):
        found = reader.run_of(path)
        if changes.is_change(found):  # it may hold several runs
            with published.open_file(path) as file:
                found = max(file.read(columns=["run_id"])["run_id"].to_pylist(), default="")
        latest = max(found, latest or "")
    return latest


def stored_feature_set(output: str | os.PathLike) -> tuple[str, str] | None:
    """Name and fingerprint of the feature set that an output folder holds; None if it is empty.

    Raises
    ------
    StoreError
        It cannot be read.
    """
    published = open_reader(output)
    for path in published.paths("recordings")[-1:]:
        return reader.feature_set_of(published.schema(path))
    return None


def check_feature_set(
    output: str | os.PathLike, feature_set: str, fingerprint: str, option: str = "--model"
) -> None:
    """Check that an output folder holds no other feature set than the one that a run makes.

    Parameters
    ----------
    output : str or path
    feature_set, fingerprint : str
    option : str
        `--model` or `--feature-set`: what chooses the features of the run.

    Raises
    ------
    UsageError
        It holds another.
    """
    found = stored_feature_set(output)
    if found in (None, (feature_set, fingerprint)):
        return
    advice = "use another folder"
    if option == "--model":
        name = models.bundled_for(*found)
        advice += f", or --model {name} for this one" if name else f", or a model for {found[0]!r}"
    elif found[0] != feature_set:
        advice += f", or {option} {found[0]} for this one"
    raise UsageError(
        f"--output {files.absolute(output)}: it holds features of {found[0]!r} ({found[1]}), and "
        f"this run makes {feature_set!r} ({fingerprint}); {advice}"
    )


def check_features_of_model(
    output: str | os.PathLike, model: str, feature_set: str, fingerprint: str
) -> None:
    """Check that an output folder holds no other features than those that a model is made for.

    Raises
    ------
    UsageError
        It holds others.
    """
    found = stored_feature_set(output)
    if found in (None, (feature_set, fingerprint)):
        return
    own = models.bundled_for(*found)
    raise UsageError(
        f"--model {model}: made for features {feature_set!r} ({fingerprint}), and --output "
        f"{output} holds {found[0]!r} ({found[1]}); give a model of these"
        + (f": --model {own}" if own else "")
    )


def open_parquet(path: str) -> pq.ParquetFile:
    """Open a Parquet file; a local one is read through the page cache.

    Raises
    ------
    StoreError, TableError
        It cannot be read; it is damaged.
    """
    with (
        reader.naming_damage(path),
        files.naming("--output", f"{path} cannot be read", "fix this and run again"),
    ):
        return pq.ParquetFile(files.read(path) if files.is_remote(path) else path)


def read_row_groups(
    path: str, columns: Sequence[str], groups: Sequence[int] | None = None
) -> Iterator[pa.Table]:
    """Columns of a Parquet file, one row group at a time. Raises what `open_parquet` raises.

    Parameters
    ----------
    path : str
    columns : sequence of str
    groups : sequence of int, optional
        Numbers of the row groups; all by default.
    """
    with open_parquet(path) as file:
        yield from reader.read_row_groups(file, columns, path, groups)


def same_night(published: tables.Reader, table: str, nights: Iterable[str]) -> list[str]:
    """The files of a table that hold rows of these nights, where those of a run are found.

    Which of them holds a row depends on how files were merged: rows belong together by `run_id`
    and `uri`.
    """
    wanted = set(nights)
    return [path for path in published.paths(table) if reader.night_of(path) in wanted]


def read_rows(path: str, filters: Any) -> pa.Table:
    """The rows of a Parquet file that fulfil an expression.

    Raises
    ------
    OSError
        It cannot be read.
    """
    if files.is_remote(path):
        with files.read(path) as file:
            return pq.read_table(file, filters=filters, partitioning=None)
    return pq.read_table(path, filters=filters, partitioning=None)
