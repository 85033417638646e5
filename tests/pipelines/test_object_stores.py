"""Nights on object stores: real clients, real servers on loopback, faults on the way."""

from __future__ import annotations

import datetime as dt
import functools
import io
import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import boto3
import google.auth
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from google.auth.credentials import AnonymousCredentials

from pipelines import forgetting, querying
from pipelines.errors import HeldError, StoreError
from pipelines.storage import changes, erasing, files, inputs, lease, store, views
from tests import object_stores, small_tables
from tests.object_stores import BUCKET, KEYS, Bucket, Faults
from tests.speechlike import call

NIGHT = dt.date(2026, 3, 1)
TABLES = ("features", "segments", "recordings", "runs")
RATE = 8_000


@pytest.fixture(scope="module")
def _keys():
    patch = pytest.MonkeyPatch()
    for name, value in KEYS.items():
        patch.setenv(name, value)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def s3(_keys):
    with object_stores.s3() as bucket:
        yield bucket


@pytest.fixture(scope="module")
def gcs():
    # The emulator serves one connection at a time; the proxy closes each.
    with object_stores.gcs() as bucket, object_stores.proxy(bucket.endpoint, Faults()) as endpoint:
        bucket.endpoint = endpoint
        yield bucket


@pytest.fixture(params=["s3", "gcs"])
def bucket(request) -> Bucket:
    return request.getfixturevalue(request.param)


@pytest.fixture
def configured(bucket, monkeypatch):
    """This process knows the bucket as a command would that was configured of it."""
    for name, value in bucket.environment().items():
        monkeypatch.setenv(name, value)
    nobody = AnonymousCredentials(), "test"
    monkeypatch.setattr(google.auth, "default", lambda *args, **options: nobody)
    before = FileSystems._pipeline_options
    files.set_beam_options(PipelineOptions(bucket.options()))
    yield bucket
    FileSystems._pipeline_options = before


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for i, levels in enumerate([(-42, -20), (-41, -40), (-18, -20), (-20, -45)]):
        turns = [(1, 4, levels[0]), (6, 9, levels[1])]
        sides = (
            call([(4.2, 5.8, -20)], 10, f0_hz=170, seed=9 + i),
            call(turns, 10, noise_db=-90, seed=i),
        )
        name = folder / f"q{i % 2}" / f"call_{i}.wav"
        name.parent.mkdir(exist_ok=True)
        soundfile.write(name, np.stack(sides, axis=1), RATE, "ULAW")
    (folder / "notes.wav").write_text("no sound")
    (folder / ".hidden.wav").write_text("no input")
    return folder


def fill(bucket: Bucket, archive: Path, prefix: str) -> None:
    for path in archive.rglob("*"):
        if path.is_file():
            bucket.put(f"{prefix}/{path.relative_to(archive)}", path.read_bytes())


def night(source: str, out: str, model: Path, *more, env=None) -> subprocess.CompletedProcess:
    words = ["run", "--input", source, "--output", out, "--model", model, "--date", "2026-03-01"]
    words += ["--channel-roles", "agent,customer", "--max-reject-ratio", "1", "--workers", "1"]
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *map(str, (*words, *more))],
        capture_output=True, text=True, timeout=400, env={**os.environ, **(env or {})},
    )  # fmt: skip


def rows(parts: list[bytes], root: str) -> list[dict]:
    """Sorted, without what differs from run to run, URIs relative to their archive."""
    found = pa.concat_tables(pq.read_table(io.BytesIO(part)) for part in parts).to_pylist()
    for row in found:
        for name in ("run_id", "features_run_id", "processed_at", "modified_at"):
            row.pop(name, None)
        row["uri"] = row["uri"].removeprefix(root)
    return sorted(found, key=lambda row: (row["uri"], row.get("channel"), row.get("start_s")))


def parts(bucket: Bucket, out: str, table: str) -> list[bytes]:
    return [bucket.get(key) for key in bucket.keys(f"{out}/{table}/")]


def local_rows(out: Path, table: str, root: str) -> list[dict]:
    return rows([path.read_bytes() for path in out.glob(f"{table}/*/*/*.parquet")], root)


@pytest.fixture(scope="module")
def here(archive, level_model, tmp_path_factory):
    """The same night on this machine."""
    out = tmp_path_factory.mktemp("here") / "out"
    done = night(str(archive), str(out), level_model)
    assert done.returncode == 0, done.stderr
    return out


