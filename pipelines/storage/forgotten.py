"""What was forgotten, without naming it: append-only files of salted hashes under `OUT/_forgotten`.

A file is written for each forgetting, before anything is erased, and is never changed. It marks the
versions of files (URI, size, time of change) and the bytes (recording id) that must not come back:
a run leaves out files that are marked, and drops a recording whose bytes are, whatever its name is
now. The files hold no name, no id and no path.

A hash is the first 8 bytes of the SHA-256 of the output's salt and a text, as in
`ser_core.models.provenance`. Whoever has the output and can guess a path can test it, but cannot
list what was forgotten. A recording that was not forgotten is dropped by mistake with a probability
of about n / 2**64, for n marks.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.errors import StoreError
from pipelines.storage import files

FOLDER = "_forgotten"
FEATURES, RENAMED = "features", "renamed"
VERSION = 1
_SALT_BYTES = 16
# A file without bytes says nothing about anybody, and all such files have the same id.
_ID_OF_NO_BYTES = hashlib.sha256(b"").hexdigest()


def _no_marks() -> np.ndarray:
    return np.empty(0, dtype=np.uint64)


@dataclass(frozen=True)
class Marks:
    """Hashes of what was forgotten.

    Parameters
    ----------
    salt : bytes
    files, recordings : np.ndarray [shape=(n,)], uint64, ascending
        Of versions of files, and of recording ids.
    """

    salt: bytes
    files: np.ndarray = field(default_factory=_no_marks)
    recordings: np.ndarray = field(default_factory=_no_marks)

    def __bool__(self) -> bool:
        return bool(len(self.files) or len(self.recordings))

    @classmethod
    def of(
        cls, salt: bytes, versions: Iterable[Sequence[Any]], recording_ids: Iterable[str]
    ) -> Marks:
        """The marks of versions (uri, size_bytes, modified_us) and of recording ids."""
        ids = (text for text in recording_ids if text and text != _ID_OF_NO_BYTES)
        return cls(
            salt,
            np.unique(_hashes(salt, map(_version_text, versions))),
            np.unique(_hashes(salt, ids)),
        )

    def has_files(self, versions: Iterable[Sequence[Any]]) -> np.ndarray:
        """Which versions (uri, size_bytes, modified_us) are marked: bool [n]."""
        return np.isin(_hashes(self.salt, map(_version_text, versions)), self.files)

    def has_recordings(self, recording_ids: Iterable[str | None]) -> np.ndarray:
        """Which recording ids are marked: bool [n]; None is not."""
        return np.isin(_hashes(self.salt, (text or "" for text in recording_ids)), self.recordings)

    def __or__(self, other: Marks) -> Marks:
        return Marks(
            self.salt,
            np.union1d(self.files, other.files),
            np.union1d(self.recordings, other.recordings),
        )


def _version_text(version: Sequence[Any]) -> str:
    # A path holds no null character.
    return "\0".join("" if value is None else str(value) for value in version)


def _hashes(salt: bytes, texts: Iterable[str]) -> np.ndarray:
    digests = [
        hashlib.sha256(salt + text.encode("utf-8", "surrogateescape")).digest()[:8]
        for text in texts
    ]
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


@dataclass(frozen=True)
class Forgetting:
    """One file of the log.

    Parameters
    ----------
    id : str
        Of the change of the tables that erases it, such as `c20261126T021500-ab12cd`.
    at : datetime
    kind : str
        How it was chosen: `uri`, `recording`, `where`, `before`, `keep-days`,
        `keep-features-days`; or `renamed`: a run met its bytes under another name.
    only : str or None
        `features` if only these are erased; then nothing is left out by later runs.
    counts : dict of str to int
        Rows by table.
    marks : Marks
    """

    id: str
    at: dt.datetime
    kind: str
    only: str | None
    counts: dict[str, int]
    marks: Marks


def salt_of(forgettings: Sequence[Forgetting]) -> bytes:
    """The output's salt: that of its first forgetting, or a new one."""
    return forgettings[0].marks.salt if forgettings else secrets.token_bytes(_SALT_BYTES)


def write(output: str, forgetting: Forgetting) -> None:
    """Add a file to the log of an output folder.

    Raises
    ------
    OSError
        It cannot be written.
    """
    marks = forgetting.marks
    content: dict[str, Any] = {
        "version": VERSION,
        "id": forgetting.id,
        "at": forgetting.at.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "kind": forgetting.kind,
        "only": forgetting.only,
        "counts": forgetting.counts,
        "salt": marks.salt.hex(),
        # uint64, little-endian, ascending.
        "files": _packed(marks.files),
        "recordings": _packed(marks.recordings),
    }
    content["sha256"] = _checksum(content)
    name = f"{forgetting.id.removeprefix('c')}.json"
    files.write_whole(files.join(output, FOLDER, name), json.dumps(content))


def read(output: str) -> list[Forgetting]:
    """The log of an output folder, oldest first; empty if nothing was ever forgotten.

    Raises
    ------
    StoreError
        It cannot be read: a run must not go on without it.
    """
    found = []
    with files.naming(f"--output {output}", "cannot be read", "fix this and run again"):
        paths = sorted(item.path for item in files.below(files.join(output, FOLDER)))
        for path in paths:
            if path.endswith(".json"):
                found.append(_parse(path, files.read_text(path)))
    return found


def marks(forgettings: Sequence[Forgetting], *, only: str | None = None) -> Marks:
    """The marks of all forgettings of everything; or, with `only`, of those of features alone."""
    total = Marks(salt_of(forgettings))
    chosen = [forgetting.marks for forgetting in forgettings if forgetting.only == only]
    if not chosen:
        return total
    return Marks(
        total.salt,
        np.unique(np.concatenate([item.files for item in chosen])),
        np.unique(np.concatenate([item.recordings for item in chosen])),
    )


def read_marks(output: str) -> Marks:
    """What no run may bring back. Raises what `read` raises."""
    return marks(read(output))


def _parse(path: str, text: str) -> Forgetting:
    try:
        content = json.loads(text)
        if content["version"] > VERSION:
            raise StoreError(
                f"{path}: version {content['version']} found, up to {VERSION} expected: a newer "
                "version of ser wrote it; use that one"
            )
        if content.pop("sha256") != _checksum(content):
            raise ValueError("its checksum does not agree")
        return Forgetting(
            id=content["id"],
            at=dt.datetime.fromisoformat(content["at"]),
            kind=content["kind"],
            only=content["only"],
            counts=content["counts"],
            marks=Marks(
                bytes.fromhex(content["salt"]),
                _unpacked(content["files"]),
                _unpacked(content["recordings"]),
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: damaged ({type(error).__name__}: {error}); take it from a backup: without "
            "it, what was forgotten would come back"
        ) from error


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<u8").tobytes()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<u8").astype(np.uint64)
