"""A store that answers nothing but 503 for a while, or does what is asked and answers 503."""

from __future__ import annotations

import datetime as dt
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.errors import HeldError
from pipelines.storage import files, lease, store
from tests import object_stores
from tests.object_stores import KEYS, Faults

DOWN_S = 12.0


@pytest.fixture
def faulty(monkeypatch):
    """A bucket, and a proxy before it that the options of the process name."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in files._S3_RETRIES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(files, "_s3_clients", {})
    monkeypatch.setattr(files, "_latest_s3", [])
    before = FileSystems._pipeline_options
    faults = Faults()
    with object_stores.s3() as bucket:
        for name in ("read", "copied", "deleted"):
            bucket.put(f"in/{name}.txt", name.encode())
        with object_stores.proxy(bucket.endpoint, faults) as endpoint:
            files.set_beam_options(PipelineOptions(bucket.options(endpoint)))
            yield bucket, faults
    FileSystems._pipeline_options = before


def works_on(bucket):
    """List, read, write, copy, delete."""
    url = f"{bucket.url}/in"
    return [
        lambda: sorted(item.path.rpartition("/")[2] for item in files.listed(f"{url}/r")),
        lambda: files.read_text(f"{url}/read.txt"),
        lambda: files.write_whole(f"{bucket.url}/out/written.txt", "written"),
        lambda: files.copy([(f"{url}/copied.txt", f"{bucket.url}/out/copied.txt")]),
        lambda: files.delete([f"{url}/deleted.txt"]),
    ]


def check_works(bucket, found):
    assert found[:2] == [["read.txt"], "read"]
    assert bucket.get("out/written.txt") == b"written"
    assert bucket.get("out/copied.txt") == b"copied"
    assert "in/deleted.txt" not in bucket.keys("in/")


@pytest.mark.fault(
    "store", "S3 answers 503 to every request, for 12 s in the test and for a minute by hand",
    "each request waits and is done: list, read, write, copy, delete",
)  # fmt: skip
def test_an_outage_is_waited_for(faulty, tried):
    bucket, faults = faulty
    faults.down_after, faults.down_s = 1, DOWN_S
    assert files.exists(f"{bucket.url}/in/read.txt")
    started = time.monotonic()
    works = works_on(bucket)
    with ThreadPoolExecutor(len(works)) as threads:
        check_works(bucket, [done.result() for done in [threads.submit(work) for work in works]])
    assert time.monotonic() - started >= DOWN_S - 1
    assert faults.errors >= 5 * 3
    tried(len(works))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.fault(
    "store", "S3 does what is asked, and its answer is lost: every second one, or the others",
    "each request is repeated, and is done: list, read, write, copy, delete",
)  # fmt: skip
def test_lost_answers(faulty, first, tried):
    bucket, faults = faulty
    faults.requests, faults.lost_every = first, 2
    works = works_on(bucket)
    check_works(bucket, [work() for work in works])
    assert faults.errors >= 4
    tried(len(works))


@pytest.mark.fault(
    "store", "S3 does what is asked, and its answer is lost, on the lock of the output",
    "the lock is taken, renewed and kept; another run is told who holds it",
)  # fmt: skip
def test_lost_answers_about_the_lock(faulty, monkeypatch, tried):
    """A write that is repeated finds the object changed, by itself."""
    bucket, faults = faulty
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 600.0)
    faults.lost_every = 2
    with store.Output(f"{bucket.url}/held") as output:
        for _ in range(3):
            output.check_held()
        with pytest.raises(HeldError, match="another run holds it"):
            store.Output(f"{bucket.url}/held").__enter__()
        lock = output._lock
        # A renewal of which no try was answered: the next one finds it.
        lock = output._lock
        lock._store.write(lock._text(lock._until), lock._version)
        output.check_held()
    assert faults.errors >= 5
    tried(5)


@pytest.mark.fault(
    "store", "S3 takes 80 s for a write of the lock, which lasts 90 s",
    "it is written again before anything relies on it",
)  # fmt: skip
def test_a_slow_write_of_the_lock(monkeypatch):
    clock = [dt.datetime(2026, 3, 1, tzinfo=dt.UTC)]
    written = []

    class Slow:
        def read(self):
            return None

        def write(self, text, version):
            written.append(json.loads(text)["until"])
            clock[0] += dt.timedelta(seconds=80 if len(written) == 1 else 1)
            return len(written)

    monkeypatch.setattr(lease, "_now", lambda: clock[0])
    monkeypatch.setattr(lease, "_store", lambda path: Slow())
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 600.0)
    lock = lease.Lease("s3://calls/out/_lock", {"pid": 1})
    lock.acquire()
    assert len(written) == 2
    assert dt.datetime.fromisoformat(written[-1]) - clock[0] > dt.timedelta(seconds=80)
    lock.release()
