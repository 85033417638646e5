"""Inputs and the output folder: matching, ledger, staging, publishing, lock.

A run writes under `OUT/_staging/<run_id>/` and enters the tables by one rename a table, in
the order of `tables.TABLES`. A manifest of these moves is written first: killed before it, a run
leaves the old state; killed after it, whoever opens OUT next finishes the moves.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import json
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import filelock
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import jobs
from pipelines.errors import HeldError, StoreError, UsageError
from ser_core import tables
from ser_core.examine import Source

STAGING = "_staging"
LOCK = "_lock"
HOLDER = "holder.json"
MANIFEST = "publish.json"
REMOTE = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")
_FIELD = re.compile(r"\{date:([^{}]*)\}")


# ---------------------------------------------------------------- inputs


def match(patterns: Sequence[str], *, date: dt.date, output: str | None = None) -> list[Source]:
    """List the recordings that the patterns name, each once, in the order of their URIs.

    Parameters
    ----------
    patterns : sequence of str
        Globs (`**` is zero or more folders), folders, or `@list.txt` with one of these a line;
        `{date:%Y/%m/%d}` in one is the date. Hidden files are left out unless named.
    date : datetime.date
    output : str, optional
        Whatever lies in it is no input.

    Returns
    -------
    list of Source
        The URI of a local file is its absolute path. A broken link is one too: its size is None.

    Raises
    ------
    UsageError
        A list that cannot be read, or a date that cannot be written so.
    StoreError
        A folder that cannot be listed.
    """
    found: dict[str, Source] = {}
    inside = os.path.join(os.path.abspath(output), "") if output else None
    for pattern in _with_lists(patterns):
        pattern = _FIELD.sub(lambda said: format(date, said[1]), pattern)
        if REMOTE.match(pattern):
            found.update((source.uri, source) for source in _match_remote(pattern))
            continue
        for path in _match_local(pattern):
            path = os.path.abspath(path)
            if inside is None or not path.startswith(inside):
                source = _source(path)
                found[source.uri] = source
    return [found[uri] for uri in sorted(found)]


def local_path(uri: str) -> str:
    """The path of a local recording; undoes what `_uri` did to a name that is not UTF-8."""
    if "\\x" in uri and not os.path.lexists(uri):
        raw = re.sub(rb"\\x([0-9a-f]{2})", lambda said: bytes([int(said[1], 16)]), uri.encode())
        return os.fsdecode(raw)
    return uri


@contextmanager
def as_local_file(source: Source) -> Iterator[str]:
    """The path at which a recording's bytes lie, fetched first where it is remote."""
    if not REMOTE.match(source.uri):
        yield local_path(source.uri)
        return
    from apache_beam.io.filesystem import BeamIOError, CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    with tempfile.TemporaryDirectory(prefix="ser-") as folder:
        path = os.path.join(folder, "recording")
        try:
            with (
                FileSystems.open(
                    source.uri, compression_type=CompressionTypes.UNCOMPRESSED
                ) as remote,
                open(path, "wb") as local,
            ):
                shutil.copyfileobj(remote, local, 1 << 20)
        except (OSError, BeamIOError):
            # Half of a recording is none: what is not there is `unreadable`.
            with suppress(FileNotFoundError):
                os.remove(path)
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
            lines = Path(pattern[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--input {pattern}: the list cannot be read: {error}") from error
        yield from (line.strip() for line in lines if line.strip() and line.strip()[0] != "#")


def _match_local(pattern: str) -> Iterator[str]:
    pattern = os.path.expanduser(pattern)
    if os.path.isdir(pattern):
        pattern = os.path.join(pattern, "**")
    elif os.path.lexists(pattern):
        yield pattern
        return
    absolute = os.path.isabs(pattern)
    parts = [part for part in pattern.split(os.sep) if part]
    yield from _expand(os.sep if absolute else ".", parts)


def _expand(folder: str, parts: Sequence[str], above: tuple[str, ...] = ()) -> Iterator[str]:
    head, rest = parts[0], parts[1:]
    if head == "**":
        real = os.path.realpath(folder)
        if real in above:  # a link that leads back up
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
            hidden = entry.name.startswith(".") and not head.startswith(".")
            if hidden or not fnmatch.fnmatchcase(entry.name, head):
                continue
            if rest and entry.is_dir():
                yield from _expand(entry.path, rest)
            elif not rest and not entry.is_dir():
                yield entry.path


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
    from apache_beam.io.filesystems import FileSystems

    if not _MAGIC.search(pattern):
        pattern = pattern.rstrip("/") + "/**"
    try:
        [result] = FileSystems.match([pattern])
    except Exception as error:
        raise StoreError(f"--input {pattern}: cannot be listed: {error}") from error
    for found in result.metadata_list:
        if not found.path.endswith("/"):
            yield Source(found.path, found.size_in_bytes, int(found.last_updated_in_seconds * 1e6))


# ---------------------------------------------------------------- the output folder


@dataclass(frozen=True)
class Move:
    """One rename of a publication, relative to OUT."""

    source: str
    target: str


@dataclass
class Output:
    """An output folder, `where`, held by this process while the context lasts.

    Raises
    ------
    HeldError
        Another process holds it.
    StoreError
        It cannot be made or written.
    """

    where: str | Path
    root: Path = field(init=False)
    remarks: list[str] = field(default_factory=list, init=False)  # what recovery has to say
    _lock: filelock.FileLock = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if REMOTE.match(str(self.where)):
            raise UsageError(
                f"--output {self.where}: object stores hold inputs only so far; "
                "a folder of this machine expected"
            )
        self.root = Path(os.path.abspath(os.path.expanduser(self.where)))
        self._lock = filelock.FileLock(self.root / LOCK)

    def __enter__(self) -> Output:
        try:
            (self.root / STAGING).mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise HeldError(
                f"--output {self.root}: another run holds it{self._holder()}; "
                "wait for its end, or use another folder"
            ) from None
        except OSError as error:
            raise StoreError(
                f"--output {self.root}: cannot be written: {error.strerror or error}"
            ) from error
        try:
            self._hold()
            self.recover()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *exc) -> None:
        with suppress(OSError):
            (self.root / STAGING / HOLDER).unlink(missing_ok=True)
        self._lock.release()

    def _hold(self) -> None:
        now = dt.datetime.now().astimezone().isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
        with naming(self.root):
            write_whole(self.root / STAGING / HOLDER, json.dumps(holder))

    def _holder(self) -> str:
        with suppress(OSError, ValueError, KeyError):
            said = json.loads((self.root / STAGING / HOLDER).read_text())
            return f" (process {said['pid']} on {said['host']} since {said['since']})"
        return ""

    def recover(self) -> None:
        """Finish a publication that was cut off; clear away runs that never got that far."""
        with naming(self.root):
            for folder in sorted((self.root / STAGING).iterdir()):
                if not folder.is_dir():
                    continue
                if (folder / MANIFEST).exists():
                    self._move(folder)
                    continue
                with suppress(FileNotFoundError):
                    said = jobs.cancel_noted((folder / jobs.NOTE).read_text(encoding="utf-8"))
                    if said:
                        self.remarks.append(said)
                shutil.rmtree(folder)

    def stage(self, run_id: str) -> Path:
        """A new folder for what a run writes, with one folder a table in it."""
        folder = self.root / STAGING / run_id
        with naming(self.root):
            for name in (*tables.TABLES, "progress"):
                (folder / name).mkdir(parents=True)
        return folder

    def publish(self, staged: Path, parts: Sequence[str], *, date: dt.date) -> None:
        """Make a run visible: its parts, named by number, and its row in `runs`.

        Parameters
        ----------
        staged : Path
            From `stage`.
        parts : sequence of str
            File names of the parts that count, the same in features, segments and recordings.
            Others there are left over from attempts that failed.
        """
        moves = []
        with naming(self.root):
            for table in tables.TABLES:
                names = parts if table != "runs" else ["part.parquet"]
                if not names:
                    continue
                final = staged / f"{table}.final"
                final.mkdir()
                for i, name in enumerate(names):
                    os.rename(
                        staged / table / name,
                        final / f"part-{i:05d}-of-{len(names):05d}.parquet",
                    )
                sync(final)
                target = f"{table}/date={date.isoformat()}/run={staged.name}"
                moves.append(Move(str(final.relative_to(self.root)), target))
            write_whole(staged / MANIFEST, json.dumps([asdict(move) for move in moves]))
            self._move(staged)

    def _move(self, staged: Path) -> None:
        moves = [Move(**move) for move in json.loads((staged / MANIFEST).read_text())]
        for move in moves:
            source, target = self.root / move.source, self.root / move.target
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(source, target)
                sync(target.parent)
        shutil.rmtree(staged)

    # ------------------------------------------------------------ what is there

    def files(self, table: str) -> list[Path]:
        """All published files of a table, oldest date first."""
        return sorted((self.root / table).glob("date=*/run=*/part-*.parquet"))

    def check_feature_set(self, feature_set: str, fingerprint: str) -> None:
        """One output folder holds one feature set.

        Raises
        ------
        UsageError
            It holds another.
        """
        for path in self.files("recordings")[-1:]:
            said = pq.read_schema(path).metadata or {}
            there = said.get(b"feature_set", b"").decode(), said.get(b"fingerprint", b"").decode()
            if there != (feature_set, fingerprint):
                raise UsageError(
                    f"--output {self.root}: it holds features of {there[0]!r} ({there[1]}), and "
                    f"this run makes {feature_set!r} ({fingerprint}); use another folder"
                )

    def done(self) -> set[tuple[str, int | None, int | None]]:
        """The ledger: (uri, size, modified time in us) of every recording already dealt with."""
        columns = ["uri", "size_bytes", "modified_at", "reason"]
        done: set[tuple[str, int | None, int | None]] = set()
        for path in self.files("recordings"):
            rows = pq.ParquetFile(path).read(columns=columns)
            rows = rows.filter(
                pc.fill_null(pc.not_equal(rows["reason"], "unreadable"), True)  # tried again
            )
            times = rows["modified_at"].cast(pa.int64()).to_pylist()
            done.update(
                zip(rows["uri"].to_pylist(), rows["size_bytes"].to_pylist(), times, strict=True)
            )
        return done


def new_run_id(now: dt.datetime) -> str:
    """Starts with a letter, sorts by time, and is nobody else's."""
    return f"r{now.astimezone(dt.UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


class naming:  # noqa: N801  (reads as a clause)
    """An OSError on the way becomes a StoreError that names the output."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, OSError):
            where = f" ({error.filename})" if error.filename else ""
            raise StoreError(
                f"--output {self._root}: cannot be written: {error.strerror or error}{where}; "
                "mend that and run again: nothing is lost"
            ) from error


def write_whole(path: Path, text: str) -> None:
    """All of a small file or nothing of it, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file or a folder's names to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
