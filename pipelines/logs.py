"""Lines for the user: plain on a terminal, log lines elsewhere, JSON on request.

A log line has the time with its offset, a level and the id of the run, which is `-` before a run
begins. Only commands that write into an output log; the lines of others are plain everywhere, since
people redirect them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import sys
from dataclasses import dataclass
from typing import TextIO

from pipelines.secrets import redacted
from ser_core.names import readable

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
    # Whether recordings are named by an id.
    private: bool = False


_log = _Log()


def configure(
    format: str | None = None,
    *,
    logs: bool = False,
    attempt: str | None = None,
    private: bool = False,
) -> None:
    """Set how lines are written from now on.

    Parameters
    ----------
    format : str or None
        One of `FORMATS`. None is plain on a terminal, and there only if `logs`.
    logs : bool
        The command writes into an output: elsewhere than on a terminal its lines are log lines.
    attempt : str or None
        Id of the attempt, for JSON.
    private : bool
        Recordings are named by an id rather than by their path.
    """
    global _log
    _log = _Log(format, logs, attempt=attempt, private=private)


# A path or address; spaces are allowed where it is quoted.
_RECORDING = re.compile(
    r"(?<=')(?:\w+://|/)[^'\n]*(?=')|(?<=\")(?:\w+://|/)[^\"\n]*(?=\")|(?:\w+://|/)[^\s'\",;]+"
)
_ENDINGS = (
    r"(?:\.(?:3gp|aac|ac3|aif[fc]?|alaw|amr|ape|au|avi|awb|caf|dss|flac|gsm|m4a|mka|mkv|mov|mp[234]|"
    r"oga|ogg|opus|pcm|ra|raw|sln|snd|spx|tta|ulaw|vo[cx]|w64|wave?|webm|wma|wv)\b)"
)
_SOUNDS = re.compile(_ENDINGS, re.I)
# A path with spaces that is not quoted, up to the end of a recording's name. A colon or a
# semicolon with a space ends it, and so does the beginning of another path.
_SPACED = re.compile(
    rf"(?:\w+://|/)(?:(?![:;] | \(?(?:/|\w+://))(?:[^\n'\"]|'(?=\w))){{0,1000}}?{_ENDINGS}+", re.I
)


def recording_id(uri: str) -> str:
    """The name of a recording in private lines: `SELECT uri FROM calls WHERE sha256(uri) LIKE …`.

    Examples
    --------
    >>> recording_id("/calls/a.wav")
    'recording:074822fc88eb'
    """
    digest = hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()
    return f"recording:{digest[:12]}"


def cleaned(line: str) -> str:
    """A line without secrets; with --log-private, without names of recordings, too."""
    line = redacted(readable(line))
    if not _log.private:
        return line

    def named(match: re.Match[str]) -> str:
        # A colon or a dot after it is the sentence's.
        uri = match[0].rstrip(":.")
        sounds = list(_SOUNDS.finditer(uri))
        if not sounds:
            return match[0]
        uri, rest = uri[: sounds[-1].end()], match[0][sounds[-1].end() :]
        return recording_id(uri) + rest

    line = _RECORDING.sub(named, line)
    if _SOUNDS.search(line):
        line = _SPACED.sub(lambda match: recording_id(match[0]), line)
    return line


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
    print(_formatted(cleaned(line), level, stream), file=stream, flush=True)


def style(stream: TextIO) -> str | None:
    """The one of `FORMATS` that lines have on a stream; None is plain."""
    return _log.format or ("text" if _log.logs and not stream.isatty() else None)


def _formatted(line: str, level: str, stream: TextIO) -> str:
    found = style(stream)
    if found is None:
        return f"ser: {line}"
    for prefix, named in _PREFIXES.items():
        if line.startswith(prefix):
            line, level = line.removeprefix(prefix), named
    time = dt.datetime.now().astimezone().isoformat(timespec="seconds")
    if found == "json":
        fields = {"time": time, "level": level, "run_id": _log.run_id, "attempt": _log.attempt}
        return json.dumps({**fields, "message": line}, ensure_ascii=False)
    # A name of a file must not begin a line of its own, nor control a terminal.
    text = "".join(letter if letter.isprintable() else " " for letter in line)
    return f"{time} {level.upper()} {_log.run_id or '-'} {text}"
