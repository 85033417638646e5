"""The vectors of the corpora, standardised corpus by corpus, and the classifier fitted to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ser_core import features
from ser_core.corpora import Corpus, Utterance, relabel
from ser_core.emotions import CALM, in_label_space
from ser_core.errors import TrainingError
from ser_core.models import archive
from ser_core.models.archive import FeatureStatistics
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls.head import SMALLEST_LENGTH, Head, fit
from ser_core.models.targets import label_indices, label_shares

# What is trained on: clips over mu-law, cut to their speech as a night cuts calls; the whole clips,
# by `WHOLE`; and copies over bad lines and with noise, cut as well, by `COPIES` times their number
# here. Then what is tested under. See `ser_core.conditions`.
HEADLINE = "mulaw"
CUT = "copy_cut"
COPIED = {"copy_cut_line": 3, "copy_cut_noisy": 1}
WHOLE = 0.3
COPIES = 0.1
TESTED = ("clean", "mulaw", "hard")
# The corpora on which these settings were chosen, each while it was left out of the training:
# figures on them flatter a little (docs/accuracy.md).
CHOSEN_ON = ("EMO-DB", "EMOVO", "RAVDESS")
# The share of what the speaker meant in the targets of a corpus that knows it. The rest are the
# listeners' votes, balanced, since listeners say "neutral" wherever they are unsure.
INTENDED = 0.7
# How much a standard deviation over a clip counts beside a mean: it depends more on how long the
# clip is, and on what it holds beside speech.
SPREAD_TRUST = 0.5
# How much the clips count as clips of a mostly neutral archive, and its share of neutral speech.
NEUTRAL_ARCHIVE = 0.5
NEUTRAL_SHARE = 0.95


@dataclass(frozen=True)
class Clips:
    """The clips of one corpus.

    Parameters
    ----------
    name : str
    names : tuple of d str
        Of the features.
    utterances : tuple of n Utterance
    truth : np.ndarray [shape=(n,)], int
        Index of the label.
    targets : np.ndarray [shape=(n, k)], float32
        Shares of the labels.
    allowed : np.ndarray [shape=(k,)], bool
        The labels that the corpus has.
    vectors : mapping of condition to np.ndarray [shape=(n, d)], float32
    """

    name: str
    names: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    truth: np.ndarray
    targets: np.ndarray
    allowed: np.ndarray
    vectors: Mapping[str, np.ndarray]

    @property
    def speakers(self) -> np.ndarray:
        """Speaker of each clip, str [n]."""
        return np.array([utterance.speaker for utterance in self.utterances])

    @property
    def agreed(self) -> np.ndarray:
        """Clips whose annotators are not divided, bool [n]; only these are tested."""
        return np.array([utterance.agreed for utterance in self.utterances])

    def of(self, rows: np.ndarray) -> Clips:
        """Some of the clips."""
        return replace(
            self,
            utterances=tuple(self.utterances[row] for row in np.arange(len(self.truth))[rows]),
            truth=self.truth[rows],
            targets=self.targets[rows],
            vectors={name: matrix[rows] for name, matrix in self.vectors.items()},
        )


@dataclass(frozen=True)
class Classifier:
    """A fitted head and the normal of its training.

    Parameters
    ----------
    head : Head
    normal : FeatureStatistics
        Mean and standard deviation of the training's features, corpora counting alike.
    """

    head: Head
    normal: FeatureStatistics

    def alone(self, vectors: np.ndarray) -> np.ndarray:
        """Probabilities where nothing is known of the archive, float32 [n, k]."""
        return self.head(head_input(vectors, self.normal))

    def adapted(self, vectors: np.ndarray, recording: np.ndarray | None = None) -> np.ndarray:
        """Probabilities of an archive's vectors, adapted to these: float32 [n, k]."""
        statistics, _ = archive.measure_balanced(vectors, recording, self.normal, self.alone)
        scale, offset = archive.mapping(statistics, self.normal)
        return self.alone(vectors * scale + offset)


def to_label_space(corpus: Corpus, labels: Sequence[str]) -> Corpus:
    """The corpus with its emotions and votes renamed to the labels that they count as."""
    emotions = {
        emotion
        for utterance in corpus.utterances
        for emotion in (utterance.emotion, *(label for label, _ in utterance.shares))
    }
    label_map = {emotion: in_label_space(emotion, labels) or emotion for emotion in emotions}
    return relabel(corpus, label_map)


