"""Training that starts from a bundle of recipe `calls`: for few labels of one's own.

The bundle's networks keep what they have learned to hear; the last layer of each, which concludes
from it, is fitted to the labels, and held to what it was the more strongly the less they tell:
how strongly is chosen by speakers that were not fitted to, and may come out as "not at all".
(L2-SP: X. Li, Y. Grandvalet and F. Davoine 2018, "Explicit inductive bias for transfer learning
with convolutional networks", ICML. Only the last layer: J. Yosinski et al. 2014, "How transferable
are features in deep neural networks?", NeurIPS.)

The figures of a card come from last layers that were fitted without the speaker's fold.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ser_core.corpora import Corpus, Utterance, manifest, vectors
from ser_core.corpora.vectors import Progress
from ser_core.errors import BundleError
from ser_core.models import bundle, calls
from ser_core.models.calibration import (
    calibrate,
    calibration_error,
    coverage_and_risk,
    fit_temperature,
    reliability,
    unsure_below,
)
from ser_core.models.calls import Histories, Member, Scale
from ser_core.models.calls_measures import Asked, sure_by_fold
from ser_core.models.calls_training import flat_width
from ser_core.models.card import Card, read_card
from ser_core.models.runtime import load_keras
from ser_core.models.scores import Scores, score
from ser_core.models.targets import channels, shares, truths
from ser_core.models.training import (
    Say,
    check_emotions,
    check_whole,
    described,
    first_look,
    licence,
    select,
    speaker_folds,
    versions,
)

# How strongly the last layers are held to what they were: from not letting go, downwards.
HOLDS = (np.inf, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
# With fewer clips than these, calibration and thresholds stay the bundle's where the labels do.
LEAST_TO_CALIBRATE = 50
NONE, CHANNEL = "nothing known of the speaker", "the channel's other clips known"
_TOLERANCE = 1e-4
_REFERENCE_ROWS = 12


@dataclass(frozen=True, kw_only=True)
class TransferRecipe:
    """Training that starts from a bundle.

    Parameters
    ----------
    start : str or path
        A bundle of recipe `calls`: a bundled model's name or a folder.
    emotions : tuple of str, optional
        Use these only; all unless given.
    folds : int >= 2
        Of speakers.
    seed : int >= 0
        Of the folds.

    Raises
    ------
    TrainingError
        A value out of bounds.
    """

    start: str | os.PathLike
    emotions: tuple[str, ...] | None = None
    folds: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("folds", self.folds, 2)
        check_whole("seed", self.seed, 0)
        check_emotions(self.emotions)


@dataclass(frozen=True)
class _Start:
    """What a bundle is made of."""

    card: Card
    scale: Scale
    networks: tuple[tuple[Member, Any], ...]

    @property
    def weights(self) -> np.ndarray:
        """Of the networks in the average; they add up to 1."""
        weights = np.array([member.weight for member, _ in self.networks])
        return weights / weights.sum()


@dataclass(frozen=True)
class _Heads:
    """Last layers: of each network a kernel [d, labels] and a bias [labels]."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]


@dataclass(frozen=True)
class _Heard:
    """What the networks hear in clips, before their last layers: of each network [rows, d].

    The rows are all clips with nothing known of anybody, then those whose channel has others,
    with these known. `clip` [rows] says which clip.
    """

    by_network: tuple[np.ndarray, ...]
    clip: np.ndarray

    def of(self, rows: np.ndarray) -> _Heard:
        return _Heard(tuple(one[rows] for one in self.by_network), self.clip[rows])


