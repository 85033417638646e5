"""`ser adapt` end to end, what it reads, what it refuses, and when `ser run` recommends it."""

from __future__ import annotations

import hashlib
import re
import shutil
from argparse import Namespace

import duckdb
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipelines import archives
from pipelines.commands import adapt, model
from pipelines.errors import NothingMatchedError, UsageError
from pipelines.steps.item import Item
from pipelines.storage import bundles, files
from ser_core import models, tables
from ser_core.errors import BundleError
from ser_core.examine import Channel, Examined, Source, SpeechSegment
from tests import tiny_bundle
from tests.pipelines.review_nights import publish
from tests.speechlike import call

LABELS = ("calm", "angry")
# Level in dB, crossings a second, seconds, peak in Hz: as in the training, and in the archive.
TRAINING = np.array([-30.0, 1_000, 4, 300], np.float32), np.array([6.0, 300, 2, 100], np.float32)
QUIETER = np.array([-15.0, 200, 0, 50])
LOUDER = QUIETER + np.array([9, 0, 0, 0])
FIRST, SECOND = "r20260301T010000-aaaaaa", "r20260302T010000-bbbbbb"


@pytest.fixture(scope="module")
def level(tmp_path_factory):
    """Loud speech is angry, from -30 dB on; it knows the statistics of its training."""
    folder = tmp_path_factory.mktemp("models") / "level"
    weights = tiny_bundle.threshold([0], [-30.0])
    return tiny_bundle.make(folder, LABELS, "test_simple", weights, name="level", training=TRAINING)


def stored_calls(count: int, each: int = 18, *, seed: int = 0, moved=QUIETER, role="customer"):
    """Recordings with features alone; a segment is 5 s long."""
    random = np.random.default_rng(seed)
    for i in range(count):
        uri = f"/calls/{seed}-{i:03d}.wav"
        vectors = random.normal(TRAINING[0] + moved, TRAINING[1], (each, 4)).astype(np.float32)
        segments = tuple(
            SpeechSegment(0, role, 6.0 * k, 6.0 * k + 5.0, float(vectors[k, 0]))
            for k in range(each)
        )
        examined = Examined(
            Source(uri, 1000, 1_700_000_000_000_000),
            recording_id=hashlib.sha256(uri.encode()).hexdigest(),
            duration_s=6.0 * each,
            sample_rate_hz=8_000,
            channels=1,
            by_channel=(Channel(0, role, True, 5.0 * each),),
            segments=segments,
            vectors=vectors,
        )
        yield Item(examined, meta={"speaker": None}), np.tile([0.5, 0.5], (each, 1))


def night(out, items, *, run_id=FIRST, date="2026-03-01", feature_set="test_simple"):
    labelling = tables.Labelling("other-1", LABELS, feature_set)
    publish(out, [list(items)], labelling, date=date, run_id=run_id)
    return str(out)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """60 calls of a night with 1.5 hours of speech, quieter than the training's."""
    return night(tmp_path_factory.mktemp("archive") / "out", stored_calls(60))


def card_of(folder):
    return models.read_card(folder)


def test_from_the_archive_to_labels(ser_here, archive, level, tmp_path, capsys):
    out = shutil.copytree(archive, tmp_path / "out")
    here = tmp_path / "level-here"
    done = ser_here("adapt", "--output", out, "--model", level, "--save", here)
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    assert "60 calls with 1.5 hours of speech in 1,080 segments (2026-03-01)" in printed
    assert re.search(r"calm +│ 99\.\d % │ 5\d\.\d %", printed), printed
    assert re.search(r"[45]\d\d of 1,080 labels changed", printed), printed
    assert f"ser label --output {out} --model {here}" in printed
    card = models.check(here)
    assert card.adapted.base == card_of(level).id
    assert (card.adapted.segments, card.adapted.recordings) == (1_080, 60)
    assert card.adapted.hours == pytest.approx(1.5)

    done = ser_here("label", "--output", out, "--model", here)
    assert done.returncode == 0, done.stderr
    found = duckdb.sql(
        f"SELECT s.label, count(*) FROM '{out}/segments/**/*.parquet' s JOIN "
        f"'{out}/recordings/**/*.parquet' r USING (uri, run_id) "
        f"WHERE r.model_id = '{card.id}' GROUP BY 1"
    ).fetchall()
    shares = {label: count / 1_080 for label, count in found}
    assert shares == pytest.approx(card.adapted.shares_after)

    assert model.run(Namespace(model=str(here), html=False, save=None)) == 0
    page = capsys.readouterr().out
    assert card.id in page
    assert "Fitted to an archive" in page


def adapted(output, base, save, nights=None):
    options = Namespace(output=str(output), model=str(base), save=str(save), nights=nights)
    assert adapt.run(options) == 0
    return card_of(save)


