"""The round trip of docs/own-data.md: labels of one's own calls, and what they are worth.

    python benchmarks/own_data.py --work DIR [--from calls calls-open …] [--labels 60] [--folds 6]

Builds 100 calls of EMOVO's six actors and runs the night over them. For each actor held back: picks
segments of the others' calls with `ser review`, fills them in as two annotators would who are
wrong now and then (the truth is known), trains from a bundle, and evaluates both on the calls of
the actor held back. Prints the gain of each and over all, with its interval (Student's t over the
actors). Every command is printed.
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

RIGHT = {"ann": 0.9, "bob": 0.8}  # how often an annotator says what was meant
ROLES = "agent,customer"


def ser(*words: str | Path) -> None:
    """Run a command of the product, as a user would."""
    line = ["ser", *map(str, words)]
    print("$", " ".join(line), flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *line[1:]], cwd=ROOT, text=True, capture_output=True
    )
    print("".join(f"    {one}\n" for one in done.stdout.splitlines()), end="", flush=True)
    if done.returncode:
        sys.exit(f"{done.stderr}\nstatus {done.returncode}")


def build(work: Path, calls: int, minutes: float) -> dict[str, list[dict]]:
    """The archive; turns of each recording's customer, by URI."""
    archive = work / "archive"
    if not archive.exists():
        command = [
            ROOT / "benchmarks" / "build_calls.py", "--n", calls, "--corpus", "emovo",
            "--minutes", minutes, "--out", archive,
        ]  # fmt: skip
        subprocess.run([sys.executable, *map(str, command)], check=True, cwd=ROOT)
    told = map(json.loads, (archive / "truth.jsonl").read_text().splitlines())
    return {
        str((archive / one["file"]).resolve()): one["turns"]
        for one in told
        if one["role"] == "customer"
    }


def meant(turns: list[dict], start_s: float, end_s: float) -> str | None:
    """What the customer meant in a stretch: the emotion of most of its speech."""
    seconds: dict[str, float] = defaultdict(float)
    for turn in turns:
        seconds[turn["emotion"]] += max(
            0.0, min(end_s, turn["end_s"]) - max(start_s, turn["start_s"])
        )
    best = max(seconds, key=lambda emotion: seconds[emotion])
    return best if seconds[best] > 0 else None


def rows(file: Path) -> list[dict[str, str]]:
    """Of a list that `ser review` wrote."""
    with file.open(newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def labelled(
    picked: list[dict[str, str]], turns: dict[str, list[dict]], annotators: dict[str, float]
) -> Iterator[dict[str, str]]:
    """Rows as annotators fill them in."""
    emotions = sorted({turn["emotion"] for some in turns.values() for turn in some})
    chance = random.Random(0)
    for row in picked:
        own = turns[row["uri"]]
        truth = meant(own, float(row["start_s"]), float(row["end_s"]))
        for annotator, right in annotators.items():
            said = truth
            if truth and chance.random() > right:
                said = chance.choice([one for one in emotions if one != truth])
            speaker = own[0]["speaker"]
            yield {**row, "label": said or "", "annotator": annotator, "speaker": speaker}


def write(file: Path, some: list[dict[str, str]]) -> None:
    """A list, as a CSV."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(some[0]))
        writer.writeheader()
        writer.writerows(some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder to work in")
    parser.add_argument("--from", dest="start", nargs="+", default=["calls", "calls-open"])
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--labels", type=int, default=60)
    parser.add_argument("--folds", type=int, default=6, help="of actors held back")
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
            annotators = RIGHT if part == "learn" else {"truth": 1.0}
            write(here / f"{part}-labelled.csv", [*labelled(rows(picked), turns, annotators)])
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
    summary(gains)


def summary(gains: dict[str, list[tuple[str, dict]]]) -> None:
    """What each actor held back gains, and all with a 95 % interval over them."""
    for start, told in gains.items():
        for known in dict.fromkeys(one["known"] for _, said in told for one in said["differences"]):
            print(f"\n{start}, {known} known: before -> after")
            uars, accuracies = [], []
            for held, said in told:
                one = next(some for some in said["differences"] if some["known"] == known)
                after, before = (accuracy(bundle, known) for bundle in said["bundles"])
                uars.append((one["uar_against"], one["uar"]))
                accuracies.append((before, after))
                print(
                    f"    {held:20s} {one['utterances']:4d} segments  UAR {shown(uars[-1])}, "
                    f"accuracy {shown(accuracies[-1])}"
                )
            print(f"    UAR      {gain(uars)}\n    accuracy {gain(accuracies)}")


def accuracy(bundle: dict, known: str) -> float:
    """Of a bundle of an evaluation."""
    results = {one["known"]: one["scores"]["accuracy"] for one in bundle["results"]}
    return results[known] if known in results else results["nothing"]


def shown(pair: tuple[float, float]) -> str:
    """Before and after."""
    return f"{pair[0]:6.1%} -> {pair[1]:6.1%}"


def gain(pairs: list[tuple[float, float]]) -> str:
    """The mean, and the interval of Student's t."""
    from scipy.stats import t

    before, after = np.transpose(pairs)
    n, difference = len(pairs), after - before
    half = t.ppf(0.975, n - 1) * np.std(difference, ddof=1) / np.sqrt(n) if n > 1 else np.nan
    mean = difference.mean()
    return (
        f"{shown((before.mean(), after.mean()))}: {mean:+.1%}, 95 % interval "
        f"{mean - half:+.1%} to {mean + half:+.1%}"
    )


if __name__ == "__main__":
    main()
