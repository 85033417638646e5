"""Finds the recordings that patterns match, on this machine or in an object store."""

from __future__ import annotations

import datetime as dt
import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from pipelines.errors import StoreError, UsageError
from pipelines.storage import files
from ser_core.examine import Source

_MAGIC = re.compile(r"[*?\[]")
_FIELD = re.compile(r"\{date:([^{}]*)\}")


def match(patterns: Sequence[str], *, date: dt.date, output: str | None = None) -> Iterator[Source]:
    """Yield the recordings that the patterns match, in no order; some may come twice.

    Parameters
    ----------
    patterns : sequence of str
        Globs (`**` matches zero or more folders), folders, or `@list.txt` with one of these per
        line; `{date:%Y/%m/%d}` stands for the date. Hidden files are left out unless named.
    date : datetime.date
    output : str, optional
        Files in this folder are no inputs.

    Yields
    ------
    Source
        The URI of a local file is its absolute path. A broken link has the size None.

    Raises
    ------
    UsageError
        A list cannot be read, or the date has a wrong format.
    StoreError
        A folder or a bucket cannot be listed.
    """
    inside = files.join(files.absolute(output), "") if output else None
    for pattern in _with_lists(patterns):
        pattern = _FIELD.sub(lambda found: format(date, found[1]), pattern)
        found = _match_remote(pattern) if files.is_remote(pattern) else _match_local(pattern)
        for source in found:
            if inside is None or not source.uri.startswith(inside):
                yield source


def local_path(uri: str) -> str:
    """The path of a local recording; undoes the escapes of `_uri` in a name that is not UTF-8."""
    if "\\x" in uri and not os.path.lexists(uri):
        raw = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), uri.encode())
        return os.fsdecode(raw)
    return uri


@contextmanager
def as_local_file(source: Source) -> Iterator[str]:
    """The path of a recording on this machine; a remote one is fetched for the context.

    Raises
    ------
    OSError
        It cannot be fetched.
    """
    if not files.is_remote(source.uri):
        yield local_path(source.uri)
        return
    with files.local_copy(source.uri) as path:
        yield path


def _uri(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _source(path: str) -> Source:
    try:
        stat = os.stat(path)
    except OSError:
        return Source(_uri(path), None, None)
    return Source(_uri(path), stat.st_size, stat.st_mtime_ns // 1000)


def _with_lists(patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        if not pattern.startswith("@"):
            yield pattern
            continue
        try:
            with files.read(os.path.expanduser(pattern[1:])) as file:
                for line in file:
                    text = line.decode("utf-8").strip()
                    if text and text[0] != "#":
                        yield text
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"--input {pattern}: the list cannot be read: {files.error_text(error)}"
            ) from error


def _match_local(pattern: str) -> Iterator[Source]:
    pattern = os.path.expanduser(pattern)
    if os.path.isdir(pattern):
        pattern = os.path.join(pattern, "**")
    elif os.path.lexists(pattern):
        yield _source(os.path.abspath(pattern))
        return
    absolute = os.path.isabs(pattern)
    parts = [part for part in pattern.split(os.sep) if part]
    for path in _expand(os.sep if absolute else ".", parts):
        yield _source(os.path.abspath(path))


def _expand(folder: str, parts: Sequence[str], above: tuple[str, ...] = ()) -> Iterator[str]:
    head, rest = parts[0], parts[1:]
    if head == "**":
        real = os.path.realpath(folder)
        if real in above:  # a link to a folder above
            return
        yield from _expand(folder, rest or ["*"], ())
        for entry in _listed(folder):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _expand(entry.path, parts, (*above, real))
    elif not _MAGIC.search(head):
        path = os.path.join(folder, head)
        if rest and os.path.isdir(path):
            yield from _expand(path, rest)
        elif not rest and os.path.lexists(path) and not os.path.isdir(path):
            yield path
    else:
        for entry in _listed(folder):
            if not _is_named(entry.name, head):
                continue
            if rest and entry.is_dir():
                yield from _expand(entry.path, rest)
            elif not rest and not entry.is_dir():
                yield entry.path


def _is_named(name: str, part: str) -> bool:
    """Whether one part of a pattern matches the name of a file or folder."""
    hidden = name.startswith(".") and not part.startswith(".")
    return not hidden and fnmatch.fnmatchcase(name, part)


def _listed(folder: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise StoreError(
            f"--input: the folder {_uri(folder)} cannot be listed: {error.strerror}; "
            "give the job permission to read it, or leave it out of the pattern"
        ) from error


def _match_remote(pattern: str) -> Iterator[Source]:
    magic = _MAGIC.search(pattern)
    prefix = pattern[: magic.start()] if magic else pattern.rstrip("/")
    with files.naming(
        f"--input {pattern}", "cannot be listed", "check its name and your permissions"
    ):
        for found in files.listed(prefix):
            names = _parts(found.path)
            if _names(_parts(pattern), names) or (
                not magic and _names([*_parts(prefix), "**"], names)
            ):
                yield Source(found.path, found.size_bytes, found.modified_us)


def _parts(path: str) -> list[str]:
    return path.partition("://")[2].strip("/").split("/")


def _names(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether a pattern matches a path; both are split into parts."""
    if not pattern:
        return not path
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        if _names(rest or ["*"], path):
            return True
        return bool(path) and not path[0].startswith(".") and _names(pattern, path[1:])
    return bool(path) and _is_named(path[0], head) and _names(rest, path[1:])
