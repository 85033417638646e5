"""Run a command, and measure the time and memory of it and all of its children."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

MEASURE_EVERY_S = 0.05


@dataclass(frozen=True)
class Spent:
    """CPU and wall seconds, and peak memory; shared pages count once.

    `peak_mb` is the peak of all processes together, `launcher_mb` that of the command itself, and
    `largest_mb` that of its largest child.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    launcher_mb: float
    largest_mb: float


def run(command: Sequence[object], *, every_s: float = MEASURE_EVERY_S) -> Spent:
    """Run a command to its end.

    Parameters
    ----------
    command : sequence
        Its words, which are converted to strings.
    every_s : float
        Time between two measurements of the memory.

    Raises
    ------
    SystemExit
        The command failed.
    """
    words = [str(word) for word in command]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    job = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peaks = [0.0, 0.0, 0.0]
    threading.Thread(target=_measure_memory, args=(job.pid, peaks, every_s), daemon=True).start()
    messages = job.stderr.read() if job.stderr else ""
    if job.wait():
        raise SystemExit(f"{' '.join(words)}\nended with {job.returncode}: {messages[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        wall_s=time.monotonic() - started,
        peak_mb=peaks[0],
        launcher_mb=peaks[1],
        largest_mb=peaks[2],
    )


def _measure_memory(pid: int, peaks: list[float], every_s: float) -> None:
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
