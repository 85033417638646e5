"""`ser report`: its numbers are those of the SQL beneath them, and what it says of nights."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from apache_beam.io.filesystems import FileSystems

from pipelines.report import measuring, saving, statements
from pipelines.storage import attempts, files
from ser_core.report import morning, morning_words, shares
from tests import object_stores, small_tables, synthetic_nights
from tests.conftest import CALLS, URI_FIELDS
from tests.synthetic_nights import Plan

NIGHT = dt.date(2026, 3, 8)
HOSTILE = "\"><img src=http://evil.example onerror=document.title='caught'>'; DROP TABLE calls; --"
QUEUES = ("billing", "sales", HOSTILE)


def fill(out, nights=8, last=None, **about):
    """A night, and the ones before it."""
    for i in range(nights):
        night = NIGHT - dt.timedelta(days=nights - 1 - i)
        plan = Plan(**{"calls": 150, "queues": QUEUES, "segments": 6} | about)
        if night == NIGHT and last:
            plan = replace(plan, **last)
        synthetic_nights.publish(out, night, plan)
    return out


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    last = {"by_queue": {"billing": 0.5}, "rejected": 0.2, "warnings": (HOSTILE, "late files")}
    return fill(tmp_path_factory.mktemp("it's a") / "out", last=last)


@pytest.fixture(scope="module")
def measured(out):
    return measuring.measure(str(out))


class Page(HTMLParser):
    """The statements of a page, and the cells of their answers."""

    def __init__(self, html):
        super().__init__()
        self.sql, self.cells, self.name = {}, [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        about = dict(attributes)
        if "data-name" in about:
            self.name = about["data-name"]
            self.sql[self.name] = ""
        if tag == "data":
            self.cells.append((about["data-of"], about["value"]))

    def handle_data(self, data):
        if self.name is not None:
            self.sql[self.name] += data

    def handle_endtag(self, tag):
        if tag == "pre":
            self.name = None


def check_numbers(html, out, tmp_path, ask) -> int:
    """Run each statement by `ser query`, and compare with the cells; returns how many there are."""
    page = Page(html)
    answers = {}
    for name, sql in page.sql.items():
        path = tmp_path / "answer.json"
        (tmp_path / "statement.sql").write_text(sql)
        done = ask("query", f"@{tmp_path / 'statement.sql'}", "--output", out, "--save", path)
        assert done.returncode == 0, (name, done.stderr)
        answers[name] = json.loads(path.read_text())
    for place, shown in page.cells:
        name, row, column = re.fullmatch(r"(.+) (\d+) (\w+)", place).groups()
        assert float(shown) == pytest.approx(answers[name][int(row)][column], rel=1e-6), place
    assert set(page.sql) >= {place.rsplit(" ", 2)[0] for place, _ in page.cells}
    return len(page.cells)


def test_each_number_is_that_of_its_sql(measured, out, tmp_path, ser_here):
    html = morning.page(measured)
    assert check_numbers(html, out, tmp_path, ser_here) > 180
    index = morning.index(measuring.index_of(str(out), {}))
    assert check_numbers(index, out, tmp_path, ser_here) > 50


def test_sentence(measured):
    text = morning_words.sentence(measured)
    assert re.match(
        r"150 calls, \d+ rejected, 2 warnings; \d+ % clearly negative, more than in ", text
    )
    assert "the last 7 nights (" in text
    assert re.search(r"; billing is up: \d+ % \(usually \d+ to \d+\)\.$", text)
    assert morning_words.problems(measured)[0].startswith("more calls rejected than usual (")
    assert morning_words.usual(measured)[0] == "Worse than usual"


@pytest.mark.parametrize(
    ("nights", "said"),
    [
        (1, "the first night of this model, so there is nothing to compare with"),
        (5, "too few nights before to compare with (4, five are needed)"),
    ],
)
def test_nothing_is_compared_with_fewer_than_five_nights(tmp_path, nights, said):
    found = measuring.measure(str(fill(tmp_path, nights, calls=60)))
    assert said in morning_words.sentence(found)
    verdicts = [item.verdict for group in found.groups for item in group.shares]
    verdicts += [item.share.verdict for item in found.measures.values()]
    assert set(verdicts) == {None}
    assert said in morning.page(found).replace("’", "'")


def test_nights_of_another_model_are_not_compared_with(tmp_path):
    fill(tmp_path, 7, calls=60)
    synthetic_nights.publish(tmp_path, NIGHT + dt.timedelta(days=1), Plan(60, model="other-1"))
    found = measuring.measure(str(tmp_path))
    assert (found.night, found.nights_before) == (NIGHT + dt.timedelta(days=1), 0)
    assert found.tests == ()  # its card is not at hand
    assert "other-1. Its card is not at hand" in found.model


def test_calls_to_hear_first(tmp_path):
    """Sure ones first; a stretch ends where another mood is heard; worse counts half more."""
    seconds = {"short": 4, "long": 9, "worse": 7, "unsure": 30, "agent": 30, "broken": 12}
    keys = {name: {"uri": f"/c/{name}", "run_id": "r20260308T021500-aaaaaa"} for name in seconds}
    recordings, segments = [], []
    for name, long in seconds.items():
        recordings.append(
            keys[name] | {
                "status": "labelled", "label": "angry", "unsure": name == "unsure",
                "model_id": "m1", "negativity": 0.9, "speech_s": 30.0, "duration_s": 40.0,
                "arc": "worse" if name == "worse" else "level", "recording_id": name,
                "size_bytes": 1, "modified_at": small_tables.TIME,
            }
        )  # fmt: skip
        for i in range(long):
            calm = name == "broken" and i == 6
            segments.append(
                keys[name] | {
                    "channel": 1, "role": "agent" if name == "agent" else "customer",
                    "start_s": i * 1.0, "end_s": i + 1.0, "label": "calm" if calm else "angry",
                    "p_angry": 0.1 if calm else 0.9, "p_calm": 0.9 if calm else 0.1,
                    "unsure": False,
                }
            )  # fmt: skip
    run = keys["short"]["run_id"]
    for table, rows in (("recordings", recordings), ("segments", segments)):
        small_tables.write(tmp_path, table, small_tables.rows(table, rows), date=NIGHT, run=run)
    content = small_tables.runs(run, NIGHT, labelled=len(seconds), model_id="m1")
    small_tables.write(tmp_path, "runs", content, date=NIGHT, run=run)
    found = measuring.measure(str(tmp_path))
    assert [call.name for call in found.heard] == ["worse", "long", "broken", "short", "unsure"]
    row = found.listening.dicts()[0]
    assert (row["from_s"], row["to_s"], row["negative_s"]) == (0.0, 7.0, 7.0)
    assert row["weight"] == pytest.approx(7 * 0.9 * 1.5)
    assert morning_words.story(found, found.heard[2]) == "6 s of negative speech from 0:00"


def test_failed_attempts_since_the_night_before(tmp_path):
    fill(tmp_path, 2, calls=20)
    for day, status, code in ((8, "failed", 1), (9, "killed", None), (9, "done", 0)):
        at = dt.datetime(2026, 3, day, 1, tzinfo=dt.UTC)
        found = attempts.Attempt(
            f"{at:%Y%m%dT%H%M%SZ}-{status}",
            "ser run",
            "h",
            1,
            at.isoformat(),
            status,
            code,
            HOSTILE,
        )
        path = tmp_path / "_attempts" / f"{found.id}.json"
        files.write_whole(str(path), json.dumps(found.as_dict()))
    measured = measuring.measure(str(tmp_path))
    assert [item.status for item in measured.failures] == ["killed"]
    assert "1 failed attempt" in morning_words.sentence(measured)
    # That of 01:00 belongs to the night before, whose run began at 02:15.
    earlier = measuring.measure(str(tmp_path), NIGHT - dt.timedelta(days=1))
    assert [item.status for item in earlier.failures] == ["failed, exit status 1"]


# ---------------------------------------------------------------- shares


def test_interval_is_that_of_resampled_calls():
    rng = np.random.default_rng(1)
    calls = np.r_[np.ones(45), np.zeros(355)]
    means = rng.choice(calls, (4000, 400)).mean(axis=1)
    ends = np.quantile(means, [0.025, 0.975])
    assert shares.intervals([45], [400])[0] == pytest.approx(ends, abs=0.006)
    # Nothing found among few calls is no certainty.
    low, high = shares.intervals([0], [5])[0]
    assert (low, high > 0.2) == (0.0, True)


def test_correction_finds_the_true_share():
    """Of 30 % negative calls a model finds 80 %, and it invents 10 % of the others."""
    rates = shares.ErrorRates(8_000, 10_000, 1_000, 10_000, "t")
    called = round(100_000 * (0.3 * 0.8 + 0.7 * 0.1))
    low, high = shares.corrected([called], [100_000], [rates])[0]
    assert low < 0.3 < high
    assert high - low < 0.05
    # A second test that differs widens it.
    other = shares.ErrorRates(9_000, 10_000, 3_000, 10_000, "u")
    assert shares.corrected([called], [100_000], [rates, other])[0][0] < 0.05


def test_rates_of_a_card():
    confusion = [[8, 1, 1], [2, 5, 3], [0, 1, 9]]
    labels = ["neutral", "sad", "angry"]
    result = {"protocol": "t", "labels": labels, "confusion": confusion}
    found = shares.ErrorRates.of(result)
    assert (found.found, found.negative, found.invented, found.others) == (18, 20, 2, 10)
    assert shares.ErrorRates.of({"protocol": "t", "labels": ["a", "b"]}) is None
    chance = result | {"confusion": [[1, 1, 1], [1, 1, 1], [1, 1, 1]]}
    assert shares.ErrorRates.of(chance) is None


def test_few_ordinary_nights_are_called_unusual():
    """With 8 groups, about one ordinary night in twenty has any outside its range."""
    rng = np.random.default_rng(7)
    groups, calls, nights = 8, 60, 28
    reach = shares.reaches(nights, groups)[-1] * np.sqrt(1 + 1 / nights)
    p = rng.normal(0.12, 0.01, (400, nights + 1, 1))
    counted = rng.binomial(calls, p, (400, nights + 1, groups))
    share = counted / calls
    before, last = share[:, :-1], share[:, -1]
    p = (counted[:, :-1].sum(axis=1) + 1) / (calls * nights + 2)
    spread = np.maximum(before.std(axis=1, ddof=1), np.sqrt(p * (1 - p) / calls))
    outside = np.abs(last - before.mean(axis=1)) > reach * spread
    assert outside.any(axis=1).mean() < 0.08


# ---------------------------------------------------------------- the command


def test_pages_of_two_nights_and_their_index(out, tmp_path, ser_here):
    words = ("report", "--output", out, "--save", tmp_path / "pages", "--calls", "0")
    done = ser_here(*words)
    assert done.returncode == 0, done.stderr
    assert "2026-03-08: 150 calls" in done.stdout
    assert ser_here(*words, "--date", "2026-03-07").returncode == 0
    names = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert names == ["2026-03-07.html", "2026-03-08.html", "index.html"]
    index = (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'href="(2026[^"]+)"', index).count("2026-03-07.html") == 1
    assert '<a href="index.html">' in (tmp_path / "pages" / "2026-03-08.html").read_text()
    alone = tmp_path / "alone" / "night.html"
    assert ser_here(*words[:3], "--save", alone, "--calls", "0").returncode == 0
    assert [path.name for path in alone.parent.iterdir()] == ["night.html"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--output", "nothing"), 4, "no tables found; `ser run` fills them"),
        (("--date", "2026-01-01"), 4, "the tables hold 2026-03-08, 2026-03-07"),
        (("--model", "seed"), 2, "it is seed-5a242070; the night was labelled by calls-c0606967"),
        (("--model", "nobody"), 2, "--model nobody:"),
        (("--time-zone", "Mars"), 2, "no such zone"),
        (("--calls", "-1"), 2, "a whole number of 0 or more expected"),
        (("--save", "file.txt"), 2, "a file found, a folder or F.html expected"),
        (("--save", "s3://key:secret@b/c"), 2, "--save: an address with credentials"),
    ],
)  # fmt: skip
def test_mistakes(out, tmp_path, ser_here, words, status, message):
    (tmp_path / "file.txt").touch()
    done = ser_here("report", "--output", out, "--calls", "0", *words, cwd=tmp_path)
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr


def test_a_run_writes_the_page_and_those_of_its_calls(tmp_path, ser_here, level_model):
    """The bundle is no bundled one: the run knows its card."""
    words = ["run", "--input", CALLS, "--output", tmp_path / "out", "--model", level_model]
    words += ["--channel-roles", "agent,customer", "--uri-fields", URI_FIELDS]
    done = ser_here(*words, "--date", "2026-03-01", "--report", tmp_path / "pages")
    assert done.returncode in (0, 3), done.stderr
    html = (tmp_path / "pages" / "2026-03-01.html").read_text(encoding="utf-8")
    assert re.search(r"level-\w{8} tells 2 emotions: calm, angry", html)
    links = re.findall(r'href="(calls/[0-9a-f]{64}\.html)#t=\d+"', html)
    assert links
    for link in links:
        call = (tmp_path / "pages" / link).read_text(encoding="utf-8")
        assert 'href="../2026-03-01.html"' in call
    assert check_numbers(html, tmp_path / "out", tmp_path, ser_here) > 30
    # With nothing new, the page is written all the same.
    (tmp_path / "pages" / "2026-03-01.html").unlink()
    again = ser_here(*words, "--date", "2026-03-01", "--report", tmp_path / "pages")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "pages" / "2026-03-01.html").exists()


def test_a_folder_that_cannot_be_used_is_told_before_the_work(tmp_path, ser_here):
    done = ser_here("run", "--input", tmp_path, "--output", tmp_path / "o", "--report", "a.html")
    assert (done.returncode, "a folder expected" in done.stderr) == (2, True)


def test_many_values_and_calls_of_one_value_each(tmp_path):
    fill(tmp_path, 1, calls=120, queues=tuple(f"q{i}" for i in range(50)))
    found = measuring.measure(str(tmp_path))
    queue = next(group for group in found.groups if group.column == "queue")
    assert len(queue.shares) == statements.VALUES
    assert queue.remark.startswith("The 40 with the most calls, of ")
    assert found.left_out == ("call_id: nearly every call has its own",)


@pytest.fixture
def bucket(monkeypatch):
    for name, value in object_stores.KEYS.items():
        monkeypatch.setenv(name, value)
    before = FileSystems._pipeline_options
    with object_stores.s3() as found:
        yield found
    FileSystems._pipeline_options = before


def test_tables_in_an_object_store_and_pages_beside_them(bucket, tmp_path, ser_here):
    fill(tmp_path, 1, calls=30)
    for path in tmp_path.rglob("*.parquet"):
        bucket.put(f"out/{path.relative_to(tmp_path).as_posix()}", path.read_bytes())
    words = ("--output", f"{bucket.url}/out", "--save", f"{bucket.url}/pages", "--calls", "1")
    done = ser_here("report", *words, *bucket.options())
    assert done.returncode == 0, done.stderr
    calls = [key for key in bucket.keys("pages/") if "/calls/" in key]
    assert len(calls) == 1
    assert set(bucket.keys("pages/")) - set(calls) == {"pages/2026-03-08.html", "pages/index.html"}
    page = bucket.get("pages/2026-03-08.html").decode()
    assert "30 calls" in page
    assert f'href="calls/{calls[0].rpartition("/")[2]}#t=' in page
    assert 'href="2026-03-08.html"' in bucket.get("pages/index.html").decode()
    assert 'href="../2026-03-08.html"' in bucket.get(calls[0]).decode()
    for key in bucket.keys("pages/"):  # a browser shows the pages, and does not download them
        about = files.s3_client().head_object(Bucket=object_stores.BUCKET, Key=key)
        assert about["ContentType"] == "text/html; charset=utf-8"
    exported = []
    for place in (f"{bucket.url}/out", str(tmp_path)):
        path = tmp_path / f"{len(exported)}.csv"
        words = ("--output", place, "--format", "csv", "--save", path, *bucket.options())
        done = ser_here("export", *words)
        assert done.returncode == 0, done.stderr
        exported.append(path.read_text(encoding="utf-8"))
    assert exported[0] == exported[1]
    assert exported[0].count("\n") > 30


def test_target():
    assert saving.Target.of("s3://b/pages/").path("index.html") == "s3://b/pages/index.html"
    assert saving.Target.of("s3://b/p/n.html").name == "n.html"
