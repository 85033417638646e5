"""Accuracy of the bundled models: all figures of docs/accuracy.md, from scratch.

    python benchmarks/accuracy.py [--work FOLDER] [--effort X] [--write]

Corpora and noises are read from the folder SER_DATA, or from ../shared/data beside this checkout.
The work folder receives the bundles `calls`, `calls-open` and `seed`, as `make models` trains them.
Finished steps are not repeated, so a stopped run continues, and after `make models` nothing is
trained again. It takes an hour on 2 cores.

The figures are: the bundles' own results (folds by speaker); 200 telephone calls of RAVDESS'
actors, each labelled by `ser run` with networks that were not trained on the customer; telephone
prompts, music, noise and another language; and corpora that a bundle was not trained on. The page's
template is accuracy.md.jinja beside this file. `--write` writes docs/accuracy.md and its pictures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import jinja2
import numpy as np
import pyarrow.parquet as pq

from ser_core.models.evaluation import evaluate
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls.answers import Temperatures, clip_answers
from ser_core.models.recipes.calls.data import KNOWN, LINES
from ser_core.models.recipes.calls.ensemble import Networks
from ser_core.models.recipes.calls.recipe import DOUBTED, HISTORY_SHARE, CallsRecipe
from ser_core.models.recipes.seed import SeedRecipe
from ser_core.models.scores import score
from ser_core.models.targets import label_shares

sys.path.insert(0, str(Path(__file__).parents[1]))

from sklearn.metrics import recall_score

from benchmarks.build_calls import build
from benchmarks.calls.truth import Truth, read_truth
from pipelines.terminal import progress_bars
from ser_core import audio, conditions, features, models, training
from ser_core.conditions import CONDITIONS
from ser_core.corpora import Corpus, open_corpus, vectors
from ser_core.emotions import RAVDESS_EIGHT
from ser_core.models import bundle
from ser_core.models.recipes import seed

ROOT = Path(__file__).parents[1]
MUSIC = Path("/usr/share/asterisk/moh")
PROMPTS = Path("/usr/share/asterisk/sounds")
TEMPLATE = Path(__file__).with_name("accuracy.md.jinja")
PAGE = ROOT / "docs" / "accuracy.md"
PICTURES = ("conditions", "confusion", "reliability", "coverage")
# As in the Makefile's `models`.
OPEN = CallsRecipe(folds=5, effort=0.3)
SEED = SeedRecipe(scale="zscore")
CALLS, MINUTES = 200, 1.5
# The folds on which networks and settings were chosen.
CHOSEN_ON = range(3)
PIECE_S = 5
BUNDLES = ("calls", "calls-open", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=vectors.cache_folder().parent / "accuracy")
    parser.add_argument("--effort", type=float, default=1.0, help="of the training, for a trial")
    parser.add_argument("--music", type=Path, default=MUSIC)
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    data = Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")
    work = options.work
    opened = {name: open_corpus(name, data / name) for name in ("ravdess", "emodb", "emovo")}
    recipe = CallsRecipe(effort=options.effort, noise=data / "noise")
    corpora = list(opened.values())
    with progress_bars() as progress:
        about = Work(progress=progress)
        networks = Networks(recipe.gather(corpora, about), recipe.networks, about)
        trainings = {
            "calls": (corpora, recipe),
            "calls-open": ([opened["emodb"]], replace(OPEN, effort=OPEN.effort * options.effort)),
            "seed": ([opened["ravdess"]], SEED),
        }
        for name, (its_corpora, its_recipe) in trainings.items():
            if not (work / name).exists():
                training.train(its_corpora, its_recipe, work / name, progress=progress)
    figures = {
        "cards": {name: models.read_card(work / name) for name in BUNDLES},
        "known": KNOWN,
        "conditions": {name: row.title for name, row in CONDITIONS.items()},
        "chosen": on_folds(networks, CHOSEN_ON),
        "unchosen": on_folds(networks, range(CHOSEN_ON.stop, networks.data.fold_count)),
        "calls": CALLS,
        "piece_s": PIECE_S,
        "on_calls": on_calls(work, data, opened["ravdess"], networks),
        "sounds": out_of_domain(work, data, networks, options),
        "prompts": prompts(work, options),
        "others": other_corpora(work, opened),
    }
    page = render(figures)
    print(page)
    if options.write:
        PAGE.write_text(page, encoding="utf-8")
        for name in PICTURES:
            picture = work / "calls" / f"{name}.png"
            shutil.copyfile(picture, PAGE.with_name(f"accuracy-{name}.png"))


def on_folds(networks: Networks, folds: range) -> dict[str, list[str]]:
    """UAR in percent over some folds, by what is known: as recorded, mu-law, hard line."""
    held, data = networks.held_out(DOUBTED, HISTORY_SHARE), networks.data
    tested = np.isin(data.folds, folds)
    figures = {}
    for k, known in enumerate(KNOWN):
        predicted = [
            held.clips[list(CONDITIONS).index(condition), k, tested].argmax(axis=1)
            for condition in ("clean", *LINES)
        ]
        truth = data.tested.truth[tested]
        uars = [recall_score(truth, labels, average="macro") for labels in predicted]
        figures[known] = [f"{100 * uar:.1f}" for uar in uars]
    return figures


def render(figures: dict) -> str:
    """The page."""
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["interval"] = interval
    environment.filters["percent"] = lambda share, digits=0: f"{share:.{digits}%}"
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(figures) + "\n"


def interval(scores: dict | None) -> str:
    """UAR in percent, with its interval."""
    if not scores:
        return ""
    uar, low, high = (100 * scores[name] for name in ("uar", "uar_low", "uar_high"))
    return f"{uar:.1f} ({low:.1f} to {high:.1f})"


def on_calls(work: Path, data: Path, ravdess: Corpus, networks: Networks) -> list[dict]:
    """Results on 200 built calls, labelled by networks that were not trained on the customer."""
    folder = work / "built"
    if not (folder / "truth.jsonl").exists():
        build(folder, CALLS, minutes=MINUTES, data=data, corpora=["ravdess"])
    truths = read_truth(folder / "truth.jsonl")
    customers = [truth for truth in truths if truth.role == "customer"]
    fold_of = dict(
        zip([u.speaker for u in ravdess.utterances], networks.data.folds.tolist(), strict=True)
    )
    asked: dict[str, list] = defaultdict(list)
    for fold in range(networks.data.fold_count):
        own = [c for c in customers if c.turns and fold_of[c.turns[0].speaker] == fold]
        listed = work / f"calls-of-fold-{fold}.txt"
        listed.write_text("".join(f"{folder / customer.file}\n" for customer in own))
        for name in ("calls", "seed"):
            model = work / "folds" / f"{name}-{fold}"
            if not model.exists():
                (_without_fold if name == "calls" else _seed_without_fold)(
                    work, fold, networks, ravdess, model
                )
            out = work / "tables" / f"{name}-{fold}"
            subprocess.run(
                [sys.executable, "-m", "pipelines", "run", "--input", f"@{listed}", "--output", out,
                 "--model", model, "--channel-roles", "agent,customer", "--date", "2026-03-01"],
                cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            loaded = models.load(model)
            ways = {"`calls`": False, "`calls`, each segment alone": True}
            for way, alone in ways.items() if name == "calls" else [("`seed`", True)]:
                asked[way] += list(_turns(out, folder, own, loaded, alone=alone))
    figures = []
    for way, rows in asked.items():
        covered = [row for row in rows if row[2] is not None]
        truth = np.array([RAVDESS_EIGHT.index(row[1]) for row in covered])
        probabilities = np.array([row[2] for row in covered])
        sure = np.array([not row[3] for row in covered])
        right = probabilities.argmax(axis=1) == truth
        speakers = [row[0] for row in covered]
        scores = score(truth, probabilities, labels=RAVDESS_EIGHT, speakers=speakers, protocol=way)
        figures.append(
            {
                "way": way,
                "turns": len(rows),
                "covered": len(covered) / len(rows),
                "scores": asdict(scores),
                "sure": sure.mean(),
                "right_if_sure": right[sure].mean(),
            }
        )
    return figures


def _without_fold(work: Path, fold: int, networks: Networks, ravdess: Corpus, to: Path) -> None:
    card = models.read_card(work / "calls")
    bundle.save(
        to, networks.network(fold), replace(card, name=to.name), networks.data.tests[2][:12]
    )


def _seed_without_fold(
    work: Path, fold: int, networks: Networks, ravdess: Corpus, to: Path
) -> None:
    card = models.read_card(work / "seed")
    matrix = vectors.extract(ravdess.utterances, "seed193")
    known = networks.data.folds != fold
    targets = label_shares(ravdess.utterances, card.labels)
    model, _ = seed.fit(matrix[known], targets[known], SEED)
    bundle.save(to, model, replace(card, name=to.name), matrix[:8])


def _turns(
    out: Path, folder: Path, customers: list[Truth], loaded: bundle.Bundle, *, alone: bool
) -> Iterator[tuple]:
    """Speaker, true emotion, probabilities (None without a segment) and unsure of each turn."""
    rows = pq.read_table(out / "features").to_pylist()
    matrix = np.array([row["vector"] for row in rows], dtype=np.float32)
    channel = np.array([row["uri"] for row in rows])
    probabilities = loaded.predict(matrix, None if alone else channel)
    by_uri = defaultdict(list)
    for row, answer in zip(rows, probabilities, strict=True):
        by_uri[row["uri"]].append((row["start_s"], row["end_s"], answer))
    for truth in customers:
        for turn in truth.turns:
            weights, answers = [], []
            for start_s, end_s, answer in by_uri[str(folder / truth.file)]:
                shared = min(end_s, turn.end_s) - max(start_s, turn.start_s)
                if shared > 0:
                    weights.append(shared)
                    answers.append(answer)
            mean = np.average(answers, axis=0, weights=weights) if weights else None
            unsure = mean is None or mean.max() < loaded.unsure_segment_below
            yield turn.speaker, turn.emotion, mean, unsure


# ---------------------------------------------------------------- other sounds and corpora


def out_of_domain(work: Path, data: Path, networks: Networks, options) -> list[dict]:
    """Confidence of `calls` on sounds that it was not made for."""
    loaded = models.load(work / "calls")
    feature_set = features.get(loaded.feature_set)
    telephone = feature_set.extract
    sounds = {
        "noise (ESC-10)": sorted((data / "noise").glob("*.*")),
        "music on hold": [
            *sorted(options.music.glob("*.wav")),
            *sorted((data / "telephone").glob("*.wav")),
        ],
        "prompts, English": _prompts(options.prompts / "en_US_f_Allison"),
        "prompts, Italian": _prompts(options.prompts / "it_IT_f_Menardi"),
    }
    held = networks.held_out(DOUBTED, HISTORY_SHARE)
    card = loaded.card
    own = clip_answers(held)["mulaw", "none"]
    fitted = Temperatures(card.temperature, card.temperature_with_history or card.temperature)
    answers = {"speech of RAVDESS": fitted(own.probabilities, own.weight)}
    for sound, files in sounds.items():
        pieces = [telephone(*piece) for file in files for piece in _pieces(file)]
        if pieces:
            answers[sound] = loaded.predict(np.stack(pieces))
    noise = 0.05 * np.random.default_rng(0).standard_normal((50, 8_000 * PIECE_S))
    answers["white noise"] = loaded.predict(
        np.stack([telephone(samples.astype(np.float32), 8_000) for samples in noise])
    )
    figures = []
    for sound, probabilities in answers.items():
        confidence = probabilities.max(axis=1)
        counts = np.bincount(probabilities.argmax(axis=1), minlength=len(loaded.labels))
        by_label = counts / len(probabilities)
        figures.append(
            {
                "sound": sound,
                "pieces": len(probabilities),
                "confidence": confidence.mean(),
                "sure": (confidence >= loaded.unsure_segment_below).mean(),
                "labels": {loaded.labels[i]: by_label[i] for i in np.argsort(-by_label)[:3]},
            }
        )
    return figures


def _prompts(folder: Path) -> list[Path]:
    """Recorded sentences of a package, one file for each."""
    files = [p for p in sorted(folder.glob("*.*")) if p.suffix in (".gsm", ".alaw")]
    return [p for p in files if p.stat().st_size > 5_000]


def _pieces(file: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Pieces of `PIECE_S` over mu-law, without silent pieces and pieces shorter than 2 s."""
    decoded = audio.decode(file.read_bytes(), file.name)
    samples, rate = decoded.samples.mean(axis=0)[: 120 * decoded.rate], decoded.rate
    for start in range(0, len(samples) - 2 * rate, PIECE_S * rate):
        piece = samples[start : start + PIECE_S * rate]
        if np.sqrt(np.mean(np.square(piece))) > 1e-3:
            yield conditions.degrade(piece, rate, "mulaw", key=f"{file.name} {start}")


