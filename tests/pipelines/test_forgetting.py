"""`ser forget`: what is chosen, what is erased, and that it never comes back."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import compaction, forgetting
from pipelines.errors import NothingMatchedError, UsageError
from pipelines.storage import changes, erasing, forgotten, published, views
from tests.pipelines.outputs import add_run, call, identity

TABLES = ("recordings", "segments", "features")
DAY = dt.date(2026, 3, 1)


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)


def rows(out: Path, table: str, column: str = "uri") -> list:
    reader = published.open_reader(out)
    return [
        value
        for path in reader.paths(table)
        for value in pq.read_table(path, columns=[column], partitioning=None)[column].to_pylist()
    ]


def everything(out: Path) -> bytes:
    """All bytes and names below a folder."""
    found = b""
    for path in sorted(out.rglob("*")):
        found += str(path.relative_to(out)).encode()
        if path.is_file():
            found += path.read_bytes()
    return found


def names_in(out: Path) -> set[str]:
    """All texts in the Parquet files of a folder, and the other files as they are."""
    found = set()
    for path in out.rglob("*"):
        if path.suffix == ".parquet":
            for row in (
                pq.read_table(path, partitioning=None)
                .drop_columns([name for name in ("vector",) if name in pq.read_schema(path).names])
                .to_pylist()
            ):
                found.add(json.dumps(row, default=str))
        elif path.is_file():
            found.add(path.read_bytes().decode("utf-8", "replace"))
    return found


def holds(out: Path, text: str) -> bool:
    return any(text in found for found in names_in(out))


@pytest.fixture
def out(tmp_path) -> Path:
    """Two nights, two models, equal bytes under two names, a rejected recording."""
    folder = tmp_path / "out"
    first = [
        call("/calls/a.wav", customer="4711"),
        call("/calls/b.wav", customer="0815"),
        call("/calls/call[1].wav", customer="4711"),
        call("/calls/call1.wav"),
        call("/calls/bad.wav", reason="corrupt"),
    ]
    add_run(folder, first, command="ser run --input /calls/a.wav")
    add_run(
        folder,
        [call("/calls/copy-of-a.wav", "/calls/a.wav"), call("/calls/old/c.wav")],
        night=dt.date(2026, 3, 2),
        meta=(),
    )
    add_run(folder, first[:2], labels=("sad", "neutral", "happy"), model="m-2")
    return folder


def forget(out: Path, request) -> forgetting.Hits:
    return forgetting.forget(str(out), request, lambda line: None)


def request(choice, only: str | None = None) -> forgetting.Request:
    return forgetting.Request("uri", choice, only)


@pytest.mark.parametrize("folder", ["/calls", "s3://calls/new"])
def test_a_name_without_a_folder_is_told_how_to_name_every_folder(tmp_path, folder):
    add_run(tmp_path, [call(f"{folder}/2026/a1.wav")])
    with pytest.raises(NothingMatchedError, match=r"'(/|s3://calls/)[*][*]/a[*]'") as error:
        forgetting.preview(str(tmp_path), request(forgetting.by_uri(["a*"])))
    pattern = re.search("'(.*)'", str(error.value))[1]
    assert forgetting.preview(str(tmp_path), request(forgetting.by_uri([pattern]))).uris


def test_all_rows_of_a_call_go_from_everything(out):
    (out / "_attempts").mkdir()
    attempt = {"command": "ser run --input /calls/a.wav", "message": "recording /calls/a.wav: no"}
    (out / "_attempts" / "1.json").write_text(json.dumps(attempt))
    before = {table: len(rows(out, table)) for table in TABLES}
    assert holds(out, identity("/calls/a.wav"))
    hits = forget(out, request(forgetting.by_uri(["/calls/a.wav"])))
    # Two models' rows of it, and one under another name.
    assert hits.rows == {"recordings": 3, "segments": 6, "features": 6}
    assert hits.uris == {"/calls/a.wav", "/calls/copy-of-a.wav"}
    for table, count in hits.rows.items():
        assert len(rows(out, table)) == before[table] - count
    assert not holds(out, "/calls/a.wav")
    assert not holds(out, "copy-of-a")
    assert not holds(out, identity("/calls/a.wav"))
    assert holds(out, "/calls/b.wav")
    # Nothing is left of the change but what it wrote.
    assert not list((out / "_staging").iterdir())
    [change] = changes.read(str(out))
    assert change.replaced == ()
    assert set(rows(out, "runs", "command")) == {"ser run --input (forgotten)", "ser run"}


def test_the_rest_stays_as_it_was(out):
    def kept(folder):
        reader = published.open_reader(folder)
        found = {}
        for table in TABLES:
            for path in reader.paths(table):
                content = pq.read_table(path, partitioning=None)
                schema = content.schema
                for row in content.to_pylist():
                    if row["uri"] not in ("/calls/a.wav", "/calls/copy-of-a.wav"):
                        key = table, row["run_id"], row["uri"], row.get("start_s")
                        found[key] = row, schema.names, schema.metadata
        return found

    before = kept(out)
    forget(out, request(forgetting.by_uri(["/calls/a.wav"])))
    assert kept(out) == before
    for table in TABLES:
        for path in published.open_reader(out).paths(table):
            [compression] = {
                pq.read_metadata(path).row_group(0).column(i).compression for i in range(3)
            }
            assert compression == "ZSTD"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/calls/call[1].wav", {"/calls/call[1].wav"}),
        ("/calls/call[12].wav", {"/calls/call1.wav"}),
        ("/calls/old", {"/calls/old/c.wav"}),
        ("/calls/old/", {"/calls/old/c.wav"}),
        ("/calls/*.wav", {"/calls/call[1].wav", "/calls/call1.wav", "/calls/b.wav"}),
        ("/calls/**/c.wav", {"/calls/old/c.wav"}),
        ("/calls/*/b.wav", set()),
        ("/elsewhere/*", set()),
    ],
)
def test_what_a_uri_means(text, expected):
    known = {"/calls/call[1].wav", "/calls/call1.wav", "/calls/b.wav", "/calls/old/c.wav"}
    assert forgetting.matching(text, known) == expected


def test_uris_of_a_store():
    known = {"s3://calls/q/a.wav", "s3://calls/q/b.wav", "/calls/q/a.wav"}
    assert forgetting.matching("s3://calls/q", known) == {
        "s3://calls/q/a.wav",
        "s3://calls/q/b.wav",
    }
    assert forgetting.matching("s3://calls/*/a.wav", known) == {"s3://calls/q/a.wav"}
    assert forgetting.matching("s3://calls/q/b.wav", known) == {"s3://calls/q/b.wav"}


def test_a_list_of_uris(out, tmp_path):
    names = tmp_path / "erase.txt"
    names.write_text("/calls/b.wav\n/calls/old/c.wav\n")
    hits = forget(out, request(forgetting.by_uri([f"@{names}"])))
    assert hits.uris == {"/calls/b.wav", "/calls/old/c.wav"}


def test_an_id(out):
    whole = identity("/calls/b.wav")
    assert forgetting.preview(str(out), request(forgetting.by_recording(whole[:10]))).uris == {
        "/calls/b.wav"
    }
    with pytest.raises(UsageError, match="3 characters found"):
        forgetting.preview(str(out), request(forgetting.by_recording("abc")))
    with pytest.raises(NothingMatchedError):
        forgetting.preview(str(out), request(forgetting.by_recording("0" * 64)))


def test_a_condition_over_the_calls(out):
    def choose(condition: str):
        return request(forgetting.by_sql(condition, str(out)))

    hits = forgetting.preview(str(out), choose("meta_customer = '4711'"))
    # The row of the latest run counts, and equal bytes go with it.
    assert hits.uris == {"/calls/a.wav", "/calls/copy-of-a.wav", "/calls/call[1].wav"}
    for condition in ("meta_custmer = '4711'", "label =", "true); DROP VIEW calls; --"):
        with pytest.raises(UsageError, match="--where: "):
            forgetting.preview(str(out), choose(condition))
    with pytest.raises(NothingMatchedError):
        forgetting.preview(str(out), choose("meta_customer = 'nobody'"))
    assert forget(out, choose("meta_customer = '4711' -- theirs")).uris == hits.uris


@pytest.mark.parametrize(
    "condition", ["meta_customer = '4711'::INT + 'x4711'", "meta_customer = x4711", "x4711 x4711"]
)
def test_a_wrong_condition_is_not_repeated(out, condition):
    """Messages are stored with attempts, and a condition names somebody."""
    with pytest.raises(UsageError, match=r"^--where: [A-Z]") as raised:
        forgetting.preview(str(out), request(forgetting.by_sql(condition, str(out))))
    assert "x4711" not in str(raised.value)


@pytest.mark.parametrize("text", ["", " ", "/", "s3://", "gs:///"])
def test_what_would_mean_everything_is_refused(text, tmp_path):
    """As `--uri "$CALL"` does if the shell knows no such variable."""
    names = tmp_path / "erase.txt"
    names.write_text("/calls/a.wav\n/\n")
    for given in ([text], ["/calls/a.wav", text], [f"@{names}"]):
        with pytest.raises(UsageError, match="would mean everything"):
            forgetting.by_uri(given)


def test_texts_in_runs_also_where_they_were_merged(out):
    """Merged files stay for an hour, but not with the names of forgotten calls in them."""
    add_run(out, [call("/calls/a.wav")], redo=["/calls/a.wav"], command="ser run /calls/a.wav")
    compaction.compact(str(out), lambda line: None)
    add_run(out, [call("/calls/z.wav")], redo=["/calls/a.wav", "rejected"])
    forget(out, request(forgetting.by_uri(["/calls/a.wav"])))
    assert not holds(out, "/calls/a.wav")
    assert rows(out, "runs", "redo").count(["(forgotten)", "rejected"]) == 1


def test_recordings_without_samples_are_nobody(tmp_path):
    """Their bytes are equal: one that is forgotten must not hide those of later nights."""
    header = "a header and no samples"
    empty = [call(f"/calls/{name}.wav", header, reason="empty") for name in "ab"]
    add_run(tmp_path, [*empty, call("/calls/c.wav")], night=dt.date(2026, 1, 1))
    add_run(tmp_path, [call("/calls/new.wav", header, reason="empty")])
    hits = forget(tmp_path, request(forgetting.by_uri(["/calls/a.wav"])))
    assert hits.rows == {"recordings": 1}
    forget(tmp_path, request(forgetting.by_age(dt.date(2026, 2, 1))))
    assert rows(tmp_path, "recordings") == ["/calls/new.wav"]
    marks = forgotten.read_marks(str(tmp_path))
    assert marks.has_files([("/calls/a.wav", 100, 1), ("/calls/b.wav", 100, 1)]).all()
    assert not marks.has_recordings([identity(header)]).any()
    assert marks.has_recordings([identity("/calls/c.wav")]).all()


def test_a_reader_of_the_views_in_a_loop(out, monkeypatch):
    """It never meets half of an erasure, and no error."""
    import duckdb

    monkeypatch.setattr(erasing, "GRACE_S", 1.0)
    seen, problems, done = [], [], threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                with duckdb.connect(str(out / "ser.duckdb"), read_only=True) as db:
                    seen.append(
                        db.execute("SELECT count(*), count(DISTINCT uri) FROM calls").fetchone()
                    )
                    counted = db.execute(
                        "SELECT count(*) FROM calls ANTI JOIN segments USING (uri) "
                        "WHERE status = 'labelled'"
                    ).fetchone()
                    assert counted == (0,)
            except Exception as error:
                problems.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        forget(out, request(forgetting.by_uri(["/calls/a.wav"])))
    finally:
        done.set()
        thread.join()
    assert not problems
    assert set(seen) == {(7, 7), (5, 5)}


def test_a_dry_run_changes_nothing(out):
    before = everything(out)
    hits = forgetting.preview(str(out), request(forgetting.by_uri(["/calls/*.wav"])))
    assert hits.rows["recordings"] == 8
    assert hits.nights == {"2026-03-01", "2026-03-02"}
    assert hits.size_bytes > 0
    assert everything(out) == before


def test_forgotten_calls_are_not_found_again(out):
    forget(out, request(forgetting.by_uri(["/calls/a.wav"])))
    with pytest.raises(NothingMatchedError, match="forgotten before"):
        forget(out, request(forgetting.by_uri(["/calls/a.wav"])))
    marks = forgotten.read_marks(str(out))
    assert marks.has_files([("/calls/a.wav", 100, 1)]).all()
    assert marks.has_recordings([identity("/calls/a.wav")]).all()
    assert not marks.has_recordings([identity("/calls/b.wav")]).any()


def test_a_recording_that_was_never_read(out):
    add_run(out, [call("/calls/locked.wav", reason="unreadable"), call("/calls/other.wav")])
    hits = forget(out, request(forgetting.by_uri(["/calls/locked.wav"])))
    assert hits.rows == {"recordings": 1}
    assert forgotten.read_marks(str(out)).has_files([("/calls/locked.wav", 100, 1)]).all()


# ---------------------------------------------------------------- age


def aged(out: Path) -> None:
    def at(day: int) -> dt.datetime:
        return dt.datetime(2026, 2, day, 23, 59, tzinfo=dt.UTC)

    night = dt.date(2026, 2, 20)
    add_run(out, [call("/by/time.wav", time=at(10)), call("/by/night.wav")], night=night)
    # A file of the same name and time of change, done again by a later run: the first one counts.
    add_run(out, [call("/by/night.wav"), call("/young.wav", time=at(25))], night=DAY)
    # Another file under the same name is another call.
    add_run(out, [call("/by/time.wav", "new", modified_us=2, time=at(26))], night=DAY)


@pytest.mark.parametrize(
    ("before", "gone"),
    [
        (dt.date(2026, 2, 10), []),
        (dt.date(2026, 2, 11), [("/by/time.wav", 1)]),
        (dt.date(2026, 2, 20), [("/by/time.wav", 1)]),
        (dt.date(2026, 2, 21), [("/by/night.wav", 2), ("/by/time.wav", 1)]),
        (dt.date(2026, 2, 26), [("/by/night.wav", 2), ("/by/time.wav", 1), ("/young.wav", 1)]),
    ],
)
def test_age(tmp_path, before, gone):
    aged(tmp_path)
    counts = {uri: rows(tmp_path, "recordings").count(uri) for uri in rows(tmp_path, "recordings")}
    if not gone:
        with pytest.raises(NothingMatchedError):
            forget(tmp_path, request(forgetting.by_age(before)))
        return
    forget(tmp_path, request(forgetting.by_age(before)))
    left = rows(tmp_path, "recordings")
    assert {(uri, counts[uri] - left.count(uri)) for uri in counts} - {
        (uri, 0) for uri in counts
    } == set(gone)


@pytest.mark.parametrize(("first", "later"), [(1, 9), (9, 1), (1, None), (9, None)])
def test_the_time_that_was_read_last_counts(tmp_path, first, later):
    """Of a call that was done again with another --time-format, such as day and month swapped."""

    def at(month: int | None) -> dt.datetime | None:
        return month and dt.datetime(2026, month, 10, tzinfo=dt.UTC)

    add_run(tmp_path, [call("/a.wav", time=at(first))], night=dt.date(2026, 2, 1))
    add_run(tmp_path, [call("/a.wav", time=at(later))], night=DAY)
    for night in (dt.date(2026, 2, 1), DAY):
        choice = forgetting.by_age(night + dt.timedelta(days=1))
        if (later or first) == 9:
            with pytest.raises(NothingMatchedError):
                forgetting.preview(str(tmp_path), request(choice))
        else:
            hits = forgetting.preview(str(tmp_path), request(choice))
            assert hits.rows["recordings"] == 2


def test_only_features(out):
    before = {table: sorted(rows(out, table)) for table in ("recordings", "segments")}
    hits = forget(out, request(forgetting.by_uri(["/calls/a.wav"]), "features"))
    assert hits.rows == {"features": 6}
    assert "/calls/a.wav" not in rows(out, "features")
    assert before == {table: sorted(rows(out, table)) for table in before}
    # The calls stay done: nothing is left out by a later run.
    assert not forgotten.read_marks(str(out))
    with pytest.raises(NothingMatchedError, match="holds no features of what matches"):
        forget(out, request(forgetting.by_uri(["/calls/a.wav"]), "features"))


def test_retention(tmp_path):
    aged(tmp_path)
    with_output = forgetting.publishing.opened(str(tmp_path), print)
    with with_output as output:
        lines = list(forgetting.retain(output, dt.date(2026, 3, 1), 15, 8))
        assert "--keep-days 15: 1 calls" in lines[0]
        assert "--keep-features-days 8: the features of 1 calls" in lines[1]
        assert sorted(rows(tmp_path, "recordings")) == [
            "/by/night.wav", "/by/night.wav", "/by/time.wav", "/young.wav",
        ]  # fmt: skip
        assert set(rows(tmp_path, "features")) == {"/by/time.wav", "/young.wav"}
        log = len(forgotten.read(str(tmp_path)))
        # The next time there is nothing to do, and nothing is written.
        assert not list(forgetting.retain(output, dt.date(2026, 3, 1), 15, 8))
        assert len(forgotten.read(str(tmp_path))) == log


@pytest.mark.parametrize("time", [None, dt.datetime(2026, 1, 4, tzinfo=dt.UTC)])
def test_features_of_an_old_call_that_is_done_again_are_erased_again(tmp_path, time):
    """As old as the first run of this version says, whose own features are gone."""
    old = dt.date(2026, 1, 5)
    add_run(tmp_path, [call("/old.wav", time=time), call("/replaced.wav")], night=old)
    with forgetting.publishing.opened(str(tmp_path), print) as output:
        assert len(list(forgetting.retain(output, DAY, None, 30))) == 1
        assert not rows(tmp_path, "features")
        # Without --uri-fields this time; and another file under the same name is another call.
        again = [call("/old.wav"), call("/replaced.wav", "new", modified_us=2)]
    add_run(tmp_path, again, night=DAY)
    before = dt.date(2026, 2, 1)
    found = [
        forgetting.preview(str(tmp_path), request(forgetting.by_age(before, only=only), only))
        for only in (None, "features")
    ]
    assert [hits.rows["features"] for hits in found] == [2, 2]
    with forgetting.publishing.opened(str(tmp_path), print) as output:
        assert len(list(forgetting.retain(output, DAY, None, 30))) == 1
        assert set(rows(tmp_path, "features")) == {"/replaced.wav"}
        assert not list(forgetting.retain(output, DAY, None, 30))
    by_age = forgetting.Request("before", forgetting.by_age(before, only="features"), "features")
    with pytest.raises(NothingMatchedError, match="holds no features of what matches"):
        forgetting.preview(str(tmp_path), by_age)


# ---------------------------------------------------------------- killed


class Killed(BaseException):
    pass


STEPS = ("write_whole", "delete", "remove", "sync")


@pytest.fixture
def dying(monkeypatch):
    """Raises at the n-th step on the disk from now on, and at all later ones."""
    from pipelines.storage import files

    def arm(patch: pytest.MonkeyPatch, step: int) -> None:
        counted = 0

        def wrap(function):
            def step_or_die(*args, **kwargs):
                nonlocal counted
                counted += 1
                if counted > step:
                    raise Killed
                return function(*args, **kwargs)

            return step_or_die

        for name in STEPS:
            patch.setattr(files, name, wrap(getattr(files, name)))

    return arm


def test_killed_at_any_step(tmp_path, monkeypatch, dying):
    """Nothing or everything is gone for readers; the next command finishes what was begun."""
    # Views are made by tests of their own; they take most of the time.
    monkeypatch.setattr(views, "refresh", lambda output: None)
    step, finished, states = 0, False, set()
    while not finished:
        out = tmp_path / f"out-{step}"
        add_run(out, [call("/calls/a.wav"), call("/calls/b.wav")], command="ser run /calls/a.wav")
        with monkeypatch.context() as patch:
            output = forgetting.publishing.opened(str(out), lambda line: None)
            try:
                with output as held:
                    dying(patch, step)
                    forgetting.forget_in(held, request(forgetting.by_uri(["/calls/a.wav"])))
                    finished = True
            except Killed:
                pass
        seen = {table: "/calls/a.wav" in rows(out, table) for table in TABLES}
        assert len(set(seen.values())) == 1, (step, seen)
        marked = bool(forgotten.read_marks(str(out)))
        states.add((marked, seen["recordings"]))
        with forgetting.publishing.opened(str(out), lambda line: None):
            pass
        assert holds(out, "/calls/a.wav") == (not marked)
        assert sorted(set(rows(out, "recordings"))) == (
            ["/calls/b.wav"] if marked else ["/calls/a.wav", "/calls/b.wav"]
        )
        assert not list((out / "_staging").iterdir())
        step += 1
    assert states == {(False, True), (True, True), (True, False)}
    assert step > 8
