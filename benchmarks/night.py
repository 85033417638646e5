"""The cost of a night: CPU seconds by stage, audio hours per CPU hour, wall time, memory.

    python benchmarks/night.py ARCHIVE [--channel-roles agent,customer] [--json F.json]

Runs `ser run` on the archive with one and with two processes, and on one short silent file to
measure the start-up. CPU seconds are those of the command and all of its children.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import watch

STAGES = ("read", "decode", "speech", "features", "predict", "write")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--channel-roles", default="agent,customer")
    parser.add_argument("--model", default="calls")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        silent = Path(folder) / "silent"
        silent.mkdir()
        soundfile.write(silent / "a.wav", np.zeros(8_000), 8_000)
        for processes in options.processes:
            start_up = measure(silent, Path(folder) / f"s{processes}", processes, options)
            night = measure(options.archive, Path(folder) / f"n{processes}", processes, options)
            measured.append({"start_up": start_up, "night": night, "processes": processes})
    print_table(measured)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1))


def measure(archive: Path, out: Path, processes: int, options) -> dict:
    """Run the command once, and read the figures from its tables and its profile."""
    profile = out.with_suffix(".jsonl")
    command = [
        *(sys.executable, "-m", "pipelines", "run", "--input", archive, "--output", out),
        *("--model", options.model, "--channel-roles", options.channel_roles),
        *("--workers", processes, "--profile", profile, "--max-reject-ratio", "1"),
    ]
    spent = watch.run(command)
    by_stage: dict[str, float] = {}
    for line in profile.read_text().splitlines():
        for stage, seconds in json.loads(line).items():
            by_stage[stage] = by_stage.get(stage, 0.0) + seconds
    runs = [
        row for path in out.glob("runs/**/*.parquet") for row in pq.read_table(path).to_pylist()
    ]
    speech_s = sum(
        value or 0.0
        for path in out.glob("recordings/**/*.parquet")
        for value in pq.read_table(path, columns=["speech_s"])["speech_s"].to_pylist()
    )
    return {
        "recordings": sum(row["matched"] for row in runs),
        "audio_hours": sum(row["audio_hours"] for row in runs),
        "speech_hours": speech_s / 3600,
        "wall_s": spent.wall_s,
        "cpu_s": spent.cpu_s,
        "peak_memory_mb": spent.peak_mb,
        "by_stage": by_stage,
    }


def print_table(measured: list[dict]) -> None:
    """Print a table with one column per number of processes."""
    table = Table(title="A night")
    table.add_column("")
    for figures in measured:
        table.add_column(f"{figures['processes']} processes", justify="right")

    def row(name: str, value, form: str = "{:,.1f}") -> None:
        table.add_row(name, *(form.format(value(figures)) for figures in measured))

    row("recordings", lambda figures: figures["night"]["recordings"], "{:,}")
    row("audio hours", lambda figures: figures["night"]["audio_hours"], "{:,.2f}")
    row("hours of speech analysed", lambda figures: figures["night"]["speech_hours"], "{:,.2f}")
    for stage in STAGES:
        row(
            f"{stage}, CPU s",
            lambda figures, stage=stage: figures["night"]["by_stage"].get(stage, 0.0),
        )
    row("Beam and other, CPU s", _other_cpu_s)
    row("start-up, CPU s", lambda figures: figures["start_up"]["cpu_s"])
    row("total, CPU s", lambda figures: figures["night"]["cpu_s"])
    row(
        "audio hours per CPU hour",
        lambda figures: figures["night"]["audio_hours"] * 3600 / figures["night"]["cpu_s"],
    )
    row("wall time, s", lambda figures: figures["night"]["wall_s"])
    row("start-up, wall s", lambda figures: figures["start_up"]["wall_s"])
    row(
        "peak memory, all processes, MB",
        lambda figures: figures["night"]["peak_memory_mb"],
        "{:,.0f}",
    )
    Console(width=100).print(table)


def _other_cpu_s(figures: dict) -> float:
    return max(
        0.0,
        figures["night"]["cpu_s"]
        - figures["start_up"]["cpu_s"]
        - sum(figures["night"]["by_stage"].values()),
    )


if __name__ == "__main__":
    main()