def without_speakers(parts: Sequence[Clips], speakers: Collection[str]) -> list[Clips]:
    """The clips of other speakers, without corpora that have none.

    Two files of labels may name the same caller, who must not be heard in one and tested in the
    other.
    """
    rest = []
    for part in parts:
        kept = ~np.isin(part.speakers, list(speakers))
        if kept.any():
            rest.append(part if kept.all() else part.of(kept))
    return rest


def gather(
    corpus: Corpus,
    labels: Sequence[str],
    feature_set: str,
    conditions: Sequence[str],
    work: Work,
    noise: Path | None = None,
) -> Clips:
    """The clips of a corpus that have one of the labels, under some conditions.

    Raises
    ------
    TrainingError
        The corpus has fewer than two of the labels.
    CorpusError
        Files that cannot be read.
    """
    utterances = tuple(utterance for utterance in corpus.utterances if utterance.emotion in labels)
    truth = label_indices(utterances, labels)
    if len(np.unique(truth)) < 2:
        raise TrainingError(
            f"{corpus.name}: it has {', '.join(corpus.counts) or 'no utterance'}, and two or more "
            f"of {', '.join(labels)} (the labels of the first corpus) are needed; leave it out, or "
            "name other --emotions"
        )
    vectors = {name: work.extract(utterances, feature_set, name, noise) for name in conditions}
    targets = soft_targets(utterances, truth, label_shares(utterances, labels))
    allowed = np.any(targets > 0, axis=0)
    names = features.get(feature_set).names
    return Clips(corpus.name, names, utterances, truth, targets, allowed, vectors)


