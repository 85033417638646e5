"""The ensemble, trained fold by fold in processes. Each network is kept with its answers."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from ser_core.conditions import CONDITIONS
from ser_core.corpora import vectors
from ser_core.errors import TrainingError
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls import fitting, networks
from ser_core.models.recipes.calls.data import HEADLINE, KNOWN, LINES, Data, known_clips
from ser_core.models.recipes.calls.held_out import HeldOut, blend_history, other_segments
from ser_core.models.recipes.calls.material import Material, Scale
from ser_core.models.recipes.calls.members import Member, flat_width, select_inputs
from ser_core.models.recipes.calls.normaliser import Histories, normalise
from ser_core.models.recipes.preparation import first_look


class Networks:
    """The networks of a recipe: one set per fold, and one trained on all speakers.

    Networks are trained when they are needed, and kept with their answers in a folder. The name of
    the file is a hash of all inputs of the training.

    Parameters
    ----------
    data : Data
    members : sequence of Member
        Members as they are trained.
    work : Work

    Raises
    ------
    TrainingError
        A cache that cannot be written.
    """

    def __init__(self, data: Data, members: Sequence[Member], work: Work) -> None:
        self.data, self.members, self._work = data, members, work
        cache = work.cache or vectors.cache_folder().parent
        self._keep = cache / "networks"
        try:
            self._keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"{self._keep}: networks cannot be kept there ({error.strerror}); "
                "give another folder as --cache"
            ) from error

    def held_out(self, doubted: tuple[float, float], most: float) -> HeldOut:
        """Out-of-fold predictions for all folds; see `blend_history` for the arguments."""
        self.train([0])
        if self._work.say:
            self._work.say(self._first_look())
        self.train([*range(self.data.fold_count), None])
        answers = self.average(self.members, range(self.data.fold_count))
        return blend_history(self.data, *answers, doubted, most)

    def average(
        self, members: Sequence[Member], folds: Iterable[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean of members' answers to clips and segments; zeros in other folds.

        Every history is used in full. The shapes are those of `HeldOut`.
        """
        total = sum(member.weight for member in members)
        data, labels = self.data, len(self.data.material.labels[0])
        clips = np.zeros((*data.tests.shape[:1], len(KNOWN), len(data.folds), labels), np.float32)
        segments = np.zeros((len(LINES), *data.called.shape, labels), np.float32)
        fold_of_call = data.folds[data.called[:, 0]]
        for fold in folds:
            for member in members:
                kept = self.kept(member, fold)
                clips[:, :, data.folds == fold] += member.weight / total * kept["clips"]
                segments[:, fold_of_call == fold] += member.weight / total * kept["segments"]
        return clips, segments

    def _first_look(self) -> str:
        own = (self.data.folds == 0) & self.data.tested.agreed
        place = list(CONDITIONS).index(HEADLINE), list(KNOWN).index("none")
        answers = sum(
            member.weight * self.kept(member, 0)["clips"][place] for member in self.members
        )
        asked = own[self.data.folds == 0]
        return first_look(self.data.tested.truth[own], answers[asked], self.data.fold_count)

    def network(self, fold: int | None) -> Any:
        """The assembled network that was trained without a fold; None: on all speakers."""
        self.train([fold])
        known = training_clips(self.data, fold)
        material = self.data.material.of(known & (self.data.material.corpus == 0))
        trained = []
        for member in self.members:
            kept = self.kept(member, fold)
            weights = [kept[f"weights_{i}"] for i in range(int(kept["count"]))]
            model = networks.network(member, weights[-1].shape[-1], flat_width(member))
            model.set_weights(weights)
            trained.append((member, model))
        return networks.assemble(trained, _scales(material)[0], len(self.data.material.labels[0]))

    def _file(self, member: Member, fold: int | None) -> Path:
        # The weight in the average does not change a network.
        trained = replace(member, weight=1.0).settings
        key = json.dumps([fitting.VERSION, trained, fold, self.data.key], sort_keys=True)
        return self._keep / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"

    def kept(self, member: Member, fold: int | None) -> dict[str, np.ndarray]:
        """A kept network: its weights, `cpu_s`, and its answers to its fold."""
        with np.load(self._file(member, fold)) as file:
            return dict(file)

    def train(self, folds: Sequence[int | None]) -> None:
        """Train the missing networks of some folds, in processes of one thread each."""
        import joblib

        all_folds = [*range(self.data.fold_count), None]
        total = len(self.members) * len(all_folds)
        todo = [(member, fold) for member in self.members for fold in folds]
        # The longest first, so that no process works alone at the end.
        todo.sort(key=lambda job: -_COST[job[0].kind] * job[0].steps * job[0].batch)
        missing = [job for job in todo if not self._file(*job).exists()]
        if not missing:
            return
        done_before = sum(
            self._file(member, fold).exists() for member in self.members for fold in all_folds
        )
        with (
            warnings.catch_warnings(),
            joblib.parallel_config(
                "loky", n_jobs=self._work.jobs or os.cpu_count(), inner_max_num_threads=1
            ),
        ):
            # A process that has grown is replaced by a new one, as intended.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
            work = joblib.Parallel(return_as="generator_unordered", batch_size=1)(
                joblib.delayed(_fit_and_keep)(self.data, *job, self._file(*job)) for job in missing
            )
            for done, _ in enumerate(work, done_before + 1):
                self._work.report("networks", done, total)


