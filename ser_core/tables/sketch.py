"""The sketch of a run: how the calls of a night sound, as counts, to tell one night from another.

A sketch has, for each variable and group of calls, a histogram over bins that are chosen in
advance. A call gives each variable `POINTS` points, divided over the bins by its segments. So calls
count alike, however long, and their number is the size of the sample. The squares of the points
tell how far calls differ, which is needed to test a difference.

All are whole numbers, and adding is all that is done with them. So the sketch of a run is the same
however its recordings were divided among processes. It names no call. A column `meta_<name>` with
more than `MOST_VALUES` values, such as a caller's number, is left out, and so are groups of fewer
than `LEAST_CALLS` calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from ser_core import features, reversal
from ser_core.examine import Examined
from ser_core.tables.schemas import META, PROBABILITY

POINTS = 1_000
# Of a column that makes groups.
MOST_VALUES = 16
LEAST_CALLS = 5
FEATURES = 16
# Quantiles of the training between which the bins lie: of few calls, rarer ones are not seen.
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
ROLE, CUSTOMER = "role", "customer"

# Bins of variables that no training has to know. A bin is named by its lower edge. Other edges need
# another name of the variable, since nights are compared bin by bin.
EDGES: dict[str, tuple[float, ...]] = {
    "level_db": tuple(range(-60, -5, 3)),
    "snr_db": tuple(range(5, 65, 5)),
    "bandwidth_hz": (
        1000, 1500, 2000, 2400, 2700, 3000, 3200, 3400, 3600, 3800, 4200, 5000, 6500, 7500, 9000,
        12000, 16000,
    ),
    "clipping_ratio": (1e-5, 1e-4, 1e-3, 1e-2, 0.1),
    "tilt_db_per_octave": tuple(np.arange(-16, 4.5, 1.0).tolist()),
    "speech_share": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8),
    "customer_share": (0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9),
    "first_speech_s": (0.5, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 30),
}  # fmt: skip
CATEGORIES = ("codec", "sample_rate_hz", "channels")
# With these feature sets: functionals that have a meaning.
CHOSEN = {
    "telephone": (
        "f0_semitones_p50", "f0_semitones_iqr", "voicing_mean", "hnr_db_mean", "voiced_share",
        "loudness_peaks_per_s", "centroid_hz_mean", "flux_mean", "energy_db_sd", "mfcc02_mean",
        "mfcc03_mean", "mfcc04_mean", "mfcc05_mean", "mfcc06_mean", "mfcc08_mean", "mfcc10_mean",
    ),
}  # fmt: skip

_POINTS_BY_BIN = pa.map_(pa.string(), pa.int64())
SKETCH = pa.list_(
    pa.struct(
        [
            ("variable", pa.string()),
            ("column_name", pa.string()),
            ("value", pa.string()),
            ("calls", pa.int64()),
            ("points", _POINTS_BY_BIN),
            ("squares", _POINTS_BY_BIN),
            ("training", pa.map_(pa.string(), pa.float64())),
        ]
    )
)


@dataclass(frozen=True)
class Bins:
    """Bins of a variable.

    Parameters
    ----------
    edges : tuple of float
        Ascending; a value that is equal to an edge lies above it.
    training : tuple of float or None
        Share of the training in each of the len(edges) + 1 bins.
    """

    edges: tuple[float, ...]
    training: tuple[float, ...] | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The lower edge of each bin."""
        return ("-inf", *(f"{edge:.6g}" for edge in self.edges))

    @classmethod
    def of_quantiles(
        cls, levels: np.ndarray, quantiles: np.ndarray, *, step: float = 0.0
    ) -> Bins | None:
        """Bins between quantiles of the training; None if there are fewer than three.

        Parameters
        ----------
        levels, quantiles : np.ndarray [shape=(n,)]
            Ascending.
        step : float
            Of values that are multiples of it; 0 for others. Of these, the quantiles are rounded.
            So the share below an edge is interpolated, on the scale of a normal distribution.
        """
        kept = [i for i, level in enumerate(levels) if np.isclose(level, LEVELS).any()]
        values = np.unique(quantiles[kept].astype(np.float64))
        if len(values) < 3:
            return None
        shares = np.array([levels[quantiles == value].max() for value in values], np.float64)
        if step:
            from scipy.special import ndtr, ndtri

            known = np.unique(quantiles.astype(np.float64))
            scores = [ndtri(levels[quantiles == value]).mean() for value in known]
            values = values + step / 2
            shares = ndtr(np.interp(values, known, scores))
        return cls(
            tuple(values.tolist()), tuple(np.diff(np.concatenate([[0.0], shares, [1.0]])).tolist())
        )


FIXED = {name: Bins(edges) for name, edges in EDGES.items()}


