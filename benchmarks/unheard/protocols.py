"""Tests over corpora: corpora never heard, one left out, actors left out, archives mostly neutral.

`alone` is a clip about which nothing else is known. `adapted` is by a bundle that was fitted to all
clips of the tested corpus under the same condition, without their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.unheard.bench import Bench, adapt, leave_out
from benchmarks.unheard.figures import EIGHT, SIX, Question, ask_corpus
from ser_core.corpora import Corpus
from ser_core.models import Bundle
from ser_core.models.recipes.base import Recipe
from ser_core.models.recipes.calls.recipe import CallsRecipe
from ser_core.models.recipes.preparation import speaker_folds

FOLDS = 6
# A training tests itself in folds, too; here its own figures are not read.
FEWEST_FOLDS = 2
NEUTRAL_SHARES = (0.2, 0.5, 0.8, 0.95)
ARCHIVE_CLIPS, ARCHIVES = 600, 5
KNOWN_CLIPS = 16
# Within one studio, whose emotions are balanced, these are better.
OF_ONE_STUDIO = {"spread_trust": 1.0, "neutral_archive": 0.0}


def on_corpus(
    bench: Bench, bundle: Bundle, corpus: Corpus, within: Sequence[str] = SIX
) -> dict[str, Any]:
    """Figures on a corpus by condition, alone and adapted."""
    question = ask_corpus(corpus.utterances, bundle.labels, within)
    found: dict[str, Any] = {
        "corpus": corpus.name,
        "note": corpus.note,
        "labels": question.labels,
        "conditions": {},
    }
    for condition in bench.conditions:
        matrix = bench.vectors(corpus, bundle.feature_set, condition)
        fitted = adapt(bundle, matrix)
        found["conditions"][condition] = {
            "alone": _figures(question, bundle, matrix),
            "adapted": fitted and _figures(question, fitted, matrix),
        }
    return found


def unheard(bench: Bench, bundles: Sequence[Bundle]) -> list[dict[str, Any]]:
    """Each bundle on each corpus that it was not trained on."""
    return [
        {"bundle": bundle.card.name, "trained_on": heard, **on_corpus(bench, bundle, corpus)}
        for bundle in bundles
        for corpus in bench.corpora
        if corpus.name not in (heard := [own["name"] for own in bundle.card.corpora])
    ]


def one_left_out(bench: Bench, recipe: Recipe) -> list[dict[str, Any]]:
    """The recipe trained without a corpus, and tested on it: among the open corpora, and all."""
    rows = []
    recipe = replace(recipe, emotions=SIX, folds=FEWEST_FOLDS)
    pools = {"open": bench.open_corpora(), "all": list(bench.corpora)}
    for pool, members in pools.items():
        for corpus in members:
            others = [other for other in members if other is not corpus]
            if not others:
                continue
            bundle = bench.train(f"{pool}-without-{corpus.name}", others, recipe)
            names = [other.name for other in others]
            rows.append({"pool": pool, "trained_on": names, **on_corpus(bench, bundle, corpus)})
    return rows


def by_actor(bench: Bench, corpus: Corpus, recipe: Recipe) -> dict[str, Any]:
    """Folds by actor: the recipe trained on the other actors."""
    found: dict[str, Any] = {"corpus": corpus.name, "folds": FOLDS, "conditions": {}}
    folds = actor_folds(corpus)
    bundles = [fold_bundle(bench, corpus, recipe, fold) for fold in range(FOLDS)]
    question = ask_corpus(corpus.utterances, bundles[0].labels, EIGHT)
    speakers = np.array([utterance.speaker for utterance in corpus.utterances])
    for condition in bench.conditions:
        matrix = bench.vectors(corpus, bundles[0].feature_set, condition)
        answers: dict[str, np.ndarray] = {
            way: np.full((len(matrix), len(bundles[0].labels)), np.nan)
            for way in ("alone", "others", "adapted")
        }
        for fold, bundle in enumerate(bundles):
            own = folds == fold
            answers["alone"][own] = bundle.predict(matrix[own])
            if bundle._training is not None:
                answers["others"][own] = predict_knowing_others(bundle, matrix[own], speakers[own])
            if fitted := adapt(bundle, matrix[own]):
                answers["adapted"][own] = fitted.predict(matrix[own])
        found["conditions"][condition] = {
            way: question.figures(probabilities[question.rows], bundles[0].unsure_segment_below)
            for way, probabilities in answers.items()
            if not np.isnan(probabilities).any()
        }
    return found


def actor_folds(corpus: Corpus) -> np.ndarray:
    """Fold of each utterance; all of an actor's are in one."""
    return speaker_folds(corpus.utterances, FOLDS)


