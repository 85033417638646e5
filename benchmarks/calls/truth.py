"""The truth of a built call: who speaks when, on which channel, and in which mood."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Turn:
    """An utterance within a call, in seconds from the call's start.

    `start_s` and `end_s` are the limits of its sound. `speech` are the spans between pauses of
    `sound.MIN_PAUSE_S` or more.
    """

    start_s: float
    end_s: float
    emotion: str
    speaker: str
    corpus: str
    speech: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Truth:
    """The turns on one channel of a file, and the spans of music in seconds.

    `file` is relative to the folder of the truth.
    """

    file: str
    channel: int
    role: str
    turns: tuple[Turn, ...]
    music: tuple[tuple[float, float], ...] = ()


def write_truth(path: Path, truths: Iterable[Truth]) -> None:
    """Write one JSON object per line, one line per channel."""
    with open(path, "w", encoding="utf-8") as file:
        for truth in truths:
            file.write(json.dumps(asdict(truth)) + "\n")


def read_truth(path: Path) -> list[Truth]:
    """Read a file of `write_truth`."""
    truths = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        turns = tuple(
            Turn(**{**turn, "speech": tuple(map(tuple, turn["speech"]))}) for turn in row["turns"]
        )
        music = tuple(map(tuple, row["music"]))
        truths.append(Truth(row["file"], row["channel"], row["role"], turns, music))
    return truths
