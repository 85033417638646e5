"""Examine recordings in a child process, which may crash, hang or run out of memory.

A decoder is C code that reads files from strangers. It runs in a child process (`child`) without
Beam, TensorFlow or librosa. The child compiles and loads everything before the first timeout
starts, closes a fence round itself (`fence`), is watched by its signs of life, and is replaced when
it dies or hangs. Such a fault costs one recording, which is rejected as `crashed` or `timed_out`.
What the child says is taken as data (`messages`).

`Examiner` examines whole recordings, `header_reader.HeaderReader` only opens them, and
`sound.SoundReader` gives their samples.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import BinaryIO, Self

from ser_core import audio, fence, messages
from ser_core.errors import SerError
from ser_core.examine import Examined, Settings, Source, changed, unreadable
from ser_core.fence import Fence
from ser_core.header import Opening
from ser_core.messages import Beat, Done, Listening, Message, MessageError, Ready, Task
from ser_core.roles import Roles

# The first warm-up on a machine compiles the loops of the feature sets.
WARM_UP_S = 900.0
# CPU seconds for each hour that a recording may last: the slowest feature set takes a sixth.
CPU_S_PER_HOUR = 900.0
# A recording may take so many seconds by the clock on the wall, and so many times its CPU seconds.
_WALL_S, _WALL_PER_CPU = 600, 4
# SIGXCPU comes within a second; a decoder that was taken over may ignore it.
_GRACE_CPU_S = 5.0
# Variables of the environment that may be credentials: a child that decodes needs none.
_SECRETS = ("KEY", "SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL")
_SECRET_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "GCP_")
NO_RESULT = "the process that decoded it sent no result"
_ONE_THREAD = dict.fromkeys(
    [f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA", "NUMEXPR")], "1"
)


@dataclass(frozen=True)
class Guard:
    """Limits of a child.

    Parameters
    ----------
    timeout_s : float > 0
        Seconds without a sign of life after which it is taken to hang. Each block decoded and each
        segment done is a sign of life, so a long call may take long.
    memory_mb : int > 0
        Memory that one recording may take on top of the warm process.
    cpu_s : float > 0
        CPU seconds that one recording may take.
    fence : str
        `on` closes what the kernel has, `required` starts no child without a whole fence, `off`
        closes none.
    """

    timeout_s: float = 120.0
    memory_mb: int = 2048
    cpu_s: float = 4 * CPU_S_PER_HOUR
    fence: str = fence.ON

    def __post_init__(self) -> None:
        if self.fence not in fence.MODES:
            raise SerError(f"fence={self.fence!r} found, one of {', '.join(fence.MODES)} expected")
        for name in ("timeout_s", "memory_mb", "cpu_s"):
            if not getattr(self, name) > 0:
                raise SerError(f"{name}={getattr(self, name)!r} found, a number above 0 expected")


class DiedError(Exception):
    """The child did not survive a recording.

    Parameters
    ----------
    reason : str
        `crashed` or `timed_out`.
    detail : str
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen
    pipe: Connection


