"""Attempts: each start of a command that writes, and what became of it.

An attempt is a file `OUT/_attempts/<time>-<id>.json`, written when the command starts and again
when it ends. One whose process was killed is completed by the next command that opens OUT. Files
older than `KEEP_DAYS` days are deleted then.

A command gets attempts by `arguments.add_records` in its `add_arguments`.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from pipelines.storage import files

FOLDER = "_attempts"
KEEP_DAYS = 400
VERSION = 1

RUNNING, DONE, FAILED = "running", "done", "failed"
REFUSED, INTERRUPTED, KILLED = "refused", "interrupted", "killed"
STATUSES = (RUNNING, DONE, FAILED, REFUSED, INTERRUPTED, KILLED)


@dataclass(frozen=True)
class Attempt:
    """An attempt, as its file holds it.

    Parameters
    ----------
    id : str
        Unique, and sorted by time.
    command : str
        The command line, without secrets.
    host, pid
        Machine and process that worked.
    started, ended : str
        ISO 8601, UTC. `ended` is None while it runs, and for one that was killed.
    status : str
        One of `STATUSES`.
    exit_code, message
        None while it runs. `message` is the line that tells how it ended.
    seconds : float or None
        From start to end.
    run_ids : tuple of str
        Runs that it began, oldest first; `run_id` in the file is the last of them.
    opened : bool
        Whether it held the output.
    """

    id: str
    command: str
    host: str
    pid: int
    started: str
    status: str = RUNNING
    exit_code: int | None = None
    message: str | None = None
    ended: str | None = None
    seconds: float | None = None
    run_ids: tuple[str, ...] = ()
    opened: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The content of its file."""
        run_id = self.run_ids[-1] if self.run_ids else None
        return {"version": VERSION, **asdict(self), "run_id": run_id}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Attempt:
        """The inverse of `as_dict`; keys of newer versions are left out."""
        known = {item.name: content[item.name] for item in fields(cls) if item.name in content}
        return cls(**{**known, "run_ids": tuple(content.get("run_ids", ()))})

    @property
    def is_alive(self) -> bool:
        """Whether its process may still work: always false on another machine."""
        if self.host != socket.gethostname():
            return False
        import psutil

        try:
            begun = psutil.Process(self.pid).create_time()
        except psutil.Error:
            return False
        # Another process may have got the number since; clocks differ by a few seconds.
        return begun <= dt.datetime.fromisoformat(self.started).timestamp() + 5


@dataclass
class Current:
    """The attempt of this process, and what it has learnt so far.

    Parameters
    ----------
    attempt : Attempt
    output : str or None
        The output folder; None if it is not known.
    rows : list of dict
        Rows of the table `runs` that it published.
    left_over : list of dict
        The same, of runs that an earlier attempt had left.
    message : str or None
        How it ends, unless an error tells.
    expectations : list of dict
        Of the night: `expect`, `met`, `found`.
    drift : list of dict
        Of each night, as `pipelines.drift.Drift.summary` gives it.
    """

    attempt: Attempt
    output: str | None
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_over: list[dict[str, Any]] = field(default_factory=list)
    message: str | None = None
    expectations: list[dict[str, Any]] = field(default_factory=list)
    drift: list[dict[str, Any]] = field(default_factory=list)
    _written: bool = field(default=False, init=False)

    def write(self, *, create: bool = False) -> None:
        """Write the file; no trouble with it ends a command.

        Parameters
        ----------
        create : bool
            Also if the output folder does not exist yet.
        """
        if self.output is None:
            return
        if not (create or self._written or _is_folder(self.output)):
            return
        with suppress(Exception):
            path = files.join(self.output, FOLDER, f"{self.attempt.id}.json")
            files.write_whole(path, json.dumps(self.attempt.as_dict(), indent=1))
            self._written = True

    def end(
        self, status: str, exit_code: int, message: str | None, *, reachable: bool = True
    ) -> None:
        """Complete it; its file says so from now on.

        Parameters
        ----------
        status, exit_code, message
            Of `Attempt`. Without a message, the one that was noted.
        reachable : bool
            Whether an object store answers.
        """
        now = dt.datetime.now(dt.UTC)
        seconds = (now - dt.datetime.fromisoformat(self.attempt.started)).total_seconds()
        self.attempt = replace(
            self.attempt,
            status=status,
            exit_code=exit_code,
            message=message or self.message,
            ended=now.isoformat(timespec="seconds"),
            seconds=round(max(0.0, seconds), 3),
        )
        if self.output is not None:
            self.write(create=reachable and files.is_remote(self.output))

    @staticmethod
    def close() -> None:
        """Nothing is noted from now on."""
        _current.set(None)


