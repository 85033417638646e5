"""The nights that a command works for, by `--date`, `--days`, `--from`, `--to` and `--time-zone`.

Days are those of a calendar, so a night in which clocks are put forward or back is one day, too.
"""

from __future__ import annotations

import datetime as dt
from argparse import Namespace
from dataclasses import dataclass

from pipelines import arguments
from pipelines.call_times import zone_named
from pipelines.errors import UsageError
from pipelines.storage import inputs
from ser_core.names import readable

# What `--date` takes besides a date: days before today.
DAYS_AGO = {"today": 0, "yesterday": 1}


@dataclass(frozen=True)
class Night:
    """The work of one run: the date under which it is filed, and the dates that are matched.

    Parameters
    ----------
    date : datetime.date
    dates : tuple of datetime.date
        For `{date:…}` in patterns, the latest first.
    """

    date: dt.date
    dates: tuple[dt.date, ...]


def now() -> dt.datetime:
    """The current time, with the zone of this machine."""
    return dt.datetime.now().astimezone()


def resolve(day: str | dt.date | None, time_zone: str | None) -> dt.date:
    """The date of a value of `--date`; None is today.

    Parameters
    ----------
    day : str, date or None
        A date, or a word of `DAYS_AGO`.
    time_zone : str or None
        Name of a zone; None is the machine's.
    """
    if isinstance(day, dt.date):
        return day
    current = now().astimezone(zone_named(time_zone)) if time_zone is not None else now()
    return current.date() - dt.timedelta(days=DAYS_AGO[day or "today"])


def redo(options: Namespace) -> tuple[str, ...]:
    """The values of `--redo`, with dates as the tables have them."""
    found = []
    for text in options.redo:
        kind, equals, value = text.partition("=")
        if equals and kind == "date":
            text = f"date={resolve(arguments.day(value), options.time_zone)}"
        found.append(readable(text))
    return tuple(found)


def choose(options: Namespace) -> list[Night]:
    """The nights of a command that examines recordings, in the order in which they are done.

    Raises
    ------
    UsageError
        Options that contradict each other, or several days and no `{date:…}` in a pattern.
    """
    first, last, days = options.first_date, options.last_date, options.days
    if (first is None) != (last is None):
        given, missing = ("--from", "--to") if last is None else ("--to", "--from")
        raise UsageError(f"{given}: {missing} is missing; a backfill needs both")
    if first is not None and (options.date is not None or days is not None):
        other = "--date" if options.date is not None else "--days"
        raise UsageError(
            f"--from and {other}: give one of them; --from and --to are a backfill with one run "
            "for each day, --date and --days are one run"
        )
    if (first is not None or days is not None) and not inputs.names_dates(options.input):
        raise UsageError(
            f"{'--from' if days is None else '--days'}: no {{date:…}} found in --input "
            f"{' '.join(options.input)}, so that all days would match the same; write the date as "
            "in /calls/{date:%Y/%m/%d}/**/*.wav, or leave the option out"
        )
    zone = options.time_zone
    if first is None:
        date = resolve(options.date, zone)
        return [Night(date, tuple(date - dt.timedelta(days=i) for i in range(days or 1)))]
    begin, end = resolve(first, zone), resolve(last, zone)
    if end < begin:
        raise UsageError(f"--from {begin} --to {end}: the first day comes after the last")
    dates = [begin + dt.timedelta(days=i) for i in range((end - begin).days + 1)]
    return [Night(date, (date,)) for date in dates]
