"""Networks for recipe `calls`, tried by speaker: UAR by condition and by what history is known.

    python benchmarks/trials.py [--folds 0 1 2] [--jobs 2] [--keep FOLDER] [--show 'NAME+NAME' …]

Corpora and noises are read from the folder SER_DATA, or ../shared/data beside this checkout. Six
folds of RAVDESS by actor; EMO-DB and EMOVO are only trained on. Settings are chosen on folds 0, 1
and 2; the others are for the final figures. Answers of each network and fold are kept in a folder,
so that averages of networks are free. Columns: clean, `mulaw` and `hard`, each without history,
with 16 other clips of the speaker in the same condition, with 8 neutral or calm ones, and with the
angry ones only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import joblib
import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import recall_score

sys.path.insert(0, str(Path(__file__).parents[1]))

from ser_core.corpora import open_corpus, vectors
from ser_core.corpora.conditions import COPIES
from ser_core.models import calls
from ser_core.models.calls import Histories, Material, Member, Scale
from ser_core.models.evaluation import truths
from ser_core.models.training import speaker_folds

ROOT = Path(__file__).parents[1]
CORPORA = ("ravdess", "emodb", "emovo")
CONDITIONS = ("clean", "mulaw", "hard")
KNOWN = ("none", "mixed", "calm", "angry")
FOLDS = 6

_DENSE = Member()
_CNN = Member(
    kind="cnn", inputs="picture", rate=3e-3, decay=1e-3, mixup=0.0, steps=2_100, batch=128,
    others=False, seed=2,
)  # fmt: skip
_RNN = replace(_CNN, kind="rnn", rate=2e-3, width=64, seed=3)
TRIALS = {
    "dense": _DENSE,
    "dense, no history": replace(_DENSE, history=False),
    "thirds": replace(_DENSE, inputs="thirds", seed=1),
    "cnn": _CNN,
    "cnn, long": replace(_CNN, steps=4_200),
    "cnn, corpora": replace(_CNN, others=True),
    "cnn, deltas": replace(_CNN, deltas=True),
    "cnn, mixup": replace(_CNN, mixup=0.2),
    "rnn": _RNN,
    "rnn, long": replace(_RNN, steps=4_200, seed=5),
    "rnn, corpora": replace(_RNN, others=True, seed=4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=vectors.cache_folder().parent / "trials")
    parser.add_argument("--only", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--show", nargs="*", default=[], help="averages, such as 'dense+cnn+rnn'")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    corpus_data()  # once, before processes ask for it
    names = dict.fromkeys([*options.only, *(n for shown in options.show for n in shown.split("+"))])
    joblib.Parallel(options.jobs)(
        joblib.delayed(answers)(TRIALS[name], fold, options.keep)
        for name in names
        for fold in options.folds
    )
    table = Table(title=f"UAR, folds {', '.join(map(str, options.folds))} of {FOLDS}, pooled")
    table.add_column("")
    for known in KNOWN:
        table.add_column(f"{known}: {', '.join(CONDITIONS)}")
    table.add_column("CPU s a fold", justify="right")
    for shown in [*options.only, *options.show]:
        members = [TRIALS[name] for name in shown.split("+")]
        found = [[answers(one, fold, options.keep) for one in members] for fold in options.folds]
        cells = [
            ", ".join(f"{100 * uar(found, f'{c}_{known}', members):.1f}" for c in CONDITIONS)
            for known in KNOWN
        ]
        cpu_s = np.mean([sum(float(one["cpu_s"]) for one in of) for of in found])
        table.add_row(shown, *cells, f"{cpu_s:,.0f}")
    Console(width=150).print(table)


def uar(found: list[list[dict]], key: str, members: Sequence[Member]) -> float:
    """Mean recall of the weighted average of members, folds pooled."""
    predicted = [
        sum(one.weight * told[key] for one, told in zip(members, of, strict=True)).argmax(axis=1)
        for of in found
    ]
    truth = [of[0]["truth"] for of in found]
    return recall_score(np.concatenate(truth), np.concatenate(predicted), average="macro")


@cache
def corpus_data() -> tuple[Material, dict[str, np.ndarray], np.ndarray]:
    """Everything to train on, RAVDESS in each condition, and RAVDESS' folds."""
    data = Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")
    opened = [open_corpus(name, data / name) for name in CORPORA]
    utterances = [one for corpus in opened for one in corpus.utterances]
    labels = tuple(tuple(sorted(corpus.counts)) for corpus in opened)
    speakers = sorted({one.speaker for one in utterances})
    material = Material(
        vectors=np.stack(
            [
                vectors.extract(utterances, "telephone", condition=c, noise=data / "noise")
                for c in COPIES
            ]
        ),
        truth=np.concatenate(
            [truths(c.utterances, own) for c, own in zip(opened, labels, strict=True)]
        ),
        corpus=np.repeat(np.arange(len(opened)), [len(corpus.utterances) for corpus in opened]),
        speaker=np.array([speakers.index(one.speaker) for one in utterances]),
        labels=labels,
    )
    tested = opened[0].utterances
    tests = {c: vectors.extract(tested, "telephone", condition=c) for c in CONDITIONS}
    return material, tests, speaker_folds(tested, FOLDS)


def answers(member: Member, fold: int, keep: Path) -> dict[str, np.ndarray]:
    """Probabilities of a fold's clips from a network that never heard its speakers."""
    told = json.dumps([calls.VERSION, asdict(member), fold], sort_keys=True)
    kept = keep / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz"
    if kept.exists():
        with np.load(kept) as file:
            return dict(file)
    material, tests, folds = corpus_data()
    unseen = np.flatnonzero(folds == fold)
    known = np.ones(len(material.truth), dtype=bool)
    known[unseen] = False
    if not member.others:
        known[material.corpus > 0] = False
        material = replace(material, labels=material.labels[:1])
    some = material.of(known)
    scales = [
        Scale.of(some.vectors[:, some.corpus == c].reshape(-1, some.vectors.shape[-1]))
        for c in range(len(material.labels))
    ]
    started = time.process_time()
    model = calls.fit(some, member, scales)
    found = {"cpu_s": np.array(time.process_time() - started), "truth": material.truth[unseen]}
    for condition, matrix in tests.items():
        x = calls.part(scales[0](matrix[unseen]), member.inputs)
        sums = Histories(x)
        for how in KNOWN:
            weight, *moments = sums.moments(members_of(material.of(unseen), how))
            logits = np.asarray(model([calls.normalised(x, *moments), weight], training=False))
            odds = np.exp(logits[:, : len(material.labels[0])])
            found[f"{condition}_{how}"] = odds / odds.sum(axis=1, keepdims=True)
    np.savez(kept, **found)
    return found


def members_of(tested: Material, how: str) -> np.ndarray:
    """For each clip up to 16 others of its speaker; -1 fills up."""
    random = np.random.default_rng(1)
    members = np.full((len(tested.truth), 16), -1)
    angry = tested.truth == tested.labels[0].index("angry")
    wanted = {"mixed": np.ones_like(angry), "calm": tested.calm, "angry": angry}.get(how)
    if wanted is None:
        return members
    for i, speaker in enumerate(tested.speaker):
        others = np.flatnonzero((tested.speaker == speaker) & wanted)
        chosen = random.permutation(others[others != i])[: 16 if how == "mixed" else 8]
        members[i, : len(chosen)] = chosen
    return members


if __name__ == "__main__":
    main()
