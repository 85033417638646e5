"""Telephone calls that are built from the actors of a corpus: turns, and calls with anger.

The calls go through `ser extract` as a night does: decoding, speech search, segments, features.
Labels are made from the stored features.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.build_calls import build
from benchmarks.calls.truth import Truth, read_truth
from benchmarks.unheard.bench import Bench, adapt
from benchmarks.unheard.figures import EIGHT, SIX, ask, detect
from benchmarks.unheard.protocols import FOLDS, actor_folds, fold_bundle
from ser_core.models import Bundle
from ser_core.models.recipes.base import Recipe

CALLS, MINUTES = 200, 1.5
ROOT = Path(__file__).parents[2]

# How the probability of anger of a call's segments adds up to that of the call: from the
# probabilities [n] and the seconds [n].
SUMS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mean": lambda angry, seconds: float(np.average(angry, weights=seconds)),
    "highest": lambda angry, seconds: float(angry.max()),
    "mean of the two highest": lambda angry, seconds: float(np.sort(angry)[-2:].mean()),
    "mean of the three highest": lambda angry, seconds: float(np.sort(angry)[-3:].mean()),
    "share above one half": lambda angry, seconds: float(
        np.average(angry > 0.5, weights=seconds) + 1e-6 * angry.max()
    ),
}


@dataclass(frozen=True)
class Stored:
    """The stored features of built calls.

    Parameters
    ----------
    uri : np.ndarray [shape=(n,)], str
        The call of each segment.
    start_s, end_s : np.ndarray [shape=(n,)]
    matrix : np.ndarray [shape=(n, d)], float32
    """

    uri: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray
    matrix: np.ndarray


def make_calls(work: Path, data: Path, corpus: str, calls: int) -> list[Truth]:
    """Build the calls once; the truth of the customers, with files as URIs."""
    folder = work / f"built-{corpus}-{calls}"
    if not (folder / "truth.jsonl").exists():
        build(folder, calls, minutes=MINUTES, data=data, corpora=[corpus])
    return [
        Truth(str(folder / truth.file), truth.channel, truth.role, truth.turns, truth.music)
        for truth in read_truth(folder / "truth.jsonl")
        if truth.role == "customer" and truth.turns
    ]


def extract(work: Path, customers: Sequence[Truth], feature_set: str) -> Stored:
    """The features of the calls, as a night stores them."""
    from ser_core import features

    out = work / "tables" / f"{feature_set}-{features.get(feature_set).fingerprint}"
    listed = work / "calls.txt"
    listed.write_text("".join(f"{customer.file}\n" for customer in customers))
    subprocess.run(
        [sys.executable, "-m", "pipelines", "extract", "--input", f"@{listed}", "--output", out,
         "--feature-set", feature_set, "--channel-roles", "agent,customer",
         "--date", "2026-03-01"],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    # Calls of an earlier set may be stored there too.
    own = pc.field("uri").isin([customer.file for customer in customers])
    columns = ["uri", "start_s", "end_s", "vector"]
    table = pq.read_table(out / "features", columns=columns, filters=own)
    vector = table["vector"].combine_chunks()
    return Stored(
        uri=table["uri"].to_numpy(zero_copy_only=False).astype(str),
        start_s=table["start_s"].to_numpy(),
        end_s=table["end_s"].to_numpy(),
        matrix=vector.flatten().to_numpy().reshape(len(vector), -1).astype(np.float32),
    )


def on_calls(
    bench: Bench, data: Path, bundles: Sequence[Bundle], recipe: Recipe | None, calls: int = CALLS
) -> list[dict[str, Any]]:
    """Figures of bundles that have not heard RAVDESS, and of the recipe on folds by its actors."""
    customers = make_calls(bench.work, data, "ravdess", calls)
    rows = []
    for bundle in bundles:
        if "RAVDESS" in [own["name"] for own in bundle.card.corpora]:
            continue
        stored = extract(bench.work, customers, bundle.feature_set)
        fitted = adapt(bundle, stored.matrix, stored.uri)
        for way, model in (("alone", bundle), ("adapted", fitted)):
            if model is not None:
                probabilities = model.predict(stored.matrix)
                found = score_calls(customers, stored, probabilities, bundle, SIX)
                rows.append({"bundle": bundle.card.name, "way": way, **found})
    corpus = bench.corpus("RAVDESS")
    if recipe is None or corpus is None:
        return rows
    trained = [fold_bundle(bench, corpus, recipe, fold) for fold in range(FOLDS)]
    stored = extract(bench.work, customers, trained[0].feature_set)
    fold_of = dict(
        zip([u.speaker for u in corpus.utterances], actor_folds(corpus).tolist(), strict=True)
    )
    fold_of_call = {customer.file: fold_of[customer.turns[0].speaker] for customer in customers}
    fold = np.array([fold_of_call[uri] for uri in stored.uri])
    for way in ("alone", "adapted"):
        probabilities = np.zeros((len(fold), len(trained[0].labels)))
        for number, bundle in enumerate(trained):
            model = bundle if way == "alone" else adapt(bundle, stored.matrix, stored.uri)
            if model is None:
                break
            probabilities[fold == number] = model.predict(stored.matrix[fold == number])
        else:
            found = score_calls(customers, stored, probabilities, trained[0], EIGHT)
            rows.append({"bundle": "by actor", "way": way, **found})
    return rows


def score_calls(
    customers: Sequence[Truth],
    stored: Stored,
    probabilities: np.ndarray,
    bundle: Bundle,
    within: Sequence[str],
) -> dict[str, Any]:
    """Figures by turn, for calls in one mood and in several; and how calls with anger are found.

    `bundle` gave the probabilities [n, labels], or has the labels and the threshold of those that
    did. A turn's probabilities are those of the segments that overlap with it, weighted by the
    seconds in common.
    """
    rows_of = {uri: np.flatnonzero(stored.uri == uri) for uri in np.unique(stored.uri)}
    nothing = np.array([], dtype=int)
    turns, answers, one_mood = [], [], []
    for customer in customers:
        rows = rows_of.get(customer.file, nothing)
        moods = {turn.emotion for turn in customer.turns}
        for turn in customer.turns:
            shared = np.clip(
                np.minimum(stored.end_s[rows], turn.end_s)
                - np.maximum(stored.start_s[rows], turn.start_s),
                0.0, None,
            )  # fmt: skip
            if shared.any():
                turns.append(turn)
                answers.append(shared @ probabilities[rows] / shared.sum())
                one_mood.append(len(moods) == 1)
    question = ask(
        [turn.emotion for turn in turns], [turn.speaker for turn in turns], bundle.labels, within
    )
    own, constant = np.array(answers)[question.rows], np.array(one_mood)[question.rows]
    total = sum(len(customer.turns) for customer in customers)
    return {
        "labels": question.labels,
        "calls_built": len(customers),
        "turns": total,
        "covered": len(turns) / total,
        "all": question.figures(own, bundle.unsure_segment_below),
        "one_mood": _uar(question, own, constant),
        "several_moods": _uar(question, own, ~constant),
        "calls": angry_calls(customers, stored, probabilities[:, bundle.labels.index("angry")]),
    }


def angry_calls(
    customers: Sequence[Truth], stored: Stored, angry: np.ndarray
) -> dict[str, dict[str, Any] | None]:
    """How well calls with an angry turn are told from others, by the ways of `SUMS`."""
    rows_of = {uri: np.flatnonzero(stored.uri == uri) for uri in np.unique(stored.uri)}
    with_speech = [customer for customer in customers if customer.file in rows_of]
    positive = np.array(
        [any(turn.emotion == "angry" for turn in customer.turns) for customer in with_speech]
    )
    speakers = np.array([customer.turns[0].speaker for customer in with_speech])
    seconds = stored.end_s - stored.start_s
    found = {}
    for name, add_up in SUMS.items():
        value = np.array(
            [add_up(angry[rows], seconds[rows]) for rows in map(rows_of.get, _files(with_speech))]
        )
        found[name] = detect(value, positive, speakers)
    return found


def _files(customers: Sequence[Truth]) -> list[str]:
    return [customer.file for customer in customers]


def _uar(question, probabilities: np.ndarray, chosen: np.ndarray) -> float | None:
    from ser_core.models.scores import count_confusions, unweighted_average_recall

    if not chosen.any():
        return None
    predicted = question.answers(probabilities[chosen]).argmax(axis=1)
    confusion = count_confusions(
        question.truth[chosen], predicted, question.speakers[chosen], len(question.labels)
    )
    return unweighted_average_recall(confusion.sum(axis=0))
