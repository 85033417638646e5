"""The time of a call as paths spell it: ISO 8601, also without separators, or an epoch."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import suppress
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipelines.errors import UsageError

# No call is older, and none is later than tomorrow: such a number is no time.
FIRST_YEAR = 1990
# Digits of an epoch after 1990, and its units in a second.
_EPOCH_DIGITS = {9: 1, 10: 1, 12: 10**3, 13: 10**3, 15: 10**6, 16: 10**6, 18: 10**9, 19: 10**9}
# Files have no colons on some systems, so other separators stand in their place.
_ISO = re.compile(
    r"(\d{4})([-._]?)(\d{2})\2(\d{2})"
    r"(?:[T _.-]?(\d{2})(?:([:._-]?)(\d{2})(?:\6(\d{2})(?:[.,]?(\d{1,9}))?)?)?)?"
    r" ?(Z|[+-]\d{2}(?::?\d{2})?)?",
    re.IGNORECASE,
)


def zone_named(name: str) -> ZoneInfo:
    """The zone that `--time-zone` names.

    Raises
    ------
    UsageError
        There is none.
    """
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError) as error:
        raise UsageError(
            f"--time-zone {name!r}: no such zone, a name such as Europe/Berlin or UTC expected"
        ) from error


def read_time(
    text: str,
    *,
    time_format: str | None = None,
    zone: str | None = None,
    now: dt.datetime | None = None,
) -> dt.datetime | None:
    """The time that a text names, in UTC; None if it names none, or one that no call has.

    Parameters
    ----------
    text : str
        ISO 8601 or an epoch in seconds, milliseconds, microseconds or nanoseconds. Of the readings
        of a number, the first that is plausible counts.
    time_format : str, optional
        Format for `datetime.strptime`, if the text has another one.
    zone : str, optional
        Name of the zone of a text without one, such as `Europe/Berlin`; UTC by default. A local
        time that comes twice (clocks go back) is the first of the two. One that is left out
        (clocks go forward) is read as if the clock had not been put forward.
    now : datetime, optional
        Of the plausible times, tomorrow's last is the last; the current time by default.

    Examples
    --------
    >>> read_time("1701012312123").isoformat()
    '2023-11-26T15:25:12.123000+00:00'
    >>> read_time("2026-03-01T10-15-00", zone="Europe/Berlin").isoformat()
    '2026-03-01T09:15:00+00:00'
    """
    now = now or dt.datetime.now(dt.UTC)
    last = now.date() + dt.timedelta(days=1)
    for time in _readings(text, time_format):
        if time.tzinfo is None:
            time = time.replace(tzinfo=ZoneInfo(zone) if zone else dt.UTC)
        try:
            time = time.astimezone(dt.UTC)
        except OverflowError:
            continue
        if time.year >= FIRST_YEAR and time.date() <= last:
            return time
    return None


def _readings(text: str, time_format: str | None) -> Iterator[dt.datetime]:
    """The times that a text may name, the most likely first."""
    if time_format is not None:
        with suppress(ValueError):
            yield dt.datetime.strptime(text, time_format)
        return
    whole, _, fraction = text.partition(".")
    units = _EPOCH_DIGITS.get(len(whole)) if text.isascii() and whole.isdigit() else None
    if units and (not fraction or fraction.isdigit()):
        nanoseconds = int(whole) * (10**9 // units)
        if units == 1 and fraction:
            nanoseconds += int(fraction[:9].ljust(9, "0"))
        yield dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(
            microseconds=nanoseconds // 1000
        )
    found = _ISO.fullmatch(text)
    if found:
        yield from _iso(found)
    elif not text.isdigit():
        with suppress(ValueError):
            yield dt.datetime.fromisoformat(text)


def _iso(found: re.Match[str]) -> Iterator[dt.datetime]:
    year, _, month, day, hour, _, minute, second, fraction, zone = found.groups()
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    with suppress(ValueError):
        yield dt.datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0),
            microsecond, _zone(zone),
        )  # fmt: skip


def _zone(text: str | None) -> dt.tzinfo | None:
    if text is None:
        return None
    if text in "Zz":
        return dt.UTC
    digits = text[1:].replace(":", "")
    offset = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return dt.timezone(-offset if text[0] == "-" else offset)
