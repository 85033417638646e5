"""The original audio of a row: the recording at its URI, verified by its SHA-256.

A recording may be replaced after it was labelled. Its old labels must not be shown with the new
audio.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.storage.inputs import as_local_file
from ser_core.audio import open_regular
from ser_core.errors import SerError
from ser_core.examine import Source
from ser_core.names import path_of


class ReplacedError(SerError):
    """The recording at a URI is no longer the one that a row describes."""


@contextmanager
def open_original(source: Source, recording_id: str) -> Iterator[str]:
    """The path of the original on this machine; a remote one is fetched for the context.

    Parameters
    ----------
    source : Source
        URI, size and modification time, from the row.
    recording_id : str
        SHA-256 of the original's bytes, from the row.

    Raises
    ------
    ReplacedError
        The recording was replaced.
    OSError
        The recording no longer exists or cannot be read.
    """
    with as_local_file(source) as path:
        _verify(path, source.uri, recording_id)
        yield path


def verify_local(source: Source, recording_id: str) -> str:
    """Check a local original and return its path; one of unchanged size and time is not read.

    Raises
    ------
    ReplacedError
        The recording was replaced.
    OSError
        The recording no longer exists or cannot be read.
    """
    path = path_of(source.uri)
    stat = os.stat(path)
    if (stat.st_size, stat.st_mtime_ns // 1000) != (source.size_bytes, source.modified_us):
        _verify(path, source.uri, recording_id)
    return path


def _verify(path: str, uri: str, recording_id: str) -> None:
    with open_regular(path) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != recording_id:
        raise ReplacedError(
            f"{uri}: SHA-256 {found} found, {recording_id} expected: the recording was replaced; "
            "`ser run` labels the new one"
        )
