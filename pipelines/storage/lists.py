"""Reads `@list.txt`: a pattern, folder or file a line, as any program or person wrote it."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import shlex
from collections.abc import Iterator
from typing import BinaryIO

from pipelines.errors import UsageError
from pipelines.secrets import has_secret
from pipelines.storage import files

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_list(path: str, option: str = "--input") -> Iterator[str]:
    """Yield the lines of a list that name something.

    A byte order mark, any line ends, blank lines, lines that begin with `#`, and quotes as of a
    shell or a CSV file are understood. Names that are not UTF-8 are kept.

    Parameters
    ----------
    path : str
        Local, gs:// or s3://.
    option : str
        That names the list, for messages.

    Raises
    ------
    UsageError
        The list cannot be read, or is no text.
    """
    option = f"{option} @{path}"
    try:
        with files.read(os.path.expanduser(path)) as file:
            for number, line in enumerate(_decoded(file), 1):
                text = line.strip()
                if "\0" in text:
                    raise UsageError(
                        f"{option}: line {number} holds a zero byte; a text file with one path a "
                        "line expected"
                    )
                name = "" if text.startswith("#") else _unquoted(text)
                if has_secret(name):
                    raise UsageError(
                        f"{option}: line {number} holds credentials or a query string, which would "
                        "be stored with the results; give the plain address, and credentials in "
                        "the environment"
                    )
                if name:
                    yield name
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{option}: the list cannot be read: {files.error_text(error)}") from error


def _decoded(file: BinaryIO) -> Iterator[str]:
    """The lines of a text file."""
    start = file.read(3)
    file.seek(0)
    encoding = next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8")
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    return iter(io.TextIOWrapper(file, encoding=encoding, errors=errors))


def _unquoted(line: str) -> str:
    """A line without its quotes.

    Examples
    --------
    >>> [_unquoted(line) for line in ('"a b.wav"', '"the ""best"".wav"', "'tis.wav")]
    ['a b.wav', 'the "best".wav', "'tis.wav"]
    """
    if len(line) < 2 or line[0] not in "\"'" or line[-1] != line[0]:
        return line
    if re.fullmatch(r'"(?:[^"]|"")*"', line):
        return next(csv.reader([line]))[0]
    try:
        words = shlex.split(line)
    except ValueError:
        return line
    return words[0] if len(words) == 1 else line