def soft_targets(
    utterances: Sequence[Utterance], truth: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Shares of the labels to train with, float32 [n, k].

    Where it is known what the speaker meant, that is `INTENDED` of it, and the rest are votes,
    divided by how common each label is among the votes.

    Parameters
    ----------
    utterances : sequence of n Utterance
    truth : np.ndarray [shape=(n,)], int
    shares : np.ndarray [shape=(n, k)]
        Shares of the annotators; rows add up to 1.
    """
    known = np.array([utterance.intended for utterance in utterances])
    if not known.any():
        return shares
    common = shares[known].mean(axis=0)
    balanced = shares[known] / np.where(common > 0, common, 1)
    balanced /= balanced.sum(axis=1, keepdims=True)
    meant = np.eye(shares.shape[1])[truth[known]]
    targets = shares.copy()
    targets[known] = INTENDED * meant + (1 - INTENDED) * balanced
    return targets


def trained_conditions(copies: float = COPIES) -> dict[str, float]:
    """The conditions that are trained on, with how much a clip counts under each.

    Examples
    --------
    >>> trained_conditions(copies=0.5)
    {'copy_cut': 1.0, 'mulaw': 0.3, 'copy_cut_line': 1.5, 'copy_cut_noisy': 0.5}
    """
    copied = {name: copies * times for name, times in COPIED.items()}
    counts = {CUT: 1.0, HEADLINE: WHOLE, **copied}
    return {name: count for name, count in counts.items() if count}


def feature_trust(names: Sequence[str], spread_trust: float = SPREAD_TRUST) -> np.ndarray:
    """How much each feature counts, float32 [d]; see `head.fit`.

    Parameters
    ----------
    names : sequence of d str
        Of the features.
    spread_trust : float > 0
        How much standard deviations count.

    Examples
    --------
    >>> feature_trust(["layer2_mean_000", "layer2_sd_000"])
    array([1. , 0.5], dtype=float32)
    """
    spreads = ["sd" in name.split("_") for name in names]
    return np.where(spreads, np.float32(spread_trust), np.float32(1))


def train(
    parts: Sequence[Clips],
    *,
    decay: float,
    conditions: Mapping[str, float],
    spread_trust: float = SPREAD_TRUST,
    neutral_archive: float = NEUTRAL_ARCHIVE,
) -> Classifier:
    """Fit a classifier to the clips of corpora under some conditions.

    Each is standardised twice: by what all labels of its corpus are like, and by an archive that
    is mostly neutral, as if it were drawn from the corpus.

    Parameters
    ----------
    parts : sequence of Clips
        One per corpus; without clips that must not be heard.
    decay : float
        As in `head.fit`.
    conditions : mapping of name to float
        How much a clip counts under each condition, such as `trained_conditions()`.
    spread_trust : float > 0
        As in `feature_trust`.
    neutral_archive : float >= 0
        How much clips count that are standardised by an archive that is mostly neutral.
    """
    rows = []
    for part in parts:
        weight = weigh_labels(part.targets)
        archives = [(weight, 1.0)]
        if neutral_archive:
            archives.append((archive_weights(part, NEUTRAL_SHARE), neutral_archive))
        for condition, share in conditions.items():
            matrix = part.vectors[condition]
            for of_archive, counts in archives:
                scaled = head_input(matrix, measure_normal(matrix, of_archive))
                rows.append((scaled, part, share * counts * weight))
    head = fit(
        np.concatenate([scaled for scaled, _, _ in rows]),
        np.concatenate([part.targets for _, part, _ in rows]),
        np.concatenate([np.tile(part.allowed, (len(part.truth), 1)) for _, part, _ in rows]),
        np.concatenate([weight for _, _, weight in rows]),
        decay=decay,
        trust=feature_trust(parts[0].names, spread_trust),
    )
    normal = average_normal(
        [(part.vectors[HEADLINE], weigh_labels(part.targets)) for part in parts]
    )
    return Classifier(head, normal)


def archive_weights(part: Clips, neutral_share: float) -> np.ndarray:
    """Weights of a corpus' clips as in an archive of which a share is neutral.

    Returns
    -------
    np.ndarray [shape=(n,)]
        They add up to 1.
    """
    neutral = np.array([utterance.emotion in CALM for utterance in part.utterances])
    if neutral.all() or not neutral.any():
        return np.full(len(neutral), 1 / len(neutral))
    shares = (neutral_share / neutral.sum(), (1 - neutral_share) / (~neutral).sum())
    return np.where(neutral, *shares)


def average_normal(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> FeatureStatistics:
    """Mean of the means, and of the variances, of several (vectors, weights)."""
    normals = [measure_normal(vectors, weight) for vectors, weight in parts]
    mean = np.mean([normal.mean for normal in normals], axis=0)
    std = np.sqrt(np.mean([np.square(normal.std) for normal in normals], axis=0))
    return FeatureStatistics(mean.astype(np.float32), std.astype(np.float32))


def measure_normal(matrix: np.ndarray, weight: np.ndarray) -> FeatureStatistics:
    """Weighted mean and standard deviation of vectors [n, d]; the weights [n] add up to 1."""
    mean = weight @ matrix
    std = np.sqrt(weight @ np.square(matrix - mean))
    return FeatureStatistics(mean.astype(np.float32), std.astype(np.float32))


def head_input(vectors: np.ndarray, normal: FeatureStatistics) -> np.ndarray:
    """Standardised vectors [n, d], each brought to the length of d typical values.

    What is far from everything in the training is far by its length. At one length, a head is no
    more certain of it than of the training. A row of zeros stays as it is.
    """
    scores = standardise(vectors, normal)
    length = np.linalg.norm(scores, axis=1, keepdims=True)
    return scores * (np.sqrt(scores.shape[1]) / np.maximum(length, SMALLEST_LENGTH))


def standardise(vectors: np.ndarray, normal: FeatureStatistics) -> np.ndarray:
    """z-scores [n, d]; zero for a feature that is constant."""
    return (vectors - normal.mean) / np.where(normal.std > 0, normal.std, np.inf)


def weigh_labels(targets: np.ndarray) -> np.ndarray:
    """Weights of clips, by which all labels count alike; they add up to 1.

    Parameters
    ----------
    targets : np.ndarray [shape=(n, k)]
        Shares of the labels.

    Examples
    --------
    >>> weigh_labels(np.array([[1, 0], [1, 0], [0, 1]]))
    array([0.25, 0.25, 0.5 ])
    """
    shares = targets.mean(axis=0)
    weights = (targets / np.where(shares > 0, shares, np.inf)).sum(axis=1)
    return weights / weights.sum()
