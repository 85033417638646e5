"""Files of an object store as DuckDB reads them: in several threads at once."""

from __future__ import annotations

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.storage import duckdb_files
from pipelines.storage.duckdb_files import StoreFiles, ThreadsFile


def test_each_thread_has_a_position():
    file = ThreadsFile(io.BytesIO(bytes(range(100))))
    with ThreadPoolExecutor(1) as other:
        assert file.seek(10) == 10
        assert other.submit(file.seek, 50).result() == 50
        assert file.read(3) == bytes([10, 11, 12])
        assert other.submit(file.read, 2).result() == bytes([50, 51])
        assert (file.tell(), other.submit(file.tell).result()) == (13, 52)
        assert file.seek(-1, io.SEEK_CUR) == 12
        assert file.seek(0, io.SEEK_END) == 100
        assert file.read() == b""
        assert other.submit(file.read).result() == bytes(range(52, 100))


@pytest.fixture
def slow_store(tmp_path, monkeypatch):
    """Parquet files of several row groups behind URLs; seeking takes a moment, as in a store."""
    random = np.random.default_rng(0)
    for i in range(12):
        rows = 300 if i % 3 == 0 else 40_000
        columns = {f"c{j}": random.integers(0, 1_000_000, rows).astype(str) for j in range(4)}
        pq.write_table(pa.table(columns), tmp_path / f"{i}.parquet", row_group_size=10_000)

    class Slow(io.FileIO):
        def seek(self, *where):
            time.sleep(0.001)
            return super().seek(*where)

    monkeypatch.setattr(
        duckdb_files.files, "read", lambda url: Slow(tmp_path / os.path.basename(url))
    )
    return tmp_path


def test_threads_of_duckdb_read_what_the_files_hold(slow_store):
    urls = [f"s3://bucket/{i}.parquet" for i in range(12)]
    query = "SELECT count(*), sum(c1::INT), max(c2) FROM read_parquet({}) WHERE c3 > '1'"
    expected = duckdb.sql(query.format(f"'{slow_store}/*.parquet'")).fetchall()
    for _ in range(5):
        with duckdb.connect(config={"threads": 4}) as db:
            db.register_filesystem(StoreFiles())
            assert db.execute(query.format(urls)).fetchall() == expected
