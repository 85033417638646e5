"""The output folder, on this machine or in an object store: its lock, staging and publishing.

A run writes under `OUT/_staging/<run_id>/` and enters the tables in the order of
`tables.TABLES`: on this machine by one rename of a folder per table, in an object store by copies
within the store. A manifest of these moves is written first. A run that is killed before that
leaves the old state; after that, the next command that opens OUT finishes the moves. In an object
store, a run counts once its row in `runs` is visible, which is copied last. The views follow each
publication.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import filelock
import psutil

from pipelines.errors import HeldError, StoreError
from pipelines.runners import jobs
from pipelines.storage import attempts, changes, files, forgotten, sums, views
from pipelines.storage.files import naming
from pipelines.storage.lease import Lease
from ser_core import tables

STAGING = "_staging"
LOCK = "_lock"
HOLDER = "holder.json"
MANIFEST = "publish.json"
# What a pipeline writes last, and what is known of a run before its pipeline.
SEAL, ABOUT = "seal.json", "run.json"
# The job of a run on a cluster.
JOB = "job.json"
PROGRESS = "progress"
# Small files lie in these folders, or have these names.
_SMALL_FILES = (attempts.FOLDER, forgotten.FOLDER, sums.FOLDER)
_OWN = (changes.NAME, views.SQL)
_UNFINISHED_S = 3600.0
# The time in a run id.
_TIME_FORMAT = "%Y%m%dT%H%M%S"
_RUN_TIME = re.compile(r"r(\d{8}T\d{6})-")


@dataclass(frozen=True)
class Move:
    """A step of a publication, relative to OUT: rename of a folder, or copy of an object."""

    source: str
    target: str


@dataclass
class Output:
    """An output folder, held by this process while the context lasts.

    Parameters
    ----------
    where : str or path
        A folder of this machine, or one of an object store.
    finish : callable, optional
        Publishes a run whose pipeline ended but whose launcher did not publish it; takes the
        output and the staging folder.

    Raises
    ------
    HeldError
        Another process holds it.
    StoreError
        It cannot be created or written.
    """

    where: str | os.PathLike
    finish: Callable[[Output, str], None] | None = None
    root: str = field(init=False)
    # Messages of the recovery.
    remarks: list[str] = field(default_factory=list, init=False)
    _lock: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.root = files.absolute(self.where)

    @property
    def remote(self) -> bool:
        """Whether it is in an object store."""
        return files.is_remote(self.root)

    def __enter__(self) -> Output:
        self._acquire()
        try:
            self.remarks += attempts.note_opened(self.root)
            self.recover()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._release()

    def _acquire(self) -> None:
        now = dt.datetime.now().astimezone().isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
        if self.remote:
            self._lock = Lease(files.join(self.root, LOCK), holder)
            self._lock.acquire()
            return
        note = files.join(self.root, STAGING, HOLDER)
        self._lock = filelock.FileLock(files.join(self.root, LOCK))
        try:
            os.makedirs(files.join(self.root, STAGING), exist_ok=True)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            who = ""
            with suppress(OSError, ValueError, KeyError):
                other = json.loads(files.read_text(note))
                who = f" (process {other['pid']} on {other['host']} since {other['since']})"
            raise HeldError(
                f"--output {self.root}: another run holds it{who}; "
                "wait until it ends, or use another folder"
            ) from None
        except OSError as error:
            raise StoreError(
                f"--output {self.root}: cannot be written: {error.strerror or error}"
            ) from error
        try:
            with self._naming():
                files.write_whole(note, json.dumps(holder))
        except BaseException:
            self._lock.release()
            raise

    def _release(self) -> None:
        try:
            if not self.remote:
                with suppress(OSError):
                    os.unlink(files.join(self.root, STAGING, HOLDER))
        finally:
            self._lock.release()

    def _naming(self) -> naming:
        return naming(f"--output {self.root}")

    def check_held(self) -> None:
        """Check that this process still holds the output; a lease may have been lost.

        Raises
        ------
        StoreError
            It does not.
        """
        if self.remote:
            self._lock.check()

    def recover(self) -> None:
        """Finish what was interrupted: publications, forgettings; remove what got less far."""
        # They write to an output themselves.
        from pipelines.storage import erasing, rewriting

        with self._naming():
            if not self.remote:
                self._delete_unfinished()
            for staged in self._staged():
                if changes.is_change(run_id(staged)):
                    rewriting.undo(self.root, staged)
                    continue
                paths = {found.path for found in files.below(staged)}
                if files.join(staged, MANIFEST) in paths:
                    self._move(staged)
                elif self.finish and files.join(staged, SEAL) in paths:
                    self.finish(self, staged)
                else:
                    if files.join(staged, JOB) in paths and (remark := _cancel_job(staged)):
                        self.remarks.append(remark)
                    files.remove(staged)
            # Before the files that a change replaced are deleted.
            views.refresh_if_stale(self.root)
            self.remarks += erasing.finish(self)
            erasing.expire(self.root)

    def _delete_unfinished(self) -> None:
        """Delete small files that were being written when a command was killed."""
        folders = [self.root, *(files.join(self.root, name) for name in _SMALL_FILES)]
        for folder in folders:
            with suppress(FileNotFoundError):
                for entry in os.scandir(folder):
                    name = entry.name.removesuffix(files.UNFINISHED)
                    own = name in _OWN or views.UNFINISHED.fullmatch(name)
                    if name == entry.name or (folder == self.root and not own):
                        continue
                    # A command that does not hold the output may be writing its attempt.
                    if time.time() - entry.stat().st_mtime > _UNFINISHED_S:
                        os.unlink(entry.path)

    def _staged(self) -> list[str]:
        """The staging folders that runs left behind."""
        staging = files.join(self.root, STAGING)
        if self.remote:
            paths = [found.path[len(staging) + 1 :] for found in files.below(staging)]
            names = {path.partition("/")[0] for path in paths if "/" in path}
        else:
            names = {entry.name for entry in os.scandir(staging) if entry.is_dir()}
        return [files.join(staging, name) for name in sorted(names)]

    def stage(self, run_id: str) -> str:
        """Make a run's staging folder, with one folder per table in it."""
        staged = files.join(self.root, STAGING, run_id)
        if not self.remote:
            with self._naming():
                for name in (*tables.TABLES, PROGRESS):
                    os.makedirs(files.join(staged, name))
        return staged

    def discard(self, staged: str) -> None:
        """Delete what a run wrote."""
        with self._naming():
            files.remove(staged)

    def publish(
        self,
        staged: str,
        parts: Sequence[str],
        *,
        date: dt.date,
        sha256: Mapping[str, Sequence[str]] | None = None,
        features: bool = True,
    ) -> None:
        """Make a run visible: its parts, renamed by number, and its row in `runs`.

        Parameters
        ----------
        staged : str
            The run's staging folder, from `stage`.
        parts : sequence of str
            Names of the files to publish, the same in features, segments and recordings. Other
            files were left by attempts that failed.
        date : datetime.date
        sha256 : mapping, optional
            By table, the hash of each file, in the order of `parts`.
        features : bool
            Whether the parts have files in features.
        """
        moves = []
        hashes: dict[str, str] = {}
        with self._naming():
            if self.remote:
                self._lock.check()
            for table in tables.TABLES:
                names = parts if table != "runs" else ["part.parquet"]
                if not names or (table == "features" and not features):
                    continue
                final = [f"part-{i:05d}-of-{len(names):05d}.parquet" for i in range(len(names))]
                target = f"{table}/date={date.isoformat()}/run={run_id(staged)}"
                source = files.join(STAGING, run_id(staged), table)
                for name, value in zip(final, (sha256 or {}).get(table, ()), strict=False):
                    if value:
                        hashes[files.join(target, name)] = value
                if self.remote:
                    moves += [
                        Move(files.join(source, name), files.join(target, last))
                        for name, last in zip(names, final, strict=True)
                    ]
                    continue
                folder = files.join(self.root, source + ".final")
                os.makedirs(folder, exist_ok=True)
                for name, last in zip(names, final, strict=True):
                    part = files.join(staged, table, name)
                    if os.path.exists(part):  # it does not if a publication is repeated
                        os.rename(part, files.join(folder, last))
                files.sync(folder)
                moves.append(Move(source + ".final", target))
            if hashes:
                sums.write(self.root, run_id(staged), hashes)
            files.write_whole(
                files.join(staged, MANIFEST), json.dumps([asdict(move) for move in moves])
            )
            self._move(staged)
        views.refresh(self.root)

    def _move(self, staged: str) -> None:
        moves = [Move(**move) for move in json.loads(files.read_text(f"{staged}/{MANIFEST}"))]
        seal, manifest = files.join(staged, SEAL), files.join(staged, MANIFEST)
        if self.remote:
            self._copy(moves)
            paths = {found.path for found in files.below(staged)}
        else:
            self._rename(moves)
            paths = {seal} & {found.path for found in files.below(staged)}
        # The seal goes first, so that a folder deleted in part is not taken for a run that waits to
        # be published; the manifest goes last.
        for group in ({seal} & paths, paths - {seal, manifest}, {manifest} & paths):
            files.delete(sorted(group))
        if not self.remote:
            shutil.rmtree(staged)

    def _rename(self, moves: Sequence[Move]) -> None:
        for move in moves:
            source, target = files.join(self.root, move.source), files.join(self.root, move.target)
            if os.path.exists(source):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.rename(source, target)
                files.sync(os.path.dirname(target))

    def _copy(self, moves: Sequence[Move]) -> None:
        """Copy objects table by table, leaving out those that an interrupted run has copied."""
        for table in tables.TABLES:
            table_moves = [move for move in moves if move.target.startswith(f"{table}/")]
            if not table_moves:
                continue
            self._lock.check()
            folder = files.join(self.root, os.path.dirname(table_moves[0].target))
            copied = {found.path for found in files.below(folder)}
            pairs = [
                (files.join(self.root, move.source), files.join(self.root, move.target))
                for move in table_moves
            ]
            files.copy([pair for pair in pairs if pair[1] not in copied])


