"""The morning page: what a night's calls tell, the verdict first.

Whoever fills `Morning` gives each number as a cell of an `Answer`, which holds the SQL that gave
it. The page shows that SQL beneath the number, and names the cell in its HTML: so a test can run
the SQL and compare. Intervals are computed from these numbers (`ser_core.report.shares`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from ser_core.report import morning_words as words
from ser_core.report import pages, small_charts

# Rows that a table shows before "Show all"; a reader without scripts sees them all.
SHOWN_CALLS, SHOWN_VALUES = 10, 12


@dataclass(frozen=True)
class Answer:
    """The answer of a query.

    Parameters
    ----------
    name : str
        Unique on the page.
    sql : str
    columns : tuple of str
    rows : tuple of tuples
    """

    name: str
    sql: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def value(self, column: str, row: int = 0) -> Any:
        """A cell; None where there is no such row."""
        return self.rows[row][self.columns.index(column)] if row < len(self.rows) else None

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Share:
    """A share of a group of calls tonight, and on ordinary nights.

    Parameters
    ----------
    row : int
        Its row in the answer.
    name : str
    calls : int
    share, low, high : float
        With its interval.
    usual, usual_low, usual_high : float or None
        The mean of the nights before, and between what ends an ordinary night lies; None with too
        few nights or calls.
    corrected : pair of float, or None
        Between which ends the share lies once the model's errors are allowed for.
    """

    row: int
    name: str
    calls: int
    share: float
    low: float
    high: float
    usual: float | None = None
    usual_low: float | None = None
    usual_high: float | None = None
    corrected: tuple[float, float] | None = None

    @property
    def verdict(self) -> str | None:
        """`up`, `down` or `usual`; None if it is not compared."""
        if self.usual_low is None or self.usual_high is None:
            return None
        if self.share > self.usual_high:
            return "up"
        return "down" if self.share < self.usual_low else "usual"


@dataclass(frozen=True)
class Group:
    """A share by the values of a column.

    Parameters
    ----------
    title, column : str
        Such as "By queue" and "queue".
    answer : Answer
    shares : tuple of Share
    remark : str
        What is left out, in words.
    """

    title: str
    column: str
    answer: Answer
    shares: tuple[Share, ...]
    remark: str = ""


@dataclass(frozen=True)
class Measure:
    """A share of all calls of a night, such as of those that the model is unsure of."""

    name: str
    title: str
    explanation: str
    answer: Answer
    share: Share | None
    is_bad_up: bool = True


@dataclass(frozen=True)
class Heard:
    """A call to listen to.

    Parameters
    ----------
    row : int
        Its row in the answer.
    name, place : str
        Of its file; where it is from: queue, time.
    link : str or None
        Its page.
    points : sequence of (start_s, end_s, negativity)
        Its speech.
    """

    row: int
    name: str
    place: str
    link: str | None
    points: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Moved:
    """A row of the table of drift; see `pipelines.drift.Row`."""

    variable: str
    group: str
    calls: int
    psi_training: float | None
    psi_before: float | None
    p: float | None
    moved: bool


@dataclass(frozen=True)
class Drift:
    """What of the night is unlike the training, and unlike the nights before."""

    alarms: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    rows: tuple[Moved, ...] = ()
    sql: str = ""


@dataclass(frozen=True)
class Failure:
    """A start of a command that did not end well."""

    started: str
    command: str
    status: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Morning:
    """All that the page shows.

    Parameters
    ----------
    night : datetime.date
    output : str
    made : datetime.datetime
    time_zone : str
    nights_before : int
        Nights of the same model before, at most 28.
    first_before : datetime.date or None
        The earliest of them.
    books, warnings, before, listening, coverage, rejections, codecs, costs : Answer
    measures : mapping of str to Measure
        `clear`, `unsure`, `worse`, `rejected`, `no_speech`.
    groups : tuple of Group
    left_out : tuple of str
        Columns that are not shown as groups, and why.
    heard : tuple of Heard
    tests : tuple of str
        On what the model's errors were measured; empty if they are not known.
    model, licence : str
        A line each.
    index : str or None
        Address of the page over the nights.
    """

    night: dt.date
    output: str
    made: dt.datetime
    time_zone: str
    nights_before: int
    first_before: dt.date | None
    books: Answer
    warnings: Answer
    before: Answer
    listening: Answer
    coverage: Answer
    rejections: Answer
    codecs: Answer
    costs: Answer
    measures: Mapping[str, Measure]
    groups: tuple[Group, ...]
    left_out: tuple[str, ...] = ()
    heard: tuple[Heard, ...] = ()
    drift: Drift = field(default_factory=Drift)
    failures: tuple[Failure, ...] = ()
    tests: tuple[str, ...] = ()
    model: str
    licence: str
    index: str | None = None


def page(morning: Morning) -> str:
    """The page of a night; `pages.write` writes it."""
    return pages.render(
        "morning",
        m=morning,
        script=pages.script("tables"),
        words=words,
        charts=small_charts,
        shown_calls=SHOWN_CALLS,
        shown_values=SHOWN_VALUES,
        cell=cell,
    )


@dataclass(frozen=True)
class Nights:
    """All nights of an output.

    Parameters
    ----------
    output : str
    answer : Answer
        With the columns night, calls, labelled, no_speech, rejected, warnings, share, unsure_rate,
        worse_rate, audio_hours, model_id; the latest night first.
    links : mapping of datetime.date to str
        Pages that are there.
    """

    output: str
    answer: Answer
    links: Mapping[dt.date, str]


def index(nights: Nights) -> str:
    """The page over the nights."""
    return pages.render(
        "nights",
        n=nights,
        script=pages.script("tables"),
        words=words,
        charts=small_charts,
        cell=cell,
    )


def cell(answer: Answer, column: str, row: int = 0, kind: str = "count") -> Markup:
    """A number of an answer as HTML, with the place that it comes from.

    Parameters
    ----------
    answer : Answer
    column : str
    row : int
    kind : str
        A name of `morning_words.KINDS`.
    """
    value = answer.value(column, row)
    shown = words.KINDS[kind](value)
    if value is None:
        return Markup("<span>{}</span>").format(shown)
    return Markup('<data value="{}" data-of="{} {} {}">{}</data>').format(
        value, answer.name, row, column, shown
    )
