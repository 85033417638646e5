"""--expect: conditions of a night in SQL, checked before the work and judged after it."""

from __future__ import annotations

import datetime as dt
import json

import pytest
import soundfile

from pipelines import cli, errors, expectations
from pipelines.commands import run
from pipelines.errors import UsageError
from tests.speechlike import call

NIGHT = dt.date(2026, 3, 1)
FIELDS = r"(?P<queue>[a-z]+)/[^/]+$"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two calls of billing, one of sales, and one file that is no audio."""
    folder = tmp_path_factory.mktemp("archive")
    for name in ("billing/a.wav", "billing/b.wav", "sales/c.wav"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, call([(1, 4, -20)], 5, seed=len(name)), 8_000)
    (folder / "sales" / "d.wav").write_bytes(b"no audio")
    return folder


@pytest.fixture(scope="module")
def night(tmp_path_factory, archive, level_model):
    folder = tmp_path_factory.mktemp("night")
    words = ["run", "--input", archive, "--output", folder / "out", "--model", level_model]
    words += ["--uri-fields", FIELDS, "--date", NIGHT, "--workers", "1"]
    words += ["--max-reject-ratio", "0.5", "--summary", folder / "s.json"]
    config = folder / "nightly.toml"
    config.write_text(
        '[expect]\nall = ["labelled = 3", "labelled > 0.9 * matched"]\n'
        '[expect.queue]\nbilling = ["labelled >= 3"]\nsales = ["rejected = 1", "labelled = 1"]\n'
    )
    status = cli.main([str(word) for word in [*words, "--config", config]])
    return folder, status


def test_a_night_that_is_not_as_expected_is_published_and_ends_with_3(night):
    folder, status = night
    assert status == errors.TOO_MANY_REJECTIONS
    told = json.loads((folder / "s.json").read_text())
    found = {item["expect"]: (item["met"], item["found"]) for item in told["expectations"]}
    assert found == {
        "labelled = 3": (True, {"labelled": 3}),
        "labelled > 0.9 * matched": (False, {"labelled": 3, "matched": 4}),
        "queue=billing: labelled >= 3": (False, {"labelled": 2}),
        "queue=sales: rejected = 1": (True, {"rejected": 1}),
        "queue=sales: labelled = 1": (True, {"labelled": 1}),
    }
    assert told["exit_code"] == 3
    assert told["books"]["labelled"] == 3
    assert "labelled > 0.9 * matched: not met (matched = 4, labelled = 3)" in told["message"]


def judge(output, *texts, night=NIGHT) -> list[bool]:
    expected = expectations.read(texts, ["queue"])
    return [verdict.met for verdict in expectations.judge(str(output), expected, [night])]


def test_the_numbers_of_a_part_add_up_to_the_nights(night):
    out = night[0] / "out"
    for name in ("labelled", "rejected", "no_speech"):
        whole = [judge(out, f"{name} = {n}") for n in range(5)].index([True])
        parts = [
            [judge(out, f"queue={queue}: {name} = {n}") for n in range(5)].index([True])
            for queue in ("billing", "sales", "none")
        ]
        assert sum(parts) == whole


def test_what_is_not_known_is_no_failure_but_a_night_that_is_not_there_is(night):
    out = night[0] / "out"
    # As in a CHECK of SQL: nothing was labelled, so there is no rate.
    assert judge(out, "queue=none: unsure_rate < 0.6", "queue=none: labelled > 0") == [True, False]
    assert judge(out, "labelled >= 0", night=dt.date(2020, 1, 1)) == [False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unsur_rate < 0.6", "no column 'unsur_rate'; did you mean unsure_rate?"),
        ("queue=billing: labeled > 0", "no column 'labeled'; did you mean labelled?"),
        ("quee=billing: labelled > 0", "--uri-fields reads no 'quee'; did you mean queue?"),
        ("unsure_rate <", "no condition in SQL: Parser Error"),
        ("labelled > 0; SELECT 1", "no condition in SQL: Parser Error"),
        ("", "empty; a condition such as"),
        ("-- labelled > 3", "no condition in SQL: Conversion Error"),
        ("model_id", "no condition in SQL: Conversion Error"),
        ("labelled > 'abc'", "Could not convert string 'abc'"),
        ("queue=billing: labelled > 'abc'", "Could not convert string 'abc'"),
        ("sum(labelled) > 100", "one over the columns of a single row expected"),
        ("queue=billing: count(*) > 3", "one over the columns of a single row expected"),
        ("labelled > ?", "no condition in SQL: Invalid Input Error"),
        ("nights.labelled > 3", "no condition in SQL: Binder Error"),
    ],
)
def test_mistakes_are_found_before_the_work(text, message):
    with pytest.raises(UsageError) as caught:
        expectations.read([text], ["queue"])
    assert f"--expect {text!r}: " in str(caught.value)
    assert message in str(caught.value)


def test_conditions_over_every_column_are_taken():
    """The made-up row on which they are tried has a plausible value of each type."""
    texts = [
        "model_id LIKE 'calls-%' AND len(warnings) = 0",
        "ended - started < INTERVAL 6 HOURS AND night > '2026-01-01'",
        "labelled > (SELECT avg(labelled) / 2 FROM nights)",
        "queue=billing: labelled / matched > 0.9 AND unsure_rate < 0.6",
    ]
    assert len(expectations.read(texts, ["queue"])) == len(texts)


def test_one_that_the_values_break_is_not_met_and_the_others_are_judged(night, capsys):
    texts = ["labelled > (SELECT any_value(model_id)::INT FROM runs)", "labelled = 3"]
    expected = expectations.read(texts, [])
    broken, whole = expectations.judge(str(night[0] / "out"), expected, [NIGHT])
    assert (broken.met, whole.met) == (False, True)
    assert whole.error is None
    line = f"expected of {NIGHT}: {texts[0]}: not met, it cannot be evaluated: Conversion Error"
    assert broken.line().startswith(line)
    assert run._conclude([broken, whole], errors.DONE) == errors.TOO_MANY_REJECTIONS
    assert line in capsys.readouterr().out


def test_a_misspelt_column_ends_the_command_before_the_night(tmp_path, archive, ser_here):
    words = ("run", "--input", archive, "--output", tmp_path / "out", "--expect", "unsur_rate < 1")
    done = ser_here(*words)
    assert done.returncode == errors.USAGE
    assert "did you mean unsure_rate?" in done.stderr
    assert not (tmp_path / "out").exists()
