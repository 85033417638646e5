"""`ser forget`, `ser compact` and `ser check` on an S3 server on loopback, killed or not."""

from __future__ import annotations

import functools

import boto3
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import checking, compaction, forgetting, publishing
from pipelines.storage import changes, erasing, files, forgotten, published
from tests import object_stores
from tests.pipelines.outputs import add_run, call


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def s3():
    patch = pytest.MonkeyPatch()
    for name, value in object_stores.KEYS.items():
        patch.setenv(name, value)
    # Beam makes a session of boto3 for each request, which takes most of the time.
    patch.setattr(boto3.session, "Session", functools.cache(boto3.session.Session))
    patch.setattr(erasing, "GRACE_S", 0.0)
    before = FileSystems._pipeline_options
    with object_stores.s3() as bucket:
        files.set_beam_options(PipelineOptions(bucket.options()))
        yield bucket
    FileSystems._pipeline_options = before
    patch.undo()


def uris(out: str, table: str = "recordings") -> list[str]:
    reader = published.open_reader(out)
    return sorted(
        {
            uri
            for rows in reader.rows(reader.paths(table), ["uri"])
            for uri in rows["uri"].to_pylist()
        }
    )


def findings(out: str) -> list[str]:
    return [finding.text for finding in checking.check(out).findings]


def request(uri: str) -> forgetting.Request:
    return forgetting.Request("uri", forgetting.by_uri([uri]))


def quiet(line: str) -> None:
    pass


def test_the_commands(s3):
    out = f"{s3.url}/out"
    for i in range(2):
        add_run(out, [call(f"s3://calls/q/{i}.wav", customer=str(i))])
    assert findings(out) == []
    assert forgetting.preview(
        out, forgetting.Request("where", forgetting.by_sql("meta_customer = '0'", out))
    ).uris == {"s3://calls/q/0.wav"}
    compaction.compact(out, quiet)
    assert len(published.open_reader(out).paths("runs")) == 1
    assert findings(out) == []
    forgetting.forget(out, request("s3://calls/q/0.wav"), quiet)
    assert uris(out) == uris(out, "features") == ["s3://calls/q/1.wav"]
    assert findings(out) == []
    assert not any(b"q/0.wav" in s3.get(key) for key in s3.keys("out/") if "parquet" not in key)
    # What `compact` had replaced and held the call is gone, too.
    assert not s3.keys("out/_staging/")
    key = next(key for key in s3.keys("out/segments/") if "run=c" in key)
    damaged = bytearray(s3.get(key))
    damaged[50] ^= 4
    s3.put(key, bytes(damaged))
    assert any(key in text for text in findings(out))


@pytest.mark.long
@pytest.mark.parametrize("command", ["forget", "compact"])
def test_killed_at_steps(s3, monkeypatch, command):
    monkeypatch.setattr(files, "_BATCH", 2)
    step, finished, outcomes = 0, False, set()
    while not finished:
        out, counted = f"{s3.url}/{command}-{step}", 0
        for i in range(2):
            add_run(out, [call(f"s3://calls/q/{i}.wav")])
        with monkeypatch.context() as patch:
            try:
                with publishing.opened(out, quiet) as held:

                    def dying(function, step=step):
                        def do(*args, **kwargs):
                            nonlocal counted
                            counted += 1
                            if counted > step:
                                raise Killed
                            return function(*args, **kwargs)

                        return do

                    for name in ("copy", "delete", "write_whole"):
                        patch.setattr(files, name, dying(getattr(files, name)))
                    if command == "forget":
                        forgetting.forget_in(held, request("s3://calls/q/0.wav"))
                    else:
                        merges = list(compaction._merges(published.open_reader(out)))
                        compaction._apply(held, merges)
                finished = True
            except Killed:
                pass
        tables = {tuple(uris(out, table)) for table in ("recordings", "segments", "features")}
        assert len(tables) == 1
        with publishing.opened(out, quiet):
            pass
        marked = bool(forgotten.read_marks(out))
        both = ["s3://calls/q/0.wav", "s3://calls/q/1.wav"]
        assert uris(out) == (both[1:] if marked else both)
        assert findings(out) == []
        outcomes.add((marked, len(changes.read(out))))
        step += 5
    assert outcomes == (
        {(False, 0), (True, 1)} if command == "forget" else {(False, 0), (False, 1)}
    )
