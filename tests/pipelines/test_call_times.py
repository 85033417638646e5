"""The time of a call in a path: epochs, ISO 8601 in many spellings, zones, implausible times."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.call_times import read_time
from pipelines.errors import UsageError
from pipelines.uri_fields import UriFields

MORNING = dt.datetime(2026, 3, 1, 9, 15, tzinfo=dt.UTC)
NOW = dt.datetime(2026, 6, 1, 10, tzinfo=dt.UTC)
TIMES = st.datetimes(
    dt.datetime(1990, 1, 1), dt.datetime(2026, 6, 2), timezones=st.just(dt.UTC)
).map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T09:15:00Z", "2026-03-01T09:15:00", "2026-03-01 09:15", "2026-03-01T10:15+01:00",
     "20260301T091500", "20260301T091500Z", "20260301T101500+0100", "20260301_091500",
     "20260301-091500", "20260301091500", "202603010915", "20260301091500000", "2026030109:15",
     "2026-03-01T09-15-00", "2026-03-01_09-15", "2026_03_01_09_15_00", "2026.03.01-09.15.00",
     "2026-03-01T04-15-00-05", "2026-03-01T04:15-05", "2026-W09-7T09:15", "1772356500",
     "1772356500000", "1772356500000000", "1772356500000000000", "1772356500.000"],
)  # fmt: skip
def test_spellings(text):
    assert read_time(text, now=NOW) == MORNING


@given(TIMES)
def test_every_spelling_of_a_time_gives_it_back(time):
    milliseconds = round((time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(0, 0, 1000))
    compact = time.strftime("%Y%m%d%H%M%S") + f"{time.microsecond // 1000:03d}"
    second = time.replace(microsecond=0)
    assert read_time(str(milliseconds), now=NOW) == time
    assert read_time(compact, now=NOW) == read_time(time.isoformat(), now=NOW) == time
    # Below this number an epoch in seconds has as many digits as other things.
    assert read_time(str(milliseconds // 1000), now=NOW) == second
    assert read_time(second.strftime("%Y%m%dT%H%M%S%z"), now=NOW) == second
    assert read_time(second.strftime("%Y-%m-%dT%H-%M-%SZ"), now=NOW) == second


@pytest.mark.parametrize(
    "text",
    ["yesterday", "", "2026-13-01", "2026-02-29", "20260301T250000", "1989-12-31", "17010123",
     "00000000", "631151999", "2026-06-03", "9999999999", "99991231", "1e9", "-1772356500",
     "12345", "1772356500x", "\u0661\u0667\u0667\u0662\u0663\u0665\u0666\u0665\u0660\u0660"],
)  # fmt: skip
def test_no_time_and_implausible_times(text):
    assert read_time(text, now=NOW) is None


def test_tomorrow_is_plausible():
    assert read_time("2026-06-02T23:59", now=NOW) == dt.datetime(2026, 6, 2, 23, 59, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-15T10:00", "2026-01-15T09:00"),
        ("2026-05-15T10:00", "2026-05-15T08:00"),
        ("2026-05-15T10:00Z", "2026-05-15T10:00"),  # its own zone counts
        ("1772356500", "2026-03-01T09:15"),  # so does that of an epoch
        # Clocks go forward at 02:00: 02:30 does not exist, a clock that was not set shows it.
        ("2026-03-29T01:59", "2026-03-29T00:59"),
        ("2026-03-29T02:30", "2026-03-29T01:30"),
        ("2026-03-29T03:00", "2026-03-29T01:00"),
        # Clocks go back at 03:00: 02:30 comes twice, the first counts.
        ("2025-10-26T01:59", "2025-10-25T23:59"),
        ("2025-10-26T02:30", "2025-10-26T00:30"),
        ("2025-10-26T03:00", "2025-10-26T02:00"),
    ],
)
def test_zone(text, utc):
    found = read_time(text, zone="Europe/Berlin", now=NOW)
    assert found == dt.datetime.fromisoformat(utc).replace(tzinfo=dt.UTC)


def test_own_format_in_a_zone():
    fields = UriFields(r"/(?P<time>[^/]+)\.wav$", "%d.%m.%Y-%Hh%M", "Europe/Berlin")
    assert fields.read("/calls/01.03.2026-10h15.wav") == (MORNING, {})
    # A format without a year is none of this century.
    assert UriFields(r"(?P<time>\d{4})", "%m%d").read("/0301")[0] is None


@pytest.mark.parametrize(
    ("pattern", "zone", "message"),
    [
        ("(?P<time>.)", "Europe/Berln", "no such zone"),
        ("(?P<time>.)", "../etc/passwd", "no such zone"),
        ("(?P<time>.)", "", "no such zone"),
    ],
)
def test_zones_that_cannot_be(pattern, zone, message):
    with pytest.raises(UsageError, match=message):
        UriFields(pattern, time_zone=zone)
