"""Utterances as arrays: their true labels, their annotators' shares, and their channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ser_core.corpora import Utterance


def label_indices(utterances: Sequence[Utterance], labels: Sequence[str]) -> np.ndarray:
    """Index of each utterance's emotion in `labels`."""
    index = {label: i for i, label in enumerate(labels)}
    return np.array([index[utterance.emotion] for utterance in utterances])


def label_shares(utterances: Sequence[Utterance], labels: Sequence[str]) -> np.ndarray:
    """Shares of the annotators by label, float32 [n, len(labels)]; rows add up to 1.

    An utterance without annotators' shares counts fully for its emotion. Votes for emotions that
    are not in `labels` don't count; an utterance with no other votes counts for its emotion.
    """
    targets = np.zeros((len(utterances), len(labels)), dtype=np.float32)
    index = {label: i for i, label in enumerate(labels)}
    for row, utterance in zip(targets, utterances, strict=True):
        shares = [(label, share) for label, share in utterance.shares if label in index]
        for label, share in shares or ((utterance.emotion, 1.0),):
            row[index[label]] = share
    return targets / targets.sum(axis=1, keepdims=True)


def channel_ids(utterances: Sequence[Utterance]) -> np.ndarray:
    """Channel of each utterance, whose history it belongs to.

    Parts of a recording belong to its channel. All whole clips of a speaker are taken as one
    channel.

    Returns
    -------
    np.ndarray [shape=(n,)], int
        Ids as `Bundle.predict` takes them.
    """
    keys = [
        (str(utterance.path), utterance.channel)
        if utterance.is_part
        else (utterance.corpus, utterance.speaker)
        for utterance in utterances
    ]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=int)
