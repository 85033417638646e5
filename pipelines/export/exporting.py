"""Exports the chosen calls in one of the formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipelines import calls
from pipelines.errors import UsageError
from pipelines.export import audformat_folder, label_tracks, tables
from pipelines.export.choice import Request, choose
from pipelines.storage import files, published, views
from ser_core.report.call import Call

# Calls that are read at once.
_BATCH = 500


def export(request: Request, kind: str, save: str, say: Callable[[str], None]) -> None:
    """Export calls.

    Parameters
    ----------
    request : Request
    kind : str
        `audacity`, `csv`, `audformat` or `elan`.
    save : str
        A file for `csv`, else a folder; local.
    say : callable
        Prints a line.

    Raises
    ------
    NothingMatchedError
        No call is chosen, or there are no tables.
    UsageError
        The place cannot be written to.
    StoreError
        A table cannot be read, or a file cannot be written.
    """
    if files.is_remote(save):
        raise UsageError(f"--save {save}: a local place expected")
    save = files.absolute(save)
    if kind == "csv" and os.path.isdir(save):
        raise UsageError(f"--save {save}: a folder found, a file expected for --format csv")
    if kind != "csv" and os.path.exists(save) and not os.path.isdir(save):
        raise UsageError(f"--save {save}: a file found, a folder expected for --format {kind}")
    published.require_paths(published.open_reader(request.output), "recordings")
    with views.connect(request.output) as db:
        words, uris = choose(db, request)
        if kind == "csv":
            _write_csv(db, uris, save)
        elif kind == "audformat":
            audformat_folder.write(_read(db, uris), save, source=request.output)
        else:
            _write_annotations(_read(db, uris), save, kind)
    say(f"{words}: {len(uris):,} call{'s' if len(uris) != 1 else ''} exported: {save}")


def _read(db: Any, uris: Sequence[str]) -> Iterator[Call]:
    for first in range(0, len(uris), _BATCH):
        yield from calls.read(db, uris[first : first + _BATCH])


def _write_csv(db: Any, uris: Sequence[str], save: str) -> None:
    temporary = f"{save}.tmp"
    with files.naming(f"--save {save}"):
        os.makedirs(os.path.dirname(save), exist_ok=True)
        try:
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                tables.write_csv(db, uris, file)
            os.replace(temporary, save)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)


def _write_annotations(chosen: Iterator[Call], folder: str, kind: str) -> None:
    texts_of = {"audacity": label_tracks.audacity, "elan": label_tracks.elan}[kind]
    names = label_tracks.Names()
    with files.naming(f"--save {folder}"):
        os.makedirs(folder, exist_ok=True)
        for call in chosen:
            name = names.give(call)
            for end, text in texts_of(call):
                files.write_whole(os.path.join(folder, f"{name}.{end}"), text)
