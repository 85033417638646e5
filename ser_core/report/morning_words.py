"""How the morning page says things: numbers, times, the sentence at its top, what is wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_core.report.morning import Group, Heard, Measure, Morning, Share

NONE = "–"
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Groups that the sentence names at most.
_NAMED = 3


# ---------------------------------------------------------------- numbers


def count(value: float | None) -> str:
    """A number of things."""
    return NONE if value is None else f"{value:,.0f}"


def points(value: float | None) -> str:
    """A share in percent, without the sign: whole, or with a digit below 2.

    Examples
    --------
    >>> points(0.1149), points(0.0126), points(0.0)
    ('11', '1.3', '0')
    """
    if value is None:
        return NONE
    percent = 100 * value
    return f"{percent:.0f}" if percent >= 1.95 or percent == 0 else f"{percent:.1f}"


def share(value: float | None) -> str:
    """A share in percent."""
    return NONE if value is None else f"{points(value)} %"


def between(low: float | None, high: float | None) -> str:
    """The ends of a range of shares, such as "8 to 13"."""
    return NONE if low is None or high is None else f"{points(low)} to {points(high)}"


def clock(value: float | None) -> str:
    """A time in a recording, or a duration.

    Examples
    --------
    >>> clock(77.4), clock(3725)
    ('1:17', '1:02:05')
    """
    if value is None:
        return NONE
    seconds = round(value)
    if seconds < 3600:
        return f"{seconds // 60}:{seconds % 60:02d}"
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def took(value: float | None) -> str:
    """A duration in the unit that suits it."""
    if value is None:
        return NONE
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def hours(value: float | None) -> str:
    """Hours."""
    return NONE if value is None else f"{value:,.1f} h"


def size(value: float | None) -> str:
    """Bytes, in the unit that suits them."""
    if value is None:
        return NONE
    units = ["B", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        del units[0]
    return (
        f"{value:.0f} {units[0]}" if value >= 10 or units[0] == "B" else f"{value:.1f} {units[0]}"
    )


def number(value: float | None) -> str:
    """A number with three digits."""
    return NONE if value is None else f"{value:.3g}"


def megabytes(value: float | None) -> str:
    """A size that is given in MB."""
    return size(None if value is None else value * 1e6)


KINDS: dict[str, Callable[[Any], str]] = {
    "count": count, "share": share, "points": points, "clock": clock, "took": took,
    "hours": hours, "size": size, "number": number, "megabytes": megabytes,
}  # fmt: skip


def day(date: dt.date) -> str:
    """A date, such as "Sunday, 29 March 2026"."""
    return f"{_DAYS[date.weekday()]}, {date.day} {_MONTHS[date.month - 1]} {date.year}"


def short_day(date: dt.date) -> str:
    """A date, such as "29 March"."""
    return f"{date.day} {_MONTHS[date.month - 1]}"


def several(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listed(items: Sequence[str]) -> str:
    """Items with commas and an "and"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


# ---------------------------------------------------------------- the sentence


def sentence(m: Morning) -> str:
    """The night in a sentence."""
    books = m.books.dicts()[0]
    calls = books["calls"]
    if not calls:
        waiting = f"; {books['waiting']:,} wait for the next run" if books["waiting"] else ""
        return f"No new calls{waiting}."
    start = [several(calls, "call")]
    if books["rejected"]:
        start.append(f"{books['rejected']:,} rejected")
    if books["warnings"]:
        start.append(several(books["warnings"], "warning"))
    if m.failures:
        start.append(several(len(m.failures), "failed attempt"))
    parts = [", ".join(start), negative(m)]
    if moved := moved_groups(m):
        parts.append(moved)
    return "; ".join(parts) + "."


def negative(m: Morning) -> str:
    """How many calls are clearly negative, and whether that is usual."""
    found = m.measures["clear"].share
    if found is None:
        return "no call was labelled"
    return f"{share(found.share)} clearly negative, {than_usual(found, m.nights_before)}"


def than_usual(found: Share, nights: int) -> str:
    """A share against the nights before, in words."""
    if found.verdict is None:
        return too_few(nights)
    word = {"usual": "as in", "up": "more than in", "down": "less than in"}[found.verdict]
    ends = between(found.usual_low, found.usual_high)
    return f"{word} the last {nights} nights ({ends})"


