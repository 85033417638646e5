"""Common steps of recipes: labelled clips, their folds of speakers, and parts of the card."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from ser_core import __version__
from ser_core.corpora import Corpus, Utterance
from ser_core.emotions import RAVDESS_EIGHT, check_labels
from ser_core.errors import SerError, TrainingError
from ser_core.models.card import DEFAULT
from ser_core.models.recipes.base import Recipe
from ser_core.models.runtime import load_keras
from ser_core.models.targets import label_indices, label_shares

_LIBRARIES = ("keras", "numpy", "onnxruntime", "scikit-learn", "soundfile", "soxr")
# With less data, a simpler model is better. The public corpora have about 200 clips per emotion by
# 24 speakers (RAVDESS), or 70 by 10 (EMO-DB).
FEW_CLIPS, FEW_SPEAKERS = 50, 10


@dataclass(frozen=True)
class LabelledClips:
    """The utterances that give the labels and the test, with their folds.

    Parameters
    ----------
    utterances : tuple of n Utterance
    labels : tuple of str
    folds : np.ndarray [shape=(n,)], int
        Folds of speakers; see `speaker_folds`.
    """

    utterances: tuple[Utterance, ...]
    labels: tuple[str, ...]
    folds: np.ndarray

    @classmethod
    def of(cls, corpora: Sequence[Corpus], recipe: Recipe) -> LabelledClips:
        """The utterances of corpora that a recipe uses.

        Raises
        ------
        TrainingError
            Emotions that the corpora don't have, or fewer speakers than folds.
        """
        utterances, labels = select_utterances(corpora, recipe.emotions)
        return cls(utterances, labels, speaker_folds(utterances, recipe.folds, recipe.seed))

    @cached_property
    def truth(self) -> np.ndarray:
        """Index of each utterance's label, int [n]."""
        return label_indices(self.utterances, self.labels)

    @cached_property
    def targets(self) -> np.ndarray:
        """Shares of the annotators by label, float32 [n, labels]."""
        return label_shares(self.utterances, self.labels)

    @cached_property
    def agreed(self) -> np.ndarray:
        """Utterances whose annotators are not divided, bool [n]; only these are tested."""
        return np.array([utterance.agreed for utterance in self.utterances])

    @cached_property
    def speakers(self) -> np.ndarray:
        """Speaker of each utterance, str [n]."""
        return np.array([utterance.speaker for utterance in self.utterances])

    @property
    def counts(self) -> dict[str, int]:
        """Number of utterances of each label, in the labels' order."""
        counts = Counter(utterance.emotion for utterance in self.utterances)
        return {label: counts[label] for label in self.labels}


def count_title(clips: LabelledClips, corpora: Sequence[Corpus]) -> str:
    """Title of the picture of `LabelledClips.counts`."""
    return f"{len(clips.utterances):,} utterances of {', '.join(corpus.name for corpus in corpora)}"


def select_utterances(
    corpora: Sequence[Corpus], emotions: Sequence[str] | None
) -> tuple[tuple[Utterance, ...], tuple[str, ...]]:
    """The utterances to train on, and their labels: RAVDESS's in its order, then others.

    Parameters
    ----------
    corpora : sequence of Corpus
    emotions : sequence of str or None
        Use these only; all of them if None.

    Raises
    ------
    TrainingError
        Emotions that no utterance has, or that are not a label set.
    """
    utterances = tuple(utterance for corpus in corpora for utterance in corpus.utterances)
    present = {utterance.emotion for utterance in utterances}
    missing = sorted(set(emotions or ()) - present)
    if missing:
        raise TrainingError(
            f"emotions: no utterance is {' or '.join(missing)}; "
            f"the corpora have: {', '.join(sorted(present))}"
        )
    wanted = present if emotions is None else set(emotions)
    known = [label for label in RAVDESS_EIGHT if label in wanted]
    try:
        labels = check_labels((*known, *sorted(wanted - set(known))))
    except SerError as error:
        raise TrainingError(f"the corpora's emotions: {error}") from None
    return tuple(utterance for utterance in utterances if utterance.emotion in wanted), labels


