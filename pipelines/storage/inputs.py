"""Finds the recordings that patterns match, on this machine or in an object store.

Nothing that is named is lost: a file that is named and is not there is a recording without a size,
which becomes a row. Files beside the recordings are told apart.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from pipelines.errors import StoreError
from pipelines.storage import files
from pipelines.storage.lists import read_list
from ser_core.examine import Source
from ser_core.names import path_of, readable, uri_of

_MAGIC = re.compile(r"[*?\[]")
_FIELD = re.compile(r"\{date:([^{}]*)\}")

# A message shows so many patterns.
_SHOWN = 4

# Kinds of what a pattern covers. A sidecar is a file beside recordings, or a hidden one; files of
# OTHER_CASE differ from the pattern only in case; NOTHING is a pattern that covers no file.
RECORDING, SIDECAR, OTHER_CASE, NOTHING = "recording", "sidecar", "other_case", "nothing"
_SIDECARS = (
    ".csv", ".htm", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".md5", ".pdf", ".sha1",
    ".sha256", ".srt", ".tsv", ".txt", ".vtt", ".xml", ".yaml", ".yml",
)  # fmt: skip
_SIDECAR_NAMES = ("desktop.ini", "thumbs.db")


@dataclass(frozen=True)
class Match:
    """A file that a pattern covers, or a pattern that covers none, and its kind.

    Size and time are known of recordings that are there.
    """

    source: Source
    kind: str = RECORDING


def match(
    patterns: Sequence[str], *, dates: Sequence[dt.date], output: str | None = None
) -> Iterator[Source]:
    """Yield the recordings that the patterns match, in no order; some may come twice.

    The parameters and errors are those of `scan`.

    Yields
    ------
    Source
    """
    for found in scan(patterns, dates=dates, output=output):
        if found.kind == RECORDING:
            yield found.source


def scan(
    patterns: Sequence[str], *, dates: Sequence[dt.date], output: str | None = None
) -> Iterator[Match]:
    """Yield all that the patterns cover, in no order; some may come twice.

    Parameters
    ----------
    patterns : sequence of str
        Globs (`**` matches zero or more folders), folders, or `@list.txt` with one of these per
        line; `{date:%Y/%m/%d}` stands for each of the dates. Hidden files are recordings only if
        their dot is named; other sidecars only if the pattern does not end in `*` and is no folder.
    dates : sequence of datetime.date
    output : str, optional
        Files in this folder are no inputs.

    Yields
    ------
    Match
        The URI of a local file is its absolute path. A broken link has the size None; so has a
        file that is not there, if its path or its line in a list names it without `*` and date.

    Raises
    ------
    UsageError
        A list cannot be read, or the date has a wrong format.
    StoreError
        A folder or a bucket cannot be listed.
    """
    inside = files.join(files.absolute(output), "") if output else None
    for pattern, named in _patterns(patterns, dates):
        found = False
        for item in _match_remote(pattern) if files.is_remote(pattern) else _match_local(pattern):
            found = found or item.kind != OTHER_CASE
            if inside is None or not item.source.uri.startswith(inside):
                yield item
        if not found:
            yield _missing(pattern) if named else Match(_nowhere(pattern), NOTHING)


def names_dates(patterns: Sequence[str]) -> bool:
    """Whether `{date:…}` is in a pattern, or in a line of a list.

    Raises
    ------
    UsageError
        A list cannot be read.
    """
    return any(_FIELD.search(line) for line, _ in _lines(patterns))


def expanded(patterns: Sequence[str], dates: Sequence[dt.date]) -> Iterator[str]:
    """The patterns, and the lines of lists, with each date in place of `{date:…}`.

    Raises
    ------
    UsageError
        A list cannot be read.
    """
    return (pattern for pattern, _ in _patterns(patterns, dates))


def nothing_matches(patterns: Sequence[str], dates: Sequence[dt.date]) -> str:
    """The error message if nothing matches: the patterns as they were looked for."""
    tried = list(islice(expanded(patterns, dates), _SHOWN + 1))
    text = ", ".join(tried[:_SHOWN]) + (", …" if len(tried) > _SHOWN else "")
    found = f" {text}" if tried and tried != list(patterns) else ""
    return (
        f"--input {' '.join(patterns)}: nothing matches{found}; "
        "a pattern such as 'calls/**/*.wav', a folder, or @list.txt expected"
    )


def _lines(patterns: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each pattern or line of a list, and whether it stands in a list."""
    for text in patterns:
        listed = text.startswith("@")
        for line in read_list(text[1:]) if listed else [text]:
            yield line, listed


