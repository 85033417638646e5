"""What a bundle is plans in an evaluation: which utterances, and what the right answers are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_core.corpora import Corpus, Utterance
from ser_core.corpora.vectors import Progress
from ser_core.emotions import GROUPINGS, group_names, group_probabilities
from ser_core.errors import CorpusError
from ser_core.models.bundle import Bundle
from ser_core.models.history import HISTORY

# What is known of a channel when a segment of it is labelled: nothing, or its other segments.
NOTHING, CHANNEL = "nothing", "channel"


@dataclass(frozen=True)
class Plan:
    """What one bundle is plans.

    Parameters
    ----------
    bundle : Bundle
    grouping : str or None
    labels : tuple of str
        That are compared.
    truth : np.ndarray [shape=(utterances,)], int
        Index into labels; -1 where the utterance is left out.
    rows : np.ndarray of int
        Utterances that are predicted: all where a channel's history is plans for.
    known : tuple of str
    """

    bundle: Bundle
    grouping: str | None
    labels: tuple[str, ...]
    truth: np.ndarray
    rows: np.ndarray
    known: tuple[str, ...]

    def answers(self, vectors: np.ndarray, channel: np.ndarray) -> dict[str, np.ndarray]:
        """What is known -> probabilities of the bundle's own labels; NaN for other rows."""
        found = {}
        for known in self.known:
            ids = channel[self.rows] if known == CHANNEL else None
            found[known] = np.full((len(vectors), len(self.bundle.labels)), np.nan, np.float32)
            found[known][self.rows] = self.bundle.predict(vectors[self.rows], ids)
        return found

    def grouped(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities of the labels that are compared."""
        if not self.grouping:
            return probabilities
        return group_probabilities(probabilities, self.bundle.labels, self.grouping)


def make_plan(
    bundle: Bundle,
    corpus: Corpus,
    truth: Sequence[str | None],
    grouping: str | None,
    histories: bool,
) -> Plan:
    labels = bundle.labels if grouping is None else group_names(bundle.labels, grouping)
    places = {label: i for i, label in enumerate(labels)}
    place = np.array([-1 if word is None else places.get(word, -1) for word in truth], dtype=int)
    if len(labels) < 2:
        raise CorpusError(
            f"the model {bundle.id} labels {', '.join(bundle.labels)}: of the groups {grouping} "
            f"that is {', '.join(labels) or 'none'}, nothing to tell apart; take other groups"
        )
    if all(word is None for word in truth):
        raise CorpusError(
            f"{corpus.name}: the annotators are divided on every utterance: nothing to compare "
            "with; take another corpus"
        )
    if not (place >= 0).any():
        raise CorpusError(
            f"{corpus.name} has {', '.join(sorted(corpus.counts))}, and the model {bundle.id} "
            f"labels {', '.join(bundle.labels)}: nothing to compare; take another corpus"
        )
    history = histories and bundle.card.channel_normalisation == HISTORY
    rows = np.arange(len(place)) if history else np.flatnonzero(place >= 0)
    known = (NOTHING, CHANNEL) if history else (NOTHING,)
    return Plan(bundle, grouping, labels, place, rows, known)


def true_label(utterance: Utterance, grouping: str | None) -> str | None:
    """What an utterance is to be taken for: a label or a group; None where annotators tie."""
    if not grouping:
        return utterance.emotion if utterance.agreed else None
    group = GROUPINGS[grouping]
    votes: Counter[str] = Counter()
    for emotion, share in utterance.shares or ((utterance.emotion, 1.0),):
        # An emotion that has no group stands for itself, which no bundle will have.
        votes[group(emotion) or emotion] += share  # type: ignore[assignment]
    (first, most), *others = votes.most_common(2)
    return None if others and math.isclose(most, others[0][1], abs_tol=1e-9) else first


def extract_vectors(
    plans: Sequence[Plan],
    corpus: Corpus,
    condition: str,
    jobs: int | None,
    cache: Path | None,
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """Feature set -> a vector for each utterance, NaN where nobody asks; each extracted once."""
    from ser_core.corpora import vectors

    found = {}
    for name in dict.fromkeys(plan.bundle.feature_set for plan in plans):
        rows = np.unique(
            np.concatenate([plan.rows for plan in plans if plan.bundle.feature_set == name])
        )

        def report(stage: str, done: int, total: int, name: str = name) -> None:
            if progress:
                progress(f"{name}, {condition}", done, total)

        extracted = vectors.extract(
            [corpus.utterances[i] for i in rows], name, condition=condition, jobs=jobs, cache=cache,
            progress=report,
        )  # fmt: skip
        shape = len(corpus.utterances), extracted.shape[1]
        found[name] = np.full(shape, np.nan, dtype=np.float32)
        found[name][rows] = extracted
    return found
