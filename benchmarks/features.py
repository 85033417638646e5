"""Cost of feature sets: CPU milliseconds per second of audio, on the same real clips.

    python benchmarks/features.py [--clips 40] [--rounds 3] [--memory-s 10] [--json FILE]
        [--only WORD …]

Clips are spread over RAVDESS (48 kHz) and EMO-DB (22.05 kHz) in the folder SER_DATA, or
../shared/data beside this checkout. Half of them are also measured at 8 kHz in mu-law. openSMILE is
measured if it is installed (`pip install opensmile`). One thread. Each round measures all rows clip
by clip in turn, so that a busy machine slows all alike; the fastest round of each row and clip
counts. Everything is warmed on one clip first, so that caches of the feature sets (filters by
tuning) are filled from the first round. Memory is the peak of a fresh process that measures 10 s
(--memory-s), less that of a process that decodes them.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[1]))

from ser_core import features

ROOT = Path(__file__).parents[1]
TELEPHONE_HZ = 8_000
SETS = ("librosa193", "seed193", "telephone", "voice")
OPENSMILE = ("eGeMAPSv02", "ComParE_2016")


@dataclass(frozen=True)
class Clip:
    """A sound file in memory; `data` are its bytes, so that decoding is measured too."""

    corpus: str
    data: bytes
    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


Row = Callable[[Clip], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=40, help="how many of each corpus at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="rows whose name has one of these words")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--memory-s", type=int, default=10, help="seconds of noise for the memory")
    parser.add_argument("--peak-of", metavar="ROW", help="print the peak memory in MB of one row")
    options = parser.parse_args()
    threadpool_limits(1)
    if options.peak_of:
        all_rows()[options.peak_of]()(noise(options.memory_s))
        # Of this program alone: ru_maxrss starts with that of the process that started it.
        status = Path("/proc/self/status").read_text()
        print(int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024)
        return
    clips = find_clips(options.clips)
    rows = {
        name: make_row()
        for name, make_row in all_rows().items()
        if not options.only or any(word in name for word in options.only)
    }
    for run in rows.values():
        run(clips[0])
    fastest_s = np.full((len(rows), len(clips)), np.inf)
    for _ in range(options.rounds):
        for c, clip in enumerate(clips):
            for r, run in enumerate(rows.values()):
                started = time.process_time()
                run(clip)
                fastest_s[r, c] = min(fastest_s[r, c], time.process_time() - started)
    memory_mb = [peak_mb(name, options.memory_s) for name in rows]
    report(list(rows), clips, fastest_s, memory_mb, options.json)


def all_rows() -> dict[str, Callable[[], Row]]:
    """What makes the functions to compare, by name; only then are libraries imported."""
    rows: dict[str, Callable[[], Row]] = {name: partial(extractor, name) for name in SETS}
    if importlib.util.find_spec("opensmile"):
        rows |= {f"openSMILE {name}": partial(opensmile_row, name) for name in OPENSMILE}
    rows["decode"] = lambda: decode
    rows["bound: with one STFT"] = lambda: bound
    return rows


def extractor(name: str) -> Row:
    feature_set = features.get(name)
    return lambda clip: feature_set.extract(*decode(clip))


def peak_mb(name: str, seconds: int) -> float:
    """Peak memory of a fresh process that runs a row, less that of one that only decodes."""
    row, decoding = (
        float(
            subprocess.run(
                [sys.executable, __file__, "--peak-of", name, f"--memory-s={seconds}"],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
        )
        for name in (name, "decode")
    )
    return row - decoding


def noise(seconds: int) -> Clip:
    samples = 0.1 * np.random.default_rng(0).standard_normal(seconds * TELEPHONE_HZ)
    return over_telephone(Clip("noise", b"", samples.astype(np.float32), TELEPHONE_HZ))


def decode(clip: Clip) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(io.BytesIO(clip.data), dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate


def bound(clip: Clip) -> np.ndarray:
    """Lower bound of any spectral feature set: decode, resample, one STFT."""
    from ser_core.features import stft

    return stft.spectrum(features.resample(*decode(clip), 22_050))


def opensmile_row(name: str) -> Row:
    """openSMILE's functionals, at each clip's own rate."""
    import opensmile

    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet[name],
        feature_level=opensmile.FeatureLevel.Functionals,
        num_workers=1,
    )
    return lambda clip: smile.process_signal(*decode(clip))


def find_clips(count: int) -> list[Clip]:
    folder = Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")
    clips = []
    for corpus in ("ravdess", "emodb"):
        paths = sorted((folder / corpus).rglob("*.flac"))
        clips += [read(path, corpus) for path in paths[:: max(1, len(paths) // count)][:count]]
    if not clips:
        raise SystemExit(f"no real recordings in {folder}; set SER_DATA to their folder")
    return [*clips, *(over_telephone(clip) for clip in clips[::2])]


def read(path: Path, corpus: str) -> Clip:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Clip(corpus, path.read_bytes(), samples.mean(axis=1), rate)


def over_telephone(clip: Clip) -> Clip:
    data = io.BytesIO()
    samples = features.resample(clip.samples, clip.rate, TELEPHONE_HZ)
    soundfile.write(data, samples, TELEPHONE_HZ, format="WAV", subtype="ULAW")
    return Clip("8 kHz mu-law", data.getvalue(), samples, TELEPHONE_HZ)


def report(
    names: list[str],
    clips: list[Clip],
    cpu_s: np.ndarray,
    memory_mb: list[float],
    path: Path | None,
) -> None:
    seconds = np.array([clip.seconds for clip in clips])
    corpus = np.array([clip.corpus for clip in clips])
    groups = [*dict.fromkeys(corpus), "all"]
    table = Table(title="CPU ms per second of audio (in brackets: times faster than the first row)")
    table.add_column("")
    figures: dict[str, dict[str, float]] = {name: {} for name in names}
    for group in groups:
        members = np.ones(len(clips), bool) if group == "all" else corpus == group
        table.add_column(
            f"{group}\n{members.sum()} clips, {seconds[members].sum():.0f} s", justify="right"
        )
        for name, row in zip(names, cpu_s, strict=True):
            figures[name][group] = 1000 * row[members].sum() / seconds[members].sum()
    table.add_column("memory\nMB", justify="right")
    for name, peak in zip(names, memory_mb, strict=True):
        cells = [(figures[name][group], figures[names[0]][group]) for group in groups]
        speeds = (f"{own:.2f} ({first / own:.1f})" for own, first in cells)
        table.add_row(name, *speeds, f"{peak:.0f}")
    Console(width=120).print(table)
    other = "openSMILE eGeMAPSv02"
    for name in SETS:
        if other in figures and name in figures:
            own = figures[name]
            factors = (f"{group} {figures[other][group] / own[group]:.1f}" for group in groups)
            print(f"{name}, times faster than {other}: {', '.join(factors)}")
    if path:
        memory = dict(zip(names, memory_mb, strict=True))
        text = json.dumps({"cpu_ms_per_s": figures, "memory_mb": memory}, indent=1)
        path.write_text(text + "\n")


if __name__ == "__main__":
    main()
