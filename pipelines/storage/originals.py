"""The original audio of a row: the recording at its URI, verified by its SHA-256.

A recording may be replaced under its URI after the night that labelled it; its old labels must not
be shown beside the new audio.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.storage.inputs import as_local_file, local_path
from ser_core.errors import SerError
from ser_core.examine import Source


class ReplacedError(SerError):
    """Another recording has taken the place of the one that a row describes."""


@contextmanager
def open_original(source: Source, recording_id: str) -> Iterator[str]:
    """The path at which the original lies on this machine, fetched first where it is remote.

    Parameters
    ----------
    source : Source
        The row's URI, with the size and time of then.
    recording_id : str
        SHA-256 of the bytes of then.

    Raises
    ------
    ReplacedError
        The bytes at the URI are others now.
    OSError
        There are none, or they cannot be read.
    """
    with as_local_file(source) as path:
        _verify(path, source.uri, recording_id)
        yield path


def verify_local(source: Source, recording_id: str) -> str:
    """The path of an original on this machine; a file of the same size and time is not read.

    Raises
    ------
    ReplacedError
        The bytes at the URI are others now.
    OSError
        There are none, or they cannot be read.
    """
    path = local_path(source.uri)
    stat = os.stat(path)
    if (stat.st_size, stat.st_mtime_ns // 1000) != (source.size_bytes, source.modified_us):
        _verify(path, source.uri, recording_id)
    return path


def _verify(path: str, uri: str, recording_id: str) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != recording_id:
        raise ReplacedError(
            f"{uri}: SHA-256 {found} found, {recording_id} expected: another recording has taken "
            "its place; `ser run` labels it"
        )