def _patterns(patterns: Sequence[str], dates: Sequence[dt.date]) -> Iterator[tuple[str, bool]]:
    """Each pattern, and whether it names one file or folder."""
    for line, listed in _lines(patterns):
        # Names have brackets and question marks, but hardly any asterisk.
        magic = "*" in line if listed else _MAGIC.search(line)
        dated = _FIELD.search(line)
        # Some formats, such as %Y-%m, are the same for several days.
        for pattern in dict.fromkeys(_with_date(line, day) for day in dates) if dated else [line]:
            yield pattern, not dated and not magic


def _with_date(line: str, date: dt.date) -> str:
    return _FIELD.sub(lambda found: format(date, found[1]), line)


def _missing(pattern: str) -> Match:
    """What becomes of a file that is named and not there."""
    if files.is_remote(pattern):
        return Match(_nowhere(pattern))
    path = os.path.abspath(os.path.expanduser(pattern))
    if os.path.isdir(path):
        return Match(_nowhere(path), NOTHING)
    return Match(_nowhere(path))


def _nowhere(path: str) -> Source:
    return Source(readable(path) if files.is_remote(path) else uri_of(path), None, None)


def covers(pattern: str, uri: str) -> bool:
    """Whether a pattern of URIs, absolute and of one place, covers a URI; no file is looked at.

    Examples
    --------
    >>> covers("/calls/**/*.wav", "/calls/2026/a.wav")
    True
    """
    if files.is_remote(pattern) != files.is_remote(uri):
        return False
    if files.is_remote(pattern):
        return _covers(_parts(pattern), _parts(uri))
    return _covers(pattern.strip("/").split("/"), uri.strip("/").split("/"))


@contextmanager
def as_local_file(source: Source) -> Iterator[str]:
    """The path of a recording on this machine; a remote one is fetched for the context.

    Raises
    ------
    OSError
        It cannot be fetched.
    """
    if not files.is_remote(source.uri):
        yield path_of(source.uri)
        return
    with files.local_copy(source.uri) as path:
        yield path