def same(bucket: Bucket, out: str, prefix: str, here: Path, archive: Path) -> None:
    for table in ("features", "segments", "recordings"):
        found = rows(parts(bucket, out, table), f"{bucket.url}/{prefix}")
        assert found == local_rows(here, table, str(archive)), table
        assert len(found) >= 5


@pytest.mark.long
def test_a_night_and_a_second_one(bucket, archive, level_model, here):
    fill(bucket, archive, "in")
    for name in ("model.keras", "card.json", "reference.npz"):
        bucket.put(f"models/level/{name}", (level_model / name).read_bytes())
    bucket.put("lists/tonight.txt", f"# all\n{bucket.url}/in/**/*.wav\n".encode())
    words = (f"@{bucket.url}/lists/tonight.txt", f"{bucket.url}/out", f"{bucket.url}/models/level")
    reports = ("--summary", f"{bucket.url}/reports/s.json", "--report", f"{bucket.url}/pages")
    done = night(*words, *reports, *bucket.options(), env=bucket.environment())
    assert done.returncode == 0, done.stderr
    assert json.loads(bucket.get("reports/s.json"))["books"]["labelled"] == 4
    assert "5 matched = 4 labelled + 0 without speech + 1 rejected" in done.stdout
    same(bucket, "out", "in", here, archive)
    assert not bucket.keys("out/_staging/")
    page = bucket.get("pages/2026-03-01.html").decode()
    links = {f"pages/{link}" for link in re.findall(r'href="(calls/[^"#]+)', page)}
    pages = {"pages/2026-03-01.html", "pages/index.html"}
    assert links
    assert set(bucket.keys("pages/")) == pages | links
    # The second night: one is new, one was replaced.
    bucket.put("in/q0/call_9.wav", (archive / "q0" / "call_0.wav").read_bytes())
    bucket.put("in/notes.wav", b"still no sound")
    done = night(*words, *bucket.options(), env=bucket.environment())
    assert done.returncode == 0, done.stderr
    assert "6 matched = 1 labelled + 0 without speech + 1 rejected + 4 already" in done.stdout
    assert len(bucket.keys("out/runs/")) == 2
    found = [json.loads(bucket.get(key)) for key in bucket.keys("out/_attempts/")]
    assert [(attempt["status"], attempt["opened"]) for attempt in found] == 2 * [("done", True)]
    out = ("--output", f"{bucket.url}/out")
    for words in (
        ("show", *out),
        ("plan", "--input", f"{bucket.url}/in", *out, "--model", f"{bucket.url}/models/level"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", *words, *bucket.options()],
            capture_output=True, text=True, env={**os.environ, **bucket.environment()},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "call_9.wav" in done.stdout or "already done │ 6" in done.stdout


@pytest.mark.long
def test_a_store_with_faults(s3, archive, level_model, here):
    """Answers fail or come late now and then; the night ends with the same rows."""
    fill(s3, archive, "faults/in")
    faults = Faults(error_every=7, slow_every=11, slow_s=0.5)
    with object_stores.proxy(s3.endpoint, faults) as endpoint:
        done = night(
            "s3://calls/faults/in", "s3://calls/faults/out", level_model, *s3.options(endpoint),
            env=KEYS,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert faults.errors > 5
    same(s3, "faults/out", "faults/in", here, archive)


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("s3://calls/in", "s3://nobody/out", "--output s3://nobody/out: cannot be locked: "),
        ("s3://nobody/in", "s3://calls/o", "--input s3://nobody/in: cannot be listed: "),
        ("s3://calls/nothing/*", "s3://calls/o", "nothing matches"),
        ("@s3://calls/no.txt", "s3://calls/o", "--input @s3://calls/no.txt: the list cannot be r"),
        ("ftp://calls/in", "s3://calls/o", "ftp://calls/in: files of ftp:// cannot be read"),
    ],
)
def test_what_is_not_there(s3, level_model, source, out, message):
    done = night(source, out, level_model, *s3.options(), env=KEYS)
    assert done.returncode in (1, 2, 4)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_denied_access(s3, archive, level_model, method):
    fill(s3, archive, "denied")
    with object_stores.proxy(s3.endpoint, Faults(denied=(method,))) as endpoint:
        done = night(
            "s3://calls/denied", "s3://calls/d/out", level_model, *s3.options(endpoint), env=KEYS
        )
    assert done.returncode == 1
    assert "--output s3://calls/d/out: cannot be locked: " in done.stderr
    assert "check its name and your permissions" in done.stderr


# ---------------------------------------------------------------- in this process


def test_patterns(configured):
    for key in ("p/a.wav", "p/b.mp3", "p/x/c.wav", "p/x/y/d.wav", "p/x/.h/e.wav", "p/xa.wav"):
        configured.put(key, b"12345")

    def names(pattern: str) -> list[str]:
        found = inputs.match(
            [f"{configured.url}/p{pattern}"], dates=(NIGHT,), output=f"{configured.url}/p/out"
        )
        return sorted(source.uri.removeprefix(f"{configured.url}/p/") for source in found)

    assert names("") == names("/") == ["a.wav", "b.mp3", "x/c.wav", "x/y/d.wav", "xa.wav"]
    assert names("/*.wav") == ["a.wav", "xa.wav"]
    assert names("/**/*.wav") == ["a.wav", "x/c.wav", "x/y/d.wav", "xa.wav"]
    assert names("/**/a.wav") == ["a.wav"]
    assert names("/x") == names("/x/**") == ["x/c.wav", "x/y/d.wav"]
    assert names("/x/*/d.wav") == names("/x/y/d.wav") == ["x/y/d.wav"]
    assert names("/[ab].*") == ["a.wav", "b.mp3"]
    (source,) = inputs.match([f"{configured.url}/p/a.wav"], dates=(NIGHT,))
    assert source.size_bytes == 5
    now = dt.datetime.now().timestamp()
    assert abs(source.modified_us / 1e6 - now) < 120


def test_what_lies_beside_and_what_is_not_there(configured):
    for key in ("n/a.wav", "n/b.WAV", "n/1.json", "n/.h.wav", "n/x/c[1].wav", "n/x/c1.wav"):
        configured.put(key, b"12345")
    root = f"{configured.url}/n/"

    def scan(*patterns: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for item in inputs.scan(patterns, dates=(NIGHT,)):
            name = item.source.uri.removeprefix(root)
            name += "" if item.source.size_bytes else " (not there)"
            found.setdefault(item.kind, set()).add(name)
        return found

    calls = {"a.wav", "b.WAV", "x/c[1].wav", "x/c1.wav"}
    assert scan(root) == {"recording": calls, "sidecar": {"1.json", ".h.wav"}}
    assert scan(f"{root}*.json") == {"recording": {"1.json"}}
    assert scan(f"{root}**/*.wav") == {
        "recording": calls - {"b.WAV"}, "sidecar": {".h.wav"}, "other_case": {"b.WAV"},
    }  # fmt: skip
    names = ("x/c[1].wav", "x/c[2].wav", "gone.wav", "nothing*.wav")
    text = "\r\n".join(f'"{root}{name}"' for name in names)
    configured.put("n/list/tonight.txt", b"\xef\xbb\xbf" + text.encode())
    assert scan(f"@{root}list/tonight.txt") == {
        "recording": {"x/c[1].wav", "x/c1.wav", "x/c[2].wav (not there)", "gone.wav (not there)"},
        "nothing": {"nothing*.wav (not there)"},
    }
    (gone,) = inputs.match([f"{root}gone.wav"], dates=(NIGHT,))
    with pytest.raises(FileNotFoundError), inputs.as_local_file(gone):
        pass


@pytest.mark.long
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_a_listing_of_several_pages(configured):
    from moto.s3.models import s3_backends

    (backends,) = s3_backends.values()
    backend = backends["aws"]
    for i in range(3_500):  # a page holds 1,000
        backend.put_object(BUCKET, f"many/{i % 50:02d}/call_{i:05d}.wav", b"1")
    found = {source.uri for source in inputs.match(["s3://calls/many/**/*.wav"], dates=(NIGHT,))}
    assert len(found) == 3_500


class Killed(BaseException):
    pass


def staged(bucket: Bucket, output: store.Output, run_id: str, *, sealed: bool) -> str:
    """A run that has written all it has to write, put there without the code under test."""
    folder = output.stage(run_id)
    prefix = folder.removeprefix(f"{bucket.url}/")
    for table in ("features", "segments", "recordings"):
        for part in ("part-1.parquet", "part-2.parquet", "part-left-over.parquet"):
            bucket.put(f"{prefix}/{table}/{part}", parquet(small_tables.part(table, part, run_id)))
    bucket.put(f"{prefix}/runs/part.parquet", parquet(small_tables.runs(run_id, NIGHT)))
    if sealed:
        bucket.put(f"{prefix}/{store.SEAL}", b"{}")
    return folder


def parquet(rows: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(rows, file)
    return file.getvalue()


@pytest.fixture
def one_session(monkeypatch):
    """Beam makes a session of boto3 for each request, which takes most of the time."""
    monkeypatch.setattr(boto3.session, "Session", functools.cache(boto3.session.Session))


@pytest.mark.long
@pytest.mark.parametrize("sealed", [True, False])
def test_killed_at_any_step_of_publishing(configured, one_session, monkeypatch, sealed):
    """A run counts once its row in `runs` is there, and then all of it is there."""
    both = ["part-00000-of-00002.parquet", "part-00001-of-00002.parquet"]
    everything = {**dict.fromkeys(TABLES, both), "runs": ["part-00000-of-00001.parquet"]}
    monkeypatch.setattr(files, "_BATCH", 1)
    names = ["part-1.parquet", "part-2.parquet"]

    def finish(output: store.Output, folder: str) -> None:
        output.publish(folder, names, date=NIGHT)

    published, step = False, 0
    while not published:
        root, counted = f"{configured.url}/killed-{sealed}-{step}", 0

        def dying(function, step=step):
            def call(*args, **kwargs):
                nonlocal counted
                counted += 1
                if counted > step:
                    raise Killed
                return function(*args, **kwargs)

            return call

        prefix = root.removeprefix(configured.url + "/")

        def seen(prefix=prefix):
            return {
                table: sorted(Path(key).name for key in configured.keys(f"{prefix}/{table}/"))
                for table in TABLES
            }

        with monkeypatch.context() as patch:
            try:
                with store.Output(root) as output:
                    folder = staged(configured, output, "r1", sealed=sealed)
                    for name in ("copy", "delete"):
                        whole = type(FileSystems.get_filesystem(root))
                        patch.setattr(whole, name, dying(getattr(whole, name)))
                    patch.setattr(files, "write_whole", dying(files.write_whole))
                    output.publish(folder, names, date=NIGHT)
                published = True
            except Killed:
                pass
        now = seen()
        for early, late in itertools.pairwise(TABLES):
            assert not now[late] or now[early] == everything[early]
        promised = sealed or published or configured.keys(f"{prefix}/_staging/r1/{store.MANIFEST}")
        with store.Output(root, finish=finish):
            pass
        nothing = {table: [] for table in TABLES}
        assert seen() == (everything if promised or now["runs"] else nothing)
        assert not configured.keys(f"{prefix}/_staging/")
        step += 2 if configured.url.startswith("gs:") else 6  # some of the steps
    assert step > 15


def test_a_lease_is_held_by_one(configured):
    with store.Output(f"{configured.url}/held") as output:
        with pytest.raises(HeldError, match=r"another run holds it \(process \d+ on .*90 s"):
            store.Output(f"{configured.url}/held").__enter__()
        output._lock.check()
    with store.Output(f"{configured.url}/held"):
        pass


def test_a_lease_of_a_run_that_was_killed_runs_out(configured, monkeypatch):
    killed = store.Output(f"{configured.url}/dead").__enter__()
    killed._lock._ended.set()  # nothing renews it any more
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=lease.EXPIRES_S - 20)
    monkeypatch.setattr(lease, "_now", lambda: later)
    with pytest.raises(HeldError):
        store.Output(f"{configured.url}/dead").__enter__()
    monkeypatch.setattr(lease, "_now", lambda: later + dt.timedelta(seconds=30))
    with store.Output(f"{configured.url}/dead"):
        if configured.url.startswith("s3:"):  # the emulator of the other looks at no conditions
            # It comes back to life, and must not publish.
            with pytest.raises(StoreError, match="this run lost its lock"):
                killed.publish(killed.stage("r0"), [], date=NIGHT)
            killed._release()
            text = json.loads(configured.get("dead/_lock"))
            assert dt.datetime.fromisoformat(text["until"]).year < 2100


def test_a_lease_is_renewed(configured, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.1)
    with store.Output(f"{configured.url}/long"):
        first = until = json.loads(configured.get("long/_lock"))["until"]
        end = time.monotonic() + 30
        while until == first and time.monotonic() < end:
            time.sleep(0.1)
            until = json.loads(configured.get("long/_lock"))["until"]
        assert until > first


@pytest.mark.parametrize("bucket", ["gcs"], indirect=True)
def test_google_is_asked_on_conditions(configured, monkeypatch):
    """What the emulator does not look at is asked for all the same."""
    faults = Faults()
    with object_stores.proxy(configured.endpoint, faults) as endpoint:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
        with store.Output(f"{configured.url}/conditions") as output:
            first = output._lock._version
            output._lock.check()
    written = [
        request for request in faults.seen if request.startswith("POST") and "upload" in request
    ]
    assert "ifGenerationMatch=0" in written[0]
    assert f"ifGenerationMatch={first}" in written[1]


def test_a_query_of_a_store_meets_an_erasure_and_is_repeated(
    configured, tmp_path, ser_here, monkeypatch
):
    """What Beam says of a file that is gone reaches us through DuckDB, as a traceback."""
    out = f"{configured.url}/gone"
    small_tables.publish(tmp_path, "r1", ["a.wav", "b.wav"], date=NIGHT)
    for path in tmp_path.rglob("*.parquet"):
        configured.put(f"gone/{path.relative_to(tmp_path)}", path.read_bytes())
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)
    lock_in, times = querying._lock_in, []

    def forget_once(db, root):
        if not times:
            request = forgetting.Request("uri", forgetting.by_uri(["a.wav"]))
            forgetting.forget(out, request, lambda line: None)
        times.append(1)
        lock_in(db, root)

    monkeypatch.setattr(querying, "_lock_in", forget_once)
    words = ("--output", out, "--format", "csv", *configured.options())
    done = ser_here("query", "SELECT uri FROM calls", *words)
    assert done.stdout.splitlines() == ["uri", "b.wav"], done.stderr
    assert len(times) == 2


def test_views_of_a_store_are_made_in_memory(configured, tmp_path, ser_here):
    """A run without a row in `runs` does not count, and a file that a change replaced neither."""
    uris = ["a.wav", "b.wav"]
    small_tables.publish(tmp_path, "r1", uris, date=NIGHT)
    paths = small_tables.publish(tmp_path, "r2", ["b.wav", "c.wav"], date=NIGHT, negativity=0.5)
    (tmp_path / paths["runs"]).unlink()
    old = f"recordings/date={NIGHT}/run=r1/part-00000-of-00009.parquet"
    now = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
    change = changes.Change(changes.new_id(now), changes.COMPACT, now, (old,))
    rows = small_tables.calls(uris, "r1")["recordings"]
    small_tables.write(tmp_path, "recordings", rows, date=NIGHT, run=change.id)
    changes.add(str(tmp_path), change)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            configured.put(f"views/{path.relative_to(tmp_path)}", path.read_bytes())
    out = f"{configured.url}/views"
    with views.connect(out) as db:
        found = db.execute("SELECT uri, run_id, date FROM calls ORDER BY uri").fetchall()
        assert found == [("a.wav", "r1", NIGHT), ("b.wav", "r1", NIGHT)]
        assert db.execute("SELECT count(*) FROM segments").fetchall() == [(2,)]
        assert db.execute("SELECT len(vector) FROM features").fetchall() == [(2,), (2,)]
        assert db.execute("SELECT labelled FROM nights").fetchall() == [(2,)]
    words = ("--output", out, "--format", "csv", *configured.options())
    done = ser_here("query", "SELECT uri FROM calls ORDER BY uri", *words)
    assert done.stdout.splitlines() == ["uri", "a.wav", "b.wav"], done.stderr
    done = ser_here("query", "FROM read_text('/etc/hostname')", *words)
    assert done.returncode == 2


def test_doctor_looks_into_a_store(configured, ser_here, archive):
    fill(configured, archive, "doctor")
    words = ("doctor", "--json", *configured.options())

    def look(source: str, out: str) -> dict[str, dict]:
        done = ser_here(*words, "--input", source, "--output", out)
        return {finding["check"]: finding for finding in json.loads(done.stdout)}

    source, out = f"{configured.url}/doctor", f"{configured.url}/doctor-out"
    found = look(source, out)
    assert found[f"input {source}"]["state"] == "ok", found
    assert found["output"]["state"] == "ok", found
    assert not configured.keys("doctor-out"), "it leaves nothing behind"
    nowhere = configured.url.replace("calls", "no-such-bucket")
    found = look(f"{nowhere}/in", f"{nowhere}/out")
    for check in (f"input {nowhere}/in", "output"):
        assert found[check]["state"] == "problem", found
        assert found[check]["advice"], found