# Rough cost per clip by kind of network; for the order of work only.
_COST = {"dense": 1, "cnn": 3, "rnn": 12}


def training_clips(data: Data, fold: int | None) -> np.ndarray:
    """Clips of speakers who are not in the fold, in any corpus, bool [clips]."""
    speaker = data.material.speaker
    if fold is None:
        return np.ones(len(speaker), dtype=bool)
    return ~np.isin(speaker, speaker[: len(data.folds)][data.folds == fold])


def _scales(material: Material) -> list[Scale]:
    """One scale per corpus over all its copies; that of the others for a corpus without clips."""
    owns = [material.corpus == c for c in range(len(material.labels))]
    return [
        Scale.of(
            material.vectors[:, own if own.any() else ~own].reshape(-1, material.vectors.shape[-1])
        )
        for own in owns
    ]


def _fit_and_keep(data: Data, member: Member, fold: int | None, file: Path) -> None:
    """Train one network; keep its weights and its answers to its fold."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of retracing in each loop
    material = data.material
    known = training_clips(data, fold)
    if not member.others:
        known &= material.corpus == 0
        own = None if material.shares is None else material.shares[:, : len(material.labels[0])]
        material = replace(material, labels=material.labels[:1], shares=own)
    training = material.of(known)
    scales = _scales(training)
    started = time.process_time()
    model = fitting.fit(training, member, scales)
    cpu_s = time.process_time() - started
    weights = model.get_weights()
    if not all(np.isfinite(array).all() for array in weights):
        raise TrainingError(
            f"the training of a {member.kind} network diverged (weights are not finite); "
            "try another --seed"
        )
    kept = {f"weights_{i}": array for i, array in enumerate(weights)}
    if fold is not None:
        kept |= _answers(data, member, model, scales[0], fold)
    part = file.with_name(f"{file.stem}-{os.getpid()}.part.npz")
    np.savez(part, count=np.array(len(weights)), cpu_s=np.array(cpu_s), **kept)
    os.replace(part, file)


def _answers(
    data: Data, member: Member, model: Any, scale: Scale, fold: int
) -> dict[str, np.ndarray]:
    """Answers of a network to the clips and calls of its fold, as in `HeldOut`."""
    import tensorflow as tf

    labels = len(data.material.labels[0])
    unseen = np.flatnonzero(data.folds == fold)
    called = data.called[data.folds[data.called[:, 0]] == fold]
    real = called >= 0
    others = other_segments(called)
    clips = np.empty((len(data.tests), len(KNOWN), len(unseen), labels), np.float32)
    segments = np.zeros((len(LINES), *called.shape, labels), np.float32)
    network = tf.function(
        lambda x, weight: model([x, weight], training=False), reduce_retracing=True, autograph=False
    )

    def ask(x: np.ndarray, which: np.ndarray, sums: Histories, members: np.ndarray) -> np.ndarray:
        weight, *moments = sums.moments(members)
        logits = np.concatenate(
            [
                network(tf.constant(normalise(*batch)), tf.constant(few)).numpy()
                for *batch, few in _batches(x[which], *moments, weight)
            ]
        )[:, :labels]
        return softmax(logits, axis=1)

    for c, condition in enumerate(CONDITIONS):
        x = select_inputs(scale(data.tests[c]), member.inputs)
        sums = Histories(x)
        for k, known in enumerate(KNOWN):
            clips[c, k] = ask(x, unseen, sums, known_clips(data.tested, unseen, known))
        if condition in LINES:
            segments[LINES.index(condition)][real] = ask(x, called[real], sums, others[real])
    return {"clips": clips, "segments": segments}


def _batches(*arrays: np.ndarray, rows: int = 512) -> Iterator[tuple[np.ndarray, ...]]:
    for start in range(0, len(arrays[0]), rows):
        yield tuple(array[start : start + rows] for array in arrays)
