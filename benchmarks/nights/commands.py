"""Commands of a simulated month: run to their end, or killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.nights.stores import Place

LIMIT_S = 900
# In an object store, what was killed holds an output until its lock expires (90 s).
LOCKED_S = 100.0
HELD = 5

Run = Callable[[Sequence[str], Mapping[str, str]], tuple[int, str]]
"""Runs a command with some variables of the environment; its status and what it printed."""


def in_new_process(words: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command as a user does."""
    process = _start(words, environment)
    text = process.communicate(timeout=LIMIT_S)[0]
    return process.returncode, text


def in_this_process(words: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command in this process, which has imported already what it needs."""
    import contextlib
    import io

    from pipelines.cli import main

    os.environ.update(environment)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            status = main([*words, *(["--workers", "1"] if words[0] in ("run", "label") else [])])
        except SystemExit as error:  # raised by argparse
            status = int(error.code or 0)
    return status, printed.getvalue()


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
    run: Run = in_new_process
    done: list[Done] = field(default_factory=list)
    locked_until: float = 0.0

    def __call__(self, *words: object, expected: Sequence[int] = (0,)) -> Done:
        """Run a command to its end.

        Raises
        ------
        SystemExit
            It ended with another status than one of `expected`.
        """
        started = time.monotonic()
        texts = tuple(map(str, words))
        status, text = self.run(texts, self.place.environment)
        while status == HELD and time.monotonic() < self.locked_until:
            time.sleep(5)
            started = time.monotonic()
            status, text = self.run(texts, self.place.environment)
        done = Done(texts, status, text, time.monotonic() - started)
        self.done.append(done)
        if done.status not in expected:
            raise SystemExit(
                f"ser {' '.join(done.words)}: exit {done.status}, one of {tuple(expected)} "
                f"expected\n{text[-3000:]}"
            )
        return done

    def killed(self, after_s: float, *words: object) -> bool:
        """Kill a command and its children after some seconds; whether it was still running."""
        process = _start([*map(str, words)], self.place.environment)
        try:
            process.communicate(timeout=after_s)
            return False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if "://" in self.place.output:
                self.locked_until = time.monotonic() + LOCKED_S
            return True


def _start(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, **environment},
    )  # fmt: skip
