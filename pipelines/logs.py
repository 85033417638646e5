"""Lines for the user: plain on a terminal, log lines elsewhere, JSON on request.

A log line has the time with its offset, a level and the id of the run, which is `-` before a run
begins. Only commands that write into an output log; the lines of others are plain everywhere, since
people redirect them.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from dataclasses import dataclass
from typing import TextIO

FORMATS = ("text", "json")
INFO, WARNING, ERROR = "info", "warning", "error"
_PREFIXES = {"warning: ": WARNING}


@dataclass
class _Log:
    """How this process writes its lines."""

    # One of FORMATS; None is plain on a terminal.
    format: str | None = None
    # Whether lines that go to no terminal are log lines, if no format was asked for.
    logs: bool = False
    run_id: str | None = None
    attempt: str | None = None


_log = _Log()


def configure(format: str | None = None, *, logs: bool = False, attempt: str | None = None) -> None:
    """Set how lines are written from now on.

    Parameters
    ----------
    format : str or None
        One of `FORMATS`. None is plain on a terminal, and there only if `logs`.
    logs : bool
        The command writes into an output: elsewhere than on a terminal its lines are log lines.
    attempt : str or None
        Id of the attempt, for JSON.
    """
    global _log
    _log = _Log(format, logs, attempt=attempt)


def set_run(run_id: str | None) -> None:
    """Name the run that lines belong to from now on."""
    _log.run_id = run_id


def say(line: str, *, level: str = INFO, stream: TextIO | None = None) -> None:
    """Print a line, unbuffered.

    Parameters
    ----------
    line : str
        One that begins with "warning: " has the level `warning`.
    level : str
        `INFO`, `WARNING` or `ERROR`.
    stream : file, optional
        Standard output by default.
    """
    stream = stream or sys.stdout
    print(_formatted(line, level, stream), file=stream, flush=True)


def _formatted(line: str, level: str, stream: TextIO) -> str:
    style = _log.format or ("text" if _log.logs and not stream.isatty() else None)
    if style is None:
        return f"ser: {line}"
    for prefix, named in _PREFIXES.items():
        if line.startswith(prefix):
            line, level = line.removeprefix(prefix), named
    time = dt.datetime.now().astimezone().isoformat(timespec="seconds")
    if style == "json":
        fields = {"time": time, "level": level, "run_id": _log.run_id, "attempt": _log.attempt}
        return json.dumps({**fields, "message": line}, ensure_ascii=False)
    # A name of a file must not begin a line of its own, nor control a terminal.
    text = "".join(letter if letter.isprintable() else " " for letter in line)
    return f"{time} {level.upper()} {_log.run_id or '-'} {text}"
