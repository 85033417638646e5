"""`python -m tests.fuzz`: mutate files for some minutes, and print what became of them."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz import decoding, texts
from tests.fuzz.mutations import mutate
from tests.fuzz.seeds import recordings

# Of the time goes to texts and tables; recordings take the rest.
TEXTS_SHARE = 0.2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--files", type=int, default=10**9, help="at most so many recordings")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats a run")
    parser.add_argument("--save", type=Path, help="folder for files with a finding")
    options = parser.parse_args()
    until = time.monotonic() + options.minutes * 60
    print(f"seed {options.seed}", flush=True)
    findings = 0
    share_s = options.minutes * 60 * TEXTS_SHARE / len(texts.TARGETS)
    for name in texts.TARGETS:
        found = texts.read_many(name, 10**9, options.seed, until=time.monotonic() + share_s)
        print(f"{name}: {found}", flush=True)
        findings += _report(found.findings, texts.seeds_of(name), name, options)
    seeds = sorted(recordings().items())
    outcomes = decoding.decode_many(seeds, options.files, options.seed, until=until)
    print(f"recordings: {outcomes}", flush=True)
    findings += _report(outcomes.findings, [data for _, data in seeds], "recording", options)
    return int(findings > 0)


def _report(found, seeds, name, options) -> int:
    for number, text in found[:50]:
        print(f"  {name} {number} of seed {options.seed}: {text}")
        if options.save:
            options.save.mkdir(parents=True, exist_ok=True)
            path = options.save / f"{name}-{options.seed}-{number}"
            path.write_bytes(mutate(seeds, number, options.seed))
    return len(found)


if __name__ == "__main__":
    sys.exit(main())