def too_few(nights: int) -> str:
    """Why nothing is compared."""
    if not nights:
        return "the first night of this model, so there is nothing to compare with"
    if nights < 5:
        return f"too few nights before to compare with ({nights}, five are needed)"
    return "too few calls to compare"


def moved_groups(m: Morning) -> str:
    """The groups that are unlike their own nights before: "billing is up: 19 % (usually 5 to 9)".

    Of the first column that has any; those of further columns are often the same calls.
    """
    texts = []
    for direction in ("up", "down"):
        by_column = [
            [(group, item) for item in group.shares if item.verdict == direction]
            for group in m.groups
        ]
        first = next(filter(None, by_column), [])
        named = [f"{_group_name(group, item)} {_against_usual(item)}" for group, item in first]
        rest = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        if len(named) == 1:
            group, item = first[0]
            name = _group_name(group, item)
            texts.append(f"{name} is {direction}: {_against_usual(item)}")
        elif named:
            texts.append(f"{direction}: {', '.join(named[:_NAMED])}{rest}")
    return "; ".join(texts)


def _against_usual(item: Share) -> str:
    return f"{share(item.share)} (usually {between(item.usual_low, item.usual_high)})"


def _group_name(group: Group, item: Share) -> str:
    return f"{item.name} o’clock" if group.column == "hour" else item.name


# ---------------------------------------------------------------- the four answers at the top


def problems(m: Morning) -> list[str]:
    """What was wrong, the worst first; empty on a good night."""
    books = m.books.dicts()[0]
    found = []
    if m.failures:
        found.append(several(len(m.failures), "failed attempt"))
    if not books["calls"]:
        found.append("no new calls")
    for name, word in (("rejected", "rejected"), ("no_speech", "without speech")):
        measure = m.measures[name].share
        if measure is not None and measure.verdict == "up":
            found.append(f"more calls {word} than usual ({share(measure.share)})")
    rejected = m.measures["rejected"].share
    if rejected is not None and rejected.verdict is None and rejected.share > 0.2:
        found.append(f"{share(rejected.share)} of the calls were rejected")
    unsure = m.measures["unsure"].share
    if unsure is not None and unsure.verdict == "up":
        found.append(f"the model is unsure more often than usual ({share(unsure.share)})")
    found.extend(["what the model hears has changed"] * bool(m.drift.alarms))
    if books["warnings"]:
        found.append(several(books["warnings"], "warning"))
    return found


def usual(m: Morning) -> tuple[str, str]:
    """Whether the night is worse than usual: a word or two, and the figures."""
    found = m.measures["clear"].share
    if found is None:
        return "Not known", "no call was labelled"
    groups = moved_groups(m)
    figures = f"{share(found.share)} clearly negative"
    if found.verdict is None:
        return "Not known yet", f"{figures}; {too_few(m.nights_before)}"
    figures += f"; an ordinary night has {between(found.usual_low, found.usual_high)}"
    head = {"usual": "As usual", "up": "Worse than usual", "down": "Better than usual"}
    if found.verdict == "usual" and groups:
        return "As usual on the whole", f"{figures}. But {groups}"
    return head[found.verdict], figures + (f". {groups.capitalize()}" if groups else "")


def tone(m: Morning) -> str:
    """The class of the answer of `usual`."""
    found = m.measures["clear"].share
    ups = any(item.verdict == "up" for group in m.groups for item in group.shares)
    if found is None or (found.verdict is None and not ups):
        return ""
    return "bad" if ups or found.verdict == "up" else "fine"


def story(m: Morning, heard: Heard) -> str:
    """Why a call is to be heard: "negative for 49 s from 0:42, from 12 to 64 %"."""
    row = m.listening.dicts()[heard.row]
    text = f"{row['negative_s']:.0f} s of negative speech from {clock(row['from_s'])}"
    if row["arc"] == "worse" and row["began"] is not None:
        text += f"; ended worse, {points(row['began'])} to {share(row['ended'])}"
    return text


def shown_verdict(found: Share, measure: Measure | None = None) -> str:
    """A verdict for a cell of a table."""
    return {"up": "▲ up", "down": "▼ down", "usual": "as usual", None: "not compared"}[
        found.verdict
    ]


def colour(found: Share) -> str:
    """The class of a verdict."""
    return found.verdict or "unknown"
