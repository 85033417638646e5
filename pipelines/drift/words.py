"""What moved, in words: rows of `drift` -> sentences for people who know calls, not statistics.

What moved together is one sentence. It says where: in all calls, or in the one group that explains
it. And it says what it looks like, by what moved and what did not.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pipelines.drift.rows import Row
from pipelines.storage.drift_statements import LEAST_NIGHTS
from ser_core.tables.schemas import PROBABILITY
from ser_core.tables.sketch import CATEGORIES, EDGES, ROLE

# By custom, from 0.25 on an index is called a large shift.
LARGE_PSI = 0.25
# Of the features and of the emotions: where nearly all move, it is not only the line.
MOST = 0.75
# A group explains what moved in all calls if it moved farther by this factor.
FARTHER = 2.0
# Variables in a sentence, those that moved most.
MOST_NAMED = 3
# Variables that are named in a sentence: the name, a unit, and decimals.
_NAMED = {
    "codec": ("codec", "", 0),
    "sample_rate_hz": ("sample rate", " Hz", 0),
    "channels": ("channels", "", 0),
    "level_db": ("level", " dB", 1),
    "bandwidth_hz": ("bandwidth", " Hz", 0),
    "tilt_db_per_octave": ("spectral tilt", " dB per octave", 1),
    "snr_db": ("level of speech above noise", " dB", 1),
    "clipping_ratio": ("clipped samples", " %", 3),
    "customer_share": ("customer's share of the speech", " %", 0),
    "first_speech_s": ("first analysed speech", " s into the call", 1),
    "speech_share": ("share of speech in a call", " %", 0),
}


def alarms(rows: Sequence[Row]) -> tuple[str, ...]:
    """A sentence for each thing that moved.

    Parameters
    ----------
    rows : sequence of Row
        All of one night.
    """
    by_group: dict[tuple[str | None, str | None], list[Row]] = defaultdict(list)
    for row in rows:
        by_group[row.column, row.value].append(row)
    sentences = []
    for column, value in _scopes(by_group):
        sentences.append(_sentence(by_group[column, value]))
    return tuple(sentences)


def remarks(rows: Sequence[Row], model_id: str | None, nights_before: int) -> tuple[str, ...]:
    """Sentences that are no alarm."""
    found = []
    if nights_before < LEAST_NIGHTS:
        found.append(
            f"{nights_before} earlier night{'s' if nights_before != 1 else ''} of "
            f"{model_id or 'this feature set'}: nights are compared from {LEAST_NIGHTS} on."
        )
    trained = [
        row.psi_training for row in rows if row.column is None and row.psi_training is not None
        and not row.variable.startswith(PROBABILITY)
    ]  # fmt: skip
    if trained and statistics.median(trained) >= LARGE_PSI:
        found.append(
            f"These calls sound unlike the training of {model_id} (PSI of {len(trained)} features "
            f"{statistics.median(trained):.2f} on median): `ser adapt` fits a model to an archive."
        )
    return tuple(found)


def _scopes(
    by_group: Mapping[tuple[str | None, str | None], Sequence[Row]],
) -> list[tuple[str | None, str | None]]:
    """The groups that sentences are about: all calls, or those that explain what moved."""
    moved = {group for group, rows in by_group.items() if any(row.moved for row in rows)}
    if not moved:
        return []
    alone, overall = [], _largest(by_group.get((None, None), ()))
    for column in dict.fromkeys(column for column, _ in by_group if column is not None):
        values = [group for group in by_group if group[0] == column]
        # What moved in most groups, or in all calls about as far, is no matter of a group.
        of_column = [
            group for group in values
            if group in moved and _largest(by_group[group]) >= FARTHER * overall
        ]  # fmt: skip
        if of_column and (len(of_column) == 1 < len(values) or 2 * len(of_column) < len(values)):
            alone.append(of_column)
    if alone:
        # The column whose groups moved most.
        return max(alone, key=lambda groups: max(_largest(by_group[group]) for group in groups))
    if (None, None) in moved:
        return [(None, None)]
    return [max(moved, key=lambda group: _largest(by_group[group]))]


def _largest(rows: Iterable[Row]) -> float:
    return max((_size(row) for row in rows if row.moved), default=0.0)


def _sentence(rows: Sequence[Row]) -> str:
    moved = {row.variable: row for row in rows if row.moved}
    where = f" in {rows[0].group}" if rows[0].column != ROLE and rows[0].group else ""
    if rows[0].column == ROLE:
        where = f" on the side of the {rows[0].value}"
    named = sorted((row for row in rows if row.moved and row.variable in _NAMED), key=_size)
    details = [_detail(row) for row in named[: -MOST_NAMED - 1 : -1]]
    features, of_features = _of(rows, features=True)
    emotions, of_emotions = _of(rows, features=False)
    if features:
        details.append(f"what the model hears moved ({features} of {of_features} features)")
    if emotions:
        details.append(f"its answers moved ({emotions} of {of_emotions} emotions)")
    return f"{_diagnosis(rows, moved)}{where}: {'; '.join(details)}."


def _size(row: Row) -> float:
    return row.psi_before or 0.0


def _of(rows: Sequence[Row], *, features: bool) -> tuple[int, int]:
    """Of features, or of outputs: how many moved, and of how many."""
    chosen = [
        row for row in rows
        if row.variable not in EDGES and row.variable not in CATEGORIES
        and row.variable.startswith(PROBABILITY) != features
    ]  # fmt: skip
    return sum(row.moved for row in chosen), len(chosen)


def _diagnosis(rows: Sequence[Row], moved: Mapping[str, Row]) -> str:
    """What it looks like."""
    if _swapped(moved):
        return "Agents and customers look swapped"
    if "codec" in moved or "sample_rate_hz" in moved:
        return "Another codec or sample rate"
    if "channels" in moved:
        return "Another number of channels"
    if "bandwidth_hz" in moved:
        return f"A {'narrower' if _change(moved['bandwidth_hz']) < 0 else 'wider'} band"
    features, of_features = _of(rows, features=True)
    outputs, of_outputs = _of(rows, features=False)
    level, tilt = moved.get("level_db"), moved.get("tilt_db_per_octave")
    if level is not None and _largest([level]) == _largest(rows):
        return f"A {'lower' if _change(level) < 0 else 'higher'} level"
    if features and outputs and features >= MOST * of_features and outputs >= MOST * of_outputs:
        return "Other voices or another language"
    if tilt is not None:
        duller = _change(tilt) < 0
        return (
            f"A {'duller' if duller else 'brighter'} sound, as of another microphone, line or codec"
        )
    if level is not None and features:
        return "Another level and sound, as of another microphone or line"
    if features:
        return "Other voices or another language"
    if outputs:
        return "Other emotions, while the sound is as before"
    if "snr_db" in moved or "clipping_ratio" in moved:
        return "Another noise or line"
    return "Calls that run differently"


def _change(row: Row) -> float:
    return median(row.shares) - median(row.shares_before)


def _swapped(moved: Mapping[str, Row]) -> bool:
    """Whether what is analysed as the customer looks like the agent, who speaks first."""
    if "customer_share" in moved and mirrored(moved["customer_share"]):
        return True
    first = moved.get("first_speech_s")
    return first is not None and median(first.shares) <= median(first.shares_before) / 2


def mirrored(row: Row) -> bool:
    """Whether the customer's share of the speech is what the agent's was."""
    names = ["-inf", *(f"{edge:.6g}" for edge in EDGES[row.variable])]
    now, before = (
        [shares.get(name, 0.0) for name in names] for shares in (row.shares, row.shares_before)
    )
    return 2 * _distance(now, before[::-1]) < _distance(now, before)


def _distance(first: Sequence[float], second: Sequence[float]) -> float:
    """How far two histograms lie apart: the mean difference of their sums."""
    difference = total = 0.0
    for a, b in zip(first, second, strict=True):
        difference += a - b
        total += abs(difference)
    return total


def _detail(row: Row) -> str:
    name, unit, decimals = _NAMED[row.variable]
    if row.variable in CATEGORIES:
        bins = sorted(
            {*row.shares, *row.shares_before},
            key=lambda bin_: -abs(row.shares.get(bin_, 0) - row.shares_before.get(bin_, 0)),
        )
        parts = [
            f"{bin_}{unit} {row.shares.get(bin_, 0):.0%} of calls "
            f"({row.shares_before.get(bin_, 0):.0%} before)"
            for bin_ in bins[:2]
        ]
        return f"{name} {', '.join(parts)}"
    scale = 100 if unit == " %" else 1
    now, before = (
        f"{scale * median(shares):,.{decimals}f}" for shares in (row.shares, row.shares_before)
    )
    if now == before:
        return f"{name} around {now}{unit}, spread otherwise than before"
    return f"{name} {now}{unit} on median ({before} before)"


def median(shares: Mapping[str, float]) -> float:
    """Median of a histogram whose bins are named by their lower edges, to linear interpolation.

    Examples
    --------
    >>> median({"-inf": 0.0, "10": 0.5, "20": 0.5})
    20.0
    """
    bins = sorted((float(name), share) for name, share in shares.items())
    finite = [edge for edge, _ in bins if math.isfinite(edge)]
    half, done = sum(share for _, share in bins) / 2, 0.0
    for i, (edge, share) in enumerate(bins):
        if done + share >= half and share:
            if not math.isfinite(edge):
                return finite[0] if finite else math.nan
            upper = bins[i + 1][0] if i + 1 < len(bins) else edge
            return edge + (upper - edge) * (half - done) / share
        done += share
    return math.nan
