"""Use of CPU and memory, as the table `runs` reports it."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    return time.process_time()


def peak_memory_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def spending(cpu_s: dict[str, float], stage: str) -> Iterator[None]:
    """Add the CPU seconds of this thread within the context to a stage."""
    started = time.thread_time()
    try:
        yield
    finally:
        cpu_s[stage] = cpu_s.get(stage, 0.0) + time.thread_time() - started
