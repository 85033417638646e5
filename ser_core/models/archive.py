"""Archives: what the features of an archive are like, and how a bundle is fitted to it.

Calls of another country, line or recorder differ from the training corpora in every feature. An
adapted bundle therefore maps the archive's features onto those of the training, before its network
sees them: x' = (x - archive mean) / archive std * training std + training mean. The numbers come
from stored features, without labels, and are kept in `archive.npz`. They never come from the batch
at hand, so a label does not depend on its neighbours.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_core.errors import BundleError
from ser_core.models.file_checks import DAMAGED, read_arrays

# Fewer rows say too little about an archive.
MIN_ROWS = 50
# From this many rows on, the archive's statistics count in full; below, they are shrunk towards
# those of the training.
FULL_ROWS = 300
# Values count as at most this far from the archive's centre, in std of the training.
CLIP_STD = 4.0
# A row is left out if its distance from the centre exceeds the median distance by more than this
# many interquartile ranges. Over five corpora that leaves out 0 to 4 % of speech; of the rows of an
# archive of which 5 % are silence, tones, music and noise, 45 to 100 % of these (the encoder's
# features: 77 to 100 %).
FAR_IQR = 3.0
# The archive's std counts as at least this share of the training's.
MIN_STD = 0.25
# A night whose `distance` is more is no longer the archive's. Calls of one corpus, split at random
# or by speaker, are at most 0.3 from each other; another corpus, or a GSM line with noise instead
# of mu-law, is 0.5 to 1.9 away (four corpora, features of `encoder` and of `telephone`).
MOVED = 0.5
# An emotion counts as at least this share of an archive when its emotions are balanced.
RAREST = 0.02
# From this far on, in std of the training (`_shift`), an archive's emotions are balanced after a
# first mapping. Corpora of other rooms and languages, and bad lines, are 0.5 to 1.0 away.
FAR = 1.5
# The largest weight of a row when the emotions are balanced, in units of the mean weight.
MOST = 3.0
# Whether the archive's shares of the emotions are estimated as well (`ser_core.models.priors`).
# In mostly neutral archives more labels are then right, but UAR falls (docs/accuracy.md, "Trials").
ESTIMATE_PRIORS = False
# The training's statistics in `reference.npz`.
TRAINING = ("feature_mean", "feature_std")
_BLOCK_ROWS = 4_096
# Ids of the recordings of rows.
Recordings = Sequence[Hashable] | np.ndarray


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of each feature.

    Parameters
    ----------
    mean, std : np.ndarray [shape=(d,)], float32
        A std of 0 marks a feature that is constant, and therefore not mapped.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], columns: int) -> FeatureStatistics | None:
        """The training's statistics from the arrays of `reference.npz`; None in older bundles.

        Raises
        ------
        BundleError
            Arrays of another shape, or with values that are no statistics.
        """
        if not set(TRAINING) <= set(arrays):
            return None
        mean, std = (np.asarray(arrays[name], dtype=np.float32) for name in TRAINING)
        if mean.shape != (columns,) or std.shape != (columns,):
            raise BundleError(
                f"feature_mean and feature_std of shapes {mean.shape} and {std.shape} found, "
                f"({columns},) expected; train the bundle again"
            )
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
            raise BundleError(
                "feature_mean or feature_std with values that are not finite or below 0 found; "
                "train the bundle again"
            )
        return cls(mean, std)


@dataclass(frozen=True)
class ArchiveStatistics:
    """The features of an archive.

    Parameters
    ----------
    mean, std : np.ndarray [shape=(d,)], float32
        Balanced by recording, without what is far from the archive's speech.
    rows, left_out : int
        Number of vectors, and how many of these were left out.
    recordings : int
    weight : float
        Sum of the rows' weights: at most the number of rows that were not left out.
    """

    mean: np.ndarray
    std: np.ndarray
    rows: int
    left_out: int
    recordings: int
    weight: float


def balance(probabilities: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Weights of rows by which an archive's emotions count more alike, as the model sees them.

    Most archives are mostly neutral. Their plain mean is that of neutral speech, while the
    training's is that of all emotions alike.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(n, labels)]
        Of the model that knows no archive, not calibrated: what was measured when it was trained
        had no calibration yet.
    counts : np.ndarray [shape=(n,)], optional
        How much each row counts in how common an emotion is, as from `measure`: else one long call
        would make its emotion common. By default all rows count alike.

    Returns
    -------
    np.ndarray [shape=(n,)]
        At most `MOST` times their mean: of an archive that is far from the training, the model may
        see nothing but one label and a few chance ones.

    Examples
    --------
    >>> balance(np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).round(2)
    array([0.67, 0.67, 0.67, 2.  ])
    """
    common = np.average(probabilities.astype(np.float64), axis=0, weights=counts)
    weights = (probabilities / np.maximum(common, RAREST)).mean(axis=1)
    return np.minimum(weights, MOST * np.average(weights, weights=counts))


