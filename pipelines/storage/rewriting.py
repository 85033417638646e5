"""A change of published files: new ones are written in staging, moved, and count all at once.

`ser compact` and `ser forget` change tables in these steps, and may be killed after any of them:

1. `OUT/_staging/<change id>/` gets the new files.
2. They move to `<table>/date=…/run=<change id>/`, where they do not count yet.
3. `OUT/_changes.json` names the change: from now on they count, and what they replace does not.
4. The views are made anew, and the replaced files are deleted, or later.

A change that was killed before step 3 is undone by the next command that opens the output; one that
was killed after it is finished by that command.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage import changes, files, published, sums, views
from pipelines.storage.changes import Change
from ser_core import tables

if TYPE_CHECKING:
    from pipelines.storage.store import Output

# In the staging folder of a change, so that an object store has the folder, too.
ABOUT = "change.json"


@dataclass
class Rewriting:
    """A change that is being made.

    Parameters
    ----------
    output : Output
        Held.
    kind : str
        As that of a `Change`.
    id : str
        From `changes.new_id`.
    """

    output: Output
    kind: str
    id: str
    replaced: list[str] = field(default_factory=list, init=False)
    # SHA-256 of the new files, by path relative to OUT.
    _sums: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._staged = files.join(self.output.root, "_staging", self.id)
        files.write_whole(files.join(self._staged, ABOUT), "{}")

    @contextmanager
    def new_file(self, table: str, date: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Write a new file of a table, which belongs to the folder `date=<date>`."""
        folder = f"{table}/date={date}"
        number = sum(path.startswith(f"{folder}/") for path in self._sums)
        name = f"part-{number:05d}.parquet"
        with files.written(files.join(self._staged, folder, name)) as sink:
            hashed = sums.HashedFile(sink)
            with tables.writer(hashed, schema) as writer:
                yield writer
        self._sums[f"{folder}/run={self.id}/{name}"] = hashed.sha256

    def replace(self, path: str) -> None:
        """Let a published file not count any more."""
        self.replaced.append(path.removeprefix(f"{self.output.root}/"))

    def commit(self) -> None:
        """Make the change true. Replaced files are still there afterwards."""
        root = self.output.root
        self.output.check_held()
        self._move()
        before = sums.paths(root)
        sums.write(root, self.id, self._live_sums())
        self.output.check_held()
        changes.add(root, Change(self.id, self.kind, dt.datetime.now(dt.UTC), tuple(self.replaced)))
        views.refresh(root)
        files.delete([path for path in before if not path.endswith(f"/{self.id}.json")])
        files.remove(self._staged)

    def _live_sums(self) -> dict[str, str]:
        gone = set(self.replaced)
        known = sums.read(self.output.root)
        return {path: value for path, value in known.items() if path not in gone} | self._sums

    def _move(self) -> None:
        root = self.output.root
        by_folder: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for path in self._sums:
            folder, _, name = path.rpartition("/")
            source = files.join(self._staged, folder.rpartition("/")[0], name)
            by_folder[folder].append((source, files.join(root, path)))
        for folder, pairs in by_folder.items():
            if self.output.remote:
                files.copy(pairs)
                continue
            target = files.join(root, folder)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            # The folder in staging holds these files and nothing else.
            staged = os.path.dirname(pairs[0][0])
            files.sync(staged)
            os.rename(staged, target)
            files.sync(os.path.dirname(target))


def undo(root: str, staged: str) -> None:
    """Undo a change that was interrupted before it became true; tidy up after one that was not.

    Parameters
    ----------
    root : str
        The output folder.
    staged : str
        The staging folder of the change.
    """
    identity = staged.rpartition("/")[2]
    if identity not in {change.id for change in changes.read(root)}:
        for table in tables.TABLES:
            paths = [
                path
                for path in published.every_path(root, table)
                if path.split("/")[-2] == f"run={identity}"
            ]
            files.delete(paths)
            if not files.is_remote(root):
                files.remove_empty_folders({os.path.dirname(path) for path in paths})
        files.delete([path for path in sums.paths(root) if path.endswith(f"/{identity}.json")])
    files.remove(staged)