@dataclass(frozen=True)
class Binning:
    """The bins of what depends on the model.

    Parameters
    ----------
    features : mapping of int to (str, Bins)
        By the place in the vector: name and bins.
    outputs : mapping of str to Bins
        By label.
    """

    features: Mapping[int, tuple[str, Bins]] = field(default_factory=dict)
    outputs: Mapping[str, Bins] = field(default_factory=dict)

    @classmethod
    def of_training(
        cls,
        feature_set: str,
        labels: Sequence[str],
        levels: np.ndarray,
        feature_quantiles: np.ndarray,
        output_quantiles: np.ndarray,
    ) -> Binning:
        """The bins of a model, from quantiles of its training.

        Parameters
        ----------
        feature_set : str
        labels : sequence of str
        levels : np.ndarray [shape=(q,)]
        feature_quantiles : np.ndarray [shape=(q, dimensions of the feature set)]
        output_quantiles : np.ndarray [shape=(q, labels)]
        """
        definition = features.get(feature_set)
        step = float(definition.parameters.get("step", 0.0))
        chosen = {}
        for i in choose(feature_set, definition.names):
            bins = Bins.of_quantiles(levels, feature_quantiles[:, i], step=step)
            if bins is not None:
                chosen[i] = (definition.names[i], bins)
        outputs = {}
        for i, label in enumerate(labels):
            bins = Bins.of_quantiles(levels, output_quantiles[:, i])
            if bins is not None:
                outputs[label] = bins
        return cls(chosen, outputs)

    @property
    def training(self) -> dict[str, dict[str, float]]:
        """The training's share in each bin, by variable."""
        known = dict(self.features.values())
        known |= {f"{PROBABILITY}{label}": bins for label, bins in self.outputs.items()}
        return {
            name: dict(zip(bins.names, bins.training, strict=True))
            for name, bins in known.items()
            if bins.training is not None
        }


def choose(feature_set: str, names: Sequence[str]) -> list[int]:
    """Places of the features in a sketch: those of `CHOSEN`, or spread over the vector."""
    wanted = CHOSEN.get(feature_set)
    if wanted is not None:
        return [names.index(name) for name in wanted]
    centres = (np.arange(FEATURES) + 0.5) * len(names) / FEATURES
    return np.unique(centres.astype(int)).tolist()


@dataclass
class Cell:
    """A variable of a group of calls: points and their squares, by bin."""

    calls: int = 0
    points: dict[str, int] = field(default_factory=dict)
    squares: dict[str, int] = field(default_factory=dict)

    def add(self, points: Mapping[str, int]) -> None:
        """Add a call."""
        self.calls += 1
        for name, count in points.items():
            self.points[name] = self.points.get(name, 0) + count
            self.squares[name] = self.squares.get(name, 0) + count * count

    def merge(self, other: Cell) -> None:
        """Add the calls of another cell."""
        self.calls += other.calls
        for own, added in ((self.points, other.points), (self.squares, other.squares)):
            for name, count in added.items():
                own[name] = own.get(name, 0) + count


# The column and the value of a group; both empty for all calls.
Group = tuple[str, str]
ALL: Group = ("", "")


@dataclass
class Sketch:
    """A sum over calls.

    Parameters
    ----------
    groups : dict of Group to dict of str to Cell
        The variables of each group.
    crowded : set of str
        Columns with more than `MOST_VALUES` values.
    """

    groups: dict[Group, dict[str, Cell]] = field(default_factory=dict)
    crowded: set[str] = field(default_factory=set)

    def add(
        self,
        examined: Examined,
        probabilities: np.ndarray,
        labels: Sequence[str],
        meta: Mapping[str, str | None],
        binning: Binning,
    ) -> None:
        """Add a call. One that was rejected adds nothing.

        Parameters
        ----------
        examined : Examined
        probabilities : np.ndarray [shape=(segments, labels)]
        labels : sequence of str
            Of the probabilities.
        meta : mapping
            Values of the named groups of --uri-fields.
        binning : Binning
        """
        if examined.reason is not None:
            return
        places = _places(examined, probabilities, labels, binning)
        roles = [segment.role for segment in examined.segments]
        points = _call_points(examined) | _segment_points(places, [True] * len(roles))
        self._add(ALL, points)
        for name, value in meta.items():
            if value:
                self._add((f"{META}{name}", value), points)
        for role in set(roles):
            self._add((ROLE, role), _segment_points(places, [own == role for own in roles]))

    def _add(self, group: Group, points: Mapping[str, Mapping[str, int]]) -> None:
        if group[0] in self.crowded:
            return
        cells = self.groups.setdefault(group, {})
        for variable, of_bins in points.items():
            cells.setdefault(variable, Cell()).add(of_bins)
        self._leave_out_crowded(group[0])

    def merge(self, other: Sketch) -> None:
        """Add the calls of another sketch. The order does not matter."""
        self.crowded |= other.crowded
        for group, cells in other.groups.items():
            own = self.groups.setdefault(group, {})
            for variable, cell in cells.items():
                own.setdefault(variable, Cell()).merge(cell)
        for column in {column for column, _ in self.groups}:
            self._leave_out_crowded(column)

    def _leave_out_crowded(self, column: str) -> None:
        of_column = [group for group in self.groups if group[0] == column]
        if column in self.crowded or len(of_column) > MOST_VALUES:
            self.crowded.add(column)
            for group in of_column:
                del self.groups[group]

    def rows(self, binning: Binning) -> list[dict[str, Any]]:
        """The elements of the column `sketch`, sorted; without small groups.

        A column that has one value tells nothing more than all calls, and is left out, too.
        """
        values = Counter(column for column, _ in self.groups)
        training = binning.training
        return [
            {
                "variable": variable,
                "column_name": column or None,
                "value": value if column else None,
                "calls": cell.calls,
                "points": dict(sorted(cell.points.items())),
                "squares": dict(sorted(cell.squares.items())),
                "training": None if column else training.get(variable),
            }
            for (column, value), cells in sorted(self.groups.items())
            for variable, cell in sorted(cells.items())
            if not column or (values[column] > 1 and cell.calls >= LEAST_CALLS)
        ]


