"""The cause of a failed pipeline: one line of text, and its exit status."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

from pipelines.errors import CommandError, RecordingError
from ser_core.errors import SerError

_TRACE = "Traceback (most recent call last)"
_ERROR_LINE = re.compile(
    r"^(?:Caused by: )?(?:[\w.$]+[.$])?(\w*(?:Error|Exception|Expired|Interrupt)): (.*)", re.M
)
_WORKER_DIED = re.compile(r"Worker subprocess exited with return code -(\d+)")


def _by_name(kind: type[SerError]) -> dict[str, type[SerError]]:
    """A kind of errors and those derived from it, by name."""
    found = {kind.__name__: kind}
    for derived in kind.__subclasses__():
        found |= _by_name(derived)
    return found


def cause(error: BaseException) -> CommandError:
    """The innermost error of a trace that went through several processes and languages."""
    _, trace, python = str(error).rpartition(_TRACE)
    lines = _ERROR_LINE.findall(python)
    if not lines:
        first = next(iter(str(error).splitlines()), "")
        return CommandError(f"the run failed: {type(error).__name__}: {first}")
    # After Python's line there may follow what Java made of it.
    kind, text = lines[0] if trace else lines[-1]
    text = re.sub(r" \[while running .*", "", text)
    if kind == RecordingError.__name__:
        return CommandError(f"the run failed at {text} (--debug shows the full traceback)")
    ours = _by_name(SerError).get(kind)
    if ours is None:
        return CommandError(f"the run failed: {kind}: {text} (--debug shows the full traceback)")
    # The message is complete, and the exit status is as if it had been raised here.
    return ours(text) if issubclass(ours, CommandError) else CommandError(text)


def worker_death(messages: Iterable[str]) -> str | None:
    """How a worker of this machine was killed, if one of Beam's messages reports it."""
    for match in filter(None, map(_WORKER_DIED.search, messages)):
        name = signal.Signals(int(match[1])).name
        return (
            f"the run failed: a worker process was ended by {name}, possibly out of memory "
            "(fewer --workers need less); run again: what was published stays"
        )
    return None
