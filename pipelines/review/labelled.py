"""Segments that people have labelled already: read from the lists that `ser review` wrote."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import UsageError
from pipelines.storage import files

# Columns of a list that tell which segment was heard, and by whom.
_COLUMNS = {"uri", "channel", "start_s", "label", "annotator"}
_MOST_BYTES = 100_000_000

Key = tuple[str, int, int]


def read_labelled(paths: Sequence[str]) -> set[Key]:
    """Segments with an answer in these lists: URI, channel, and start in milliseconds.

    An answer is a label, or the name of an annotator who was not sure.

    Raises
    ------
    UsageError
        A file is no list of segments.
    StoreError
        A file cannot be read.
    """
    found: set[Key] = set()
    for path in paths:
        with files.naming(f"--labelled {path}", "cannot be read"):
            keys = _read(path)
        if keys is None:
            raise UsageError(
                f"--labelled {path}: a list of `ser review` expected, with the columns "
                f"{', '.join(sorted(_COLUMNS))}"
            )
        found |= keys
    return found


def lists_beside(folder: Path) -> list[str]:
    """Lists with answers in a folder, such as those that the page of a review downloads there."""
    found = []
    for path in sorted(folder.glob("*.csv")):
        try:
            if path.is_file() and path.stat().st_size < _MOST_BYTES and _read(str(path)):
                found.append(str(path))
        except OSError:
            continue  # another's file is none of ours
    return found


def _read(path: str) -> set[Key] | None:
    """Segments with an answer; None where the file is no such list."""
    found: set[Key] = set()
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            if not set(lines.fieldnames or ()) >= _COLUMNS:
                return None
            for line in lines:
                if line["start_s"] and (line["label"] or line["annotator"]):
                    start_ms = round(float(line["start_s"]) * 1000)
                    found.add((_plain(line["uri"]), int(line["channel"] or 0), start_ms))
    except (csv.Error, UnicodeDecodeError, ValueError, TypeError):
        return None
    return found


def _plain(uri: str) -> str:
    """A URI without the quote mark that `terminal.defuse` puts before what looks like a formula."""
    return uri[1:] if uri[:1] == "'" and uri[1:2] in tuple("=+-@\t\r") else uri
