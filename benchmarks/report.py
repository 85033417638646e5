"""How long the morning page takes, and how many bytes it has, by the number of calls a night.

    python benchmarks/report.py [--calls 1000 10000 50000] [--nights 29] [--segments 10]

The tables are invented. A night is compared with the nights before it, of the same size. The exit
status is 1 if the page of 50,000 calls or fewer takes more than 30 s or 2 MB.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipelines.report import measuring
from pipelines.storage import views
from ser_core.report import morning
from tests import synthetic_nights
from tests.synthetic_nights import Plan

NIGHT = dt.date(2026, 3, 29)
MOST_CALLS, MOST_SECONDS, MOST_BYTES = 50_000, 30.0, 2_000_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--calls", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--nights", type=int, default=29)
    parser.add_argument("--segments", type=int, default=10, help="of a call")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    options = parser.parse_args()
    print("| calls a night | nights | seconds | CPU seconds | kB |")
    print("| --- | --- | --- | --- | --- |")
    too_much = False
    for calls in options.calls:
        with tempfile.TemporaryDirectory(prefix="report-", dir=options.work) as folder:
            fill(Path(folder), calls, options.nights, options.segments)
            seconds, cpu_s, size = measure(folder)
        print(
            f"| {calls:,} | {options.nights} | {seconds:.1f} | {cpu_s:.1f} | {size / 1000:.0f} |",
            flush=True,
        )
        over = seconds > MOST_SECONDS or size > MOST_BYTES
        too_much |= over and calls <= MOST_CALLS
    sys.exit(1 if too_much else 0)


def fill(out: Path, calls: int, nights: int, segments: int) -> None:
    """Nights of invented calls, and the views over them."""
    for i in range(nights):
        night = NIGHT - dt.timedelta(days=nights - 1 - i)
        by_queue = {"billing": 0.2} if night == NIGHT else {}
        plan = Plan(calls, by_queue=by_queue, segments=segments)
        synthetic_nights.publish(out, night, plan)
    views.refresh(out)


def measure(out: str) -> tuple[float, float, int]:
    """Seconds, CPU seconds and bytes of a page."""
    start, cpu_start = time.perf_counter(), time.process_time()
    page = morning.page(measuring.measure(out))
    ended = time.perf_counter() - start, time.process_time() - cpu_start
    return *ended, len(page.encode())


if __name__ == "__main__":
    main()
