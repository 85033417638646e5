"""The round trip of docs/own-data.md: the gain from a few labels of your own calls.

    python benchmarks/own_data.py --work DIR [--from calls calls-fast …] [--labels 60] [--folds 6]

Builds 100 calls from EMOVO's six actors and runs the night on them. Each actor is held back once:
`ser review` picks segments from the calls of the others, two simulated annotators with known error
rates label them, `ser train --from` fits a bundle, and `ser evaluate` tests both bundles on the
calls of the held-back actor. Prints all commands, the gain of each actor, and the mean gain with
its interval (Student's t over actors).
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

RIGHT_SHARE = {"ann": 0.9, "bob": 0.8}  # how often an annotator gives the intended emotion
ROLES = "agent,customer"


def ser(*words: str | Path) -> None:
    """Run a command as a user would."""
    line = ["ser", *map(str, words)]
    print("$", " ".join(line), flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *line[1:]], cwd=ROOT, text=True, capture_output=True
    )
    print("".join(f"    {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
    if done.returncode:
        sys.exit(f"{done.stderr}\nstatus {done.returncode}")


def build(work: Path, calls: int, minutes: float) -> dict[str, list[dict]]:
    """Build the archive. Returns the turns of the customer of each recording, by URI."""
    archive = work / "archive"
    if not archive.exists():
        command = [
            ROOT / "benchmarks" / "build_calls.py", "--n", calls, "--corpus", "emovo",
            "--minutes", minutes, "--out", archive,
        ]  # fmt: skip
        subprocess.run([sys.executable, *map(str, command)], check=True, cwd=ROOT)
    channels = map(json.loads, (archive / "truth.jsonl").read_text().splitlines())
    return {
        str((archive / channel["file"]).resolve()): channel["turns"]
        for channel in channels
        if channel["role"] == "customer"
    }


def intended_emotion(turns: list[dict], start_s: float, end_s: float) -> str | None:
    """The emotion of most of the speech in a stretch; None without speech."""
    seconds: dict[str, float] = defaultdict(float)
    for turn in turns:
        seconds[turn["emotion"]] += max(
            0.0, min(end_s, turn["end_s"]) - max(start_s, turn["start_s"])
        )
    best = max(seconds, key=lambda emotion: seconds[emotion])
    return best if seconds[best] > 0 else None


def read_list(file: Path) -> list[dict[str, str]]:
    """The rows of a list of `ser review`."""
    with file.open(newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def label(
    picked: list[dict[str, str]], turns: dict[str, list[dict]], annotators: dict[str, float]
) -> Iterator[dict[str, str]]:
    """Fill in rows as annotators would."""
    emotions = sorted({turn["emotion"] for own in turns.values() for turn in own})
    chance = random.Random(0)
    for row in picked:
        own = turns[row["uri"]]
        truth = intended_emotion(own, float(row["start_s"]), float(row["end_s"]))
        for annotator, right_share in annotators.items():
            answer = truth
            if truth and chance.random() > right_share:
                answer = chance.choice([emotion for emotion in emotions if emotion != truth])
            speaker = own[0]["speaker"]
            yield {**row, "label": answer or "", "annotator": annotator, "speaker": speaker}


def write_list(file: Path, rows: list[dict[str, str]]) -> None:
    """Write a list as a CSV file."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    parser.add_argument("--from", dest="start", nargs="+", default=["calls", "calls-fast"])
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--labels", type=int, default=60)
    parser.add_argument("--folds", type=int, default=6, help="number of groups of held-back actors")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    turns = build(work, options.calls, options.minutes)
    actors = sorted({own[0]["speaker"] for own in turns.values()})
    gains: dict[str, list[tuple[str, dict]]] = defaultdict(list)
    for fold in range(options.folds):
        held = actors[fold :: options.folds]
        here = work / f"fold-{fold}"
        here.mkdir(exist_ok=True)
        parts: dict[str, list[str]] = {"learn": [], "held-back": []}
        for uri, own in turns.items():
            parts["held-back" if own[0]["speaker"] in held else "learn"].append(uri)
        print(f"\n== held back: {', '.join(held)} ({len(parts['held-back'])} calls)", flush=True)
        for part, uris in parts.items():
            (here / f"{part}.txt").write_text("\n".join(uris) + "\n")
            tables = here / f"tables-{part}"
            ser("run", "--input", f"@{here / part}.txt", "--output", tables,
                "--channel-roles", ROLES)  # fmt: skip
            n, by = (options.labels, ()) if part == "learn" else (100_000, ("--by", "random=1"))
            picked = here / f"{part}.csv"
            ser("review", "--output", tables, "--n", n, *by, "--save", picked)
            annotators = RIGHT_SHARE if part == "learn" else {"truth": 1.0}
            write_list(
                here / f"{part}-labelled.csv", [*label(read_list(picked), turns, annotators)]
            )
        for start in options.start:
            name = Path(start).name
            ours = here / f"ours-from-{name}"
            ser("train", "--corpus", f"csv={here / 'learn-labelled.csv'}", "--from", start,
                "--save", ours)  # fmt: skip
            report = here / f"evaluation-{name}.json"
            ser("evaluate", "--model", ours, "--against", start, "--condition", "clean",
                "--corpus", f"csv={here / 'held-back-labelled.csv'}", "--json", report,
                "--page", report.with_suffix(".html"))  # fmt: skip
            (found,) = json.loads(report.read_text())["evaluations"]
            gains[start].append((", ".join(held), found))
    print_summary(gains)


def print_summary(gains: dict[str, list[tuple[str, dict]]]) -> None:
    """Print the gain for each held-back actor, and the mean gain with a 95 % interval."""
    for start, evaluations in gains.items():
        histories = [row["known"] for _, found in evaluations for row in found["differences"]]
        for known in dict.fromkeys(histories):
            print(f"\n{start}, {known} known: before -> after")
            uars, accuracies = [], []
            for held, found in evaluations:
                row = next(row for row in found["differences"] if row["known"] == known)
                after, before = (accuracy(bundle, known) for bundle in found["bundles"])
                uars.append((row["uar_against"], row["uar"]))
                accuracies.append((before, after))
                print(
                    f"    {held:20s} {row['utterances']:4d} segments  UAR {format_pair(uars[-1])}, "
                    f"accuracy {format_pair(accuracies[-1])}"
                )
            print(f"    UAR      {gain(uars)}\n    accuracy {gain(accuracies)}")


def accuracy(bundle: dict, known: str) -> float:
    """Accuracy of a bundle in an evaluation."""
    results = {row["known"]: row["scores"]["accuracy"] for row in bundle["results"]}
    return results[known] if known in results else results["nothing"]


def format_pair(pair: tuple[float, float]) -> str:
    """Format the values before and after."""
    return f"{pair[0]:6.1%} -> {pair[1]:6.1%}"


def gain(pairs: list[tuple[float, float]]) -> str:
    """Format the mean gain and its interval (Student's t)."""
    from scipy.stats import t

    before, after = np.transpose(pairs)
    n, difference = len(pairs), after - before
    half = t.ppf(0.975, n - 1) * np.std(difference, ddof=1) / np.sqrt(n) if n > 1 else np.nan
    mean = difference.mean()
    return (
        f"{format_pair((before.mean(), after.mean()))}: {mean:+.1%}, 95 % interval "
        f"{mean - half:+.1%} to {mean + half:+.1%}"
    )


if __name__ == "__main__":
    main()