def measure(
    matrix: np.ndarray,
    recording: Recordings | None,
    training: FeatureStatistics,
    balanced: np.ndarray | None = None,
) -> tuple[ArchiveStatistics, np.ndarray]:
    """Mean and standard deviation of an archive's features, and the weight of each row.

    A recording counts in proportion to its segments, but no more than the median recording, so
    that one long call does not decide. Silence, hold music and the like change little: values are
    clipped around the archive's median (winsorised), and rows far away from it are left out.

    Parameters
    ----------
    matrix : np.ndarray [shape=(n, d)], float32
        At least one row.
    recording : sequence of n ids, or None
        Id of each row's recording: a number, text or a tuple. None: each row is a recording.
    training : FeatureStatistics
        Gives the scale in which distances are measured.
    balanced : np.ndarray [shape=(n,)], optional
        Further weights of the rows; see `balance`.
    """
    groups = _groups(recording, len(matrix))
    sizes = np.array([len(rows) for rows in groups])
    cap = np.sort(sizes)[(len(sizes) - 1) // 2]
    weights = np.empty(len(matrix))
    for rows in groups:
        weights[rows] = min(1.0, cap / len(rows))
    scale = np.where(training.std > 0, training.std, 1.0)
    centre = _centre(matrix, groups)

    def clipped(rows: slice) -> np.ndarray:
        """Values around the centre, in the training's scale, float64 [rows, d]."""
        return np.clip((matrix[rows] - centre) / scale, -CLIP_STD, CLIP_STD).astype(np.float64)

    varying = np.maximum(np.count_nonzero(training.std > 0), 1)
    distance = np.empty(len(matrix))
    for block in _blocks(len(matrix)):
        squares = np.square(clipped(block))[:, training.std > 0]
        distance[block] = np.sqrt(squares.sum(axis=1) / varying)
    low, middle, high = _weighted_quantiles(distance, weights, (0.25, 0.5, 0.75))
    near = distance <= middle + FAR_IQR * (high - low)
    weights[~near] = 0.0
    shares = weights if balanced is None else weights * balanced
    shares = shares / shares.sum()
    mean = sum(shares[rows] @ clipped(rows) for rows in _blocks(len(matrix)))
    variance = sum(shares[rows] @ np.square(clipped(rows) - mean) for rows in _blocks(len(matrix)))
    statistics = ArchiveStatistics(
        mean=(centre + mean * scale).astype(np.float32),
        std=(np.sqrt(variance) * scale).astype(np.float32),
        rows=len(matrix),
        left_out=int(np.count_nonzero(~near)),
        recordings=len(groups),
        weight=float(weights.sum()),
    )
    return statistics, weights


@dataclass(frozen=True)
class Archive:
    """What `archive.npz` of an adapted bundle holds.

    Parameters
    ----------
    base : str
        Id of the bundle that was adapted.
    date : str
        YYYY-MM-DD.
    statistics : ArchiveStatistics
        Those of the archive itself.
    scale, offset : np.ndarray [shape=(d,)], float32
        The network sees x * scale + offset.
    hours : float or None
        Hours of speech, where known.
    log_prior : np.ndarray [shape=(labels,)] or None
        Added to the network's log-probabilities, where the archive's emotions are known to be
        commoner or rarer than those of the training.
    """

    base: str
    date: str
    statistics: ArchiveStatistics
    scale: np.ndarray
    offset: np.ndarray
    hours: float | None = None
    log_prior: np.ndarray | None = None

    def map(self, matrix: np.ndarray) -> np.ndarray:
        """Map vectors of the archive onto the training's, each row by itself: float32 [n, d]."""
        return matrix * self.scale + self.offset

    def to_bytes(self) -> bytes:
        """The content of `archive.npz`."""
        found = self.statistics
        arrays: dict[str, Any] = {
            "base": self.base,
            "date": self.date,
            "mean": found.mean,
            "std": found.std,
            "rows": found.rows,
            "left_out": found.left_out,
            "recordings": found.recordings,
            "weight": found.weight,
            "scale": self.scale,
            "offset": self.offset,
        }
        if self.hours is not None:
            arrays["hours"] = self.hours
        if self.log_prior is not None:
            arrays["log_prior"] = self.log_prior
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(
        cls, content: bytes, columns: int, labels: int, path: Path = Path("archive.npz")
    ) -> Archive:
        """Read what `to_bytes` wrote; `path` is for messages.

        Raises
        ------
        BundleError
            It cannot be read, or is not made for so many features and labels.
        """
        try:
            kept = read_arrays(path, content)
            found = cls(
                base=str(kept["base"]),
                date=str(kept["date"]),
                statistics=ArchiveStatistics(
                    mean=kept["mean"],
                    std=kept["std"],
                    rows=int(kept["rows"]),
                    left_out=int(kept["left_out"]),
                    recordings=int(kept["recordings"]),
                    weight=float(kept["weight"]),
                ),
                scale=kept["scale"],
                offset=kept["offset"],
                hours=float(kept["hours"]) if "hours" in kept else None,
                log_prior=kept.get("log_prior"),
            )
        except DAMAGED as error:
            raise BundleError(f"{path}: cannot be read ({error}); copy the bundle again") from error
        shapes = {x.shape for x in (found.scale, found.offset, found.statistics.mean)}
        if shapes != {(columns,)}:
            raise BundleError(
                f"{path}: made for {found.scale.size} features, {columns} expected; "
                "adapt the bundle again"
            )
        if found.log_prior is not None and found.log_prior.shape != (labels,):
            raise BundleError(
                f"{path}: made for {found.log_prior.size} labels, {labels} expected; "
                "adapt the bundle again"
            )
        return found


def fit(
    matrix: np.ndarray,
    recording: Recordings | None,
    training: FeatureStatistics,
    predict: Callable[[np.ndarray], np.ndarray],
    *,
    base: str,
    date: str,
    hours: float | None,
) -> tuple[Archive, np.ndarray]:
    """Measure an archive and fit the mapping of its features; also gives the rows' weights.

    Parameters
    ----------
    matrix, recording, training, predict
        As `measure_balanced`.
    base, date, hours
        As `Archive`.
    """
    statistics, weights = measure_balanced(matrix, recording, training, predict)
    scale, offset = mapping(statistics, training)
    return Archive(base, date, statistics, scale, offset, hours), weights


def measure_balanced(
    matrix: np.ndarray,
    recording: Recordings | None,
    training: FeatureStatistics,
    predict: Callable[[np.ndarray], np.ndarray],
) -> tuple[ArchiveStatistics, np.ndarray]:
    """As `measure`, with the archive's emotions balanced by predictions.

    Of an archive that is far from the training, the model that knows no archive would balance
    wrongly: there, the predictions are those after a first mapping.

    Parameters
    ----------
    matrix, recording, training
        As `measure`.
    predict : callable
        Probabilities [n, labels] of mapped vectors [n, d].
    """
    found, counts = measure(matrix, recording, training)
    if _shift(found, training) > FAR:
        scale, offset = mapping(found, training)
        matrix_seen = matrix * scale + offset
    else:
        matrix_seen = matrix
    return measure(matrix, recording, training, balance(predict(matrix_seen), counts))


def _shift(found: ArchiveStatistics, training: FeatureStatistics) -> float:
    """Root of the mean squared difference of the means, in std of the training."""
    varying = training.std > 0
    shift = (found.mean - training.mean)[varying] / training.std[varying].astype(np.float64)
    return float(np.sqrt(np.mean(np.square(shift)))) if varying.any() else 0.0


def mapping(found: ArchiveStatistics, training: FeatureStatistics) -> tuple[np.ndarray, np.ndarray]:
    """The mapping from an archive's features onto the training's.

    The fewer rows there are, the nearer is the mapping to none at all. Features that are constant
    in the training stay as they are.

    Returns
    -------
    scale, offset : np.ndarray [shape=(d,)], float32
    """
    share = min(1.0, found.weight / FULL_ROWS)
    mean, std = (
        share * archive.astype(np.float64) + (1 - share) * trained.astype(np.float64)
        for archive, trained in ((found.mean, training.mean), (found.std, training.std))
    )
    trained_std = training.std.astype(np.float64)
    varying = trained_std > 0
    scale = np.ones_like(mean)
    scale[varying] = trained_std[varying] / np.maximum(std, MIN_STD * trained_std)[varying]
    offset = np.where(varying, training.mean - mean * scale, 0.0)
    return scale.astype(np.float32), offset.astype(np.float32)


def _groups(recording: Recordings | None, count: int) -> list[np.ndarray]:
    """The rows of each recording."""
    if recording is None:
        return list(np.arange(count)[:, None])
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(key, len(numbers)) for key in recording])
    order = np.argsort(index, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(index[order])) + 1)


