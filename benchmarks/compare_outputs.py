"""Compare two output folders row by row, to check that two versions write the same tables.

    ser run --input CALLS --output BEFORE …      # with one version
    ser run --input CALLS --output AFTER …       # with the other
    python benchmarks/compare_outputs.py BEFORE AFTER

Feature vectors must be bit-equal, other floats within 1e-6, everything else equal. Run ids, times,
costs, commands and versions are left out. The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TABLES = ("recordings", "segments", "features", "runs")
IGNORED = {
    "run_id", "features_run_id", "processed_at", "started", "ended", "night", "command", "versions",
    "cpu_seconds", "peak_memory_mb", "audio_hours",
}  # fmt: skip
KEYS = ("uri", "channel", "start_s")
TOLERANCE = 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    differences = []
    for name in TABLES:
        before, after = read(options.before, name), read(options.after, name)
        found = compare(before, after)
        print(f"{name}: {len(before):,} and {len(after):,} rows: {'; '.join(found) or 'equal'}")
        differences += found
    sys.exit(1 if differences else 0)


def read(output: Path, name: str) -> pa.Table:
    """All rows of a table in a fixed order, which does not depend on the chunks of the runs."""
    paths = sorted((output / name).glob("date=*/run=*/*.parquet"))
    if not paths:
        sys.exit(f"{output / name}: no Parquet files found; an output of `ser run` expected")
    table = pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths])
    keys = [(key, "ascending") for key in KEYS if key in table.column_names]
    return table.sort_by(keys) if keys else table


def compare(before: pa.Table, after: pa.Table) -> list[str]:
    """The differences between two tables with rows in the same order."""
    found = []
    if before.schema.names != after.schema.names:
        found.append(f"columns {before.schema.names} and {after.schema.names}")
    if len(before) != len(after):
        return [*found, f"{len(before):,} rows and {len(after):,}"]
    for name in before.schema.names:
        if name in IGNORED or name not in after.schema.names:
            continue
        left, right = before[name].combine_chunks(), after[name].combine_chunks()
        if left.type != right.type:
            found.append(f"{name}: type {left.type} and {right.type}")
        elif pa.types.is_fixed_size_list(left.type):
            if not np.array_equal(bits(left), bits(right)):
                found.append(f"{name}: not bit-equal")
        else:
            wrong = [
                row
                for row, pair in enumerate(zip(left.to_pylist(), right.to_pylist(), strict=True))
                if not same(*pair)
            ]
            if wrong:
                row = wrong[0]
                found.append(f"{name}: {len(wrong):,} rows, first {left[row]} and {right[row]}")
    return found


def bits(vectors: pa.Array) -> np.ndarray:
    """The values of vectors as integers, so that NaN equals NaN and 0 differs from -0."""
    return vectors.flatten().to_numpy(zero_copy_only=False).view(np.uint32)


def same(left, right) -> bool:
    """Whether two values are equal, floats within `TOLERANCE`."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or abs(left - right) <= TOLERANCE or (left != left and right != right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


if __name__ == "__main__":
    main()
