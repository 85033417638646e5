"""The effect of one long call on a night of short ones.

    python benchmarks/stragglers.py [--short 1500] [--hours 3.9] [--workers 2] [--json F]

Synthetic two-channel mu-law calls: many of ten seconds, and one of several hours. `ser extract`
runs on the short ones, on the long one, and on both. If no worker waits for the long call, both
together take no longer than the long call alone, or than all the work divided evenly.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import watch  # noqa: E402
from tests.speechlike import voice  # noqa: E402

RATE_HZ = 8_000


def build(folder: Path, short: int, hours: float) -> None:
    """Write the calls of ten seconds, and the long one, whose name sorts last."""
    speech = np.concatenate(
        [np.append(voice(4.0, RATE_HZ, seed=i), np.zeros(RATE_HZ)) for i in range(12)]
    )
    minute = np.stack([np.roll(speech, len(speech) // 2), speech], axis=1)
    (folder / "short").mkdir(parents=True)
    (folder / "long").mkdir()
    for i in range(short):
        samples = np.roll(minute, i * 4_321, axis=0)[: 10 * RATE_HZ]
        soundfile.write(folder / "short" / f"{i:05d}.wav", samples, RATE_HZ, subtype="ULAW")
    with soundfile.SoundFile(
        folder / "long" / "z.wav", "w", RATE_HZ, 2, subtype="ULAW", format="WAV"
    ) as file:
        for _ in range(round(hours * 3600 * RATE_HZ / len(minute))):
            file.write(minute)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", type=int, default=1_500)
    parser.add_argument("--hours", type=float, default=3.9)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    nights = {
        "one short call (start-up)": ("short/00000.wav",),
        f"{options.short:,} of ten seconds": ("short",),
        f"one of {options.hours:g} hours": ("long",),
        "both": ("short", "long"),
    }
    table = Table(title=f"ser extract, {options.workers} workers")
    for column in ("recordings", "wall s", "CPU s", "largest process, MB"):
        table.add_column(column, justify="left" if column == "recordings" else "right")
    figures = []
    with tempfile.TemporaryDirectory() as work:
        calls = Path(work) / "calls"
        build(calls, options.short, options.hours)
        for i, (title, inputs) in enumerate(nights.items()):
            spent = watch.run(
                [
                    sys.executable, "-m", "pipelines", "extract", "--input",
                    *(calls / name for name in inputs), "--output", Path(work) / f"out-{i}",
                    "--channel-roles", "agent,customer", "--workers", options.workers,
                ],
                every_s=0.5,
            )  # fmt: skip
            figures.append({"recordings": title, "wall_s": spent.wall_s, "cpu_s": spent.cpu_s,
                         "largest_mb": spent.largest_mb})  # fmt: skip
            table.add_row(
                title, f"{spent.wall_s:.0f}", f"{spent.cpu_s:.0f}", f"{spent.largest_mb:,.0f}"
            )
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
