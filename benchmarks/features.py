"""Cost of feature sets: CPU milliseconds per second of audio, on the same real clips.

    python benchmarks/features.py [--clips 40] [--rounds 3] [--json FILE] [--only WORD …]

Clips are spread over RAVDESS (48 kHz) and EMO-DB (22.05 kHz) in the folder SER_DATA, or
../shared/data beside this checkout. Half of them are also measured at 8 kHz in mu-law. openSMILE is
measured if it is installed (`pip install opensmile`). One thread. Each round measures all rows clip
by clip in turn, so that a busy machine slows all alike; the fastest round of each row and clip
counts. Everything is warmed on one clip first, so that caches of the feature sets (filters by
tuning) are filled from the first round.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=40, help="how many of each corpus at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="rows whose name has one of these words")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    threadpool_limits(1)
    clips = find_clips(options.clips)
    rows = {
        name: row
        for name, row in all_rows().items()
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
    report(list(rows), clips, fastest_s, options.json)


def all_rows() -> dict[str, Callable[[Clip], object]]:
    """Functions to compare, by name."""
    rows = {name: extractor(name) for name in ("librosa193", "seed193", "telephone", "encoder")}
    rows |= opensmile_rows()
    rows["decode"] = decode
    rows["bound: with one STFT"] = bound
    return rows


def extractor(name: str) -> Callable[[Clip], object]:
    feature_set = features.get(name)
    return lambda clip: feature_set.extract(*decode(clip))


def decode(clip: Clip) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(io.BytesIO(clip.data), dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate


def bound(clip: Clip) -> np.ndarray:
    """Lower bound of any spectral feature set: decode, resample, one STFT."""
    from ser_core.features import stft

    return stft.spectrum(features.resample(*decode(clip), 22_050))


def opensmile_rows() -> dict[str, Callable[[Clip], object]]:
    """openSMILE's functionals, at each clip's own rate, where the package is installed."""
    try:
        import opensmile
    except ImportError:
        return {}
    rows = {}
    for name in ("eGeMAPSv02", "ComParE_2016"):
        smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet[name],
            feature_level=opensmile.FeatureLevel.Functionals,
            num_workers=1,
        )
        rows[f"openSMILE {name}"] = lambda clip, smile=smile: smile.process_signal(*decode(clip))
    return rows


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


def report(names: list[str], clips: list[Clip], cpu_s: np.ndarray, path: Path | None) -> None:
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
    for name in names:
        cells = [(figures[name][group], figures[names[0]][group]) for group in groups]
        table.add_row(name, *(f"{own:.2f} ({first / own:.1f})" for own, first in cells))
    Console(width=110).print(table)
    other = "openSMILE eGeMAPSv02"
    if other in figures and "telephone" in figures:
        own = figures["telephone"]
        factors = ", ".join(f"{group} {figures[other][group] / own[group]:.1f}" for group in groups)
        print(f"telephone, times faster than {other}: {factors}")
    if path:
        path.write_text(json.dumps({"cpu_ms_per_s": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
