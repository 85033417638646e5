"""How near a plan is to the run: five archives, half of each planned by the other half.

Each archive is built from speech-like sound. The first half is run, the second is planned and run,
and the plan's CPU seconds, bytes and wall time are compared with those of the run.

    python benchmarks/plan.py --work /tmp/plan --model calls-fast
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.speechlike import call

RATE = 8_000
# Name: calls in a half, seconds, channels, share of speech, subtypes.
ARCHIVES = {
    "stereo, long": (6, 120, 2, 0.4, ("PCM_16",)),
    "mono, long, much speech": (6, 120, 1, 0.8, ("PCM_16",)),
    "stereo, short": (40, 12, 2, 0.5, ("PCM_16",)),
    "stereo, little speech": (8, 120, 2, 0.1, ("PCM_16",)),
    "mixed codecs and lengths": (12, 60, 2, 0.4, ("ULAW", "PCM_16", "GSM610", "VORBIS")),
}


def build(folder: Path, name: str, half: int) -> None:
    """Write the calls of one half of an archive."""
    count, seconds, channels, share, subtypes = ARCHIVES[name]
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(half)
    for i in range(count):
        length = seconds * float(random.uniform(0.6, 1.4))
        turns, at = [], 1.0
        while at + 3 < length:
            turns.append((at, at + 2.5, -20))
            at += 2.5 / share
        mono = call(turns, length, seed=100 * half + i)
        subtype = subtypes[i % len(subtypes)]
        sides = np.stack([mono] * 1, axis=1)
        if channels == 2 and subtype != "GSM610":
            agent = call([(0.2, 0.9, -25)], length, f0_hz=170, seed=999 + i)
            sides = np.stack([agent, mono], axis=1)
        kind = "OGG" if subtype == "VORBIS" else "WAV"
        soundfile.write(folder / f"{half}-{i}.{kind.lower()}", sides, RATE, subtype, format=kind)


def ser(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *words], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--model", default="calls-fast")
    parser.add_argument("--workers", default="1")
    options = parser.parse_args()
    print(f"{'archive':26} {'CPU s':>16} {'MB':>16} {'wall s':>16}   (planned, run)")
    for number, name in enumerate(ARCHIVES):
        calls, out = options.work / f"calls-{number}", options.work / f"out-{number}"
        words = ["--input", str(calls), "--output", str(out), "--model", options.model]
        words += ["--channel-roles", "agent,customer", "--workers", options.workers]
        build(calls, name, 0)
        ser("run", *words)
        build(calls, name, 1)
        plan = json.loads(ser("plan", *words, "--json"))
        before = set(out.glob("runs/*/*/*.parquet"))
        ser("run", *words)
        (path,) = set(out.glob("runs/*/*/*.parquet")) - before
        (run,) = pq.read_table(path, partitioning=None).to_pylist()
        pairs = (
            (plan["cpu_seconds"], run["cpu_seconds"]),
            (plan["table_bytes"] / 1e6, run["table_bytes"] / 1e6),
            (plan["wall_seconds"], (run["ended"] - run["started"]).total_seconds()),
        )
        text = " ".join(f"{a:6.1f} {b:6.1f} {a / b - 1:+4.0%}" for a, b in pairs)
        print(
            f"{name:26} {text}  speech {run['speech_hours']:.3f} h, "
            f"channels {run['channel_hours']:.3f} h",
            flush=True,
        )


if __name__ == "__main__":
    main()
