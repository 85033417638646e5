"""Trials of networks for recipe `calls`: UAR by speaker, by condition and history.

    python benchmarks/trials.py [--folds 0 1 2] [--jobs 2] [--only NAME …] [--show 'NAME+NAME' …]

Corpora and noises are read from the folder SER_DATA, or ../shared/data beside this checkout. Six
folds of RAVDESS by actor are tested; EMO-DB and EMOVO are only trained on. Settings are chosen on
folds 0, 1 and 2. Trained networks are kept, so averages of networks cost nothing. Columns: clean,
`mulaw` and `hard`, each without a history, with 16 other clips of the speaker under the same
condition, with 8 neutral or calm ones, and with angry ones only; and the segments of calls made of
3 to 12 clips, over `mulaw` and `hard`, with the call's other segments known and (in brackets)
alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import recall_score

from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls.data import KNOWN, LINES
from ser_core.models.recipes.calls.ensemble import Networks
from ser_core.models.recipes.calls.held_out import HeldOut, blend_history
from ser_core.models.recipes.calls.members import Member
from ser_core.models.recipes.calls.recipe import DOUBTED, HISTORY_SHARE, CallsRecipe

sys.path.insert(0, str(Path(__file__).parents[1]))

from ser_core.conditions import CONDITIONS
from ser_core.corpora import open_corpus

ROOT = Path(__file__).parents[1]
CORPORA = ("ravdess", "emodb", "emovo")
SHOWN = ("clean", "mulaw", "hard")

_DENSE = Member()
_CNN = Member(
    kind="cnn", inputs="picture", rate=3e-3, decay=1e-3, mixup=0.0, steps=2_100, batch=128,
    others=False, seed=2,
)  # fmt: skip
_RNN = replace(_CNN, kind="rnn", rate=2e-3, width=64, seed=3)
TRIALS = {
    "dense": _DENSE,
    "dense, again": replace(_DENSE, seed=10),
    "thirds": replace(_DENSE, inputs="thirds", seed=1),
    "thirds, again": replace(_DENSE, inputs="thirds", seed=11),
    "cnn": _CNN,
    "cnn, long": replace(_CNN, steps=4_200, weight=1.5),
    "cnn, corpora": replace(_CNN, others=True),
    "cnn, mixup": replace(_CNN, mixup=0.2),
    "rnn": _RNN,
    "rnn, long": replace(_RNN, steps=4_200, weight=1.5, seed=5),
    "rnn, corpora": replace(_RNN, others=True, seed=4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--cache", type=Path, help="folder of kept vectors and networks")
    parser.add_argument("--only", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--show", nargs="*", default=[], help="averages, such as 'dense+cnn+rnn'")
    parser.add_argument(
        "--doubted", type=float, nargs=2, default=DOUBTED, metavar="SHARE",
        help="Card.history_doubted; 1.5 2 uses every history in full",
    )  # fmt: skip
    parser.add_argument(
        "--share", type=float, default=HISTORY_SHARE, metavar="SHARE",
        help="Card.history_share",
    )  # fmt: skip
    options = parser.parse_args()
    data = Path(os.environ.get("SER_DATA") or ROOT.parent / "shared" / "data")
    opened = [open_corpus(name, data / name) for name in CORPORA]
    names = dict.fromkeys([*options.only, *(n for shown in options.show for n in shown.split("+"))])
    recipe = CallsRecipe(members=tuple(TRIALS[name] for name in names), noise=data / "noise")
    gathered = recipe.gather(opened, Work(options.jobs, options.cache))
    about = Work(options.jobs, options.cache, progress=lambda *stage: print(*stage))
    networks = Networks(gathered, recipe.networks, about)
    networks.train(options.folds)
    table = Table(
        title=f"UAR, folds {', '.join(map(str, options.folds))} of {recipe.folds}, pooled"
    )
    table.add_column("")
    for known in KNOWN:
        table.add_column(f"{known}: {', '.join(SHOWN)}")
    table.add_column("calls")
    table.add_column("CPU s a fold", justify="right")
    for shown in [*options.only, *options.show]:
        members = [TRIALS[name] for name in shown.split("+")]
        answers = networks.average(members, options.folds)
        held = blend_history(gathered, *answers, tuple(options.doubted), options.share)
        tested = np.isin(gathered.folds, options.folds)
        truth = gathered.tested.truth[tested]
        cells = []
        for k in range(len(KNOWN)):
            predicted = [
                held.clips[list(CONDITIONS).index(c), k, tested].argmax(axis=1) for c in SHOWN
            ]
            cells.append(uars(truth, predicted))
        cells.append(on_calls(held, options.folds))
        cpu_s = [
            networks.kept(member, fold)["cpu_s"] for member in members for fold in options.folds
        ]
        table.add_row(shown, *cells, f"{np.sum(cpu_s) / len(options.folds):,.0f}")
    Console(width=150).print(table)


def uars(truth: np.ndarray, predicted: Sequence[np.ndarray]) -> str:
    """In percent."""
    recalls = [recall_score(truth, labels, average="macro") for labels in predicted]
    return ", ".join(f"{100 * uar:.1f}" for uar in recalls)


def on_calls(held: HeldOut, folds: Sequence[int]) -> str:
    """UAR of calls' segments over mu-law and the hard line; in brackets, each segment alone."""
    data = held.data
    real = (data.called >= 0) & np.isin(data.folds[data.called[:, 0]], folds)[:, None]
    clips = data.called[real]
    truth = data.tested.truth[clips]
    none = list(KNOWN).index("none")
    alone = [held.clips[list(CONDITIONS).index(c), none, clips].argmax(axis=1) for c in LINES]
    related = [held.segments[line][real].argmax(axis=1) for line in range(len(LINES))]
    return f"{uars(truth, related)} ({uars(truth, alone)})"


if __name__ == "__main__":
    main()
