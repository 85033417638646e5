"""A month of nights with its accidents, compared with an undisturbed one.

    python benchmarks/month.py [--store disk s3] [--seed N] [--nights 30] [--calls 40 200]

The archive grows from 40 to 200 short calls a night. Files come late, are replaced, hold no sound.
Roles are swapped and corrected, runs are killed at random moments, the disk is full, the credential
of the S3 server expires, the model changes, callers are forgotten, small files are merged, old
calls are erased; two nights have 23 and 25 hours. After each night `ser check` must find nothing. A
DuckDB reader looks at the views all the time: it must never see a call twice, half a run, half of
what is forgotten together, or an error. At the end, the tables must equal those of an undisturbed
month, less what was erased; after five nights, those of one run over all five days. The exit status
is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.nights import accidents, reader
from benchmarks.nights.accidents import Accident, Played
from benchmarks.nights.archive import Month, nights_of
from benchmarks.nights.commands import Run, Ser, in_new_process, in_this_process
from benchmarks.nights.stores import STORES, Place, on_disk

# They differ from run to run.
LEFT_OUT = ("run_id", "features_run_id", "processed_at", "modified_at", "date", "tried_with")
_PLACE = ["uri", "channel", "start_s"]
ORDER = {"calls": ["uri"], "segments": _PLACE, "features": _PLACE}


@dataclass(frozen=True)
class Outcome:
    """What became of a month.

    Parameters
    ----------
    tables : mapping of view to pyarrow.Table
        At its end, sorted, URIs below the archive.
    wrong : list of str
        What the reader and `ser check` found.
    counts : Counter
    erased : set of str
        Paths that must not be there.
    skipped : list of str
    """

    tables: Mapping[str, pa.Table]
    wrong: list[str]
    counts: Counter
    erased: set[str]
    skipped: list[str]


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="month-", dir=options.work) as work:
        wrong, _ = compare(
            Path(work), options.store, options.seed, options.nights, tuple(options.calls),
            options.models, say=lambda line: print(line, flush=True),
        )  # fmt: skip
    print("\n".join(wrong) or "nothing is wrong")
    sys.exit(1 if wrong else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--store", choices=STORES, nargs="+", default=["disk"], help="where it is played"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nights", type=int, choices=[5, 30], default=30)
    parser.add_argument("--calls", type=int, nargs=2, default=(40, 200), metavar=("FIRST", "LAST"))
    parser.add_argument("--models", nargs=2, required=True, help="two bundles of one feature set")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    return parser.parse_args()


def compare(
    work: Path,
    stores: Sequence[str],
    seed: int,
    nights: int,
    calls: tuple[int, int],
    models,
    *,
    say=print,
    run: Run = in_new_process,
) -> tuple[list[str], str]:
    """Play a month with accidents at each store, and one without; what is wrong, and the counts."""
    month = Month(nights_of(nights), calls, seed)
    script, calm_script = {
        30: (accidents.MONTH, accidents.CALM_MONTH), 5: (accidents.FIVE, accidents.CALM_FIVE),
    }[nights]  # fmt: skip
    with on_disk(work, "without") as place:
        calm = play(
            month, place, calm_script, models, work / "told", lambda line: None, in_this_process
        )
    # One run over all days files them under one night.
    left_out = {"night"} if nights == 5 else set()
    wrong, texts = [*calm.wrong], []
    for store in stores:
        say(f"{store}:")
        with STORES[store](work, store) as place:
            disturbed = play(month, place, script, models, work / f"told-{store}", say, run)
        found = (*disturbed.wrong, *differences(disturbed, calm, left_out))
        wrong += [f"{store}: {line}" for line in found]
        texts.append(f"{store}: {table_of(disturbed, calm)}")
        say("\n".join([*found, texts[-1]]))
    return wrong, "\n".join(texts)


def play(
    month: Month, place: Place, script: Mapping[int, Accident], models, told: Path, say, run: Run
) -> Outcome:
    """Play a month."""
    told.mkdir()
    ser = Ser(place, run)
    played = Played(month, place, ser, models, told, np.random.default_rng(month.seed))
    wrong: list[str] = []
    with watched(place, told):
        for night in range(len(month.days)):
            played.night = night
            month.fill(night, place.put)
            accident = script.get(night + 1, Played.run)
            started = time.monotonic()
            accident(played)
            if not ser.done:
                continue
            checked = ser("check", "--output", place.output, expected=[0, 3])
            if checked.status:
                wrong.append(f"night {night + 1}: ser check: {checked.text.strip()}")
            say(
                f"night {night + 1:2d}, {played.day}: {accident.__name__.replace('_', ' ')}, "
                f"{time.monotonic() - started:.0f} s"
            )
    wrong += [f"the reader saw {line}" for line in _lines(told / "wrong")]
    counts = Counter(
        commands=len(ser.done), kills=played.kills, looks=int((told / "looks").read_text())
    )
    return Outcome(tables_of(place), wrong, counts, _erased(played), played.skipped)


@contextmanager
def watched(place: Place, told: Path) -> Iterator[None]:
    """A reader looks at the views while the context lasts."""
    import os

    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.nights.reader", place.output, str(told)],
        env={**os.environ, **place.environment}, cwd=Path(__file__).resolve().parents[1],
    )  # fmt: skip
    try:
        yield
    finally:
        (told / "stop").touch()
        process.wait(timeout=120)


def tables_of(place: Place) -> dict[str, pa.Table]:
    """The views, sorted, without what differs from run to run."""
    found = {}
    with reader.connect(place.output) as db:
        for name, keys in ORDER.items():
            table = db.sql(f"FROM {name} ORDER BY {', '.join(keys)}").to_arrow_table()
            paths = [uri.as_py().removeprefix(place.archive + "/") for uri in table["uri"]]
            table = table.set_column(table.schema.get_field_index("uri"), "uri", pa.array(paths))
            found[name] = table.drop_columns([n for n in LEFT_OUT if n in table.column_names])
    return found


def differences(disturbed: Outcome, calm: Outcome, left_out: set[str]) -> list[str]:
    """What differs, beyond what was erased and some columns."""
    wrong = []
    for name in ORDER:
        kept = pa.array(
            [path not in disturbed.erased for path in calm.tables[name]["uri"].to_pylist()]
        )
        expected, found = calm.tables[name].filter(kept), disturbed.tables[name]
        missing = set(expected["uri"].to_pylist()) - set(found["uri"].to_pylist())
        more = set(found["uri"].to_pylist()) - set(expected["uri"].to_pylist())
        if missing or more or len(expected) != len(found):
            wrong.append(
                f"{name}: {len(expected):,} rows expected, {len(found):,} found; missing "
                f"{sorted(missing)[:3]}, too many {sorted(more)[:3]}"
            )
            continue
        for column in sorted({*expected.column_names, *found.column_names} - left_out):
            if column not in expected.column_names or column not in found.column_names:
                wrong.append(f"{name}: the column {column} is in one of them only")
            elif not _equal(expected[column], found[column]):
                wrong.append(f"{name}: {column} differs")
    return wrong


def _equal(one: Any, other: Any) -> bool:
    return one.combine_chunks().cast(other.type).equals(other.combine_chunks()) or (
        repr(one.to_pylist()) == repr(other.to_pylist())
    )


def _erased(played: Played) -> set[str]:
    """Paths that were forgotten and not replaced since, and those that were kept no longer."""
    erased = {
        call.path
        for call in played.month.calls
        if call.path in played.forgotten and call.replaced <= played.forgotten[call.path]
    }
    if played.kept_from is not None:
        erased |= {
            call.path
            for call in played.month.calls
            if call.time.astimezone(dt.UTC).date() < played.kept_from
        }
    return erased


def table_of(disturbed: Outcome, calm: Outcome) -> str:
    """The counts as text."""
    rows = len(disturbed.tables["calls"])
    status = Counter(disturbed.tables["calls"]["status"].to_pylist())
    return json.dumps(
        {
            "calls": rows, **status, "segments": len(disturbed.tables["segments"]),
            "erased": len(disturbed.erased), **disturbed.counts, "skipped": disturbed.skipped,
            "calls of the undisturbed month": len(calm.tables["calls"]),
        }, indent=1,
    )  # fmt: skip


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
