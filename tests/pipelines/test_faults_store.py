"""A store that answers nothing but 503 for a while."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.storage import files
from tests import object_stores
from tests.object_stores import KEYS, Faults

DOWN_S = 12.0


@pytest.fixture
def store(monkeypatch):
    """A bucket behind a proxy that is down for a while after the first request."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in files._S3_RETRIES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(files, "_s3_clients", {})
    monkeypatch.setattr(files, "_latest_s3", [])
    before = FileSystems._pipeline_options
    faults = Faults(down_after=1, down_s=DOWN_S)
    with object_stores.s3() as bucket:
        for name in ("read", "copied", "deleted"):
            bucket.put(f"in/{name}.txt", name.encode())
        with object_stores.proxy(bucket.endpoint, faults) as endpoint:
            files.set_beam_options(PipelineOptions(bucket.options(endpoint)))
            yield bucket, faults
    FileSystems._pipeline_options = before


@pytest.mark.fault(
    "store", "S3 answers 503 to every request, for 12 s in the test and for a minute by hand",
    "each request waits and is done: list, read, write, copy, delete",
)  # fmt: skip
def test_an_outage_is_waited_for(store, tried):
    bucket, faults = store
    url = f"{bucket.url}/in"
    assert files.exists(f"{url}/read.txt")
    works = [
        lambda: sorted(item.path.rpartition("/")[2] for item in files.listed(f"{url}/r")),
        lambda: files.read_text(f"{url}/read.txt"),
        lambda: files.write_whole(f"{bucket.url}/out/written.txt", "written"),
        lambda: files.copy([(f"{url}/copied.txt", f"{bucket.url}/out/copied.txt")]),
        lambda: files.delete([f"{url}/deleted.txt"]),
    ]
    started = time.monotonic()
    with ThreadPoolExecutor(len(works)) as threads:
        found = [done.result() for done in [threads.submit(work) for work in works]]
    assert time.monotonic() - started >= DOWN_S - 1
    assert faults.errors >= 5 * 3
    assert found[:2] == [["read.txt"], "read"]
    assert bucket.get("out/written.txt") == b"written"
    assert bucket.get("out/copied.txt") == b"copied"
    assert "in/deleted.txt" not in bucket.keys("in/")
    tried(len(works))
