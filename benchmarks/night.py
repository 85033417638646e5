"""What a night costs: CPU seconds by stage, audio hours a CPU hour, wall time, memory.

    python benchmarks/night.py ARCHIVE [--channel-roles agent,customer] [--json F.json]

Runs `ser run` over the archive with one and with two processes, and over one short silent
file for what starting up costs. CPU seconds are those of the command and all its children.
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
    show(measured)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1))


def measure(archive: Path, out: Path, processes: int, options) -> dict:
    """Run the command once; its rows in `runs` and its profile tell the rest."""
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


def show(measured: list[dict]) -> None:
    """One column a number of processes."""
    table = Table(title="A night")
    table.add_column("")
    for one in measured:
        table.add_column(f"{one['processes']} processes", justify="right")

    def row(name: str, value, form: str = "{:,.1f}") -> None:
        table.add_row(name, *(form.format(value(one)) for one in measured))

    row("recordings", lambda one: one["night"]["recordings"], "{:,}")
    row("audio hours", lambda one: one["night"]["audio_hours"], "{:,.2f}")
    row("hours of speech analysed", lambda one: one["night"]["speech_hours"], "{:,.2f}")
    for stage in STAGES:
        row(f"{stage}, CPU s", lambda one, stage=stage: one["night"]["by_stage"].get(stage, 0.0))
    row("Beam and the rest, CPU s", _rest)
    row("start-up, CPU s", lambda one: one["start_up"]["cpu_s"])
    row("all, CPU s", lambda one: one["night"]["cpu_s"])
    row(
        "audio hours a CPU hour",
        lambda one: one["night"]["audio_hours"] * 3600 / one["night"]["cpu_s"],
    )
    row("wall time, s", lambda one: one["night"]["wall_s"])
    row("start-up, wall s", lambda one: one["start_up"]["wall_s"])
    row("peak memory, all processes, MB", lambda one: one["night"]["peak_memory_mb"], "{:,.0f}")
    Console(width=100).print(table)


def _rest(one: dict) -> float:
    return max(
        0.0,
        one["night"]["cpu_s"] - one["start_up"]["cpu_s"] - sum(one["night"]["by_stage"].values()),
    )


if __name__ == "__main__":
    main()