def _centre(matrix: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Median over recordings of each recording's median, float32 [d]."""
    if len(groups) < len(matrix):
        matrix = np.stack([np.median(matrix[rows], axis=0) for rows in groups])
    return np.median(matrix, axis=0).astype(np.float32)


def _weighted_quantiles(
    values: np.ndarray, weights: np.ndarray, shares: Sequence[float]
) -> np.ndarray:
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    return values[order][np.searchsorted(cumulated, cumulated[-1] * np.array(shares))]


def _blocks(count: int) -> list[slice]:
    """Slices of a few rows, which bound the memory."""
    return [slice(start, start + _BLOCK_ROWS) for start in range(0, count, _BLOCK_ROWS)]


def distance(
    archive: ArchiveStatistics,
    matrix: np.ndarray,
    recording: Recordings,
    training: FeatureStatistics,
) -> float:
    """How far an archive's newer recordings are from it.

    The root of the mean, over the features, of the squared difference of the means in std of the
    archive; without what differs by chance, since a night has other callers than the next.

    Parameters
    ----------
    archive : ArchiveStatistics
    matrix, recording, training
        As `measure`; of at least two recordings.

    Returns
    -------
    float
        0 where the recordings may well be from the same archive.
    """
    night, _ = measure(matrix, recording, training)
    std = np.maximum(archive.std, MIN_STD * training.std).astype(np.float64)
    varying = std > 0
    groups = _groups(recording, len(matrix))
    means = np.stack([matrix[rows].mean(axis=0, dtype=np.float64) for rows in groups])
    # Clipped like the values themselves, for a recording that is all silence.
    means = np.clip((means - night.mean)[:, varying] / std[varying], -CLIP_STD, CLIP_STD)
    by_chance = means.var(axis=0, ddof=1) * (1 / len(groups) + 1 / archive.recordings)
    moved = np.square((night.mean - archive.mean)[varying] / std[varying])
    return float(np.sqrt(max(0.0, np.mean(moved - by_chance))))
