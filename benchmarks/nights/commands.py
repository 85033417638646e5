"""Commands of a simulated month: run to their end, or killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.nights.stores import Place

LIMIT_S = 900


@dataclass(frozen=True)
class Done:
    """A command that ended.

    Parameters
    ----------
    words : tuple of str
    status : int
    text : str
        What it printed.
    seconds : float
    """

    words: tuple[str, ...]
    status: int
    text: str
    seconds: float


@dataclass
class Ser:
    """Runs `ser` where a month lies, and keeps what was done."""

    place: Place
    done: list[Done] = field(default_factory=list)

    def __call__(self, *words: object, expected: Sequence[int] = (0,)) -> Done:
        """Run a command to its end.

        Raises
        ------
        SystemExit
            It ended with another status than one of `expected`.
        """
        process, started = self._start(words)
        text = process.communicate(timeout=LIMIT_S)[0]
        done = Done(tuple(map(str, words)), process.returncode, text, time.monotonic() - started)
        self.done.append(done)
        if done.status not in expected:
            raise SystemExit(
                f"ser {' '.join(done.words)}: exit {done.status}, one of {tuple(expected)} "
                f"expected\n{text[-3000:]}"
            )
        return done

    def killed(self, after_s: float, *words: object) -> bool:
        """Kill a command and its children after some seconds; whether it was still running."""
        process, _ = self._start(words)
        try:
            process.communicate(timeout=after_s)
            return False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return True

    def _start(self, words: Sequence[object]) -> tuple[subprocess.Popen, float]:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines", *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, **self.place.environment},
        )  # fmt: skip
        return process, started
