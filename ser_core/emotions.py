"""Label sets, the labels that count as negative, and the label of a recording from its segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ser_core.errors import SerError

# Imported where it is needed, since the command line reads only the names of groupings.
if TYPE_CHECKING:
    import numpy as np

# The eight labels of RAVDESS (Livingstone & Russo 2018), in the order of its file names.
RAVDESS_EIGHT = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

# The labels of speech without marked emotion.
CALM = ("neutral", "calm")

# The labels that analysts count as negative, in all label sets.
NEGATIVE = frozenset({"angry", "sad", "fearful", "disgust", "negative", "frustrated"})


@dataclass(frozen=True)
class Grouping:
    """A question that call centres ask, as a map from labels to groups.

    Parameters
    ----------
    description : str
        The groups, for `--help`.
    group_of : callable
        From a label to its group; None leaves the label out.
    """

    description: str
    group_of: Callable[[str], str | None]

    def __call__(self, label: str) -> str | None:
        """The group of a label, or None."""
        return self.group_of(label)


# A grouping is added here. "angry" includes "frustrated".
GROUPINGS: Mapping[str, Grouping] = {
    "angry": Grouping(
        "angry or not",
        lambda label: "angry" if label in ("angry", "frustrated") else "other",
    ),
    "negative": Grouping(
        "negative or not", lambda label: "negative" if label in NEGATIVE else "other"
    ),
    "four": Grouping(
        "neutral, happy, sad or angry",
        {
            "neutral": "neutral",
            "calm": "neutral",
            "happy": "happy",
            "sad": "sad",
            "angry": "angry",
            "frustrated": "angry",
        }.get,
    ),
}

# `arc` compares the negativity of the last quarter with speech to that of the first.
ARC_CHANGE = 0.10

# Thresholds of `unsure` for bundles whose card gives none.
UNSURE_SEGMENT_BELOW = 0.5
UNSURE_RECORDING_BELOW = 0.5

QUARTERS = 4


@dataclass(frozen=True)
class Aggregate:
    """The label of a set of segments and its derived figures. All None without segments."""

    label: str | None
    confidence: float | None
    probabilities: tuple[float, ...] | None
    negativity: float | None
    negativity_by_quarter: tuple[float | None, ...]
    arc: str | None


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Check a label set: two or more different names that can be part of a column's name.

    Raises
    ------
    SerError
        Fewer than two names, duplicate names, or a name that is not an identifier.
    """
    labels = tuple(labels)
    if len(labels) < 2:
        raise SerError(f"{len(labels)} emotions given ({', '.join(labels)}), two or more expected")
    if len(set(labels)) < len(labels):
        raise SerError(f"duplicate emotion: {', '.join(labels)}")
    for label in labels:
        if not label.isidentifier():
            raise SerError(
                f"emotion {label!r}: letters, digits and _ expected, not starting with a digit"
            )
    return labels


def in_label_space(emotion: str, labels: Sequence[str]) -> str | None:
    """The label that an emotion of another corpus counts as, or None.

    Examples
    --------
    >>> in_label_space("calm", ("neutral", "angry")), in_label_space("bored", ("neutral", "angry"))
    ('neutral', None)
    """
    if emotion in labels:
        return emotion
    return "neutral" if emotion in CALM and "neutral" in labels else None


def group_names(labels: Sequence[str], grouping: str) -> tuple[str, ...]:
    """The groups of a label set under one of `GROUPINGS`, with `other` last.

    Examples
    --------
    >>> group_names(("happy", "angry"), "angry")
    ('angry', 'other')
    """
    groups = dict.fromkeys(group for label in labels if (group := GROUPINGS[grouping](label)))
    return tuple(sorted(groups, key=lambda group: group == "other"))


def group_probabilities(
    probabilities: np.ndarray, labels: Sequence[str], grouping: str
) -> np.ndarray:
    """Add up the probabilities of labels by group.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, len(labels))]
    labels : sequence of str
    grouping : str
        One of `GROUPINGS`.

    Returns
    -------
    np.ndarray [shape=(n, len(group_names(labels, grouping)))]
        Rows add up to 1; labels without a group are left out.
    """
    import numpy as np

    groups = [GROUPINGS[grouping](label) for label in labels]
    names = group_names(labels, grouping)
    sums = np.stack(
        [probabilities[:, [group == name for group in groups]].sum(axis=1) for name in names],
        axis=1,
    )
    return sums / np.maximum(sums.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)


def aggregate(
    probabilities: np.ndarray,
    start_s: Sequence[float],
    end_s: Sequence[float],
    *,
    labels: Sequence[str],
    duration_s: float,
) -> Aggregate:
    """Combine segments into one label, each weighted by its duration.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, len(labels))]
    start_s, end_s : sequences of n floats
        Seconds from the start of the recording; n may be 0.
    labels : sequence of str
    duration_s : float
        Duration of the recording, which defines its quarters. A segment counts in each quarter
        by the seconds that it has in it.
    """
    import numpy as np

    count = len(start_s)
    if count == 0:
        return Aggregate(None, None, None, None, (None,) * QUARTERS, None)
    probabilities = np.asarray(probabilities, dtype=np.float64).reshape(count, len(labels))
    start = np.asarray(start_s, dtype=np.float64)
    end = np.asarray(end_s, dtype=np.float64)
    weights = end - start
    mean = weights @ probabilities / weights.sum()
    best = int(mean.argmax())

    negative = probabilities[:, [label in NEGATIVE for label in labels]].sum(axis=1)
    edges = np.linspace(0.0, max(duration_s, float(end.max())), QUARTERS + 1)
    quarters: list[float | None] = []
    for low, high in pairwise(edges):
        seconds = np.clip(np.minimum(end, high) - np.maximum(start, low), 0.0, None)
        total = seconds.sum()
        quarters.append(float(seconds @ negative / total) if total > 0 else None)
    return Aggregate(
        label=labels[best],
        confidence=float(mean[best]),
        probabilities=tuple(float(p) for p in mean),
        negativity=float(weights @ negative / weights.sum()),
        negativity_by_quarter=tuple(quarters),
        arc=_arc(quarters),
    )


def _arc(quarters: Sequence[float | None]) -> str | None:
    spoken = [value for value in quarters if value is not None]
    if len(spoken) < 2:
        return None
    change = spoken[-1] - spoken[0]
    if change > ARC_CHANGE:
        return "worse"
    return "better" if change < -ARC_CHANGE else "level"
