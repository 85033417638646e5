"""Recall and precision of speech in seconds, on calls with known turns.

    python benchmarks/build_calls.py --n 200 --out CALLS && python benchmarks/speech.py CALLS

A second counts as spoken where a true turn has speech (without pauses of 0.3 s and more), and as
found where a segment covers it. Results are also given by codec. If the calls have music
(`build_calls.py --music`), the share of it in segments is given. "Without" is the recall without
`ser_core.not_speech`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.calls.truth import read_truth
from ser_core import audio, not_speech, speech
from ser_core.errors import AudioError

STEP_S = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("calls", type=Path, help="folder that build_calls.py wrote")
    parser.add_argument("--n", type=int, help="only the first so many channels")
    options = parser.parse_args()
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(8))
    cpu_s = seconds = 0.0
    for truth in read_truth(options.calls / "truth.jsonl")[: options.n]:
        path = options.calls / truth.file
        try:
            recording = audio.decode(path.read_bytes(), str(path))
        except AudioError as error:
            raise SystemExit(f"{error}") from error
        samples = recording.samples[truth.channel]
        started = time.process_time()
        finder = speech.Finder(recording.rate)
        finder.feed(samples, last=True)
        found = finder.segments()
        cpu_s += time.process_time() - started
        seconds += recording.facts.duration_s
        count = int(recording.facts.duration_s / STEP_S) + 1
        turns = mask([(turn.start_s, turn.end_s) for turn in truth.turns], count)
        spoken = mask([span for turn in truth.turns for span in turn.speech], count)
        covered = mask([(segment.start_s, segment.end_s) for segment in found], count)
        with everything_is_speech():
            unfiltered = finder.segments()
        without = mask([(segment.start_s, segment.end_s) for segment in unfiltered], count)
        music = mask(truth.music, count)
        row = np.array(
            [
                *(turns.sum(), (turns & covered).sum(), spoken.sum(), (spoken & covered).sum()),
                *(covered.sum(), (spoken & without).sum(), music.sum(), (music & covered).sum()),
            ]
        )
        for key in ("all", f"{recording.facts.codec}, {recording.rate:,} Hz"):
            sums[key] += row
    table = Table(title="Speech seconds found")
    for column in (
        "codec",
        "spoken h",
        "recall, turns",
        "precision, turns",
        "recall, speech",
        "precision, speech",
        "recall, without",
        "music h",
        "music in segments",
    ):
        table.add_column(column, justify="right")
    for key, (turns, hit_turns, spoken, hit, covered, without, music, played) in sums.items():
        table.add_row(
            key,
            f"{spoken * STEP_S / 3600:.2f}",
            *(f"{value:.3f}" for value in (hit_turns / turns, hit_turns / covered)),
            *(f"{value:.3f}" for value in (hit / spoken, hit / covered, without / spoken)),
            f"{music * STEP_S / 3600:.2f}",
            f"{played / music:.1%}" if music else "",
        )
    Console().print(table)
    print(f"{1000 * cpu_s / seconds:.2f} ms CPU a second of channel")


@contextmanager
def everything_is_speech():
    """Switch `not_speech` off."""
    with mock.patch.object(not_speech, "is_speech", return_value=True):
        yield


def mask(spans, count: int) -> np.ndarray:
    covered = np.zeros(count, dtype=bool)
    for start_s, end_s in spans:
        covered[round(start_s / STEP_S) : round(end_s / STEP_S)] = True
    return covered


if __name__ == "__main__":
    main()
