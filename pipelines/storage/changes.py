"""Which files of an output folder count: the file OUT/_changes.json.

`ser compact` and `ser forget` write new files into `<table>/date=…/run=<change id>/` and replace
others. One atomic write of this file makes the change true, on this machine and in an object store
alike. Until then the new files do not count; from then on the replaced ones do not. These are
deleted later: after `compact`, readers that opened them have `GRACE`; `forget` deletes them before
it ends. Only a command that holds the output writes the file.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pipelines.errors import StoreError
from pipelines.storage import files

NAME = "_changes.json"
VERSION = 1
COMPACT, FORGET = "compact", "forget"
# How long files that `compact` replaced stay readable.
GRACE = dt.timedelta(hours=1)
# The first letter of a change's id. Ids of runs begin with another one, which sorts later.
_LETTER = "c"


@dataclass(frozen=True)
class Change:
    """A change of published files.

    Parameters
    ----------
    id : str
        Of the folders `run=<id>` that hold its new files; from `new_id`.
    kind : str
        `compact` or `forget`.
    at : datetime.datetime
        When it became true.
    replaced : tuple of str
        Files that no longer count, relative to OUT. Empty once they are deleted.
    """

    id: str
    kind: str
    at: dt.datetime
    replaced: tuple[str, ...] = ()


def new_id(now: dt.datetime) -> str:
    """A new id of a change: unique, sorted by time, and told from the id of a run."""
    return f"{_LETTER}{now.astimezone(dt.UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def is_change(run: str) -> bool:
    """Whether the name of a folder `run=…` is that of a change.

    Examples
    --------
    >>> is_change("c20261126T021500-ab12cd"), is_change("r20261126T021500-ab12cd")
    (True, False)
    """
    return run.startswith(_LETTER)


def read(root: str) -> tuple[Change, ...]:
    """All changes of an output folder, the oldest first; none if the file does not exist.

    Raises
    ------
    StoreError
        The file cannot be read, or a newer version wrote it.
    """
    path = files.join(root, NAME)
    with files.naming(f"--output {root}", "cannot be read"):
        # An object store raises errors of its own for an object that does not exist.
        if not files.exists(path):
            return ()
        text = files.read_text(path)
    try:
        content = json.loads(text)
        version = content["version"]
        if version == VERSION:
            return tuple(_parse(change) for change in content["changes"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: cannot be understood ({error!r}); restore it from a backup, since it tells "
            "which files of the tables count"
        ) from error
    raise StoreError(
        f"{path}: version {version} found, {VERSION} expected; install a newer ser-pipeline"
    )


def _parse(change: dict) -> Change:
    at = dt.datetime.fromisoformat(change["at"])
    return Change(change["id"], change["kind"], at, tuple(change["replaced"]))


def write(root: str, changes: Iterable[Change]) -> None:
    """Replace the file, whole or not at all. The caller holds the output.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    content = {
        "version": VERSION,
        "changes": [
            {
                "id": change.id,
                "kind": change.kind,
                "at": f"{change.at.astimezone(dt.UTC).replace(tzinfo=None).isoformat()}Z",
                "replaced": list(change.replaced),
            }
            for change in changes
        ],
    }
    with files.naming(f"--output {root}"):
        files.write_whole(files.join(root, NAME), json.dumps(content, indent=1) + "\n")


def add(root: str, change: Change) -> None:
    """Make a change true: its new files count from now on, those that it replaces no longer.

    Raises
    ------
    StoreError
        As `read` and `write`.
    """
    write(root, [*read(root), change])


def live_filter(root: str, changes: Sequence[Change]) -> Callable[[str], bool]:
    """A function that tells whether a published file counts, by its path."""
    ids = {change.id for change in changes}
    replaced = {files.join(root, path) for change in changes for path in change.replaced}

    def is_live(path: str) -> bool:
        run = path.split("/")[-2].partition("=")[2]
        return path not in replaced and (run in ids or not is_change(run))

    return is_live


def expire(root: str, *, now: dt.datetime, grace: dt.timedelta = GRACE) -> list[str]:
    """Delete replaced files whose time is over, and shrink the entries; returns what was deleted.

    Files that `forget` replaced have no time left. The caller holds the output. A call that is
    interrupted can be repeated.

    Raises
    ------
    StoreError
        A file cannot be deleted, or as `read` and `write`.
    """
    changes = read(root)
    over = {
        change.id
        for change in changes
        if change.replaced and (change.kind == FORGET or now - change.at >= grace)
    }
    if not over:
        return []
    paths = [
        files.join(root, path)
        for change in changes
        if change.id in over
        for path in change.replaced
    ]
    with files.naming(f"--output {root}"):
        tables = {path.partition("/")[0] for change in changes for path in change.replaced}
        held = {found.path for table in tables for found in files.below(files.join(root, table))}
        paths = [path for path in paths if path in held]
        files.delete(paths)
        if not files.is_remote(root):
            files.remove_empty_folders(path.rpartition("/")[0] for path in paths)
    write(
        root, [replace(change, replaced=()) if change.id in over else change for change in changes]
    )
    return paths
