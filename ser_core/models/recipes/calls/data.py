"""Training and test data of recipe `calls`: clips under conditions, and calls made of clips."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.linalg import block_diag

from ser_core.conditions import CONDITIONS, COPIES
from ser_core.corpora import Corpus
from ser_core.models.recipes.base import Work
from ser_core.models.recipes.calls.material import Material
from ser_core.models.recipes.preparation import LabelledClips, select_utterances
from ser_core.models.targets import label_indices, label_shares

FEATURE_SET = "telephone"
# The condition whose figures are quoted first, and those whose answers set the thresholds.
HEADLINE = "mulaw"
LINES = ("mulaw", "hard")
# What is known of a speaker in a test; all of it is under the same condition.
KNOWN = {
    "none": "nothing known of the speaker",
    "mixed": "16 other clips known",
    "calm": "8 neutral or calm clips known",
    "angry": "8 angry clips known",
}
_MIXED, _ONE_SIDED = 16, 8
# Calls made of a held-out speaker's clips: number of calls per speaker, number of segments, and the
# share of segments in the call's main emotion. The other segments are neutral or calm.
CALLS_A_SPEAKER = 40
CALL_SEGMENTS = (3, 12)
CALL_SHARE = (0.5, 1.0)


@dataclass(frozen=True)
class Data:
    """Corpora as arrays. The first `len(folds)` clips are those of the first corpus.

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
        """Number of other clips that are known for each clip, by `KNOWN`."""
        all_clips = np.arange(len(self.folds))
        return {
            known: (known_clips(self.tested, all_clips, known) >= 0).sum(axis=1) for known in KNOWN
        }

    @property
    def fold_count(self) -> int:
        """Number of folds."""
        return int(self.folds.max()) + 1

    @cached_property
    def key(self) -> str:
        """A hash of all arrays and labels."""
        digest = hashlib.sha256(repr(self.material.labels).encode())
        for array in (
            self.material.vectors, self.material.truth, self.material.corpus,
            self.material.speaker, self.tests, self.folds, self.called,
            *(() if self.material.shares is None else (self.material.shares,)),
        ):  # fmt: skip
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def gather(
    tested: LabelledClips,
    corpora: Sequence[Corpus],
    *,
    seed: int,
    noise: Path | None,
    work: Work,
) -> Data:
    """Extract all data for training and testing.

    Parameters
    ----------
    tested : LabelledClips
        Clips of the first corpus.
    corpora : sequence of Corpus
        The first corpus with only these clips, and other corpora to train on.
    seed : int
        Seed of the made-up calls.
    noise : Path or None
        Folder of recorded noises for the copies.
    work : Work

    Raises
    ------
    CorpusError
        Files that cannot be read.
    """
    utterances = [utterance for corpus in corpora for utterance in corpus.utterances]
    labels = (tested.labels, *(select_utterances([corpus], None)[1] for corpus in corpora[1:]))
    truth = [
        label_indices(corpus.utterances, own) for corpus, own in zip(corpora, labels, strict=True)
    ]
    _, speaker = np.unique([utterance.speaker for utterance in utterances], return_inverse=True)
    material = Material(
        vectors=np.stack([work.extract(utterances, FEATURE_SET, copy, noise) for copy in COPIES]),
        truth=np.concatenate(truth),
        corpus=np.repeat(np.arange(len(corpora)), [len(c.utterances) for c in corpora]),
        speaker=speaker,
        labels=labels,
        shares=_shares(corpora, labels),
        tied=np.array([not utterance.agreed for utterance in utterances]),
    )
    tests = np.stack(
        [work.extract(tested.utterances, FEATURE_SET, condition, noise) for condition in CONDITIONS]
    )
    data = Data(material, tests, tested.folds, np.empty((0, 0), int), np.empty(0, int))
    called, mood = draw_calls(data.tested, np.random.default_rng(seed))
    return replace(data, called=called, mood=mood)


def _shares(corpora: Sequence[Corpus], labels: Sequence[Sequence[str]]) -> np.ndarray | None:
    """`Material.shares`, or None if no corpus has several annotators."""
    if not any(utterance.shares for corpus in corpora for utterance in corpus.utterances):
        return None
    return block_diag(
        *(label_shares(corpus.utterances, own) for corpus, own in zip(corpora, labels, strict=True))
    ).astype(np.float32)


def draw_calls(tested: Material, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make calls from clips of one speaker each, without clips whose annotators are divided.

    Returns
    -------
    clips : np.ndarray [shape=(calls, segments)], int
        -1 fills up.
    mood : np.ndarray [shape=(calls,)], int
        The main emotion.
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
            # Fewer others than segments in the main emotion, so that it stays the main one.
            others = np.setdiff1d(calm, felt)
            rest = random.permutation(others)[: min(size - share, max(len(felt) - 1, 0))]
            clips = np.full(high, -1)
            segments = random.permutation(np.concatenate([felt, rest]))
            clips[: len(segments)] = segments
            called.append(clips)
            mood.append(main)
    return np.array(called), np.array(mood)


def known_clips(tested: Material, which: np.ndarray, known: str) -> np.ndarray:
    """Other clips of the same speaker that are known in a test.

    Parameters
    ----------
    known : str
        One of `KNOWN`. A speaker without such clips has an empty history.

    Returns
    -------
    np.ndarray [shape=(len(which), 16)], int
        -1 fills up.
    """
    members = np.full((len(which), _MIXED), -1)
    labels = tested.labels[0]
    angry = np.array([label == "angry" for label in labels])[tested.truth]
    anything = np.ones_like(angry)
    wanted = {"none": ~anything, "mixed": anything, "calm": tested.calm, "angry": angry}[known]
    most = _MIXED if known == "mixed" else _ONE_SIDED
    for row, clip in enumerate(which):
        others = np.flatnonzero((tested.speaker == tested.speaker[clip]) & wanted)
        random = np.random.default_rng(clip)
        chosen = random.permutation(others[others != clip])[:most]
        members[row, : len(chosen)] = chosen
    return members
