"""The memory that a long call adds to a night, over all processes.

    python benchmarks/memory.py [--hours 2] [--feature-set telephone] [--rounds 3] [--json F.json]

Each row is `ser extract` with one process on one two-channel mu-law call, a sample call of
tests/data repeated. The peak is the memory of the command and all of its children at the same
time; pages that they share count once. It is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import watch

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "tests" / "data" / "calls" / "billing" / "20260301T091500_c0001.wav"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=float, default=2.0, help="length of the longest call")
    parser.add_argument("--feature-set", default="telephone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    longest_min = 60 * options.hours
    minutes = sorted({1.0, *(m for m in (10.0, 30.0, 60.0) if m < longest_min), longest_min})
    peaks: dict[float, list[float]] = {m: [] for m in minutes}
    with tempfile.TemporaryDirectory() as folder:
        for m in minutes:
            write_call(Path(folder) / f"{m:g}.wav", m)
        for i in range(options.rounds):
            for m in minutes:
                out = Path(folder) / f"out-{m:g}-{i}"
                peaks[m].append(extract(Path(folder) / f"{m:g}.wav", out, options.feature_set))
    medians = {m: statistics.median(rounds) for m, rounds in peaks.items()}
    table = Table(title=f"Peak memory of all processes, {options.feature_set}, one process")
    for name in ("minutes", "MB", "difference from 1 minute, MB"):
        table.add_column(name, justify="right")
    for m in minutes:
        table.add_row(f"{m:g}", f"{medians[m]:,.0f}", f"{medians[m] - medians[1.0]:+,.0f}")
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({"peak_mb_by_minutes": medians}, indent=1) + "\n")


def write_call(path: Path, minutes: float) -> None:
    """Write the sample call repeatedly, up to a length in minutes."""
    samples, rate = soundfile.read(SAMPLE, dtype="float32", always_2d=True)
    left = round(60 * minutes * rate)
    with soundfile.SoundFile(path, "w", rate, samples.shape[1], "ULAW") as file:
        while left > 0:
            file.write(np.ascontiguousarray(samples[:left]))
            left -= len(samples)


def extract(call: Path, out: Path, feature_set: str) -> float:
    """Extract features of a call. Returns the peak memory in MB."""
    command = [
        *(sys.executable, "-m", "pipelines", "extract", "--input", call, "--output", out),
        *("--feature-set", feature_set, "--channel-roles", "agent,customer", "--workers", 1),
    ]
    return watch.run(command).peak_mb


if __name__ == "__main__":
    main()
