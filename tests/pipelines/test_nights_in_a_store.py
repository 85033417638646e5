"""Nights of an archive and tables on an S3 server: late files, a backfill, roles corrected."""

from __future__ import annotations

import functools
import io

import boto3
import numpy as np
import pytest
import soundfile
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import errors
from pipelines.storage import files, views
from tests import object_stores
from tests.speechlike import call


@pytest.fixture
def s3(monkeypatch):
    for name, value in object_stores.KEYS.items():
        monkeypatch.setenv(name, value)
    # Beam makes a session of boto3 for each request, which takes most of the time.
    monkeypatch.setattr(boto3.session, "Session", functools.cache(boto3.session.Session))
    before = FileSystems._pipeline_options
    with object_stores.s3() as bucket:
        files.set_beam_options(PipelineOptions(bucket.options()))
        yield bucket
    FileSystems._pipeline_options = before


def recording() -> bytes:
    """A call with speech on both channels."""
    sides = call([(4, 5, -20)], 6, f0_hz=170), call([(1, 3, -20)], 6, seed=9)
    file = io.BytesIO()
    soundfile.write(file, np.stack(sides, axis=1), 8_000, "PCM_16", format="WAV")
    return file.getvalue()


@pytest.mark.long
def test_days_a_backfill_and_a_redo(s3, ser_here):
    audio, out = recording(), f"{s3.url}/out"

    def extract(*words, roles="customer,agent"):
        given = ("--input", f"{s3.url}/in/{{date:%Y-%m-%d}}/*.wav", "--output", out)
        given += ("--feature-set", "test_simple", "--channel-roles", roles)
        return ser_here("extract", *given, *words, *s3.options())

    def channels() -> dict[str, list[int]]:
        """The channel of each segment, by the name of its call."""
        with views.connect(out) as db:
            rows = db.execute(
                "SELECT parse_filename(uri), list(DISTINCT segments.channel) FROM segments "
                "SEMI JOIN calls USING (uri, run_id) GROUP BY 1"
            ).fetchall()
        return dict(rows)

    s3.put("in/2026-03-01/a.wav", audio)
    s3.put("in/2026-03-02/b.wav", audio)
    done = extract("--date", "2026-03-02", "--days", "3")
    assert done.returncode == errors.DONE, done.stderr
    assert "2 matched = 2 extracted" in done.stdout
    assert f"match nothing, the first: {s3.url}/in/2026-02-28/*.wav" in done.stdout
    # A file that came late, a day without calls, and another day.
    s3.put("in/2026-03-01/late.wav", audio)
    s3.put("in/2026-03-04/d.wav", audio)
    done = extract("--from", "2026-03-01", "--to", "2026-03-04")
    assert done.returncode == errors.NOTHING_MATCHED
    assert "4 nights: 3 done, 1 without a match" in done.stdout
    assert channels() == {"a.wav": [0], "b.wav": [0], "late.wav": [0], "d.wav": [0]}
    # The first night had the roles the wrong way round.
    words = ("--date", "2026-03-04", "--days", "4", "--redo", "date=2026-03-02")
    done = extract(*words, roles="agent,customer")
    assert "done again: 2 (--redo date=2026-03-02)" in done.stdout, done.stderr
    assert "4 matched = 2 extracted + 0 labelled" in done.stdout
    assert channels() == {"a.wav": [1], "b.wav": [1], "late.wav": [0], "d.wav": [0]}
    done = extract(*words, roles="agent,customer")
    assert done.returncode == errors.DONE
    assert "nothing new: 4 matched, 4 already done" in done.stdout
