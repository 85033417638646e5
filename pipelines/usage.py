"""What the night takes: CPU seconds and memory, as the table `runs` reports them."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    return time.process_time()


def peak_memory_mb() -> float:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def spending(cpu_s: dict[str, float], stage: str) -> Iterator[None]:
    """Add the CPU seconds that this thread spends meanwhile to those of a stage."""
    started = time.thread_time()
    try:
        yield
    finally:
        cpu_s[stage] = cpu_s.get(stage, 0.0) + time.thread_time() - started
