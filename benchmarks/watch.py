"""Run a command and tell what it and all its children took."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Spent:
    """CPU and wall seconds; the most memory held at one time, pages that are shared once.

    `launcher_mb` is that of the command itself, `largest_mb` that of one of its children.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    launcher_mb: float
    largest_mb: float


def run(command: Sequence[object], *, every_s: float = LOOK_EVERY_S) -> Spent:
    """Run it to its end.

    Parameters
    ----------
    command : sequence
        Words; made into strings.
    every_s : float
        Between two looks at the memory.

    Raises
    ------
    SystemExit
        It ended with another status than 0.
    """
    words = [str(word) for word in command]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    job = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peaks = [0.0, 0.0, 0.0]
    threading.Thread(target=_look, args=(job.pid, peaks, every_s), daemon=True).start()
    said = job.stderr.read() if job.stderr else ""
    if job.wait():
        raise SystemExit(f"{' '.join(words)}\nended with {job.returncode}: {said[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        wall_s=time.monotonic() - started,
        peak_mb=peaks[0],
        launcher_mb=peaks[1],
        largest_mb=peaks[2],
    )


def _look(pid: int, peaks: list[float], every_s: float) -> None:
    try:
        root = psutil.Process(pid)
        while True:
            held: list[float] = []
            for process in (root, *root.children(recursive=True)):
                try:
                    held.append(process.memory_full_info().pss / 2**20)
                except psutil.Error:
                    held.append(0.0)
            now = sum(held), held[0], max(held[1:], default=0.0)
            peaks[:] = map(max, peaks, now)
            time.sleep(every_s)
    except psutil.NoSuchProcess:
        return
