"""What hostile recordings cost: a night over good calls, and one with a third of hostile ones more.

    python benchmarks/hostile.py --calls 5000

Good calls are synthetic speech. Hostile ones are mutated recordings of every format, the files of
`tests/bad_files.py` and what once broke something (`tests/data/hostile`). Both nights run `--pairs`
times, in turns, with the default model. CPU seconds are those of the command and all its processes.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipelines import checking  # noqa: E402
from pipelines.storage import views  # noqa: E402
from tests.bad_files import make_bad_files  # noqa: E402
from tests.fuzz.mutations import mutate  # noqa: E402
from tests.fuzz.seeds import recordings  # noqa: E402
from tests.speechlike import call  # noqa: E402

RATE_HZ = 8_000
SECONDS = 60.0
MOST = 1.3
# So many different voices; the calls differ by their level and the length of their first pause.
VOICES = 40


def make_good(folder: Path, count: int, seconds: float) -> None:
    """Write mono calls in mu-law, half of which is speech."""
    turns = [(start, start + 4.0, -20.0) for start in np.arange(2.0, seconds - 5.0, 8.0)]
    voices = [call(turns, seconds, seed=i) for i in range(min(VOICES, count))]
    for i in range(count):
        samples = np.roll(voices[i % len(voices)], 80 * i) * (0.5 + 0.5 * (i + 1) / count)
        target = folder / f"{i // 1000:03}" / f"good_{i:06}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, samples, RATE_HZ, "ULAW")


def make_hostile(folder: Path, count: int) -> None:
    """Write mutated recordings, and a tenth of files that are no recordings."""
    folder.mkdir(parents=True)
    bad = folder.parent / "bad"
    make_bad_files(bad)
    known = sorted(path for path in bad.iterdir() if path.exists())
    known += sorted((ROOT / "tests" / "data" / "hostile").glob("recording-*"))
    seeds = sorted(recordings().items())
    data = [content for _, content in seeds]
    for i, path in zip(range(count), itertools.cycle(known), strict=False):
        if i % 10 == 0:
            shutil.copy(path, folder / f"bad_{i:06}{path.suffix or '.wav'}")
        else:
            at = i % len(seeds)
            suffix = Path(seeds[at][0]).suffix
            (folder / f"mutated_{i:06}{suffix}").write_bytes(mutate([data[at]], i))
    shutil.rmtree(bad)


def night(inputs: list[Path], out: Path, model: str) -> float:
    """Run a night; returns its CPU seconds.

    Raises
    ------
    SystemExit
        It failed, or its books do not close.
    """
    words = ["run", "--input", *map(str, inputs), "--output", str(out), "--model", model]
    words += ["--max-reject-ratio", "1", "--channel-roles", "agent,customer"]
    before = _cpu_s()
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"a night ended with {done.returncode}: {done.stderr}")
    used = _cpu_s() - before
    if findings := checking.check(str(out)).findings:
        raise SystemExit(f"{out}: {findings}")
    return used


def _cpu_s() -> float:
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def outcomes(out: Path) -> Counter[str]:
    """Rows by status or reason."""
    with views.connect(str(out)) as db:
        sql = "SELECT coalesce(reason, status) AS found, count(*) FROM calls GROUP BY found"
        return Counter(dict(db.execute(sql).fetchall()))


def main() -> int:
    """Print the table; the exit status is 1 where hostile recordings cost too much."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=300, help="of which a third is hostile")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a good call")
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--model", default="calls")
    parser.add_argument("--work", type=Path, help="a folder for the calls and the tables")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    hostile_count = options.calls // 3
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        good, hostile = work / "good", work / "hostile"
        make_good(good, options.calls - hostile_count, options.seconds)
        make_hostile(hostile, hostile_count)
        ratios = []
        print(
            "| pair | good alone, CPU s | with hostile, CPU s | ratio |\n| --- | --- | --- | --- |"
        )
        for pair in range(options.pairs):
            alone = night([good], work / f"alone-{pair}", options.model)
            both = night([good, hostile], work / f"both-{pair}", options.model)
            ratios.append(both / alone)
            print(f"| {pair + 1} | {alone:.1f} | {both:.1f} | {both / alone:.2f} |", flush=True)
        found = outcomes(work / "both-0")
        matched = sum(found.values())
        print(f"\n{matched:,} rows of {options.calls:,} calls, {hostile_count:,} of them hostile: ")
        print(", ".join(f"{count:,} {reason}" for reason, count in found.most_common()))
    ratio = float(np.median(ratios))
    closes = matched == options.calls
    print(f"median ratio {ratio:.2f}, at most {MOST} wanted; the books {'close' * closes}")
    return 0 if ratio <= MOST and closes else 1


if __name__ == "__main__":
    sys.exit(main())