def total(sketches: Iterable[Sketch]) -> Sketch:
    """The sum of sketches."""
    result = Sketch()
    for sketch in sketches:
        result.merge(sketch)
    return result


def divide(counts: Mapping[str, int]) -> dict[str, int]:
    """Divide `POINTS` in proportion to counts, in whole numbers.

    Examples
    --------
    >>> divide({"low": 1, "high": 2})
    {'low': 333, 'high': 667}
    """
    total_count, done, given, points = sum(counts.values()), 0, 0, {}
    for name, count in counts.items():
        done += count
        upto = (2 * POINTS * done + total_count) // (2 * total_count)
        points[name], given = upto - given, upto
    return points


def _places(
    examined: Examined, probabilities: np.ndarray, labels: Sequence[str], binning: Binning
) -> dict[str, list[str | None]]:
    """The bin of each segment, by variable."""
    if not examined.segments:
        return {}
    levels = np.array([segment.rms_db for segment in examined.segments])
    places = {"level_db": _binned(levels, FIXED["level_db"])}
    vectors = examined.vectors
    if vectors is not None and len(vectors) == len(examined.segments):
        for i, (name, bins) in binning.features.items():
            places[name] = _binned(vectors[:, i], bins)
    for i, label in enumerate(labels):
        if label in binning.outputs:
            places[f"{PROBABILITY}{label}"] = _binned(probabilities[:, i], binning.outputs[label])
    return places


def _segment_points(
    places: Mapping[str, Sequence[str | None]], chosen: Sequence[bool]
) -> dict[str, dict[str, int]]:
    """Points of the variables of segments, of those that are chosen."""
    points = {}
    for name, of_segments in places.items():
        counts = Counter(p for p, taken in zip(of_segments, chosen, strict=True) if taken and p)
        if counts:
            points[name] = divide(dict(sorted(counts.items())))
    return points


def _call_points(examined: Examined) -> dict[str, dict[str, int]]:
    """Points of the variables that a call has once."""
    points = {
        name: {str(value): POINTS}
        for name in CATEGORIES
        if (value := getattr(examined, name)) is not None
    }
    for name, value in _call_values(examined).items():
        if value is not None:
            [place] = _binned(np.array([value]), FIXED[name])
            if place is not None:
                points[name] = {place: POINTS}
    return points


def _call_values(examined: Examined) -> dict[str, float | None]:
    sides = [channel for channel in examined.by_channel if channel.speech_s > 0]
    both_s = sum(side.speech_s for side in sides)
    customer_s = sum(side.speech_s for side in sides if side.role == CUSTOMER)
    two_sided = len(examined.by_channel) == 2 and CUSTOMER in {c.role for c in examined.by_channel}
    spectra = examined.spectra
    return {
        "snr_db": examined.snr_db,
        "bandwidth_hz": examined.bandwidth_hz,
        "clipping_ratio": examined.clipping_ratio,
        "tilt_db_per_octave": None if spectra is None else reversal.tilt(spectra.customer),
        "speech_share": examined.speech_s / examined.duration_s
        if examined.duration_s and examined.speech_s is not None
        else None,
        "customer_share": customer_s / both_s if two_sided and both_s else None,
        "first_speech_s": min((segment.start_s for segment in examined.segments), default=None),
    }


def _binned(values: np.ndarray, bins: Bins) -> list[str | None]:
    """The bin of each value; None for what is no number.

    Values are compared as the tables have them, so that `ser label` counts what `ser run` counted.
    """
    rounded = np.asarray(values).astype(np.float32).astype(np.float64)
    places = np.searchsorted(bins.edges, rounded, side="right")
    names = bins.names
    return [
        names[place] if np.isfinite(value) else None
        for place, value in zip(places, rounded, strict=True)
    ]
