"""What a URI tells."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from pipelines.errors import UsageError
from pipelines.uri_fields import UriFields

PATTERN = r"(?P<queue>[^/]+)/(?P<time>[^/_]+)_(?P<call_id>[^/]+)\.wav$"
MORNING = dt.datetime(2026, 3, 1, 9, 15, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "time_format", "expected"),
    [
        ("20260301T091500", None, MORNING),
        ("2026-03-01T10:15:00+01:00", None, MORNING),
        ("01.03.2026-09h15", "%d.%m.%Y-%Hh%M", MORNING),
        ("yesterday", None, None),
        ("2026-13-01", None, None),
    ],
)
def test_call_time(text, time_format, expected):
    time, meta = UriFields(PATTERN, time_format).read(f"/calls/billing/{text}_c1.wav")
    assert time == expected
    assert meta == {"queue": "billing", "call_id": "c1"}


def test_a_uri_that_does_not_match_has_nulls():
    assert UriFields(PATTERN).read("/a.wav") == (None, {"queue": None, "call_id": None})


def test_no_pattern_no_columns():
    assert UriFields().names == ()
    assert UriFields().read("/a.wav") == (None, {})


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (r"(?P<queue>(?:a|aa)+)+\.mp3$", "a" * 200 + ".wav"),
        (r"(?P<queue>(?:\w|\d|_)+)+!\d", "1" * 200 + "!.wav"),
        (r"(?P<queue>[^/]+)+(?P<time>\d{8}T\d{6})_(?P<call_id>[^/.]+)", "a" * 30_000 + ".wav"),
        (r"(?P<queue>.*)(?P<a>.*)(?P<b>.*)(?P<c>.*)[xy]", "a" * 3_000 + ".wav"),
    ],
)
def test_a_search_that_would_not_end_finds_nothing(pattern, name):
    began = time.process_time()
    found = UriFields(pattern).read("/calls/.mp3/" + name)
    assert time.process_time() - began < 5, "Python's re searches most of these for years"
    assert found == (None, dict.fromkeys(UriFields(pattern).names))


@pytest.mark.parametrize(
    ("pattern", "time_format", "message"),
    [
        ("(?P<a>", None, "not a regular expression"),
        (".*", None, "no named group"),
        (r"(?P<a>\w+){e<=1}", None, r"write \\{ for the brace itself"),
        (r"(?P<a>x)|(?P<a>y)", None, "not a regular expression: redefinition"),
        ("(?P<a>.)", "%H", r"no group \(\?P<time>"),
        ("(?P<Queue>.)(?P<time>.)(?P<queue>.)", None, "the groups Queue and queue would be one"),
    ],
)
def test_patterns_that_cannot_be(pattern, time_format, message):
    with pytest.raises(UsageError, match=message):
        UriFields(pattern, time_format)