def prompts(work: Path, options) -> dict | None:
    """Results of `ser run` on calm professional speech; None without recordings."""
    files = _prompts(options.prompts / "en_US_f_Allison")
    if not files:
        return None
    listed, out = work / "prompts.txt", work / "tables" / "prompts"
    listed.write_text("".join(f"{file}\n" for file in files))
    subprocess.run(
        [sys.executable, "-m", "pipelines", "run", "--input", f"@{listed}", "--output", out,
         "--model", work / "calls", "--date", "2026-03-01", "--max-reject-ratio", "1"],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    rows = pq.read_table(out / "segments").to_pylist()
    even = [row["label"] in ("neutral", "calm") for row in rows]
    unsure = [row["unsure"] for row in rows]
    return {
        "recordings": len(files),
        "segments": len(rows),
        "even": np.mean(even),
        "unsure": np.mean(unsure),
        "even_or_unsure": np.mean(np.array(even) | np.array(unsure)),
    }


def other_corpora(work: Path, opened: dict[str, Corpus]) -> list[dict]:
    """Results on corpora that a bundle was not trained on."""
    figures = []
    for name, others in (("calls-open", ("ravdess", "emovo")), ("seed", ("emodb", "emovo"))):
        test = partial(evaluate, models.load(work / name), condition="mulaw")
        for other in others:
            results = {}
            for grouping in (None, "four", "angry"):
                found = test(corpus=opened[other], grouping=grouping)
                emotions = sum(value is not None for value in found.recall.values())
                results[grouping or "all"] = {**asdict(found), "emotions": emotions}
            figures.append({"bundle": name, "corpus": opened[other].name, **results})
    return figures


if __name__ == "__main__":
    main()
