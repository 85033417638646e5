"""`ser check`: is an output folder whole, and is it fresh."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from pipelines import errors
from pipelines.arguments import add_output

HELP = "verify an output folder, or tell whether it is fresh"
EXAMPLES = (
    "ser check --output /tables",
    "ser check --output /tables --json",
    "ser check --output /tables --fresh 26h",
)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def duration(text: str) -> dt.timedelta:
    """A duration such as 26h, 90m or 2d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(
            f"{text!r} found, a duration such as 26h, 90m or 2d expected"
        )
    return dt.timedelta(**{_UNITS[found[2]]: float(found[1])})


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser check` takes."""
    parser.description = (
        "Verify an output folder: hashes, schemas, the books of every run, segments and features\n"
        "of each recording, files that belong to nothing, and that forgotten calls are gone.\n"
        "Every file is read. Nothing is changed. Exit status 3 with findings."
    )
    add_output(parser)
    parser.add_argument(
        "--fresh", type=duration, metavar="AGE",
        help="only tell, in one line, whether the newest run with labels ended less than AGE ago "
        "(such as 26h, 90m, 2d); exit status 3 if not",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(takes_beam_options=True)


def run(options: Namespace) -> int:
    """Print the findings; returns the exit status."""
    if options.fresh is not None:
        return _fresh(options)
    from pipelines import checking

    checked = checking.check(options.output)
    if options.json:
        print(json.dumps({**asdict(checked), "rows": dict(checked.rows)}, indent=1))
    else:
        for finding in checked.findings:
            print(f"{finding.kind}: {finding.text}; {finding.advice}")
        for line in checked.superseded:
            print(f"superseded: {line}; nothing to do")
        rows = ", ".join(f"{count:,} {table}" for table, count in checked.rows.items())
        print(f"{checked.files:,} files read ({rows}): {len(checked.findings):,} findings")
        if checked.without_hash:
            print(
                f"{checked.without_hash:,} files have no SHA-256 (written before 0.3.0): their "
                "values were read, but a changed value would not be seen; ser compact adds it "
                "where it merges"
            )
    return errors.TOO_MANY_REJECTIONS if checked.findings else errors.DONE


def _fresh(options: Namespace) -> int:
    from pipelines import checking

    ended = checking.newest_labels(options.output)
    age = dt.datetime.now(dt.UTC) - ended
    stale = age >= options.fresh
    if options.json:
        content = {"fresh": not stale, "newest": ended.isoformat(), "age_s": age.total_seconds()}
        print(json.dumps(content))
    else:
        print(
            f"{'stale' if stale else 'fresh'}: the newest run with labels ended "
            f"{age.total_seconds() / 3600:,.1f} hours ago, at {ended:%Y-%m-%d %H:%M} UTC "
            f"(--fresh {options.fresh.total_seconds() / 3600:g}h)"
        )
    return errors.TOO_MANY_REJECTIONS if stale else errors.DONE
