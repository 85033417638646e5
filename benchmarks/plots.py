"""Draw the pictures of docs/performance.md from the JSON files of the benchmarks.

python benchmarks/plots.py [--features F.json] [--memory M.json] [--scaling S.json] [--out docs]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BLUE, ORANGE, GREY = "#2a6f97", "#d97a2b", "#8a8f98"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in DRAWN:
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    for name, draw in DRAWN.items():
        if source := getattr(options, name):
            figure, axes = plt.subplots(figsize=(7, 3.2))
            draw(axes, json.loads(source.read_text()))
            figure.tight_layout()
            figure.savefig(options.out / f"performance-{name}.png", dpi=110)
            plt.close(figure)


def features(axes, results: dict) -> None:
    """Cost of each feature set on the same clips."""
    rows = list(results["cpu_ms_per_s"].items())[::-1]
    group = "8 kHz mu-law"
    values = [by_group[group] for _, by_group in rows]
    ours = {"seed193", "telephone"}
    axes.barh(
        [name for name, _ in rows], values, color=[BLUE if n in ours else GREY for n, _ in rows]
    )
    for position, value in enumerate(values):
        axes.text(
            value * 1.08, position, f"{value:.1f}" if value >= 1 else f"{value:.2f}", va="center"
        )
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 3)
    axes.set_xlabel("CPU milliseconds per second of audio (8 kHz mu-law speech, one thread)")


def memory(axes, results: dict) -> None:
    """Peak memory by length of the call."""
    points = sorted((float(m), mb) for m, mb in results["peak_mb_by_minutes"].items())
    minutes, peaks = zip(*points, strict=True)
    axes.plot(minutes, peaks, "o-", color=BLUE)
    axes.axhline(peaks[0] + 150, color=ORANGE, linestyle="--", linewidth=1)
    axes.text(minutes[-1], peaks[0] + 152, "150 MB more", ha="right", va="bottom", color=ORANGE)
    axes.set_ylim(0, (peaks[0] + 150) * 1.15)
    axes.set_xlabel("minutes of one two-channel call")
    axes.set_ylabel("MB, all processes")


def scaling(axes, rows: list) -> None:
    """Cost per recording, by the number of recordings."""
    for processes, color in ((1, BLUE), (2, ORANGE)):
        points = [
            (row["count"], row["cpu_ms_each"])
            for row in rows
            if row["processes"] == processes and row["count"] > 1
        ]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=color, label=f"{processes} at a time")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("recordings of 3 to 5 s in a night")
    axes.set_ylabel("CPU ms per recording,\nwithout start-up")
    axes.legend(frameon=False)


DRAWN = {"features": features, "memory": memory, "scaling": scaling}

if __name__ == "__main__":
    main()
