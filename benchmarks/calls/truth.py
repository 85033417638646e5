"""What is said in a built call: who speaks when, on which channel, and how."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Turn:
    """An utterance within a call, in seconds from the call's start.

    `start_s` and `end_s` are where its sound begins and ends; `speech` are the spans
    between its pauses of `MIN_PAUSE_S` or more.
    """

    start_s: float
    end_s: float
    emotion: str
    speaker: str
    corpus: str
    speech: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Truth:
    """What is said on one channel of one file; `file` is relative to the truth's folder.

    `music` are spans in seconds.
    """

    file: str
    channel: int
    role: str
    turns: tuple[Turn, ...]
    music: tuple[tuple[float, float], ...] = ()


def write_truth(path: Path, truths: Iterable[Truth]) -> None:
    """Write one JSON object a line, one line a channel."""
    with open(path, "w", encoding="utf-8") as file:
        for truth in truths:
            file.write(json.dumps(asdict(truth)) + "\n")


def read_truth(path: Path) -> list[Truth]:
    """Read what `write_truth` wrote."""
    truths = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        turns = tuple(
            Turn(**{**turn, "speech": tuple(map(tuple, turn["speech"]))}) for turn in row["turns"]
        )
        music = tuple(map(tuple, row["music"]))
        truths.append(Truth(row["file"], row["channel"], row["role"], turns, music))
    return truths