def train(
    corpora: Sequence[Corpus],
    recipe: TransferRecipe,
    save_to: str | Path,
    *,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Path:
    """Train a bundle that starts from another one, and measure both.

    Parameters
    ----------
    corpora : sequence of Corpus
        Together they give the labels and the test.
    recipe : TransferRecipe
    save_to : path
        Folder of the bundle, whose name it takes; an older bundle there is replaced.
    jobs, cache, progress
        As in `ser_core.corpora.vectors.extract`.
    say : callable, optional
        Called with a line for a person: a first look at the first fold, what was chosen.

    Returns
    -------
    Path
        The folder, with `CARD.md` and pictures beside the bundle's own files.

    Raises
    ------
    TrainingError
        Emotions that the corpora don't have, or fewer speakers than folds.
    CorpusError
        Files that cannot be read: all of them.
    BundleError
        A start that is no bundle of recipe `calls`, or a folder that no bundle may be written to.
    """
    from ser_core.report import training_pictures as pictures

    save_to = Path(save_to)
    bundle.check_target(save_to)
    start = _start(recipe.start)
    corpora = [_with_what_start_knows(corpus, start) for corpus in corpora]
    if say:
        for corpus in corpora:
            if _knows(start, corpus):
                say(f"warning: {corpus.name}: {corpus.warnings[-1]}")
    utterances, labels = select(corpora, recipe.emotions)
    folds = speaker_folds(utterances, recipe.folds, recipe.seed)
    matrix = vectors.extract(
        utterances, start.card.feature_set, jobs=jobs, cache=cache, progress=progress
    )
    channel = channels(utterances)
    heard = _heard(start, matrix, channel)
    targets = shares(utterances, labels)
    first = _first_heads(start, labels)
    # Of each fold and hold, heads that were fitted to the other folds, and what they say of it.
    fitted: dict[tuple[int, float], _Heads] = {}
    losses = np.zeros((recipe.folds, len(HOLDS)))
    for fold in range(recipe.folds):
        held_out = folds[heard.clip] == fold
        known, unknown = heard.of(np.flatnonzero(~held_out)), heard.of(np.flatnonzero(held_out))
        for h, hold in enumerate(HOLDS):
            heads = _fit(known, targets, first, hold)
            fitted[fold, hold] = heads
            losses[fold, h] = _loss(start, unknown, targets, heads)
            if progress:
                done = fold * len(HOLDS) + h + 1
                progress("last layers", done, len(HOLDS) * recipe.folds)
        if say and fold == 1:
            # The first rows are the clips, nothing being known. Held as the second fold wants it:
            # what is chosen by those who are tested flatters.
            own = np.flatnonzero(_agreed(utterances) & (folds == 0))
            some = heard.of(own)
            answers = _answers(start, some, fitted[0, HOLDS[int(losses[1].argmin())]])
            say(first_look(truths(utterances, labels)[own], answers, recipe.folds))
    hold = HOLDS[int(losses.sum(axis=0).argmin())]
    by_fold = {
        # Not chosen on the fold that it is tested on.
        fold: fitted[fold, HOLDS[int(np.delete(losses, fold, axis=0).sum(axis=0).argmin())]]
        for fold in range(recipe.folds)
    }
    if say:
        say(_said_of(hold))
    draft = replace(
        start.card,
        name=re.sub(r"\W+", "-", save_to.resolve().name).strip("-") or "model",
        labels=labels,
    )
    if not _keeps_calibration(start, utterances, labels):
        draft = replace(draft, temperature=1.0, temperature_with_history=1.0)
    after = np.empty((2, len(utterances), len(labels)), np.float32)
    for fold, heads in by_fold.items():
        own = np.flatnonzero(folds == fold)
        one = bundle.from_keras(_assembled(start, heads, labels), draft)
        after[0, own], after[1, own] = (
            one.predict(matrix[own]),
            one.predict(matrix[own], channel[own]),
        )
    found = _measured(start, after, utterances, labels, folds, matrix, channel)
    results, before = found.results, found.before
    counts = Counter(utterance.emotion for utterance in utterances)
    extras = {
        "confusion.png": pictures.confusion([found.results["after"], *before[:1]]),
        "reliability.png": pictures.reliability(found.bins),
        "coverage.png": pictures.coverage(found.curves),
        "utterances.png": pictures.utterance_counts(
            {label: counts[label] for label in labels},
            f"{len(utterances):,} utterances of {', '.join(one.name for one in corpora)}",
        ),
    }
    card = replace(
        draft,
        unsure_segment_below=found.unsure_below,
        licence=f"{licence(corpora)}; started from {start.card.id}: {start.card.licence}",
        corpora=[*(described(corpus, labels) for corpus in corpora), *start.card.corpora],
        settings={
            **{
                k: v for k, v in start.card.settings.items() if k in ("networks", "history doubted")
            },
            "recipe": "calls",
            "from": start.card.id,
            "folds": recipe.folds,
            "seed": recipe.seed,
            "held to the start by": "all: nothing was learned" if np.isinf(hold) else hold,
        },
        protocol="after",
        results={name: asdict(scores) for name, scores in results.items()},
        measures=found.measures,
        versions=versions(),
    )
    if found.temperature is not None:
        card = replace(
            card, temperature=found.temperature, temperature_with_history=found.temperature
        )
    model = _assembled(start, _fit(heard, targets, first, hold), labels)
    kept = np.random.default_rng(recipe.seed).choice(len(utterances), _REFERENCE_ROWS)
    bundle.save(save_to, model, card, matrix[kept], extras=extras)
    return save_to


def _knows(start: _Start, corpus: Corpus) -> list[str]:
    """Corpora of the bundle's own training that may have the same speakers."""
    return [
        one["name"]
        for one in start.card.corpora
        if one["name"] == corpus.name or (corpus.own and one["licence"] == manifest.LICENCE)
    ]


def _with_what_start_knows(corpus: Corpus, start: _Start) -> Corpus:
    """Its figures by speaker are no such where the bundle was trained on these speakers."""
    known = _knows(start, corpus)
    if not known:
        return corpus
    said = (
        f"{start.card.id} was trained on {', '.join(known)}: of speakers who are in both, the "
        "figures flatter, before and after; start from a bundle that has not heard them, or "
        "believe `ser evaluate` on others only"
    )
    return replace(corpus, warnings=(*corpus.warnings, said))


def _said_of(hold: float) -> str:
    if np.isinf(hold):
        return (
            "the labels teach nothing that unheard speakers profit from: the bundle's layers stay "
            "as they were; label more, of more speakers"
        )
    free, tight = HOLDS[-1], HOLDS[1]
    return f"last layers fitted, held to the start by {hold:g} ({free:g} is free, {tight:g} tight)"


# ---------------------------------------------------------------- the bundle taken apart


def _start(name: str | os.PathLike) -> _Start:
    """The parts of a bundle, checked by putting them together again."""
    card = read_card(name)
    said = card.settings.get("networks")
    if card.settings.get("recipe") != "calls" or not said:
        raise BundleError(
            f"{card.id}: made by recipe {card.settings.get('recipe', 'unknown')!r}; only bundles "
            "of recipe calls can be started from, such as calls or calls-open"
        )
    keras = load_keras()
    card, model = bundle.load_keras_model(name)
    left = [one for one in model.layers if isinstance(one, keras.Model)]
    networks = []
    for one in said:
        member = Member(**one)
        for i, network in enumerate(left):
            outputs = network.output_shape[-1]
            empty = calls.network(member, outputs, flat_width(member))
            shapes = [weights.shape for weights in network.get_weights()]
            if shapes == [weights.shape for weights in empty.get_weights()]:
                empty.set_weights(network.get_weights())
                networks.append((member, empty))
                del left[i]
                break
    scales = [one for one in model.layers if isinstance(one, keras.layers.Normalization)]
    scales = [one for one in scales if np.asarray(one.mean).any()]
    if left or len(networks) != len(said) or len(scales) != 1:
        raise BundleError(f"{card.id}: its network is not the one that its card tells of")
    mean, variance = (np.ravel(np.asarray(x)) for x in (scales[0].mean, scales[0].variance))
    start = _Start(card, Scale(mean, np.sqrt(variance)), tuple(networks))
    again = _assembled_start(start)
    matrix = np.random.default_rng(0).normal(mean, start.scale.sd, (8, len(mean)))
    one, other = (
        bundle.from_keras(some, card).predict(matrix, np.zeros(8)) for some in (model, again)
    )
    if not np.abs(one - other).max() < _TOLERANCE:
        raise BundleError(f"{card.id}: its network is not put together as recipe calls does it")
    return start


def _heard(start: _Start, matrix: np.ndarray, channel: np.ndarray) -> _Heard:
    keras = load_keras()
    n = len(matrix)
    others = _others(channel)
    related = np.flatnonzero(others[:, 0] >= 0)
    nobody = np.full((n, 1), -1)
    found = []
    for member, network in start.networks:
        trunk = keras.Model(network.inputs, network.layers[-1].input)
        x = calls.part(start.scale(matrix), member.inputs)
        sums = Histories(x)
        rows = []
        for which, members in ((np.arange(n), nobody), (related, others[related])):
            if len(which):
                weight, *moments = sums.moments(members)
                seen = calls.normalised(x[which], *moments)
                rows.append(trunk.predict([seen, weight], batch_size=256, verbose=0))
        found.append(np.concatenate(rows).astype(np.float64))
    return _Heard(tuple(found), np.concatenate([np.arange(n), related]))


def _others(channel: np.ndarray) -> np.ndarray:
    """Of each row the other rows of its channel, [n, most]; -1 fills up."""
    _, index, sizes = np.unique(channel, return_inverse=True, return_counts=True)
    others = np.full((len(channel), max(sizes.max() - 1, 1)), -1)
    for which in np.flatnonzero(sizes > 1):
        rows = np.flatnonzero(index == which)
        k = len(rows)
        others[rows, : k - 1] = np.tile(rows, (k, 1))[~np.eye(k, dtype=bool)].reshape(k, k - 1)
    return others


def _first_heads(start: _Start, labels: Sequence[str]) -> _Heads:
    """The bundle's last layers for other labels: what it has not is the mean of what it has."""
    layers = []
    own = list(start.card.labels)
    for _, network in start.networks:
        kernel, bias = (one[..., : len(own)] for one in network.layers[-1].get_weights())
        together = np.concatenate([kernel, bias[None]]).astype(np.float64)
        mean = together.mean(axis=1)
        columns = [together[:, own.index(one)] if one in own else mean for one in labels]
        layer = np.stack(columns, axis=1)
        layers.append((layer[:-1], layer[-1]))
    return _Heads(tuple(layers))


def _assembled(start: _Start, heads: _Heads, labels: Sequence[str]) -> Any:
    networks = []
    for (member, network), (kernel, bias) in zip(start.networks, heads.layers, strict=True):
        new = calls.network(member, len(labels), flat_width(member))
        new.set_weights(
            [*network.get_weights()[:-2], kernel.astype(np.float32), bias.astype(np.float32)]
        )
        networks.append((member, new))
    return calls.assemble(networks, start.scale, len(labels))


# ---------------------------------------------------------------- last layers


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _fit(heard: _Heard, targets: np.ndarray, first: _Heads, hold: float) -> _Heads:
    """Multinomial logistic regression of each network, held to the first heads.

    A clip counts once, whether or not it is there with a history too. The distance from the first
    heads is in units of what the inputs vary by.
    """
    from scipy.optimize import minimize

    if np.isinf(hold):
        return first
    wanted = targets[heard.clip].astype(np.float64)
    weight = 1 / np.bincount(heard.clip)[heard.clip]
    weight /= weight.sum()
    layers = []
    for x, (kernel, bias) in zip(heard.by_network, first.layers, strict=True):
        sd = np.maximum(x.std(axis=0), 1e-6)
        scaled = np.concatenate([(x - x.mean(axis=0)) / sd, np.ones((len(x), 1))], axis=1)
        base = x @ kernel + bias

        def loss(change, scaled=scaled, base=base):
            change = change.reshape(scaled.shape[1], -1)
            logits = base + scaled @ change
            logits -= logits.max(axis=1, keepdims=True)
            log_odds = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            slope = scaled.T @ (weight[:, None] * (np.exp(log_odds) - wanted)) + hold * change
            cost = -(weight @ (wanted * log_odds).sum(axis=1)) + hold / 2 * np.square(change).sum()
            return cost, slope.ravel()

        found = minimize(
            loss, np.zeros(scaled.shape[1] * wanted.shape[1]), jac=True, method="L-BFGS-B"
        )
        change = found.x.reshape(scaled.shape[1], -1)
        new = change[:-1] / sd[:, None]
        layers.append((kernel + new, bias + change[-1] - x.mean(axis=0) @ new))
    return _Heads(tuple(layers))


def _answers(start: _Start, heard: _Heard, heads: _Heads) -> np.ndarray:
    """Probabilities of rows, averaged over networks."""
    every = zip(start.weights, heard.by_network, heads.layers, strict=True)
    return sum(weight * _softmax(x @ kernel + bias) for weight, x, (kernel, bias) in every)


def _loss(start: _Start, heard: _Heard, targets: np.ndarray, heads: _Heads) -> float:
    """Cross-entropy in nats, summed over rows."""
    answers = np.maximum(_answers(start, heard, heads), 1e-9)
    return float(-(targets[heard.clip] * np.log(answers)).sum())


# ---------------------------------------------------------------- figures


@dataclass(frozen=True)
class _Measured:
    results: dict[str, Scores]
    before: list[Scores]
    measures: dict[str, Any]
    temperature: float | None
    unsure_below: float
    bins: dict
    curves: dict


def _keeps_calibration(
    start: _Start, utterances: Sequence[Utterance], labels: Sequence[str]
) -> bool:
    """Whether there are too few clips to fit another, and no label that the bundle has not."""
    few = int(_agreed(utterances).sum()) < LEAST_TO_CALIBRATE
    return few and set(labels) <= set(start.card.labels)


def _agreed(utterances: Sequence[Utterance]) -> np.ndarray:
    return np.array([one.agreed for one in utterances])


def _measured(
    start: _Start,
    after: np.ndarray,
    utterances: Sequence[Utterance],
    labels: Sequence[str],
    folds: np.ndarray,
    matrix: np.ndarray,
    channel: np.ndarray,
) -> _Measured:
    """Figures of answers [alone or with the channel, n, labels].

    They are not calibrated yet, but where they keep the bundle's calibration.
    """
    agreed = _agreed(utterances)
    truth, fold = truths(utterances, labels)[agreed], folds[agreed]
    speakers = [one.speaker for one in utterances if one.agreed]
    same = set(labels) <= set(start.card.labels)
    enough = len(truth) >= LEAST_TO_CALIBRATE
    raw = np.concatenate(list(after[:, agreed]))

    def temperature_without(fold_left_out: int | None) -> float:
        used = np.tile(fold != fold_left_out, 2)
        return fit_temperature(raw[used], np.tile(truth, 2)[used])

    odds, temperature = raw, None
    if not _keeps_calibration(start, utterances, labels):
        by_fold = {one: temperature_without(one) for one in np.unique(fold)}
        odds = calibrate(raw, np.tile([by_fold[one] for one in fold], 2))
        temperature = temperature_without(None)
    asked = Asked(odds, np.tile(truth, 2), np.tile(fold, 2), np.zeros(len(odds)))
    own = {
        known: asked.of(rows)
        for known, rows in zip((NONE, CHANNEL), np.split(np.arange(len(odds)), 2), strict=True)
    }
    started = bundle.from_keras(_assembled_start(start), start.card)
    places = [start.card.labels.index(label) for label in labels] if same else []
    results, before = {}, []
    for known, name, ids in ((NONE, "", None), (CHANNEL, "_channel", channel)):
        results[f"after{name}"] = score(
            truth, own[known].probabilities, labels=labels, speakers=speakers,
            protocol=f"as recorded, by speaker, {known}",
        )  # fmt: skip
        if same:
            kept = started.predict(matrix, ids)[agreed][:, places]
            results[f"before{name}"] = score(
                truth, kept, labels=labels, speakers=speakers,
                protocol=f"{start.card.id} on the same, {known}",
            )  # fmt: skip
            before.append(results[f"before{name}"])
    threshold = start.card.unsure_segment_below
    if enough:
        threshold = unsure_below(asked.confidence, asked.right)
    sure = sure_by_fold(asked)
    coverage, risk, _ = coverage_and_risk(asked.confidence, asked.right)
    bins = {known: reliability(one.confidence, one.right) for known, one in own.items()}
    return _Measured(
        results=results,
        before=before,
        measures={
            "calibration_error": {known: calibration_error(some) for known, some in bins.items()},
            "unsure": {"segments": sure},
        },
        temperature=temperature,
        unsure_below=threshold,
        bins=bins,
        curves={"segments": (coverage, risk, (sure["sure"], 1 - sure["right_if_sure"]))},
    )


def _assembled_start(start: _Start) -> Any:
    return calls.assemble(start.networks, start.scale, len(start.card.labels))
