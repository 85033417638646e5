"""What one long call costs a night of short ones.

    python benchmarks/stragglers.py [--short 1500] [--hours 3.9] [--workers 2] [--json F]

Invented calls of two channels, mu-law: many of ten seconds, and one of hours. `ser extract` over
the short ones, over the long one, over both. Where nobody waits for the long one, both take no
longer than the long one alone, or than their work shared out evenly.
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
    """Calls of ten seconds, and the long one, whose name comes last."""
    said = np.concatenate(
        [np.append(voice(4.0, RATE_HZ, seed=i), np.zeros(RATE_HZ)) for i in range(12)]
    )
    minute = np.stack([np.roll(said, len(said) // 2), said], axis=1)
    (folder / "short").mkdir(parents=True)
    (folder / "long").mkdir()
    for i in range(short):
        ten = np.roll(minute, i * 4_321, axis=0)[: 10 * RATE_HZ]
        soundfile.write(folder / "short" / f"{i:05d}.wav", ten, RATE_HZ, subtype="ULAW")
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
        "one short one (start-up)": ("short/00000.wav",),
        f"{options.short:,} of ten seconds": ("short",),
        f"one of {options.hours:g} hours": ("long",),
        "both": ("short", "long"),
    }
    table = Table(title=f"ser extract, {options.workers} workers")
    for column in ("recordings", "wall s", "CPU s", "largest process, MB"):
        table.add_column(column, justify="left" if column == "recordings" else "right")
    told = []
    with tempfile.TemporaryDirectory() as work:
        calls = Path(work) / "calls"
        build(calls, options.short, options.hours)
        for i, (name, inputs) in enumerate(nights.items()):
            spent = watch.run(
                [
                    sys.executable, "-m", "pipelines", "extract", "--input",
                    *(calls / one for one in inputs), "--output", Path(work) / f"out-{i}",
                    "--channel-roles", "agent,customer", "--workers", options.workers,
                ],
                every_s=0.5,
            )  # fmt: skip
            told.append({"recordings": name, "wall_s": spent.wall_s, "cpu_s": spent.cpu_s,
                         "largest_mb": spent.largest_mb})  # fmt: skip
            table.add_row(
                name, f"{spent.wall_s:.0f}", f"{spent.cpu_s:.0f}", f"{spent.largest_mb:,.0f}"
            )
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