def is_held(root: str) -> bool:
    """Whether a process holds an output now, as far as can be told without locking it.

    Parameters
    ----------
    root : str
        The output folder.
    """
    remote = files.is_remote(root)
    path = files.join(root, LOCK) if remote else files.join(root, STAGING, HOLDER)
    with naming(f"--output {root}", "cannot be read"):
        if not files.exists(path):
            return False
        try:
            holder = json.loads(files.read_text(path))
            if remote:
                return dt.datetime.fromisoformat(holder["until"]) > dt.datetime.now(dt.UTC)
            return holder["host"] != socket.gethostname() or psutil.pid_exists(holder["pid"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False


def run_id(staged: str) -> str:
    """Run id of a staging folder."""
    return staged.rpartition("/")[2]


def new_run_id(now: dt.datetime, after: str | None = None) -> str:
    """A new run id: unique, sorted by time, and beginning with a letter.

    Parameters
    ----------
    now : datetime
    after : str, optional
        The id of an earlier run, behind which the new one sorts, even if the clock was put back or
        both begin within the same second.
    """
    if after is not None and (match := _RUN_TIME.match(after)):
        earlier = dt.datetime.strptime(match[1], _TIME_FORMAT).replace(tzinfo=dt.UTC)
        now = max(now, earlier + dt.timedelta(seconds=1))
    return f"r{now.astimezone(dt.UTC):{_TIME_FORMAT}}-{uuid.uuid4().hex[:6]}"


def note_job(staged: str, job: jobs.SubmittedJob) -> None:
    """Write the job of a run to its staging folder, before it is submitted."""
    files.write_whole(files.join(staged, JOB), json.dumps(asdict(job)))


def _cancel_job(staged: str) -> str | None:
    """Cancel the noted job of an interrupted run, if it is running; a message for the user."""
    note = json.loads(files.read_text(files.join(staged, JOB)))
    return jobs.cancel(jobs.SubmittedJob(**note))
