"""The cost per recording with many short recordings, and the speed-up by a second process.

    python benchmarks/scaling.py [--counts 1000 3000 10000] [--feature-set telephone] [--json F]

Recordings are pieces of 3 to 5 s of the sample calls in tests/data. `ser extract` runs on each
count with one and with two processes, and on a single recording to measure the start-up, which is
subtracted. Rounds alternate, and the cheapest of each counts. The speed-up is the ratio of wall
times at the largest count.
"""

from __future__ import annotations

import argparse
import json
import os
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
SAMPLES = ROOT / "tests" / "data" / "calls"
PIECES_S = (3.0, 4.0, 5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 3_000, 10_000])
    parser.add_argument("--feature-set", default="telephone")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--rounds", type=int, default=2, help="number of rounds; the cheapest counts"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    measured: dict[tuple[int, int], list[watch.Spent]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pieces = write_pieces(folder / "pieces")
        for count in (1, *options.counts):
            spread(pieces, folder / f"archive-{count}", count)
        for i in range(options.rounds):
            for count in (1, *options.counts):
                for processes in options.processes:
                    out = folder / f"out-{count}-{processes}-{i}"
                    command = [
                        *(sys.executable, "-m", "pipelines", "extract"),
                        *("--input", folder / f"archive-{count}", "--output", out),
                        *("--feature-set", options.feature_set, "--workers", processes),
                    ]
                    rounds = measured.setdefault((count, processes), [])
                    rounds.append(watch.run(command, every_s=0.5))
    rows = [
        {
            "count": count,
            "processes": processes,
            "cpu_s": min(spent.cpu_s for spent in rounds),
            "wall_s": min(spent.wall_s for spent in rounds),
            "peak_mb": max(spent.peak_mb for spent in rounds),
        }
        for (count, processes), rounds in measured.items()
    ]
    report(rows, options)


def write_pieces(folder: Path) -> list[Path]:
    """Write pieces of the first channel of the sample calls, as mu-law WAV."""
    folder.mkdir()
    pieces = []
    for call in sorted(SAMPLES.glob("*/*.wav")):
        if "/odd/" in call.as_posix():
            continue
        samples, rate = soundfile.read(call, dtype="float32", always_2d=True)
        first = 0
        while first < len(samples):
            length = round(PIECES_S[len(pieces) % len(PIECES_S)] * rate)
            piece = np.ascontiguousarray(samples[first : first + length, 0])
            if len(piece) == length:
                path = folder / f"{len(pieces):03d}.wav"
                soundfile.write(path, piece, rate, "ULAW")
                pieces.append(path)
            first += length
    return pieces


def spread(pieces: list[Path], archive: Path, count: int) -> None:
    """Make an archive of `count` recordings: links to the pieces, a thousand per folder."""
    for i in range(count):
        path = archive / f"{i // 1000:03d}" / f"{i:06d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(pieces[i % len(pieces)], path)


def report(rows: list[dict], options) -> None:
    start_up = {row["processes"]: row for row in rows if row["count"] == 1}
    table = Table(title=f"ser extract, {options.feature_set}, recordings of 3 to 5 s")
    for name in (
        *("recordings", "processes", "CPU s", "CPU ms per recording", "wall s"),
        *("recordings per wall s", "peak MB"),
    ):
        table.add_column(name, justify="right")
    for row in rows:
        first = start_up[row["processes"]]
        if row is first:
            cells = ["start-up", "", ""]
        else:
            row["cpu_ms_each"] = 1000 * (row["cpu_s"] - first["cpu_s"]) / (row["count"] - 1)
            row["each_wall_s"] = (row["count"] - 1) / (row["wall_s"] - first["wall_s"])
            cells = [
                f"{row['count']:,}",
                f"{row['cpu_ms_each']:.1f}",
                f"{row['each_wall_s']:.0f}",
            ]
        table.add_row(
            *(cells[0], str(row["processes"]), f"{row['cpu_s']:.1f}", cells[1]),
            *(f"{row['wall_s']:.1f}", cells[2], f"{row['peak_mb']:,.0f}"),
        )
    Console().print(table)
    most = max(options.counts)
    rate = {row["processes"]: row["each_wall_s"] for row in rows if row["count"] == most}
    for processes in sorted(rate)[1:]:
        print(
            f"{processes} processes compared with {min(rate)} at {most:,} recordings, without "
            f"start-up: {rate[processes] / rate[min(rate)]:.2f} times the recordings per second"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
