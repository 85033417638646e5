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
    """CPU and wall seconds; the most memory held at one time, pages that are shared once."""

    cpu_s: float
    wall_s: float
    peak_mb: float


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
    peak_mb = [0.0]
    threading.Thread(target=_look, args=(job.pid, peak_mb, every_s), daemon=True).start()
    said = job.stderr.read() if job.stderr else ""
    if job.wait():
        raise SystemExit(f"{' '.join(words)}\nended with {job.returncode}: {said[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        wall_s=time.monotonic() - started,
        peak_mb=peak_mb[0],
    )


def _look(pid: int, peak_mb: list[float], every_s: float) -> None:
    try:
        root = psutil.Process(pid)
        while True:
            held = 0
            for process in (root, *root.children(recursive=True)):
                try:
                    held += process.memory_full_info().pss
                except psutil.Error:
                    continue
            peak_mb[0] = max(peak_mb[0], held / 2**20)
            time.sleep(every_s)
    except psutil.NoSuchProcess:
        return
