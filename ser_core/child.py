"""The child process that decodes: `python -m ser_core.child DESCRIPTOR`, started by `guarded`.

It loads and compiles everything, closes the fence round itself, and then answers one question after
another until the pipe ends. Inside the fence nothing can be imported or opened: the parent opens a
recording and hands over its descriptor.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from ser_core import audio, fence, messages
from ser_core.errors import AudioError
from ser_core.examine import Examined, Settings, examine
from ser_core.header import Header, Opening, ServedFile, read_header
from ser_core.messages import Beat, Block, Done, End, Listening, Opened, Ready, Task, Wanted
from ser_core.threads import use_one_thread

_ORPHAN_CHECK_S = 2.0
# What a library says that opens or imports something inside the fence.
_REFUSED = ("PermissionError", "ModuleNotFoundError")


def main(descriptor: int) -> None:
    """Warm up, then answer one question after another until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(descriptor)
    task: Task = pipe.recv()
    threading.Thread(target=end_with, args=(task.parent,), daemon=True).start()
    files = socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        dimensions = _warm(task.work)
        limit_memory(task.memory_mb)
        closed = fence.close() if task.fence != fence.OFF else fence.Fence()
        problem = None
        if task.fence == fence.REQUIRED and not closed.is_closed:
            problem = f"--require-fence: {', '.join(closed.missing)}"
    except Exception as error:
        messages.send(pipe, Ready(problem=f"{type(error).__name__}: {error}"))
        return
    messages.send(pipe, Ready(closed, dimensions, problem))
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        _answer(task.work, question, pipe, files)


def _answer(
    work: Settings | Opening | Listening,
    question: tuple,
    pipe: Connection,
    files: socket.socket,
) -> None:
    """Answer a question. The descriptor of the recording comes behind it, unless it is served."""
    source, about, comes_open = question
    file = _receive_descriptor(files) if comes_open else None
    try:
        if isinstance(work, Settings):
            assert file is not None
            found = examine(file, source, work, roles=about, beat=_beat(pipe))
            messages.send(pipe, Done(_explained(found), _peak_memory_mb()))
        elif isinstance(work, Listening):
            assert file is not None
            _decode(file, source.uri, about, pipe)
        else:
            opened = file if file is not None else ServedFile(_asking(pipe))
            messages.send(pipe, read_header(opened, source.uri, work))
    finally:
        if file is not None:
            os.close(file)


def _decode(file: int, uri: str, opening: Opening, pipe: Connection) -> None:
    """Send the samples of a recording, a block for each word that more is wanted."""
    try:
        with audio.open(file, uri, limits=opening.limits, raw=opening.raw) as stream:
            messages.send(pipe, Opened(stream.rate, stream.channels, stream.declared_s))
            blocks = stream.blocks()
            while pipe.recv():
                block = next(blocks, None)
                messages.send(pipe, End() if block is None else Block(block))
                if block is None:
                    return
    except AudioError as error:
        messages.send(pipe, Header(reason=error.reason, detail=error.detail))
    except MemoryError:
        messages.send(pipe, Header(reason="crashed", detail="it needed more memory than it may"))
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # our bug or a library's
        detail = f"{type(error).__name__}: {error}"
        messages.send(pipe, Header(reason="crashed", detail=detail))


def _receive_descriptor(files: socket.socket) -> int:
    _, [descriptor], _, _ = socket.recv_fds(files, 1, 1)
    return descriptor


def _beat(pipe: Connection) -> Callable[[str | None], None]:
    return lambda recording_id: messages.send(pipe, Beat(recording_id))


def _asking(pipe: Connection) -> Callable[[int | None, int], Any]:
    def ask(offset: int | None, length: int) -> Any:
        messages.send(pipe, Wanted(offset, length))
        return pipe.recv()

    return ask


def _explained(found: Examined) -> Examined:
    """The same; a failure that may be due to the fence says so."""
    if found.reason == "crashed" and (found.detail or "").startswith(_REFUSED):
        detail = f"{found.detail} (nothing can be loaded inside the fence; --no-fence)"
        return replace(found, detail=detail)
    return found


def _warm(work: Settings | Opening | Listening) -> int:
    """Load and compile everything that recordings need; the dimensions of the features."""
    dimensions = 0
    _rehearse()
    if isinstance(work, Settings):
        import numpy as np

        from ser_core import features, speech

        speech.find(np.zeros(speech.RATE_HZ, dtype=np.float32), 2 * speech.RATE_HZ)
        feature_set = features.get(work.feature_set)
        feature_set.warm()
        # At another rate, and behind noise, which speech detection and numpy treat by other code.
        noise = 0.1 * np.random.default_rng(0).standard_normal(feature_set.rate)
        feature_set.extract(noise.astype(np.float32), 2 * feature_set.rate)
        dimensions = len(feature_set.names)
    use_one_thread()
    return dimensions


def _rehearse() -> None:
    """Decode a little with each decoder, so that all of their code is loaded."""
    import io
    from contextlib import suppress

    import numpy as np
    import soundfile
    import soxr  # noqa: F401

    with suppress(ImportError):
        import av  # noqa: F401

    sound = 0.1 * np.random.default_rng(0).standard_normal((4_000, 2))
    recordings = [b"text, not audio"]
    for format, subtype in (("WAV", "ULAW"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")):
        file = io.BytesIO()
        soundfile.write(file, sound, 8_000, format=format, subtype=subtype)
        recordings.append(file.getvalue())
    # The tag of G.722, which FFmpeg decodes.
    recordings.append(recordings[1].replace(b"\x07\0\x02\0", b"\x8f\x02\x01\0", 1))
    # A FLAC file that is damaged in the middle.
    flac = recordings[3]
    recordings.append(flac[: len(flac) // 2] + bytes(200) + flac[len(flac) // 2 + 200 :])
    for data in recordings:
        with suppress(AudioError):
            audio.decode(data, "rehearsal")


def limit_memory(memory_mb: int) -> None:
    """Limit this process to its present memory and so much more."""
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
