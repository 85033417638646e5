"""The file of --config: what is in force, and what is refused, with file and line."""

from __future__ import annotations

import datetime as dt
import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import cli, config, logs, nights
from pipelines.errors import UsageError

NIGHTLY = """\
# A night.
input = ["/calls/a", "b/**/*.wav", "@list.txt", "s3://bucket/c"]
output = "tables"
channel-roles = ["agent", "customer"]
max_reject_ratio = 0.5
date = 2026-03-01
workers = 2
save = "call.png"          # of `ser show` and others
flink_master = "host:8081"

[billing]
input = "billing"
"min-age-s" = 60
raw = ["ext=vox,codec=adpcm_oki", "ext=pcm,codec=pcm_s16,rate=8000,channels=1"]
"""


@pytest.fixture
def nightly(tmp_path):
    path = tmp_path / "nightly.toml"
    path.write_text(NIGHTLY)
    return path


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("SER_CONFIG", raising=False)


def parse(*words):
    return cli.parse([str(word) for word in words])


def refusal(path, text: str, *words: str) -> str:
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        parse("run", "--config", path, "--input", "a", "--output", "b", *words)
    return str(caught.value)


def test_options_come_from_the_file(nightly):
    options = parse("run", "--config", nightly)
    here = nightly.parent
    # Relative paths are those of the file's folder.
    assert options.input == ["/calls/a", f"{here}/b/**/*.wav", f"@{here}/list.txt", "s3://bucket/c"]
    assert options.output == f"{here}/tables"
    assert options.channel_roles == ("agent", "customer")
    assert options.max_reject_ratio == 0.5
    assert options.workers == 2
    assert options.beam_options == ["--flink_master=host:8081"]
    # As on the command line.
    words = ["--date", "2026-03-01", "--input", "a", "--output", "b"]
    assert options.date == parse("run", *words).date
    assert "save" not in options


def test_the_command_line_wins(nightly):
    words = ("--workers=7", "--input", "x", "--flink_master=other")
    options = parse("run", "--config", nightly, *words)
    assert (options.workers, options.input) == (7, ["x"])
    assert options.beam_options == ["--flink_master=other"]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        (
            'date = "yesterday"\ndays = 3',
            ("--from", "2026-11-20", "--to", "2026-11-22"),
            {"date": None, "days": None, "first_date": dt.date(2026, 11, 20)},
        ),
        (
            'from = 2026-11-20\nto = "yesterday"',
            ("--date", "today"),
            {"date": "today", "first_date": None, "last_date": None},
        ),
        ("no-fence = true", ("--require-fence",), {"fence": "required"}),
        ("require-fence = true", ("--no-fence",), {"fence": "off"}),
    ],
)
def test_the_command_line_wins_over_other_options_for_the_same(tmp_path, text, words, expected):
    path = tmp_path / "nightly.toml"
    path.write_text(f'input = "/calls/{{date:%Y}}"\noutput = "out"\n{text}\n')
    options = parse("run", "--config", path, *words)
    assert {name: getattr(options, name) for name in expected} == expected


def test_lists_of_the_file_are_replaced_not_extended(nightly):
    options = parse("run", f"--config={nightly}", "--section", "billing")
    assert len(options.raw) == 2
    words = ["--raw", "ext=x,codec=gsm"]
    options = parse("run", f"--config={nightly}", "--section", "billing", *words)
    assert len(options.raw) == 1


def test_a_section_overrides_the_top(nightly):
    options = parse("run", "--config", nightly, "--section", "billing")
    assert options.input == [f"{nightly.parent}/billing"]
    assert options.min_age_s == 60
    assert options.output == f"{nightly.parent}/tables"


