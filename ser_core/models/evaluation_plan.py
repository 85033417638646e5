"""Plan of an evaluation: the utterances that a bundle predicts, and their true labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_core.corpora import Corpus, Utterance
from ser_core.corpora.corpus import Progress
from ser_core.emotions import CALM, GROUPINGS, group_names, group_probabilities, in_label_space
from ser_core.errors import CorpusError
from ser_core.models.bundle import Bundle
from ser_core.models.history import HISTORY

# The history that a segment is labelled with: none, or the other segments of its channel.
NOTHING, CHANNEL = "nothing", "channel"


@dataclass(frozen=True)
class Plan:
    """What one bundle predicts, and what is compared.

    Parameters
    ----------
    bundle : Bundle
    grouping : str or None
    labels : tuple of str
        Labels that are compared: the bundle's, or their groups.
    truth : np.ndarray [shape=(utterances,)], int
        Index into labels; -1 for utterances that are left out.
    rows : np.ndarray of int
        Utterances that are predicted: all of them if histories are used.
    known : tuple of str
        `NOTHING`, and `CHANNEL` if histories are used.
    """

    bundle: Bundle
    grouping: str | None
    labels: tuple[str, ...]
    truth: np.ndarray
    rows: np.ndarray
    known: tuple[str, ...]

    def answers(self, vectors: np.ndarray, channel: np.ndarray) -> dict[str, np.ndarray]:
        """Probabilities of the bundle's own labels, by what is known; NaN for other rows."""
        found = {}
        for known in self.known:
            ids = channel[self.rows] if known == CHANNEL else None
            found[known] = np.full((len(vectors), len(self.bundle.labels)), np.nan, np.float32)
            found[known][self.rows] = self.bundle.predict(vectors[self.rows], ids)
        return found

    def grouped(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities of the labels that are compared, from those of the bundle's."""
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
    """The plan for a bundle.

    Parameters
    ----------
    bundle : Bundle
    corpus : Corpus
    truth : sequence of str or None
        True label or group of each utterance; None where annotators are divided.
    grouping : str or None
    histories : bool
        Whether the bundle is also tested with histories, if it takes them.

    Raises
    ------
    CorpusError
        Nothing to compare.
    """
    labels = bundle.labels if grouping is None else group_names(bundle.labels, grouping)
    places = {label: i for i, label in enumerate(labels)}
    if grouping is None:
        # As in the training: calm speech is neutral to a bundle without `calm`.
        places |= {word: places[own] for word in CALM if (own := in_label_space(word, labels))}
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
    """The true label of an utterance, or its group; None where annotators are divided."""
    if not grouping:
        return utterance.emotion if utterance.agreed else None
    group = GROUPINGS[grouping]
    votes: Counter[str] = Counter()
    certain = ((utterance.emotion, 1.0),)
    for emotion, share in certain if utterance.intended else utterance.shares or certain:
        # An emotion without a group stands for itself; no bundle has such a group.
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
    """Vectors by feature set, each extracted once; NaN for utterances that no plan predicts."""
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