def test_only_callers_of_the_last_nights_count(archive, level, tmp_path, capsys):
    out = shutil.copytree(archive, tmp_path / "out")
    loud = stored_calls(60, seed=2, moved=LOUDER, role="mixed")
    agents = stored_calls(60, seed=3, moved=10 * LOUDER, role="agent")
    night(out, loud, run_id=SECOND, date="2026-03-02")
    night(out, agents, run_id="r20260303T010000-cccccc", date="2026-03-02")
    sample = archives.read_sample(str(out), card_of(level))
    assert (sample.recordings, sample.segments) == (120, 2_160)
    assert sample.nights == ("2026-03-01", "2026-03-02")
    last = adapted(out, level, tmp_path / "last", nights=1)
    assert (last.adapted.segments, last.adapted.recordings) == (1_080, 60)
    assert "2026-03-02" in capsys.readouterr().out


def test_a_recording_counts_once_by_its_newest_features(archive, level, tmp_path):
    out = shutil.copytree(archive, tmp_path / "out")
    again = stored_calls(60, each=20)  # the same URIs, replaced
    night(out, again, run_id=SECOND, date="2026-03-02")
    sample = archives.read_sample(str(out), card_of(level))
    assert (sample.recordings, sample.segments) == (60, 1_200)
    assert sample.nights == ("2026-03-02",)


def test_vectors_are_those_that_are_stored(archive, level):
    sample = archives.read_sample(archive, card_of(level))
    expected = np.concatenate([item.examined.vectors for item, _ in stored_calls(60)])
    order = np.lexsort(sample.matrix.T)
    np.testing.assert_array_equal(sample.matrix[order], expected[np.lexsort(expected.T)])
    assert np.bincount(sample.recording).tolist() == [18] * 60


def test_of_many_calls_a_sample_is_drawn(archive, level, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(archives, "SAMPLE_BYTES", 16 * 600)
    card = adapted(archive, level, tmp_path / "here")
    assert (card.adapted.segments, card.adapted.recordings) == (600, 60)
    assert "600 segments are drawn from them" in capsys.readouterr().out


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(1, 40))
def test_rows_are_drawn_evenly(sizes, limit):
    recording = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    recording = np.append(recording, [-1, -1])
    kept = archives.choose_rows(recording, limit)
    np.testing.assert_array_equal(kept, archives.choose_rows(recording, limit))
    assert not kept[recording < 0].any()
    counts = np.bincount(recording[kept], minlength=len(sizes))
    assert counts.sum() <= limit
    if sum(sizes) <= limit:
        assert counts.tolist() == sizes
    else:
        most = counts.max()
        # Nobody has fewer than another, but for want of rows; one row more each would not fit.
        assert all(c in (most, min(n, most)) for c, n in zip(counts, sizes, strict=True)) or (
            most <= 1 and counts.sum() == limit
        )
        assert np.minimum(sizes, most + 1).sum() > limit


def test_adapting_again_over_an_adapted_bundle_starts_from_its_base(
    archive, level, tmp_path, capsys
):
    first = adapted(archive, level, tmp_path / "here")
    again = adapted(archive, tmp_path / "here", tmp_path / "here")
    assert again == first
    assert f"starts from its base, {first.base.id}" in capsys.readouterr().out


# Mistakes


def refused(error, match, **given_):
    options = {"nights": None, "save": "unused-name", **given_}
    with pytest.raises(error, match=match):
        adapt.run(Namespace(**{name: value and str(value) for name, value in options.items()}))


def test_nothing_there(level, tmp_path):
    refused(NothingMatchedError, "no tables found", output=tmp_path / "none", model=level)
    out = night(tmp_path / "out", stored_calls(2, each=0))
    refused(UsageError, "0 calls with 0.0 hours", output=out, model=level)
    shutil.rmtree(tmp_path / "out" / "features")
    refused(NothingMatchedError, "no features found in it", output=out, model=level)


def test_too_few(level, tmp_path):
    out = night(tmp_path / "out", stored_calls(49))
    message = r"49 calls with 1\.2 hours of callers' speech found, at least 50 calls and 1 hour"
    refused(UsageError, message, output=out, model=level)
    short = night(tmp_path / "short", stored_calls(60, each=10))
    refused(UsageError, r"60 calls with 0\.8 hours", output=short, model=level)
    agents = night(tmp_path / "agents", stored_calls(60, role="agent"))
    refused(UsageError, r"0 calls with 0\.0 hours", output=agents, model=level)


def test_other_features(archive, level, tmp_path):
    seed = tiny_bundle.make(
        tmp_path / "s", LABELS, "seed193", tiny_bundle.threshold([0], [0.0]),
        training=(np.zeros(193), np.ones(193)),
    )  # fmt: skip
    refused(
        UsageError, "made for features 'seed193'.*holds 'test_simple'", output=archive, model=seed
    )


def test_a_model_that_cannot_be_adapted(archive):
    refused(BundleError, "cannot be adapted", output=archive, model="seed")


@pytest.mark.parametrize("name", ["calls", "calls-open", "seed"])
def test_the_name_of_a_bundled_model(archive, level, name):
    refused(BundleError, "a bundled model has this name", output=archive, model=level, save=name)


