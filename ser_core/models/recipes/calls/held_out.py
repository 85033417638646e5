"""Out-of-fold answers of the ensemble, with and without histories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ser_core.conditions import CONDITIONS
from ser_core.models.history import history_belief
from ser_core.models.recipes.calls.data import KNOWN, LINES, Data, known_clips

_KNOWN = tuple(KNOWN)


@dataclass(frozen=True)
class HeldOut:
    """Out-of-fold predictions, averaged over the networks and not calibrated.

    Parameters
    ----------
    data : Data
    clips : np.ndarray [shape=(conditions, known, n, labels)], float32
        Predictions for each clip under `CONDITIONS` with what is `KNOWN`.
    segments : np.ndarray [shape=(lines, calls, segments, labels)], float32
        Predictions for the segments of made-up calls under `LINES`, with the other segments known;
        zeros fill up.
    clips_belief, segments_belief : np.ndarray
        The same shapes without labels: how far each history was used, from 0 to 1.
    """

    data: Data
    clips: np.ndarray
    segments: np.ndarray
    clips_belief: np.ndarray
    segments_belief: np.ndarray


def blend_history(
    data: Data,
    clips: np.ndarray,
    segments: np.ndarray,
    doubted: tuple[float, float],
    most: float = 1.0,
) -> HeldOut:
    """Blend answers with a history and answers without one, as `Bundle.predict` does.

    Parameters
    ----------
    data : Data
    clips, segments : np.ndarray
        As in `HeldOut`, with every history used in full.
    doubted : two floats
        `Card.history_doubted`.
    most : float in (0, 1]
        `Card.history_share`.
    """
    labels = data.material.labels[0]
    alone = clips[:, _KNOWN.index("none")]
    clips_belief = np.ones(clips.shape[:3], np.float32)
    all_clips = np.arange(len(data.folds))
    for k, known in enumerate(_KNOWN):
        members = known_clips(data.tested, all_clips, known)
        for c in range(len(clips)):
            others = mean_answer(alone[c], members)
            clips_belief[c, k] = most * history_belief(others, labels, doubted)
    share = clips_belief[..., None]
    clips = share * clips + (1 - share) * alone[:, None]
    segments_belief = np.zeros(segments.shape[:3], np.float32)
    segments = segments.copy()
    real = data.called >= 0
    others_called = other_segments(data.called)[real]
    for line, condition in enumerate(LINES):
        by_clip = alone[list(CONDITIONS).index(condition)]
        others = mean_answer(by_clip, others_called)
        segments_belief[line][real] = most * history_belief(others, labels, doubted)
        share = segments_belief[line][real][:, None]
        segments[line][real] = (
            share * segments[line][real] + (1 - share) * by_clip[data.called[real]]
        )
    return HeldOut(data, clips, segments, clips_belief, segments_belief)


def mean_answer(answers: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean answers of sets of clips, float [m, labels]; zeros for an empty set.

    Parameters
    ----------
    answers : np.ndarray [shape=(n, labels)]
    members : np.ndarray [shape=(m, most)], int
        Clips of each set; -1 fills up.
    """
    real = members >= 0
    sums = (answers[np.maximum(members, 0)] * real[..., None]).sum(axis=1)
    return sums / np.maximum(real.sum(axis=1), 1)[:, None]


def other_segments(called: np.ndarray) -> np.ndarray:
    """The other segments of each segment's call, int [calls, segments, segments]; -1 fills up."""
    others = np.repeat(called[:, None], called.shape[1], axis=1)
    others[:, np.arange(called.shape[1]), np.arange(called.shape[1])] = -1
    return others