_current: ContextVar[Current | None] = ContextVar("attempt", default=None)


def begin(output: str | None, command: str) -> Current:
    """Begin the attempt of this process.

    The file is written now if the output is a folder of this machine, else when it is opened: a
    store that does not answer is asked once, by the work.
    """
    now = dt.datetime.now(dt.UTC)
    attempt = Attempt(
        id=f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}",
        command=command,
        host=socket.gethostname(),
        pid=os.getpid(),
        started=now.isoformat(timespec="milliseconds"),
    )
    current = Current(attempt, output and files.absolute(output))
    _current.set(current)
    current.write()
    return current


def current() -> Current | None:
    """The attempt of this process; None for a command that has none."""
    return _current.get()


def note_message(message: str) -> None:
    """Note the line that tells how this attempt ends."""
    if found := current():
        found.message = message


def note_run(run_id: str) -> None:
    """Note that this attempt has begun a run."""
    if found := current():
        found.attempt = replace(found.attempt, run_ids=(*found.attempt.run_ids, run_id))
        found.write(create=True)


def note_published(row: dict[str, Any]) -> None:
    """Note the row of `runs` of a run that was published."""
    if found := current():
        own = row["run_id"] in found.attempt.run_ids
        (found.rows if own else found.left_over).append(row)


def note_expectation(verdict: dict[str, Any]) -> None:
    """Note whether the night met an expectation."""
    if found := current():
        found.expectations.append(verdict)


def note_drift(summary: dict[str, Any]) -> None:
    """Note the drift of a night."""
    if found := current():
        found.drift.append(summary)


def note_opened(output: str) -> list[str]:
    """Note that this attempt holds its output; completes the attempts that were killed.

    Returns
    -------
    list of str
        A line for each attempt that was killed.
    """
    found = current()
    if found is not None and found.output == output:
        found.attempt = replace(found.attempt, opened=True)
        found.write(create=True)
    with suppress(Exception):
        paths = _paths(output)
        _delete_old(paths)
        return _complete_killed(output, paths, found.attempt.id if found else None)
    return []


def read(output: str, *, newest: int | None = None) -> list[Attempt]:
    """The attempts of an output, newest first.

    Parameters
    ----------
    newest : int, optional
        Read no more than so many.
    """
    paths = _paths(files.absolute(output))
    return list(_read(paths[-newest:] if newest else paths))


def _read(paths: list[str]) -> Iterator[Attempt]:
    for path in reversed(paths):
        with suppress(ValueError, KeyError, TypeError, FileNotFoundError):
            yield Attempt.from_dict(json.loads(files.read_text(path)))


def _paths(output: str) -> list[str]:
    """Their files, oldest first."""
    found = (item.path for item in files.below(files.join(output, FOLDER)))
    return sorted(path for path in found if path.endswith(".json"))


def _delete_old(paths: list[str]) -> None:
    limit = f"{dt.datetime.now(dt.UTC) - dt.timedelta(days=KEEP_DAYS):%Y%m%dT%H%M%SZ}"
    old = [path for path in paths if path.rpartition("/")[2] < limit]
    if old:
        files.delete(old)
        del paths[: len(old)]


def _complete_killed(output: str, paths: list[str], own: str | None) -> list[str]:
    """Complete the attempts that were killed, back to the last one that held the output and ended.

    Older ones were looked at by that one.
    """
    remarks = []
    for attempt in _read(paths):
        if attempt.id == own:
            continue
        if attempt.status == RUNNING and not attempt.is_alive:
            runs = (
                f"; its run {attempt.run_ids[-1]} was finished or undone" if attempt.run_ids else ""
            )
            killed = replace(
                attempt,
                status=KILLED,
                message=f"process {attempt.pid} on {attempt.host} ended without a word: killed, "
                f"out of memory, or the machine went down{runs}",
            )
            path = files.join(output, FOLDER, f"{attempt.id}.json")
            files.write_whole(path, json.dumps(killed.as_dict(), indent=1))
            since = dt.datetime.fromisoformat(attempt.started).astimezone()
            remarks.append(
                f"the attempt of {since.isoformat(sep=' ', timespec='seconds')} on {attempt.host} "
                "was killed; this one goes on where it ended"
            )
        elif attempt.opened and attempt.status != RUNNING:
            break
    return remarks


def _is_folder(output: str) -> bool:
    return not files.is_remote(output) and os.path.isdir(output)
