"""Training by recipe `calls`, measured by speakers that the networks have not heard.

`train` writes a bundle. Its networks were trained on everybody; the figures in its card, its
temperatures and its thresholds come from networks of the same settings that had never heard the
speakers whom they were asked about: one set of networks a fold of speakers. What is fitted to
those answers in turn (temperatures, thresholds) is measured on folds that it was not fitted to.

The first corpus gives the labels and the test. Others are more speakers to train on, with a
softmax of their own, since corpora do not mean the same by the same words.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from ser_core import features
from ser_core.conditions import CONDITIONS, COPIES
from ser_core.corpora import Corpus, Utterance, vectors
from ser_core.corpora.vectors import Progress
from ser_core.errors import TrainingError
from ser_core.models import bundle, calls
from ser_core.models.calls import Histories, Material, Member, Scale
from ser_core.models.calls_measures import HEADLINE, KNOWN, LINES, NAMES, Measured, measure
from ser_core.models.card import Card
from ser_core.models.history import HISTORY, history_belief
from ser_core.models.targets import shares, truths
from ser_core.models.training import (
    Say,
    check_choice,
    check_emotions,
    check_whole,
    described,
    first_look,
    licence,
    select,
    speaker_folds,
    versions,
)

FEATURE_SET = "telephone"
_KNOWN = tuple(KNOWN)
_MIXED, _ONE_SIDED = 16, 8
# Calls put together from a held-out speaker's clips: how many a speaker, of how many segments,
# and of these the share in the call's main emotion; the others are neutral or calm.
CALLS_A_SPEAKER = 40
CALL_SEGMENTS = (3, 12)
CALL_SHARE = (0.5, 1.0)
_REFERENCE_ROWS = 12
# Chosen on folds 0 to 2: docs/accuracy.md, "When a history is believed".
DOUBTED = (0.4, 0.5)
HISTORY_SHARE = 0.75

_DENSE = Member()
_CNN = Member(
    kind="cnn", inputs="picture", rate=3e-3, decay=1e-3, mixup=0.0, steps=4_200, batch=128,
    others=False, weight=1.5, seed=2,
)  # fmt: skip
ENSEMBLE = (
    _DENSE,
    replace(_DENSE, seed=10),
    replace(_DENSE, inputs="thirds", seed=1),
    replace(_DENSE, inputs="thirds", seed=11),
    _CNN,
    replace(_CNN, kind="rnn", rate=2e-3, width=64, seed=5),
)
# The kinds of networks by the names that people know them by: dense ones over the functionals,
# convolutional and recurrent ones over the picture.
ARCHITECTURES = {"dnn": "dense", "cnn": "cnn", "rnn": "rnn"}


@dataclass(frozen=True, kw_only=True)
class CallsRecipe:
    """Recipe `calls`.

    Parameters
    ----------
    emotions : tuple of str, optional
        Of the first corpus, use these only; all unless given.
    folds : int >= 2
        Of the first corpus' speakers.
    seed : int >= 0
        Of folds, histories, first weights and order.
    effort : float > 0
        Times the steps of each network: 0.1 for a first look.
    members : tuple of Member
        The networks that are averaged.
    architecture : str, optional
        One of `ARCHITECTURES`: only the members of that kind. All unless given.
    doubted : two floats
        Of a history: `Card.history_doubted`.
    history_share : float in (0, 1]
        `Card.history_share`.

    Raises
    ------
    TrainingError
        A value out of bounds.
    """

    emotions: tuple[str, ...] | None = None
    folds: int = 6
    seed: int = 0
    effort: float = 1.0
    members: tuple[Member, ...] = ENSEMBLE
    doubted: tuple[float, float] = DOUBTED
    history_share: float = HISTORY_SHARE
    architecture: str | None = None

    def __post_init__(self) -> None:
        check_whole("folds", self.folds, 2)
        check_whole("seed", self.seed, 0)
        if self.architecture is not None:
            check_choice("architecture", self.architecture, tuple(ARCHITECTURES))
        if not 0 < self.effort < float("inf"):
            raise TrainingError(f"effort={self.effort!r}: a number above 0 expected")
        check_emotions(self.emotions)

    @property
    def networks(self) -> tuple[Member, ...]:
        """The members as they are trained."""
        return tuple(
            replace(
                one,
                seed=one.seed + 1_000 * self.seed,
                steps=max(round(one.steps * self.effort), 1),
            )
            for one in self.members
            if self.architecture is None or one.kind == ARCHITECTURES[self.architecture]
        )


@dataclass(frozen=True)
class Data:
    """Corpora as arrays; the first `len(folds)` clips are those of the first corpus.

    Parameters
    ----------
    material : Material
    tests : np.ndarray [shape=(conditions, n, dimensions)], float32
        The first corpus under each of `CONDITIONS`.
    folds : np.ndarray [shape=(n,)], int
    called : np.ndarray [shape=(calls, segments)], int
        Clips of each made-up call; -1 fills up.
    mood : np.ndarray [shape=(calls,)], int
        The emotion of most of its segments.
    """

    material: Material
    tests: np.ndarray
    folds: np.ndarray
    called: np.ndarray
    mood: np.ndarray

    @cached_property
    def tested(self) -> Material:
        """The first corpus, without its vectors."""
        n, all_of = len(self.folds), self.material
        shares = None if all_of.shares is None else all_of.shares[:n, : len(all_of.labels[0])]
        return Material(
            all_of.vectors[:0, :n], all_of.truth[:n], all_of.corpus[:n], all_of.speaker[:n],
            all_of.labels[:1], shares, None if all_of.tied is None else all_of.tied[:n],
        )  # fmt: skip

    @cached_property
    def known(self) -> Mapping[str, np.ndarray]:
        """How many other clips are known of each, by `KNOWN`."""
        every = np.arange(len(self.folds))
        return {known: (known_clips(self.tested, every, known) >= 0).sum(axis=1) for known in KNOWN}

    @cached_property
    def key(self) -> str:
        """A hash of all of it."""
        digest = hashlib.sha256(repr(self.material.labels).encode())
        for array in (
            self.material.vectors, self.material.truth, self.material.corpus,
            self.material.speaker, self.tests, self.folds, self.called,
            *(() if self.material.shares is None else (self.material.shares,)),
        ):  # fmt: skip
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class HeldOut:
    """What networks say of speakers that they never heard, averaged, not calibrated.

    Parameters
    ----------
    data : Data
    clips : np.ndarray [shape=(conditions, known, n, labels)], float32
        Of each clip under `CONDITIONS`, with what is `KNOWN`.
    segments : np.ndarray [shape=(lines, calls, segments, labels)], float32
        Of made-up calls' segments under `LINES`, the others being known; zeros fill up.
    clips_belief, segments_belief : np.ndarray
        Of the same shapes, less the labels: how much of each history was used, from 0 to 1.
    """

    data: Data
    clips: np.ndarray
    segments: np.ndarray
    clips_belief: np.ndarray
    segments_belief: np.ndarray


def train(
    corpora: Sequence[Corpus],
    recipe: CallsRecipe,
    save_to: str | Path,
    *,
    noise: Path | None = None,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Path:
    """Train a bundle and measure it.

    Parameters
    ----------
    corpora : sequence of Corpus
        The first gives labels and tests.
    recipe : CallsRecipe
    save_to : path
        Folder of the bundle, whose name it takes; an older bundle there is replaced.
    noise : Path, optional
        Folder of recorded noises to train with; invented ones without.
    jobs : int >= 1, optional
        Processes, of one thread each; one a core unless given.
    cache : Path, optional
        Where vectors and networks are kept: an interrupted training goes on where it was.
    progress : callable, optional
        Called with a stage, how much of it is done, and of how much.
    say : callable, optional
        Called with a line for a person: a first look at the first fold.

    Returns
    -------
    Path
        The folder, with `CARD.md` and pictures beside the bundle's own files.

    Raises
    ------
    TrainingError
        Emotions that the corpora don't have, fewer speakers than folds, or a training that
        diverged.
    CorpusError
        Files that cannot be read: all of them.
    BundleError
        A folder that no bundle may be written to; told before the training.
    """
    save_to = Path(save_to)
    bundle.check_target(save_to)
    corpora = _restricted(corpora, recipe)
    data = gather(corpora, recipe, noise=noise, jobs=jobs, cache=cache, progress=progress)
    found = Networks(data, recipe, jobs=jobs, cache=cache, progress=progress, say=say)
    measured = measure(found.held_out(), corpora[0].utterances)
    some = np.random.default_rng(recipe.seed).choice(len(data.folds), _REFERENCE_ROWS)
    card = Card(
        name=re.sub(r"\W+", "-", save_to.resolve().name).strip("-") or "model",
        labels=data.material.labels[0],
        feature_set=FEATURE_SET,
        fingerprint=features.get(FEATURE_SET).fingerprint,
        channel_normalisation=HISTORY,
        history_doubted=recipe.doubted,
        history_share=recipe.history_share,
        licence=licence(corpora),
        corpora=[
            described(corpus, labels)
            for corpus, labels in zip(corpora, data.material.labels, strict=True)
        ],
        settings={
            "recipe": "calls",
            "folds": recipe.folds,
            "seed": recipe.seed,
            "effort": recipe.effort,
            **({"architecture": recipe.architecture} if recipe.architecture else {}),
            "noise": noise.name if noise else None,
            "copies": list(COPIES),
            "history doubted": list(recipe.doubted),
            "history share": recipe.history_share,
            "networks": [asdict(member) for member in recipe.networks],
        },
        protocol=f"{HEADLINE}_none",
        versions=versions(),
        **measured.of_card,
    )
    bundle.save(
        save_to,
        found.network(None),
        card,
        data.tests[list(CONDITIONS).index(HEADLINE)][some],
        extras=_pictures(measured, corpora[0]),
    )
    return save_to


def _pictures(measured: Measured, corpus: Corpus) -> dict[str, bytes]:
    from ser_core.report import training_pictures as pictures

    results = measured.results
    # Where everybody said one thing only, there is nothing else to know of anybody.
    there = [known for known in ("none", "mixed") if f"{HEADLINE}_{known}" in results]
    shown = [results[f"{HEADLINE}_{known}"] for known in there]
    by_condition = {
        KNOWN[known]: {NAMES[c]: results[f"{c}_{known}"] for c in CONDITIONS} for known in there
    }
    counts = Counter(one.emotion for one in corpus.utterances)
    errors = measured.measures["calibration_error"]
    return {
        "confusion.png": pictures.confusion(shown),
        "conditions.png": pictures.conditions(by_condition),
        "reliability.png": pictures.reliability(
            {
                f"{said}\nexpected calibration error {errors[said]:.3f}"
                if said in errors
                else f"{said}\n(a share of the speech)": bins
                for said, bins in measured.bins.items()
            }
        ),
        "coverage.png": pictures.coverage(measured.curves),
        "utterances.png": pictures.utterance_counts(
            {label: counts[label] for label in shown[0].labels},
            f"{len(corpus.utterances):,} utterances of {corpus.name}",
        ),
    }


def _restricted(corpora: Sequence[Corpus], recipe: CallsRecipe) -> list[Corpus]:
    """The corpora, the first one with the emotions that are asked for."""
    for corpus in corpora[1:]:
        if len(corpus.counts) < 2:
            raise TrainingError(
                f"{corpus.name}: it has {', '.join(corpus.counts) or 'no utterance'}, and a corpus "
                "to learn more voices from needs two emotions or more; leave it out, or join it "
                "with the first one"
            )
    utterances, _ = select(corpora[:1], recipe.emotions)
    return [replace(corpora[0], utterances=utterances), *corpora[1:]]


def gather(
    corpora: Sequence[Corpus],
    recipe: CallsRecipe,
    *,
    noise: Path | None = None,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Data:
    """Extract everything that is trained and tested on.

    Raises
    ------
    TrainingError
        Fewer speakers than folds.
    CorpusError
        Files that cannot be read.
    """
    utterances = [one for corpus in corpora for one in corpus.utterances]
    tested = corpora[0].utterances
    folds = speaker_folds(tested, recipe.folds, recipe.seed)

    def extract(some: Sequence[Utterance], condition: str) -> np.ndarray:
        return vectors.extract(
            some, FEATURE_SET, condition=condition, noise=noise, jobs=jobs, cache=cache,
            progress=progress,
        )  # fmt: skip

    labels = tuple(select([corpus], None)[1] for corpus in corpora)
    truth = [truths(one.utterances, own) for one, own in zip(corpora, labels, strict=True)]
    _, speaker = np.unique([one.speaker for one in utterances], return_inverse=True)
    material = Material(
        vectors=np.stack([extract(utterances, copy) for copy in COPIES]),
        truth=np.concatenate(truth),
        corpus=np.repeat(np.arange(len(corpora)), [len(one.utterances) for one in corpora]),
        speaker=speaker,
        labels=labels,
        shares=_shares(corpora, labels),
        tied=np.array([not one.agreed for one in utterances]),
    )
    tests = np.stack([extract(tested, condition) for condition in CONDITIONS])
    data = Data(material, tests, folds, np.empty((0, 0), int), np.empty(0, int))
    called, mood = draw_calls(data.tested, np.random.default_rng(recipe.seed))
    return replace(data, called=called, mood=mood)


def _shares(corpora: Sequence[Corpus], labels: Sequence[Sequence[str]]) -> np.ndarray | None:
    """Of `Material`, where any corpus has several annotators."""
    if not any(one.shares for corpus in corpora for one in corpus.utterances):
        return None
    return block_diag(
        *(shares(one.utterances, own) for one, own in zip(corpora, labels, strict=True))
    ).astype(np.float32)


def draw_calls(tested: Material, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Calls put together from the clips of one speaker each, those that annotators agree on.

    Returns
    -------
    clips [calls, segments], -1 fills up, and the main emotion [calls]
    """
    called, mood = [], []
    low, high = CALL_SEGMENTS
    agreed = tested.agreed
    for speaker in np.unique(tested.speaker[agreed]):
        own = np.flatnonzero((tested.speaker == speaker) & agreed)
        calm = own[tested.calm[own]]
        for _ in range(CALLS_A_SPEAKER):
            main = random.choice(np.unique(tested.truth[own]))
            size = int(random.integers(low, high + 1))
            share = max(round(size * random.uniform(*CALL_SHARE)), size // 2 + 1)
            felt = random.permutation(own[tested.truth[own] == main])[:share]
            # As many others at most as leave the main emotion ahead.
            others = np.setdiff1d(calm, felt)
            rest = random.permutation(others)[: min(size - share, max(len(felt) - 1, 0))]
            clips = np.full(high, -1)
            some = random.permutation(np.concatenate([felt, rest]))
            clips[: len(some)] = some
            called.append(clips)
            mood.append(main)
    return np.array(called), np.array(mood)


def believed(
    data: Data,
    clips: np.ndarray,
    segments: np.ndarray,
    doubted: tuple[float, float],
    most: float = 1.0,
) -> HeldOut:
    """Answers with histories, as far as these are believed, as `Bundle.predict` does it.

    Parameters
    ----------
    data : Data
    clips, segments : np.ndarray
        As in `HeldOut`, every history being used as it is.
    doubted : two floats
    most : float in (0, 1]
        `Card.history_share`.
    """
    labels = data.material.labels[0]
    alone = clips[:, _KNOWN.index("none")]
    clips_belief = np.ones(clips.shape[:3], np.float32)
    every = np.arange(len(data.folds))
    for k, known in enumerate(_KNOWN):
        members = known_clips(data.tested, every, known)
        for c in range(len(clips)):
            others = _mean_of(alone[c], members)
            clips_belief[c, k] = most * history_belief(others, labels, doubted)
    share = clips_belief[..., None]
    clips = share * clips + (1 - share) * alone[:, None]
    segments_belief = np.zeros(segments.shape[:3], np.float32)
    segments = segments.copy()
    there = data.called >= 0
    others_called = _others_of(data.called)[there]
    for line, condition in enumerate(LINES):
        by_clip = alone[list(CONDITIONS).index(condition)]
        others = _mean_of(by_clip, others_called)
        segments_belief[line][there] = most * history_belief(others, labels, doubted)
        share = segments_belief[line][there][:, None]
        segments[line][there] = (
            share * segments[line][there] + (1 - share) * by_clip[data.called[there]]
        )
    return HeldOut(data, clips, segments, clips_belief, segments_belief)


def _mean_of(answers: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean answers of clips [m, most], -1 being none: [m, labels]; zeros of none at all."""
    there = members >= 0
    sums = (answers[np.maximum(members, 0)] * there[..., None]).sum(axis=1)
    return sums / np.maximum(there.sum(axis=1), 1)[:, None]


def _others_of(called: np.ndarray) -> np.ndarray:
    """Of each segment of calls [calls, segments], the others of its call, along a third axis."""
    others = np.repeat(called[:, None], called.shape[1], axis=1)
    others[:, np.arange(called.shape[1]), np.arange(called.shape[1])] = -1
    return others


class Networks:
    """The networks of a recipe, one set a fold and one of everybody, trained when asked for.

    Each is kept with its answers in a folder, found by everything that it was made from.
    """

    def __init__(
        self,
        data: Data,
        recipe: CallsRecipe,
        *,
        jobs: int | None = None,
        cache: Path | None = None,
        progress: Progress | None = None,
        say: Say | None = None,
    ) -> None:
        self.data, self.recipe = data, recipe
        self._jobs, self._progress, self._say = jobs or os.cpu_count(), progress, say
        self._keep = cache / "networks" if cache else vectors.cache_folder().parent / "networks"
        try:
            self._keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"{self._keep}: networks cannot be kept there ({error.strerror}); "
                "give another folder as --cache"
            ) from error

    def held_out(self) -> HeldOut:
        """Answers of all folds."""
        self.train([0])
        if self._say:
            self._say(self._first_look())
        self.train([*range(self.recipe.folds), None])
        members = self.recipe.networks
        total = sum(member.weight for member in members)
        data, labels = self.data, len(self.data.material.labels[0])
        clips = np.zeros((*data.tests.shape[:1], len(KNOWN), len(data.folds), labels), np.float32)
        segments = np.zeros((len(LINES), *data.called.shape, labels), np.float32)
        fold_of_call = data.folds[data.called[:, 0]]
        for fold in range(self.recipe.folds):
            for member in members:
                kept = self.kept(member, fold)
                clips[:, :, data.folds == fold] += member.weight / total * kept["clips"]
                segments[:, fold_of_call == fold] += member.weight / total * kept["segments"]
        return believed(data, clips, segments, self.recipe.doubted, self.recipe.history_share)

    def _first_look(self) -> str:
        own = (self.data.folds == 0) & self.data.tested.agreed
        place = list(CONDITIONS).index(HEADLINE), _KNOWN.index("none")
        members = self.recipe.networks
        answers = sum(member.weight * self.kept(member, 0)["clips"][place] for member in members)
        asked = own[self.data.folds == 0]
        return first_look(self.data.tested.truth[own], answers[asked], self.recipe.folds)

    def network(self, fold: int | None) -> Any:
        """The assembled network that has not heard a fold; None: that has heard everybody."""
        self.train([fold])
        known = _known(self.data, fold)
        some = [self.data.material.of(known & (self.data.material.corpus == 0))]
        networks = []
        for member in self.recipe.networks:
            kept = self.kept(member, fold)
            weights = [kept[f"weights_{i}"] for i in range(int(kept["count"]))]
            model = calls.network(member, weights[-1].shape[-1], flat_width(member))
            model.set_weights(weights)
            networks.append((member, model))
        return calls.assemble(networks, _scales(some[0])[0], len(self.data.material.labels[0]))

    def _file(self, member: Member, fold: int | None) -> Path:
        # How much it counts changes nothing in a network.
        trained = asdict(replace(member, weight=1.0))
        told = json.dumps([calls.VERSION, trained, fold, self.data.key], sort_keys=True)
        return self._keep / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.npz"

    def kept(self, member: Member, fold: int | None) -> dict[str, np.ndarray]:
        """What is kept of a trained network: weights, `cpu_s`, and what it says of its fold."""
        with np.load(self._file(member, fold)) as file:
            return dict(file)

    def train(self, folds: Sequence[int | None]) -> None:
        """Train what is not there, in processes of one thread each."""
        import joblib

        every = [*range(self.recipe.folds), None]
        total = len(self.recipe.networks) * len(every)
        todo = [(member, fold) for member in self.recipe.networks for fold in folds]
        # The longest first, so that no process is left alone with one at the end.
        todo.sort(key=lambda one: -_COST[one[0].kind] * one[0].steps * one[0].batch)
        missing = [one for one in todo if not self._file(*one).exists()]
        if not missing:
            return
        there = sum(
            self._file(one, fold).exists() for one in self.recipe.networks for fold in every
        )
        with (
            warnings.catch_warnings(),
            joblib.parallel_config("loky", n_jobs=self._jobs, inner_max_num_threads=1),
        ):
            # A process that has grown is replaced by a new one, which is as it should be.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
            work = joblib.Parallel(return_as="generator_unordered", batch_size=1)(
                joblib.delayed(_fit_and_keep)(self.data, *one, self._file(*one)) for one in missing
            )
            for done, _ in enumerate(work, there + 1):
                if self._progress:
                    self._progress("networks", done, total)


# What a clip costs a network, roughly; for the order of work only.
_COST = {"dense": 1, "cnn": 3, "rnn": 12}


def _known(data: Data, fold: int | None) -> np.ndarray:
    """Which clips may be trained on: of nobody in the fold, whatever corpus they are in, too."""
    speaker = data.material.speaker
    if fold is None:
        return np.ones(len(speaker), dtype=bool)
    return ~np.isin(speaker, speaker[: len(data.folds)][data.folds == fold])


def _scales(material: Material) -> list[Scale]:
    """One a corpus, over all its copies; that of all of them where none of its clips is here."""
    owns = [material.corpus == c for c in range(len(material.labels))]
    return [
        Scale.of(
            material.vectors[:, own if own.any() else ~own].reshape(-1, material.vectors.shape[-1])
        )
        for own in owns
    ]


def flat_width(member: Member) -> int:
    """Of the flat features that a member sees."""
    flat = calls.FLAT.get(member.inputs)
    return len(range(*flat.indices(len(features.get(FEATURE_SET).names)))) if flat else 0


def _fit_and_keep(data: Data, member: Member, fold: int | None, file: Path) -> None:
    """Train one network; keep its weights and what it says of its fold."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it counts every training's loop
    material = data.material
    known = _known(data, fold)
    if not member.others:
        known &= material.corpus == 0
        own = None if material.shares is None else material.shares[:, : len(material.labels[0])]
        material = replace(material, labels=material.labels[:1], shares=own)
    some = material.of(known)
    scales = _scales(some)
    started = time.process_time()
    model = calls.fit(some, member, scales)
    cpu_s = time.process_time() - started
    weights = model.get_weights()
    if not all(np.isfinite(one).all() for one in weights):
        raise TrainingError(
            f"the training of a {member.kind} network diverged (weights are not finite); "
            "try another --seed"
        )
    kept = {f"weights_{i}": one for i, one in enumerate(weights)}
    if fold is not None:
        kept |= _answers(data, member, model, scales[0], fold)
    part = file.with_name(f"{file.stem}-{os.getpid()}.part.npz")
    np.savez(part, count=np.array(len(weights)), cpu_s=np.array(cpu_s), **kept)
    os.replace(part, file)


def _answers(
    data: Data, member: Member, model: Any, scale: Scale, fold: int
) -> dict[str, np.ndarray]:
    """What a network says of the clips and calls of its fold, as `HeldOut` wants it."""
    import tensorflow as tf

    labels = len(data.material.labels[0])
    unseen = np.flatnonzero(data.folds == fold)
    called = data.called[data.folds[data.called[:, 0]] == fold]
    there = called >= 0
    others = _others_of(called)
    clips = np.empty((len(data.tests), len(KNOWN), len(unseen), labels), np.float32)
    segments = np.zeros((len(LINES), *called.shape, labels), np.float32)
    network = tf.function(
        lambda x, weight: model([x, weight], training=False), reduce_retracing=True, autograph=False
    )

    def ask(x: np.ndarray, which: np.ndarray, sums: Histories, members: np.ndarray) -> np.ndarray:
        weight, *moments = sums.moments(members)
        logits = np.concatenate(
            [
                network(tf.constant(calls.normalised(*batch)), tf.constant(few)).numpy()
                for *batch, few in _batches(x[which], *moments, weight)
            ]
        )[:, :labels]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    for c, condition in enumerate(CONDITIONS):
        x = calls.part(scale(data.tests[c]), member.inputs)
        sums = Histories(x)
        for k, known in enumerate(KNOWN):
            clips[c, k] = ask(x, unseen, sums, known_clips(data.tested, unseen, known))
        if condition in LINES:
            segments[LINES.index(condition)][there] = ask(x, called[there], sums, others[there])
    return {"clips": clips, "segments": segments}


def _batches(*arrays: np.ndarray, rows: int = 512) -> Iterator[tuple[np.ndarray, ...]]:
    for start in range(0, len(arrays[0]), rows):
        yield tuple(array[start : start + rows] for array in arrays)


def known_clips(tested: Material, which: np.ndarray, known: str) -> np.ndarray:
    """Of some clips, others of their speakers that are known in a test.

    Parameters
    ----------
    known : str
        One of `KNOWN`. What a speaker has none of gives an empty history.

    Returns
    -------
    np.ndarray [shape=(len(which), 16)], int
        -1 fills up.
    """
    members = np.full((len(which), _MIXED), -1)
    labels = tested.labels[0]
    angry = np.array([label == "angry" for label in labels])[tested.truth]
    every = np.ones_like(angry)
    wanted = {"none": ~every, "mixed": every, "calm": tested.calm, "angry": angry}[known]
    most = _MIXED if known == "mixed" else _ONE_SIDED
    for row, clip in enumerate(which):
        others = np.flatnonzero((tested.speaker == tested.speaker[clip]) & wanted)
        random = np.random.default_rng(clip)
        chosen = random.permutation(others[others != clip])[:most]
        members[row, : len(chosen)] = chosen
    return members