def test_the_variable_is_used_without_the_option(nightly, monkeypatch, tmp_path):
    monkeypatch.setenv("SER_CONFIG", str(nightly))
    assert parse("run").workers == 2
    other = tmp_path / "other.toml"
    other.write_text('input = "x"\noutput = "y"\n')
    assert parse("run", "--config", other).workers is None
    monkeypatch.setenv("SER_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match=r"SER_CONFIG .*none.toml: cannot be read: No such file"):
        parse("run")


def test_another_command_takes_what_it_has(nightly):
    options = parse("show", "--config", nightly)
    assert options.output == f"{nightly.parent}/tables"
    assert options.save == f"{nightly.parent}/call.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nworker = 2", "line 2: worker: no command has such an option; did you mean workers?"),
        ("flink_mster = 2", "line 1: flink_mster: no command has such an option; did you mean fl"),
        ("\n\nworkers = 'x'", "line 3: workers: 'x' found, a whole number above 0 expected"),
        ("max-hours = inf", "line 1: max-hours: 'inf' found, a number above 0 expected"),
        ("workers = 0", "line 1: workers: '0' found, a whole number above 0 expected"),
        ("workers = [1]", "line 1: workers: a list found, one value expected"),
        ("workers = true", "line 1: workers: true found, a text or a number expected"),
        ("date = 'monday'", "line 1: date: 'monday' found, a date"),
        ("log-format = 'jsn'", "line 1: log-format: 'jsn' found, did you mean json?"),
        ("min-age-s=1\nmin_age_s=2", "line 2: min_age_s stands there twice, also as min-age-s"),
        ("\n[run]\nworkers=1", "line 2: [run] is the name of a command"),
        ("[night]\n\nworkrs=1", None),
        ("\nchannel-roles={in=['agent','customer']}", "line 2: channel-roles: a table found"),
        ("\n[uri_fields]\nqueue='x'", "line 2: uri_fields: a table found, a value as on the comm"),
        ("\nsummary = ''", "line 2: summary: an empty text found, a path expected"),
        ("s3_secret_access_key = 'x'", "line 1: s3_secret_access_key found, but secrets are not"),
        ("[x]\ns3_session_token = 'x'", "line 2: s3_session_token found, but secrets are not read"),
        ("config = 'x'", "line 1: config: only the command line takes this option"),
        ("workers = ", "no valid TOML: Invalid value (at end of document); strings need quotes"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(tmp_path, text, message):
    path = tmp_path / "f.toml"
    if message is None:  # a section that is not asked for
        path.write_text(text)
        assert parse("run", "--config", path, "--input", "a", "--output", "b").workers is None
        return
    found = refusal(path, text)
    assert found.startswith(str(path))
    assert message in found


def test_sections_that_are_not_there(tmp_path):
    path = tmp_path / "f.toml"
    assert "did you mean billing?" in refusal(path, "[billing]", "--section", "biling")
    assert "it has: billing" in refusal(path, "[billing]", "--section", "xyz")
    with pytest.raises(UsageError, match="--section x: no file to look it up in"):
        parse("run", "--input", "a", "--output", "b", "--section", "x")


def test_secrets_do_not_show(tmp_path):
    message = refusal(tmp_path / "f.toml", "password = 'hunter2'")
    assert "hunter2" not in message
    assert logs.cleaned(message) == message  # nothing is taken for the secret


def test_paths_are_options_of_some_command():
    known = {name for command in cli.COMMANDS for name in cli.option_names(command)}
    assert {f"--{name}".replace("_", "-") for name in config.PATHS} <= known


def printed(done) -> dict[str, list[str]]:
    """Value and source of each option that `ser config` prints."""
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        if cells[0].startswith("--"):
            found[cells[0]] = cells[1:]
    return found


def test_ser_config_prints_whether_a_flag_is_set(tmp_path, ser_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    flags = ("--no-fence", "--require-fence", "--log-private")
    found = printed(ser_here("config"))
    assert [found[flag] for flag in flags] == 3 * [["false", "default"]]
    path = tmp_path / "f.toml"
    path.write_text("require-fence = true")
    found = printed(ser_here("config", "--config", path))
    assert found["--no-fence"] == ["false", "default"]
    assert found["--require-fence"] == ["true", f"{path} line 1"]


def test_ser_config_prints_what_is_in_force(nightly, ser_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    done = ser_here("config", "--config", nightly, "--section", "billing")
    found = printed(done)
    assert found["--min-age-s"] == ["60", f"{nightly} line 13 [billing]"]
    assert found["--workers"] == ["2", f"{nightly} line 7"]
    assert found["--timeout-s"] == ["120.0", "default"]
    assert "--flink_master" in found
    last = done.stdout.splitlines()[-1]
    assert f"--input {nightly.parent}/billing --output={nightly.parent}/tables" in last
    done = ser_here("config", "--command", "labl")
    assert "did you mean label?" in done.stderr
    missing = ser_here("config", "--command", "run")
    assert "missing" in missing.stdout


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(values=st.lists(text.filter(lambda word: not word.startswith(("-", "@"))), min_size=1))
def test_texts_arrive_as_they_are(tmp_path_factory, values):
    quoted = partial(json.dumps, ensure_ascii=False)

    path = tmp_path_factory.mktemp("c") / "f.toml"
    urls = [f"s3://{value}" for value in values]
    path.write_text(f"uri-fields = {quoted(values[0])}\ninput = {quoted(urls)}", "utf-8")
    options = parse("run", "--config", path, "--output", "o")
    assert options.uri_fields == values[0]
    assert options.input == urls


def test_dates_of_toml(nightly):
    path = nightly.parent / "d.toml"
    path.write_text('input = "a"\noutput = "b"\ndate = 2026-03-01')
    typed = parse("run", "--config", path).date
    path.write_text('input = "a"\noutput = "b"\ndate = "2026-03-01"')
    assert parse("run", "--config", path).date == typed
    assert "2026-03-01" in str(typed) or typed == dt.date(2026, 3, 1)


def test_a_backfill_on_the_command_line_takes_the_place_of_the_nights_in_the_file(nightly):
    nightly.write_text('input = "{date:%d}"\noutput = "t"\ndate = "yesterday"\ndays = 3\n')
    options = parse("run", "--config", nightly, "--from", "2026-03-01", "--to=2026-03-02")
    assert len(nights.choose(options)) == 2
    assert (options.date, options.days) == (None, None)
    assert parse("run", "--config", nightly, "--days", "7").date == "yesterday"
    # So it is with the other options that exclude each other.
    assert parse("review", "--config", nightly, "--run-id", "r1").date is None
    assert parse("review", "--config", nightly).date is not None
