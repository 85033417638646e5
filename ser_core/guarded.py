"""Examine recordings in a child process, which may crash, hang or run out of memory.

A decoder is C code that reads files from strangers. It runs in a child process without Beam,
TensorFlow or librosa. The child compiles and loads everything before the first timeout starts, is
watched by its signs of life, and is replaced when it dies or hangs. Such a fault costs one
recording, which is rejected as `crashed` or `timed_out`.

`Examiner` examines whole recordings, `HeaderReader` only opens them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any, BinaryIO, Self

from ser_core import audio
from ser_core.errors import SerError
from ser_core.examine import Examined, Roles, Settings, Source, examine
from ser_core.header import Header, Opening, ServedFile, answer, read_header
from ser_core.threads import use_one_thread

# The first warm-up on a machine compiles the loops of the feature sets.
WARM_UP_S = 900.0
_ORPHAN_CHECK_S = 2.0
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
    """

    timeout_s: float = 120.0
    memory_mb: int = 2048

    def __post_init__(self) -> None:
        for name in ("timeout_s", "memory_mb"):
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


class _Guarded:
    """Does one kind of work in a child, which is replaced when needed.

    Use as a context manager, or call `close`.

    Parameters
    ----------
    work : Settings or Opening
        What the child is for: to examine by settings, or to read headers.
    guard : Guard, optional
    """

    def __init__(self, work: Settings | Opening, guard: Guard | None = None) -> None:
        self._work, self._guard = work, guard or Guard()
        self._child: _Child | None = None
        self._ready = False
        self._own_cache: tempfile.TemporaryDirectory | None = None

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
            [sys.executable, "-m", "ser_core.guarded", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": python_path, **self._cache()},
        )
        theirs.close()
        ours.send((self._work, self._guard.memory_mb, os.getpid()))
        self._child, self._ready = _Child(process, ours), False
        return self._child

    def close(self) -> None:
        """End the child."""
        if self._child is None:
            return
        self._child.process.kill()
        self._child.process.wait()
        self._child.pipe.close()
        self._child = None

    def _ask(self, question: tuple) -> Connection:
        """Send a question to the child.

        Raises
        ------
        SerError
            No child could be started.
        """
        child = self._ready_child()
        child.pipe.send(question)
        return child.pipe

    def _receive(self, pipe: Connection) -> Any:
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
        try:
            return pipe.recv()
        except (EOFError, ConnectionError) as error:
            end = self._end_of_child()
            raise DiedError("crashed", f"the process that decoded it died{end}") from error

    def _cache(self) -> dict[str, str]:
        return {"NUMBA_CACHE_DIR": self._own_cache.name} if self._own_cache else {}

    def _ready_child(self) -> _Child:
        child = self.start()
        if self._ready:
            return child
        problem: str | None = f"it was not ready after {WARM_UP_S:g} s"
        try:
            if child.pipe.poll(WARM_UP_S):
                problem = child.pipe.recv()
        except (EOFError, ConnectionError):
            problem = f"it died while warming up{self._end_of_child()}"
            if self._own_cache is None:
                # Another process may have left damaged compiled code: compile again, elsewhere.
                self._own_cache = tempfile.TemporaryDirectory(prefix="ser-numba-")
                return self._ready_child()
        if problem is not None:
            self.close()
            raise SerError(f"the process that decodes recordings cannot be started: {problem}")
        self._ready = True
        return child

    def _end_of_child(self) -> str:
        """How the child ended, in words; the rest of it is closed."""
        if self._child is None:
            return ""
        try:
            status = self._child.process.wait(5)
        except subprocess.TimeoutExpired:
            return ""
        finally:
            self.close()
        if status < 0:
            return f" of {signal.Signals(-status).name}"
        return f" with exit status {status}"


class Examiner(_Guarded):
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
        pipe = self._ask((path, source, roles))
        recording_id = None
        try:
            while not isinstance(message := self._receive(pipe), tuple):
                recording_id = message  # a sign of life
        except DiedError as error:
            return Examined(
                source=source, recording_id=recording_id, reason=error.reason, detail=error.detail
            )
        found, peak_memory_mb = message
        self.peak_memory_mb = max(self.peak_memory_mb, peak_memory_mb)
        if found.reason == "crashed":
            self.close()  # and with the child whatever the fault left in it
        return found


class HeaderReader(_Guarded):
    """Opens recordings one after another in a child, without decoding them.

    Use as a context manager, or call `close`.

    Parameters
    ----------
    limits : audio.Limits
    guard : Guard, optional
    raw : tuple of audio.RawFormat
        Formats of files without a header.
    """

    def __init__(
        self,
        limits: audio.Limits,
        guard: Guard | None = None,
        *,
        raw: tuple[audio.RawFormat, ...] = (),
    ) -> None:
        super().__init__(Opening(limits, raw), guard)

    def read(self, file: str | BinaryIO, uri: str) -> Header:
        """Read a header; rejected where the child did not survive it.

        Parameters
        ----------
        file : path, or binary file object
            The child reads a file object through this process, piece by piece.
        uri : str

        Raises
        ------
        Exception
            Whatever the file object raises.
        SerError
            No child could be started.
        """
        pipe = self._ask((file if isinstance(file, str) else None, uri))
        try:
            while not isinstance(message := self._receive(pipe), Header):
                assert not isinstance(file, str)
                try:
                    pipe.send(answer(file, message))
                except BaseException:
                    self.close()  # it waits for an answer
                    raise
            return message
        except DiedError as error:
            return Header(reason=error.reason, detail=error.detail)


def main(descriptor: int) -> None:
    """The child: warm up, then answer one question after another until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(descriptor)
    work, memory_mb, parent = pipe.recv()
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    try:
        _warm(work)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")
        return
    _limit_memory(memory_mb)
    pipe.send(None)
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        if isinstance(work, Settings):
            path, source, roles = question
            found = examine(path, source, work, roles=roles, beat=pipe.send)
            pipe.send((found, _peak_memory_mb()))
        else:
            path, uri = question
            pipe.send(read_header(path or ServedFile(pipe), uri, work))


def _warm(work: Settings | Opening) -> None:
    import soundfile  # noqa: F401

    if isinstance(work, Settings):
        import numpy as np

        from ser_core import features, speech

        speech.find(np.zeros(speech.RATE_HZ, dtype=np.float32), 2 * speech.RATE_HZ)
        features.get(work.feature_set).warm()
    use_one_thread()


def _limit_memory(memory_mb: int) -> None:
    import resource

    with open("/proc/self/statm", "rb") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    limit = now + (memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _peak_memory_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def end_with(parent: int) -> None:
    """End this process once its parent has gone, wherever it hangs. Runs in a daemon thread."""
    while os.getppid() == parent:
        time.sleep(_ORPHAN_CHECK_S)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
