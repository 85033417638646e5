"""What a night of few new recordings costs where many are done, with views and compaction.

    python benchmarks/many_done.py [--done 1000000] [--nights 365] [--parts 4] [--new 100]

The recordings that are done are written straight into the tables, as so many nights of so many
parts would have written them. Then come, each in a process of its own: a night that finds the new
ones (with the bundle `seed`, in chunks, as in benchmarks/scale.py); queries of the views; `ser
compact`; and another night. Columns: seconds, and the largest memory of all processes together.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import scale, watch
from pipelines import nightly
from ser_core import features, models, tables
from ser_core.tables.schemas import UTC

LIMIT_S, LIMIT_MB = 60.0, 1_500.0
FIRST_NIGHT = dt.date(2025, 3, 1)
QUERIES = (
    "SELECT count(*) FROM calls",
    "SELECT label, count(*) FROM segments WHERE night = '2025-03-02' GROUP BY label",
    "FROM nights ORDER BY night DESC LIMIT 7",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--done", type=int, default=1_000_000)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--new", type=int, default=100)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--night", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.night:
        scale.night(options.night, options.done, 5_000, 1)
        return
    with tempfile.TemporaryDirectory() as name:
        out = Path(name, "out")
        write_done(out, options.done, options.nights, options.parts)
        rows = [
            measure(step, command)
            for step, command in steps(out, options.done, options.new)
        ]  # fmt: skip
    report(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def steps(out: Path, done: int, new: int) -> list[tuple[str, list[object]]]:
    """The commands that are measured, each with its name."""
    ser = [sys.executable, "-m", "pipelines"]
    night = [sys.executable, __file__, "--night", out, "--done"]
    queries = [(sql, [*ser, "query", sql, "--output", out]) for sql in QUERIES]
    return [
        (f"a night of {new} new", [*night, done + new]),
        ("the same again: nothing new", [*night, done + new]),
        *queries,
        ("ser compact", [*ser, "compact", "--output", out]),
        (f"a night of {new} new, compacted", [*night, done + 2 * new]),
        *((f"{sql}, compacted", command) for sql, command in queries),
    ]


def measure(step: str, command: list[object]) -> dict:
    """Run a command; its figures."""
    spent = watch.run(command, every_s=0.2)
    row = {"step": step, "wall_s": spent.wall_s, "cpu_s": spent.cpu_s, "peak_mb": spent.peak_mb}
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def write_done(out: Path, count: int, nights: int, parts: int) -> None:
    """Write the tables of nights that are done, with the recordings of `scale.Invented`."""
    card = models.read_card(scale.MODEL)
    labelling = nightly.labelling_of(card)
    schemas = {
        "recordings": tables.recordings_schema(labelling, ()),
        "segments": tables.segments_schema(labelling),
        "features": tables.features_schema(labelling),
    }
    dimensions = len(features.get(card.feature_set).names)
    numbers = np.array_split(np.arange(count), nights * parts)
    for i in range(nights):
        night = FIRST_NIGHT + dt.timedelta(days=i)
        run_id = f"r{night:%Y%m%d}T021500-aaaaaa"
        for j in range(parts):
            rows = part_rows(numbers[i * parts + j], run_id, labelling, dimensions)
            for table, schema in schemas.items():
                name = f"part-{j:05d}-of-{parts:05d}.parquet"
                write(out / table / f"date={night}" / f"run={run_id}" / name, rows[table], schema)
        held = sum(len(numbers[i * parts + j]) for j in range(parts))
        time = dt.datetime.combine(night, dt.time(2, 15), dt.UTC)
        run = {
            "run_id": [run_id], "night": [night], "matched": [held], "labelled": [held],
            "already_done": [0], "started": [time], "ended": [time], "warnings": [[]],
        }  # fmt: skip
        path = out / "runs" / f"date={night}" / f"run={run_id}" / "part-00000-of-00001.parquet"
        write(path, run, tables.runs_schema())


def part_rows(
    numbers: np.ndarray, run_id: str, labelling: tables.Labelling, dimensions: int
) -> dict[str, dict]:
    """The columns of the three files of a part that are not null."""
    sources = [scale.invented(int(number)) for number in numbers]
    uris = [source.uri for source in sources]
    times = pa.array([source.modified_us for source in sources], pa.int64()).cast(UTC)
    share = np.random.default_rng(int(numbers[0])).random(len(uris), dtype=np.float32)
    label = labelling.labels[0]

    def keys(each: int) -> dict:
        repeated = [uri for uri in uris for _ in range(each)]
        runs = [run_id] * len(repeated)
        return {"uri": repeated, "run_id": runs, "features_run_id": runs}

    recordings = {
        **keys(1), "size_bytes": [source.size_bytes for source in sources], "modified_at": times,
        "recording_id": [f"{source.size_bytes:064x}" for source in sources],
        "status": ["labelled"] * len(uris), "label": [label] * len(uris), "confidence": share,
        "unsure": share < 0.5, "negativity": share, "duration_s": np.full(len(uris), 10.0),
        "speech_s": np.full(len(uris), 6.0), "model_id": [labelling.model_id] * len(uris),
        f"p_{label}": share,
    }  # fmt: skip
    count = scale.SEGMENTS * len(uris)
    starts_s = np.tile(4.0 * np.arange(scale.SEGMENTS), len(uris))
    place = {
        **keys(scale.SEGMENTS), "channel": np.zeros(count, np.int16), "role": ["mixed"] * count,
        "start_s": starts_s, "end_s": starts_s + 3,
    }  # fmt: skip
    segments = place | {"label": [label] * count, "confidence": np.repeat(share, scale.SEGMENTS)}
    flat = pa.array(np.zeros(count * dimensions, np.float32))
    vectors = {"vector": pa.FixedSizeListArray.from_arrays(flat, dimensions)}
    return {"recordings": recordings, "segments": segments, "features": place | vectors}


def write(path: Path, columns: dict, schema: pa.Schema) -> None:
    """Write a file of a table; columns that are not given are null."""
    count = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(count, field.type)
        for field in schema
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tables.writer(path, schema) as file:
        file.write_table(pa.table(arrays, schema=schema), row_group_size=20_000)


def report(rows: list[dict]) -> None:
    """Print the figures."""
    table = Table(title="recordings that are done, and few new ones")
    table.add_column("step")
    for name in ("wall s", "CPU s", "peak MB"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row["step"], f"{row['wall_s']:.1f}", f"{row['cpu_s']:.1f}", f"{row['peak_mb']:,.0f}"
        )
    Console(width=150).print(table)
    slow = [row["step"] for row in rows if row["wall_s"] > LIMIT_S or row["peak_mb"] > LIMIT_MB]
    print(f"over {LIMIT_S:g} s or {LIMIT_MB:,.0f} MB: {', '.join(slow) or 'nothing'}")


if __name__ == "__main__":
    main()
