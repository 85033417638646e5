"""Which model labels an output: named, by default, by an old name, or as the output's features ask.

A nightly job whose command names no model goes on when the default model changes.
"""

from __future__ import annotations

from argparse import Namespace

import duckdb
import pytest
import soundfile

from pipelines.commands import extract
from pipelines.errors import UsageError
from pipelines.night_options import checked_model, choose_model
from pipelines.storage import published
from ser_core import features, models, tables
from ser_core.models import card
from tests import tiny_bundle
from tests.speechlike import call

RATE = 8_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A default model over other features than those of `calls-fast`."""
    folder = tmp_path_factory.mktemp("bundled")
    for name, feature_set in (("calls", "seed193"), ("calls-fast", "telephone")):
        weights = tiny_bundle.threshold([0], [0.0])
        tiny_bundle.make(folder / name, ("calm", "angry"), feature_set, weights, name=name)
    return folder


@pytest.fixture
def bundled(folder, monkeypatch):
    monkeypatch.setattr(card, "BUNDLED", folder)


def output_of(folder, feature_set: str | None):
    """An output that holds features of that set; an empty one for None."""
    if feature_set is not None:
        schema = tables.recordings_schema(tables.Labelling(None, (), feature_set), ())
        path = folder / "recordings" / "date=2026-03-01" / "run=r1" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        tables.writer(path, schema).close()
    return str(folder)


@pytest.mark.parametrize(
    ("asked", "holds", "model", "line"),
    [
        (None, None, "calls", ""),
        (None, "seed193", "calls", ""),
        (None, "telephone", "calls-fast", "goes on with model calls-fast; to change to calls"),
        ("calls-open", None, "calls", "--model calls-open is now called calls"),
        ("calls-open", "seed193", "calls", "--model calls-open is now called calls"),
        ("calls-open", "telephone", "calls-fast", "goes on with model calls-fast"),
        ("calls-fast", "telephone", "calls-fast", ""),
        ("calls", "telephone", "calls", ""),
        ("my-bundle", "telephone", "my-bundle", ""),
        (None, "test_simple", "calls", ""),
    ],
)
def test_the_model_of_a_run(bundled, tmp_path, capsys, asked, holds, model, line):
    assert choose_model(asked, output_of(tmp_path / "out", holds)) == model
    printed = "".join(capsys.readouterr())
    assert line in printed
    assert printed.count("\n") == bool(line)


def test_the_old_name_loads_the_new_model(bundled):
    assert models.read_card("calls-open").name == "calls"
    assert "calls-open" not in models.bundled_names()


def test_only_a_named_model_of_other_features_is_refused(bundled, tmp_path):
    output = output_of(tmp_path / "out", "telephone")
    for asked in (None, "calls-open"):
        name, found = checked_model(Namespace(model=asked, output=output))
        assert name == "calls-fast"
        published.check_feature_set(output, found.feature_set, found.fingerprint)
    _, found = checked_model(Namespace(model="calls", output=output))
    with pytest.raises(UsageError, match="use another folder, or --model calls-fast for this one"):
        published.check_feature_set(output, found.feature_set, found.fingerprint)


def test_features_of_no_bundled_model_are_refused_as_ever(bundled, tmp_path):
    output = output_of(tmp_path / "out", "test_simple")
    _, found = checked_model(Namespace(model=None, output=output))
    with pytest.raises(UsageError, match=r"use another folder, or a model for 'test_simple'$"):
        published.check_feature_set(output, found.feature_set, found.fingerprint)


def test_other_features_and_a_command_that_makes_none(bundled, ser_here, tmp_path):
    """`ser label` has no other folder; where no bundled model fits, it names none."""
    for holds, model in (("telephone", ": --model calls-fast"), ("test_simple", "")):
        output = output_of(tmp_path / holds, holds)
        done = ser_here("label", "--output", output, "--model", "calls")
        assert done.returncode == 2
        assert "made for features 'seed193'" in done.stderr
        assert done.stderr.rstrip().endswith(f"; give a model of these{model}")


def test_other_features_and_a_command_that_takes_no_model(ser_here, tmp_path):
    soundfile.write(tmp_path / "0.wav", call([(1, 3, -20)], 4), RATE)
    output = output_of(tmp_path / "out", "telephone")
    words = ("--input", tmp_path / "*.wav", "--output", output, "--feature-set", "test_simple")
    done = ser_here("extract", *words)
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith("or --feature-set telephone for this one")


OLD_NAME = "calls-open is now called calls\n"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("run --input none --output out --model calls-open", "--model"),
        ("plan --input none --output out --model calls-open", "--model"),
        ("label --output out --model calls-open", "--model"),
        ("adapt --output out --save here --model calls-open", "--model"),
        ("evaluate --corpus ravdess=none --model calls-open", "--model"),
        ("evaluate --corpus ravdess=none --model calls --against calls-open", "--against"),
        ("review --output out --against calls-open", "--against"),
        ("report --output out --model calls-open", "--model"),
        ("train --corpus ravdess=none --save new --from calls-open", "--from"),
        ("model show calls-open", "ser model show"),
        ("model show calls-open --html", "ser model show"),
        ("model sign calls-open --key none", "ser model sign"),
    ],
)
def test_an_old_name_is_said_once_by_every_command(bundled, ser_here, tmp_path, words, option):
    done = ser_here(*words.split(), cwd=tmp_path)
    assert done.stderr.count(f"{option} {OLD_NAME}") == 1, done.stderr
    assert OLD_NAME not in done.stdout


@pytest.mark.parametrize("holds", [None, "seed193", "telephone", "test_simple"])
def test_extract_goes_on_with_what_the_output_holds(bundled, tmp_path, capsys, holds):
    output = output_of(tmp_path / "out", holds)
    assert extract._default_feature_set(output) == (holds or "seed193")
    line = f"holds features of {holds!r} and goes on with these; to change to 'seed193'"
    assert (line in capsys.readouterr().out) == (holds not in (None, "seed193"))


def test_the_table_is_true_of_the_models_that_are_shipped():
    for feature_set, name in card._BY_FEATURE_SET.items():
        assert models.read_card(name).feature_set == feature_set
        fingerprint = features.get(feature_set).fingerprint
        assert models.bundled_for(feature_set, fingerprint) in (name, models.default_name())
        assert models.bundled_for(feature_set, "0" * 16) is None
    for name in models.ALIASES.values():
        assert name in models.bundled_names()


def test_a_night_goes_on_in_an_output_of_other_features(ser_here, tmp_path):
    """`ser run` without --model, where the output holds the features of `seed`."""
    soundfile.write(tmp_path / "0.wav", call([(1, 3, -20)], 4), RATE)
    output = output_of(tmp_path / "out", "seed193")
    words = ("--input", tmp_path / "*.wav", "--output", output, "--timeout-s", "600")
    done = ser_here("run", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds features of 'seed193' and goes on with model seed" in done.stdout
    ids = duckdb.sql(f"SELECT model_id FROM '{output}/recordings/**/*.parquet'").fetchall()
    assert ids == [(models.read_card("seed").id,)]