def test_places_that_hold_something_else(archive, level, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    match = "files that are not a model bundle"
    refused(BundleError, match, output=archive, model=level, save=tmp_path / "home")
    refused(UsageError, "not adapted", output=archive, model=level, save=level)
    refused(UsageError, "a local folder", output=archive, model=level, save="gs://b/m")


# What `ser run` recommends


def test_a_large_archive_and_a_model_that_is_not_fitted(archive, level, tmp_path):
    line = archives.advice(archive, str(level), FIRST)
    assert line == (
        "the archive is large enough to fit the model to it, without labels: ser adapt --output "
        f"{archive} --model {level} --save level-here"
    )
    small = night(tmp_path / "small", stored_calls(49))
    assert archives.advice(small, str(level), FIRST) is None
    assert archives.advice(str(tmp_path / "none"), str(level), FIRST) is None


def test_only_callers_speech_that_is_stored_makes_an_archive_large(level, tmp_path):
    """What is recommended is what `ser adapt` then does."""
    out = night(tmp_path / "out", stored_calls(60))
    # The same calls again, by an agent's words; and half of the callers there must be.
    again = [*stored_calls(60, role="agent"), *stored_calls(25, each=40, seed=1)]
    night(out, again, run_id=SECOND, date="2026-03-02")
    assert archives.advice(out, str(level), FIRST) is None
    refused(UsageError, "25 calls with 1.4 hours", output=out, model=level)
    third = "r20260303T010000-cccccc"
    night(out, stored_calls(25, role="mixed", seed=2), run_id=third, date="2026-03-03")
    assert archives.advice(out, str(level), FIRST) is not None
    adapted(out, level, tmp_path / "here")
    shutil.rmtree(tmp_path / "out" / "features")
    assert archives.advice(out, str(level), FIRST) is None


def test_of_an_archive_where_callers_hardly_speak_the_newest_rows_are_read(
    archive, level, tmp_path, monkeypatch
):
    out = shutil.copytree(archive, tmp_path / "out")
    night(out, stored_calls(60, role="agent", seed=1), run_id=SECOND, date="2026-03-02")
    assert archives.advice(str(out), str(level), FIRST) is not None
    monkeypatch.setattr(archives, "_NEWEST_ROWS", 1_000)
    assert archives.advice(str(out), str(level), FIRST) is None


def test_a_model_is_fitted_again_only_to_enough_speech(archive, level, tmp_path):
    adapted(archive, level, tmp_path / "here")
    few = stored_calls(40, seed=5, moved=LOUDER)  # the features of the nights before are erased
    out = night(tmp_path / "out", few, run_id=SECOND, date="2026-03-02")
    assert archives.advice(out, str(tmp_path / "here"), SECOND) is None
    refused(UsageError, "40 calls with 1.0 hours", output=out, model=level)


def test_models_that_cannot_be_adapted_are_left_in_peace(archive):
    assert archives.advice(archive, "seed", FIRST) is None


@pytest.mark.parametrize(
    ("moved", "calls", "says"),
    [
        (QUIETER, 40, False),
        (QUIETER + np.array([1, 50, 0, 10]), 40, False),
        (LOUDER, 40, True),
        (LOUDER, 19, False),  # too few to tell
    ],
)
def test_an_archive_that_has_moved(archive, level, tmp_path, moved, calls, says):
    out = shutil.copytree(archive, tmp_path / "out")
    adapted(out, level, tmp_path / "here")
    items = stored_calls(calls, seed=5, moved=moved)
    night(out, items, run_id=SECOND, date="2026-03-02")
    line = archives.advice(str(out), str(tmp_path / "here"), SECOND.partition("-")[0])
    assert (line is not None) == says
    if says:
        assert "tonight's calls differ" in line
        assert f"--save {tmp_path / 'here'}" in line
    assert archives.advice(str(out), str(tmp_path / "here"), "r20260303T000000") is None


def test_a_run_says_so_and_never_fails_by_it(
    ser_here, archive, level, tmp_path, monkeypatch, capsys
):
    from pipelines.commands import run

    out = shutil.copytree(archive, tmp_path / "out")
    soundfile.write(tmp_path / "a.wav", call([(1, 3, -20)], 4), 8_000)
    words = ("--output", out, "--model", level)
    done = ser_here("run", "--input", tmp_path / "a.wav", *words)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "ser adapt" in line]
    assert len(lines) == 1

    def fail(*_):
        raise OSError("planted")

    monkeypatch.setattr(archives, "advice", fail)
    run._advise(str(out), str(level), FIRST)
    assert capsys.readouterr().out == ""


# Bundles that lie elsewhere


def test_the_archive_travels_with_the_bundle(archive, level, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    card = adapted(archive, level, folder)
    fetched = []

    def fetch(uri, path):
        fetched.append(uri.rpartition("/")[2])
        shutil.copy(folder / fetched[-1], path)

    monkeypatch.setattr(files, "_fetch", fetch)
    for read in (bundles.check, lambda uri: bundles.load(uri).card):
        fetched.clear()
        assert read("s3://models/here") == card
        assert set(fetched) == set(card.files) > {"archive.npz"}
    copied = bundles.for_workers(str(folder), str(tmp_path / "staged"), local=False)
    assert models.check(copied) == card