def _source(path: str) -> Source:
    try:
        stat = os.stat(path)
    except OSError:
        return Source(uri_of(path), None, None)
    return Source(uri_of(path), stat.st_size, stat.st_mtime_ns // 1000)


def _match_local(pattern: str) -> Iterator[Match]:
    pattern = os.path.expanduser(pattern)
    if os.path.isdir(pattern):
        pattern = os.path.join(pattern, "**")
    elif os.path.lexists(pattern):
        yield Match(_source(os.path.abspath(pattern)))
        return
    root = os.sep if os.path.isabs(pattern) else "."
    parts = [part for part in pattern.split(os.sep) if part]
    for path, kind in _expand(root, parts):
        absolute = os.path.abspath(path)
        yield Match(_source(absolute) if kind == RECORDING else _nowhere(absolute), kind)


def _expand(
    folder: str, parts: Sequence[str], above: tuple[str, ...] = (), exact: bool = True
) -> Iterator[tuple[str, str]]:
    """Paths and kinds of the files that a pattern's parts cover in a folder.

    `above` are the folders that a `**` has gone through; not `exact` is below a folder whose name
    differs from the pattern in case.
    """
    head, rest = parts[0], parts[1:]
    if head == "**":
        real = os.path.realpath(folder)
        if real in above:  # a link to a folder above
            return
        yield from _expand(folder, rest or ["*"], (), exact)
        for entry in _listed(folder, exact):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _expand(entry.path, parts, (*above, real), exact)
    elif not _MAGIC.search(head):
        path = os.path.join(folder, head)
        if rest and os.path.isdir(path):
            yield from _expand(path, rest, (), exact)
        elif not rest and os.path.lexists(path) and not os.path.isdir(path):
            yield path, RECORDING if exact else OTHER_CASE
    else:
        for entry in _listed(folder, exact):
            if not rest:
                kind = _kind(entry.name, head, exact)
                if kind and not entry.is_dir():
                    yield entry.path, kind
                continue
            same = _is_named(entry.name, head)
            if (same or _is_named(entry.name.lower(), head.lower())) and entry.is_dir():
                yield from _expand(entry.path, rest, (), exact and same)


def _kind(name: str, part: str, exact: bool = True) -> str | None:
    """What a file is to the last part of a pattern; None if the part does not cover it."""
    hidden = name.startswith(".") and not part.startswith(".")
    if not exact or not fnmatch.fnmatchcase(name, part):
        other = not hidden and fnmatch.fnmatchcase(name.lower(), part.lower())
        return OTHER_CASE if other and not _is_sidecar(name, part) else None
    return SIDECAR if hidden or _is_sidecar(name, part) else RECORDING


def _is_sidecar(name: str, part: str) -> bool:
    """Whether a file is a known kind of sidecar, and the pattern leaves its extension open."""
    lower = name.lower()
    return part.endswith("*") and (lower.endswith(_SIDECARS) or lower in _SIDECAR_NAMES)


def _is_named(name: str, part: str) -> bool:
    """Whether one part of a pattern matches the name of a folder."""
    hidden = name.startswith(".") and not part.startswith(".")
    return not hidden and fnmatch.fnmatchcase(name, part)


def _listed(folder: str, exact: bool = True) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if not exact:  # the pattern does not ask for this folder
            return []
        raise StoreError(
            f"--input: the folder {readable(folder)} cannot be listed: {error.strerror}; "
            "give the job permission to read it, or leave it out of the pattern"
        ) from error


def _match_remote(pattern: str) -> Iterator[Match]:
    pattern = readable(pattern)
    magic = _MAGIC.search(pattern)
    prefix = pattern[: magic.start()] if magic else pattern.rstrip("/")
    parts = _parts(pattern)
    with files.naming(
        f"--input {pattern}", "cannot be listed", "check its name and your permissions"
    ):
        for found in files.listed(prefix):
            names = _parts(found.path)
            if names == parts:  # also where the name itself has brackets
                kind: str | None = RECORDING
            else:
                kind = _kind_of(parts if magic else [*parts, "**"], names)
            if kind:
                yield Match(Source(found.path, found.size_bytes, found.modified_us), kind)


def _parts(path: str) -> list[str]:
    return path.partition("://")[2].strip("/").split("/")


def _kind_of(pattern: Sequence[str], path: Sequence[str]) -> str | None:
    """What an object is to a pattern; both are split into parts."""
    last = "*" if pattern[-1] == "**" else pattern[-1]
    if _covers(pattern, path):
        return _kind(path[-1], last)
    lower = [part.lower() for part in pattern], [name.lower() for name in path]
    return _kind(path[-1], last, exact=False) if _covers(*lower) else None


def _covers(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether a pattern matches a path, whose file may be hidden, but no folder."""
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        if _covers(rest or ["*"], path):
            return True
        return len(path) > 1 and not path[0].startswith(".") and _covers(pattern, path[1:])
    if not rest:
        return len(path) == 1 and fnmatch.fnmatchcase(path[0], head)
    return len(path) > 1 and _is_named(path[0], head) and _covers(rest, path[1:])
