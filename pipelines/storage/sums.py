"""SHA-256 of published files: `OUT/_sums/<id>.json`, one file a run or a change of the tables.

The hash is taken while a file is written, so that nothing is read again, in an object store
neither. A change of the tables carries the hashes of the files that still count into its own file,
and deletes the older ones. Files of versions before 0.3.0 have none until they are compacted.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any, BinaryIO

from pipelines.storage import files

FOLDER = "_sums"
_BLOCK = 1 << 20


class HashedFile(io.BufferedIOBase):
    """A file for a Parquet writer, which writes from the beginning to the end; hashes what passes.

    Parameters
    ----------
    file : BinaryIO
        Open for writing. It is not closed here.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._hash.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    def writable(self) -> bool:
        """It is."""
        return True

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written, in hexadecimal digits."""
        return self._hash.hexdigest()


def sha256_of(path: str) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises
    ------
    OSError
        It cannot be read.
    """
    digest = hashlib.sha256()
    with files.read(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write(root: str, identity: str, sums: Mapping[str, str]) -> None:
    """Write the hashes of the files of a run or a change.

    Parameters
    ----------
    root : str
        The output folder.
    identity : str
        Id of the run or the change.
    sums : mapping of str to str
        SHA-256 by path relative to the output folder.

    Raises
    ------
    OSError
        They cannot be written.
    """
    ordered = dict(sorted(sums.items()))
    content = {"files": ordered, "sha256": _checksum(ordered)}
    files.write_whole(_path(root, identity), json.dumps(content, indent=0))


def read(root: str, broken: list[str] | None = None) -> dict[str, str]:
    """All hashes of an output folder by relative path.

    Parameters
    ----------
    root : str
    broken : list of str, optional
        Gets the paths of files of hashes that are damaged, which are left out.

    Raises
    ------
    OSError
        They cannot be read.
    """
    found: dict[str, str] = {}
    for path in paths(root):
        try:
            content = json.loads(files.read_text(path))
            if _checksum(content["files"]) != content["sha256"]:
                raise ValueError("checksum")
            found |= content["files"]
        except (ValueError, KeyError, TypeError):
            if broken is not None:
                broken.append(path)
    return found


def paths(root: str) -> list[str]:
    """The files of hashes, oldest first."""
    found = [item.path for item in files.below(files.join(root, FOLDER))]
    return sorted(path for path in found if path.endswith(".json"))


def _path(root: str, identity: str) -> str:
    return files.join(root, FOLDER, f"{identity}.json")


def _checksum(content: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