class Guarded:
    """Does one kind of work in a child, which is replaced when needed.

    Use as a context manager, or call `close`.

    Parameters
    ----------
    work : Settings, Opening or Listening
        What the child is for: to examine by settings, to read headers, or to decode.
    guard : Guard, optional
    """

    def __init__(self, work: Settings | Opening | Listening, guard: Guard | None = None) -> None:
        self._work, self._guard = work, guard or Guard()
        self._child: _Child | None = None
        self._ready = False
        self._dimensions = 0
        self._closed: Fence | None = None
        self._own_cache: tempfile.TemporaryDirectory | None = None
        # Of the present recording: CPU seconds of the child, and the monotonic clock.
        self._cpu_limit_s = self._latest_end_s = math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> _Child:
        """Start the child, unless it runs, and let it warm up in the background."""
        if self._child is not None:
            return self._child
        ours, theirs = Pipe()
        python_path = os.pathsep.join(path or os.getcwd() for path in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-m", "ser_core.child", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**_environment(), **_ONE_THREAD, "PYTHONPATH": python_path, **self._cache()},
        )
        theirs.close()
        ours.send(Task(self._work, self._guard.memory_mb, self._guard.fence, os.getpid()))
        self._child, self._ready = _Child(process, ours), False
        return self._child

    def wait(self) -> Fence:
        """Wait until a child has warmed up; gives what is closed round it.

        Raises
        ------
        SerError
            No child could be started.
        """
        self._ready_child()
        assert self._closed is not None
        return self._closed

    @property
    def fence(self) -> str | None:
        """What is closed round the child, as text; None before one was ready."""
        return None if self._closed is None else str(self._closed)

    def close(self) -> None:
        """End the child."""
        if self._child is None:
            return
        self._child.process.kill()
        self._child.process.wait()
        self._child.pipe.close()
        self._child = None

    def _ask(
        self, source: Source, about: Roles | Opening | None = None, file: BinaryIO | None = None
    ) -> Connection:
        """Send a question to the child, and the descriptor of an open file.

        `about` is what an examination or a decoding needs beside the source.

        Raises
        ------
        SerError
            No child could be started.
        """
        if self._child is not None and self._child.process.poll() is not None:
            self.close()  # killed while it waited, possibly out of memory
        try:
            return self._send(self._ready_child(), source, about, file)
        except OSError:
            self.close()  # it died at this moment, or listens no more
            return self._send(self._ready_child(), source, about, file)

    def _send(
        self, child: _Child, source: Source, about: Roles | Opening | None, file: BinaryIO | None
    ) -> Connection:
        self._cpu_limit_s = _limit_cpu(child.process.pid, self._guard.cpu_s)
        self._latest_end_s = time.monotonic() + self._longest_s
        with self._watched(child):
            child.pipe.send((source, about, file is not None))
            if file is not None:
                with socket.fromfd(child.pipe.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as to:
                    # A library may have set a default timeout, which makes the pipe non-blocking.
                    to.settimeout(None)
                    socket.send_fds(to, [b"f"], [file.fileno()])
        return child.pipe

    @contextmanager
    def _watched(self, child: _Child) -> Iterator[None]:
        """Kill a child that stops in the middle of a message; the pipe then ends."""
        timer = threading.Timer(self._guard.timeout_s, child.process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _receive(self, pipe: Connection) -> Message:
        """The child's next message.

        Raises
        ------
        DiedError
        """
        if not pipe.poll(self._guard.timeout_s):
            self.close()
            raise DiedError(
                "timed_out", f"no progress for {self._guard.timeout_s:g} s (--timeout-s)"
            )
        assert self._child is not None
        self._check_limits(self._child)
        try:
            with self._watched(self._child):
                return messages.receive(pipe, self._dimensions)
        except MessageError as error:
            self.close()
            raise DiedError(
                "crashed", f"the process that decoded it sent no result: {error}"
            ) from error
        except (EOFError, ConnectionError) as error:
            status = self._wait_for_end()
            if status == -signal.SIGXCPU:
                raise DiedError("timed_out", self._too_much()) from error
            detail = f"the process that decoded it died{_in_words(status)}"
            raise DiedError("crashed", detail) from error

    def _check_limits(self, child: _Child) -> None:
        """End a child that is still alive beyond its limits, since it ignores the signals."""
        with suppress(OSError):
            if _used_cpu_s(child.process.pid) > self._cpu_limit_s + _GRACE_CPU_S:
                self.close()
                raise DiedError("timed_out", self._too_much())
        if time.monotonic() > self._latest_end_s:
            self.close()
            raise DiedError("timed_out", f"more than {self._longest_s:,.0f} seconds")

    @property
    def _longest_s(self) -> float:
        return _WALL_S + _WALL_PER_CPU * self._guard.cpu_s

    def _too_much(self) -> str:
        return f"more than {self._guard.cpu_s:,.0f} CPU seconds (by --max-hours)"

    def _cache(self) -> dict[str, str]:
        return {"NUMBA_CACHE_DIR": self._own_cache.name} if self._own_cache else {}

    def _ready_child(self) -> _Child:
        child = self.start()
        if self._ready:
            return child
        problem: str | None = f"it was not ready after {WARM_UP_S:g} s"
        try:
            if child.pipe.poll(WARM_UP_S):
                ready = messages.receive(child.pipe)
                assert isinstance(ready, Ready)
                problem, self._closed = ready.problem, ready.fence
                self._dimensions = ready.dimensions
        except (EOFError, ConnectionError):
            problem = f"it died while warming up{_in_words(self._wait_for_end())}"
            if self._own_cache is None:
                # Another process may have left damaged compiled code: compile again, elsewhere.
                self._own_cache = tempfile.TemporaryDirectory(prefix="ser-numba-")
                return self._ready_child()
        if problem is not None:
            self.close()
            raise SerError(f"the process that decodes recordings cannot be started: {problem}")
        self._ready = True
        return child

    def _wait_for_end(self) -> int | None:
        """The exit status of the child, which has ended; None where it has not."""
        if self._child is None:
            return None
        try:
            return self._child.process.wait(5)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.close()


def _in_words(status: int | None) -> str:
    """How a child ended, as the end of a sentence."""
    if status is None:
        return ""
    if status >= 0:
        return f" with exit status {status}"
    try:
        return f" of {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f" of signal {-status}"


def _environment() -> dict[str, str]:
    """The environment of this process without what may be a credential."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_SECRET_PREFIXES)
        and not any(word in name.upper() for word in _SECRETS)
    }


def _limit_cpu(process: int, seconds: float) -> float:
    """Let a child take this many more CPU seconds; SIGXCPU ends it then. Returns the limit."""
    limit = int(_used_cpu_s(process) + seconds) + 1
    resource.prlimit(process, resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    return limit


def _used_cpu_s(process: int) -> float:
    # proc(5): the name, which may hold anything, ends with the last bracket. Not the process's own
    # clock: libfaketime moves that one as well.
    fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Examiner(Guarded):
    """Examines recordings one after another in a child.

    Use as a context manager, or call `close`.

    Parameters
    ----------
    settings : Settings
    guard : Guard, optional
    """

    def __init__(self, settings: Settings, guard: Guard | None = None) -> None:
        super().__init__(settings, guard)
        self.peak_memory_mb = 0.0

    def examine(self, path: str, source: Source, roles: Roles | None = None) -> Examined:
        """Examine one recording; rejected where the child did not survive it.

        Parameters
        ----------
        path : str
        source : Source
        roles : Roles, optional
            Of this recording; by default those of the settings.

        Raises
        ------
        SerError
            No child could be started.
        """
        try:
            file = audio.open_regular(path)
        except OSError as error:
            rejection = unreadable(error, source.uri)
            return Examined(source, reason=rejection.reason, detail=rejection.detail)
        with file:
            found = self._examine(file, source, roles)
            if found.reason is None and not _is_at(path, file):
                found = changed(found)
            return found

    def _examine(self, file: BinaryIO, source: Source, roles: Roles | None) -> Examined:
        pipe = self._ask(source, roles, file)
        recording_id = None
        try:
            while isinstance(message := self._receive(pipe), Beat):
                recording_id = message.recording_id
            if not isinstance(message, Done):
                self.close()
                raise DiedError("crashed", NO_RESULT)
        except (KeyboardInterrupt, SystemExit):
            self.close()  # its answer would be taken for that of the next recording
            raise
        except DiedError as error:
            return Examined(
                source=source, recording_id=recording_id, reason=error.reason, detail=error.detail
            )
        self.peak_memory_mb = max(self.peak_memory_mb, message.peak_memory_mb)
        found = replace(message.examined, source=source)
        if found.reason == "crashed":
            self.close()  # and with the child whatever the fault left in it
        return found


def _is_at(path: str, file: BinaryIO) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except OSError:
        return False