def speaker_folds(utterances: Sequence[Utterance], folds: int, seed: int = 0) -> np.ndarray:
    """Assign speakers to folds, balanced by sex, then by number of utterances.

    Utterances whose annotators are divided don't count, so each fold has speakers to test.

    Parameters
    ----------
    utterances : sequence of n utterances
    folds : int >= 2
    seed : int
        Seed of the order of speakers with the same number of utterances.

    Returns
    -------
    np.ndarray [shape=(n,)], int
        Fold of each utterance; the same for all of a speaker.

    Raises
    ------
    TrainingError
        Fewer speakers than folds.
    """
    asked = testable_speakers(utterances)
    spoken = {utterance.speaker: 0 for utterance in utterances}
    spoken |= Counter(utterance.speaker for utterance in utterances if utterance.agreed)
    sex = {utterance.speaker: utterance.sex for utterance in utterances}
    if len(asked) < folds:
        divided = len(spoken) - len(asked)
        raise TrainingError(
            f"folds={folds}, but the corpora have {len(asked)} speakers with these emotions"
            + (f", {divided} more whose annotators are divided" if divided else "")
            + (
                "; give at most that many folds (2 at least)"
                if len(asked) > 1
                else "; label recordings of two speakers or more: one to train on, one to test"
            )
        )
    shuffled = np.random.default_rng(seed).permutation(sorted(spoken))
    order = sorted(shuffled, key=lambda speaker: (sex[speaker], -spoken[speaker]))
    fold_of: dict[str, int] = {}
    dealt: Counter[int] = Counter()
    of_sex: Counter[tuple] = Counter()
    for speaker in order:
        fold = min(
            range(folds),
            key=lambda fold: (of_sex[fold, sex[speaker]], dealt[fold], fold),
        )
        fold_of[speaker] = fold
        of_sex[fold, sex[speaker]] += 1
        dealt[fold] += spoken[speaker]
    return np.array([fold_of[utterance.speaker] for utterance in utterances])


def testable_speakers(utterances: Sequence[Utterance]) -> set[str]:
    """Speakers with an utterance whose annotators are not divided."""
    return {utterance.speaker for utterance in utterances if utterance.agreed}


def advice(utterances: Sequence[Utterance], labels: Sequence[str]) -> list[str]:
    """Advice for few clips of an emotion, or few speakers."""
    counts = Counter(utterance.emotion for utterance in utterances)
    speakers = len({utterance.speaker for utterance in utterances})
    scarce = [f"{label} {counts[label]}" for label in labels if counts[label] < FEW_CLIPS]
    lines = []
    if scarce:
        lines.append(
            f"few clips of {', '.join(scarce)} (recommended: {FEW_CLIPS} each): use fewer emotions "
            "(--emotions, or a --label-map that joins some)"
        )
    if speakers < FEW_SPEAKERS:
        lines.append(
            f"{speakers} speakers (recommended: {FEW_SPEAKERS}): figures will have wide intervals"
        )
    return lines


def first_look(truth: np.ndarray, probabilities: np.ndarray, folds: int) -> str:
    """Result of the first fold, before the other folds are trained."""
    from sklearn.metrics import recall_score

    uar = recall_score(truth, probabilities.argmax(axis=1), average="macro", zero_division=0)
    guess = 1 / len(np.unique(truth))
    return (
        f"a first look, fold 1 of {folds}: UAR {uar:.1%} on {len(truth):,} clips of new speakers "
        f"(chance: {guess:.1%}); the other folds follow"
    )


def describe_corpus(corpus: Corpus, labels: Sequence[str]) -> dict[str, Any]:
    """A corpus as the card describes it."""
    used = [utterance for utterance in corpus.utterances if utterance.emotion in labels]
    counts = Counter(utterance.emotion for utterance in used)
    return {
        "name": corpus.name,
        "licence": corpus.licence,
        "note": corpus.note,
        "utterances": len(used),
        "speakers": len({utterance.speaker for utterance in used}),
        "by_emotion": {label: counts[label] for label in labels},
        "other_emotions": len(corpus.utterances) - len(used),
        "skipped": dict(corpus.skipped),
        "warnings": list(corpus.warnings),
        "agreement": None if corpus.agreement is None else corpus.agreement.as_json(),
    }


def licence_line(corpora: Sequence[Corpus]) -> str:
    """Licence of a model of these corpora in one line, with the advice for commercial use."""
    sources = "trained on " + "; ".join(f"{corpus.name}, {corpus.licence}" for corpus in corpora)
    if all(corpus.any_use for corpus in corpora):
        return sources
    return (
        f"{sources}. For commercial use take {DEFAULT}, or train on calls of your own (ser train)"
    )


def library_versions() -> dict[str, str]:
    """Versions of the libraries that train, for the card."""
    load_keras()
    import tensorflow as tf

    return {
        "ser-pipeline": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        **{name: version(name) for name in _LIBRARIES},
    }