def fold_bundle(bench: Bench, corpus: Corpus, recipe: Recipe, fold: int) -> Bundle:
    """The recipe trained on the eight emotions of a corpus without the actors of a fold."""
    folds = actor_folds(corpus)
    held_out = {u.speaker for u, own in zip(corpus.utterances, folds, strict=True) if own == fold}
    recipe = replace(recipe, emotions=EIGHT, folds=FEWEST_FOLDS)
    if isinstance(recipe, CallsRecipe):
        recipe = replace(recipe, **OF_ONE_STUDIO)
    return bench.train(f"{corpus.name}-without-fold-{fold}", [leave_out(corpus, held_out)], recipe)


def predict_knowing_others(bundle: Bundle, matrix: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Probabilities of each clip by a bundle fitted to 16 other clips of its speaker, in full.

    `Bundle.adapted` wants more clips, and shrinks what it learns from few. Here the 16 count in
    full, to compare with other work that normalises by speaker.
    """
    from ser_core.models import archive

    training = bundle._training
    assert training is not None, "an older bundle, which does not know its training's statistics"
    random = np.random.default_rng(0)
    mapped = np.empty_like(matrix)
    for row, speaker in enumerate(speakers):
        others = np.flatnonzero(speakers == speaker)
        known = random.permutation(others[others != row])[:KNOWN_CLIPS]
        statistics, _ = archive.measure(matrix[known], None, training)
        in_full = replace(statistics, weight=float(archive.FULL_ROWS))
        scale, offset = archive.mapping(in_full, training)
        mapped[row] = matrix[row] * scale + offset
    return bundle.predict(mapped)


def archives(bench: Bench, bundle: Bundle, condition: str = "mulaw") -> list[dict[str, Any]]:
    """UAR of the bundle fitted to archives with a given share of neutral clips.

    Archives of 600 clips are drawn, with replacement, from a corpus that the bundle has not heard.
    All clips of the corpus are tested.
    """
    rows = []
    heard = [own["name"] for own in bundle.card.corpora]
    for corpus in bench.corpora:
        neutral = np.array([u.emotion in ("neutral", "calm") for u in corpus.utterances])
        if corpus.name in heard or not neutral.any() or neutral.all():
            continue
        question = ask_corpus(corpus.utterances, bundle.labels)
        matrix = bench.vectors(corpus, bundle.feature_set, condition)
        alone = _figures(question, bundle, matrix)["scores"]["uar"]
        for share in NEUTRAL_SHARES:
            random = np.random.default_rng(0)
            uars = []
            for _ in range(ARCHIVES):
                count = round(share * ARCHIVE_CLIPS)
                drawn = [
                    random.choice(np.flatnonzero(neutral), count),
                    random.choice(np.flatnonzero(~neutral), ARCHIVE_CLIPS - count),
                ]
                fitted = adapt(bundle, matrix[np.concatenate(drawn)])
                if fitted is not None:
                    uars.append(_figures(question, fitted, matrix)["scores"]["uar"])
            if uars:
                rows.append(
                    {
                        "corpus": corpus.name,
                        "neutral": share,
                        "alone": alone,
                        "adapted": float(np.mean(uars)),
                    }
                )
    return rows


def by_sex(bench: Bench, bundles: Sequence[Bundle], condition: str = "mulaw") -> list[dict]:
    """Women's clips and men's, of corpora that a bundle has not heard.

    The bundle is fitted to the clips of both, as to an archive.
    """
    rows = []
    for bundle in bundles:
        heard = [own["name"] for own in bundle.card.corpora]
        for corpus in bench.corpora:
            question = ask_corpus(corpus.utterances, bundle.labels)
            sexes = np.array([utterance.sex for utterance in corpus.utterances])[question.rows]
            if corpus.name in heard or len(set(sexes)) < 2:
                continue
            matrix = bench.vectors(corpus, bundle.feature_set, condition)
            for way, asked in (("alone", bundle), ("adapted", adapt(bundle, matrix))):
                if asked is None:
                    continue
                for sex in sorted(set(sexes)):
                    own = question.only(sexes == sex)
                    probabilities = asked.predict(matrix[own.rows])
                    rows.append(
                        {
                            "bundle": bundle.card.name,
                            "corpus": corpus.name,
                            "way": way,
                            "sex": sex,
                            "called_negative": own.called_negative(probabilities),
                            **own.figures(probabilities, bundle.unsure_segment_below),
                        }
                    )
    return rows


def _figures(question: Question, bundle: Bundle, matrix: np.ndarray) -> dict[str, Any]:
    probabilities = bundle.predict(matrix[question.rows])
    return question.figures(probabilities, bundle.unsure_segment_below)
