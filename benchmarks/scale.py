"""What a night costs by the number of its recordings, up to a million of them.

    python benchmarks/scale.py [--counts 1000 10000 100000] [--chunk N] [--workers N] [--json F]

Headers and features are invented: an archive that says it holds so many recordings, and a
transform that gives each two stretches of speech in place of decoding it. All else is the job of
`ser run`, with the bundle `seed`: ledger, chunks, predictions, parts, books, publishing. Then the
second night, which finds all of it done. Columns: CPU of all processes, the largest memory of the
launcher and of one worker, files of a table and their mean size.

`--chunk 0` works a list off all at once, as on a cluster; on this machine Beam's runner then
holds in the launcher what it shuffles.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

import apache_beam as beam

from benchmarks import watch
from pipelines import graph, ledger, nightly
from pipelines.runners.runner import Runner
from pipelines.steps.item import Item, tick
from pipelines.storage import published
from pipelines.storage.inputs import Match
from ser_core import features, models
from ser_core.examine import Channel, Examined, Source, SpeechSegment

ROOT = Path(__file__).parents[1]
MODEL = "seed"
SEGMENTS = 2
# Costs are verdict flat from here on.
FLAT_FROM, FLAT_WITHIN = 10_000, 0.15


def invented(number: int) -> Source:
    """A recording that is not there."""
    uri = (
        f"/calls/2026/03/01/queue-{number % 40:02d}/20260301T{number % 86400:06d}_c{number:07d}.wav"
    )
    return Source(uri, 160_044 + number, 1_772_000_000_000_000 + number)


@dataclass(frozen=True)
class Invented(ledger.NewRecordings):
    """An archive that says it holds so many recordings."""

    count: int = 0

    def matches(self) -> Iterator[Match]:
        for i in range(self.count):
            yield Match(invented(i))


class Invent(graph.Examine):
    """Source -> Item, without a file."""

    def __init__(self, feature_set: str, progress: str | None) -> None:
        self._do = InventFeatures(feature_set, progress)


class InventFeatures(beam.DoFn):
    def __init__(self, feature_set: str, progress: str | None) -> None:
        self._dimensions = len(features.get(feature_set).names)
        self._progress = progress

    def process(self, source: Source) -> Iterable[Item]:
        random = np.random.default_rng(source.size_bytes)
        segments = tuple(
            SpeechSegment(0, "mixed", 4.0 * i, 4.0 * i + 3, -25.0) for i in range(SEGMENTS)
        )
        tick(self._progress)
        yield Item(
            Examined(
                source,
                recording_id=f"{source.size_bytes:064x}",
                duration_s=10.0,
                sample_rate_hz=8_000,
                channels=1,
                codec="ULAW",
                by_channel=(Channel(0, "mixed", True, 3.0 * SEGMENTS),),
                segments=segments,
                vectors=random.normal(size=(SEGMENTS, self._dimensions)).astype(np.float32),
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--chunk", type=int, default=5_000, help="0: all at once")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        night(options.one, options.counts[0], options.chunk, options.workers)
        return
    rows = []
    for count in options.counts:
        with tempfile.TemporaryDirectory() as name:
            command = [sys.executable, __file__, "--one", name, "--counts", count]
            command += ["--chunk", options.chunk, "--workers", options.workers]
            for night_name in ("first night", "second night"):
                spent = watch.run(command, every_s=0.5)
                found = list(Path(name).glob("features/*/*/*.parquet"))
                size = sum(path.stat().st_size for path in found)
                rows.append(
                    {
                        "count": count,
                        "night": night_name,
                        "cpu_s": spent.cpu_s,
                        "wall_s": spent.wall_s,
                        "cpu_ms_each": 1000 * spent.cpu_s / count,
                        "launcher_mb": spent.launcher_mb,
                        "worker_mb": spent.largest_mb,
                        "files": len(found),
                        "mb_a_file": size / len(found) / 1e6,
                    }
                )
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    report(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def night(out: Path, count: int, chunk: int, workers: int) -> None:
    """One night in this process and its workers."""
    started = time.monotonic()
    card = models.read_card(MODEL)
    job = nightly.Job(
        output=str(out),
        date=dt.date(2026, 3, 1),
        command="scale",
        labelling=nightly.labelling_of(card),
        runner=Runner(workers=workers),
        bundle=MODEL,
        chunk=chunk or None,
    )
    status = nightly.work_off(
        job,
        nightly.Task(
            finder=Invented((), (job.date,), str(out), count=count),
            examine=partial(Invent, card.feature_set),
            meta=lambda output: (),
            nothing="nothing invented",
        ),
    )
    print(f"{time.monotonic() - started:.0f} s")
    parts = published.open_reader(out).paths("recordings")
    rows = sum(published.open_parquet(path).metadata.num_rows for path in parts)
    if status or rows != count:
        raise SystemExit(f"{rows} recordings in the tables, {count} expected")


def report(rows: list[dict]) -> None:
    table = Table(title=f"invented recordings of {SEGMENTS} segments, bundle {MODEL}")
    for name in (
        *("recordings", "night", "CPU s", "CPU ms a recording", "wall s", "launcher MB"),
        *("largest worker MB", "files a table", "MB a file of features"),
    ):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row['count']:,}", row["night"], f"{row['cpu_s']:,.1f}", f"{row['cpu_ms_each']:.2f}",
            f"{row['wall_s']:,.0f}", f"{row['launcher_mb']:,.0f}", f"{row['worker_mb']:,.0f}",
            str(row["files"]), f"{row['mb_a_file']:.1f}",
        )  # fmt: skip
    Console(width=150).print(table)
    flat = [
        row["cpu_ms_each"]
        for row in rows
        if row["night"] == "first night" and row["count"] >= FLAT_FROM
    ]
    if len(flat) > 1:
        spread = max(flat) / min(flat) - 1
        verdict = "flat" if spread <= FLAT_WITHIN else "NOT flat"
        print(f"from {FLAT_FROM:,} on, a recording's cost is {verdict}: within {spread:.0%}")


if __name__ == "__main__":
    main()
