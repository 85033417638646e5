"""`ser show`, `plan`, `train`, `evaluate` and `model show`, as a user types them."""

from __future__ import annotations

import json
import shutil

import matplotlib.image
import pytest
import soundfile

from ser_core import models
from tests.conftest import CALLS, URI_FIELDS
from tests.speechlike import voice
from tests.tones import speak

CALL = "billing/20260301T091500_c0001.wav"


@pytest.mark.parametrize("how", ["absolute", "end", "id", "beginning"])
def test_show_draws_the_call_that_was_named(ser_here, night_out, tmp_path, how):
    import duckdb

    identity = duckdb.sql(
        f"SELECT recording_id FROM '{night_out}/recordings/**/*.parquet' WHERE uri LIKE '%/{CALL}'"
    ).fetchall()[0][0]
    named = {
        "absolute": CALLS / CALL,
        "end": CALL,
        "id": identity,
        "beginning": identity[:8],
    }[how]
    done = ser_here(
        "show", "--output", night_out, "--recording", named, "--save", tmp_path / "c.png"
    )
    assert done.returncode == 0, done.stderr
    assert str(CALLS / CALL) in done.stdout
    assert matplotlib.image.imread(tmp_path / "c.png").shape[1] > 1000


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--recording", "nobody.wav"), 4, "no id begins and no URI ends with this"),
        (("--recording", CALL, "--save", "c.doc"), 2, "c.doc"),
    ],
)
def test_show_says_what_is_wrong(ser_here, night_out, tmp_path, words, status, message):
    done = ser_here("show", "--output", night_out, *words, cwd=tmp_path)
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_profile_that_cannot_be_written_is_told_before_the_night(ser_here, tmp_path):
    words = ["run", "--input", CALLS / "odd", "--output", tmp_path / "out", "--profile", tmp_path]
    done = ser_here(*words)
    assert done.returncode == 2
    assert f"--profile {tmp_path}: a folder found, a file name expected" in done.stderr
    assert not (tmp_path / "out" / "runs").exists()


def test_show_without_audio_or_speech_or_label(ser_here, night_out, tmp_path):
    calls, out = tmp_path / "calls", tmp_path / "out"
    shutil.copytree(CALLS / "odd", calls)
    assert (
        ser_here("extract", "--input", calls, "--output", out, "--max-reject-ratio", "1").returncode
        == 0
    )
    for name, message in (
        ("20260301T085000_c0012.wav", "no_speech"),
        ("20260301T085500_c0013.wav", "rejected, unsupported_format"),
        ("20260301T084500_c0011.wav", "extracted"),
    ):
        done = ser_here("show", "--output", out, "--recording", f"calls/{name}", cwd=tmp_path)
        assert (done.returncode, message in done.stdout) == (0, True), done.stdout + done.stderr
    # Another recording with as many channels takes its place: old labels would be drawn over it.
    shutil.copy(calls / "20260301T085000_c0012.wav", calls / "20260301T084500_c0011.wav")
    done = ser_here(
        "show", "--output", out, "--recording", "20260301T084500_c0011.wav", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "the audio was replaced after it was labelled: levels are drawn" in done.stdout
    shutil.rmtree(calls)
    done = ser_here(
        "show", "--output", out, "--recording", "20260301T084500_c0011.wav", cwd=tmp_path
    )
    assert "the audio no longer exists" in done.stdout


def test_show_prints_first_rows(ser_here, night_out, tmp_path):
    done = ser_here("show", "--output", night_out)
    assert done.returncode == 0
    assert "20260301T091500_c0001.wav" in done.stdout
    done = ser_here("show", "--output", tmp_path)
    assert (done.returncode, "no tables found" in done.stderr) == (4, True)


def test_plan_counts_and_names_problems(ser_here, night_out, tmp_path):
    words = ("plan", "--input", CALLS, "--uri-fields", URI_FIELDS)
    done = ser_here(*words, "--output", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    for message in ("matched │ 13", "already done │ 0", "channel_roles_unknown", "queue=billing"):
        assert message in text
    assert not (tmp_path / "new").exists()
    done = ser_here(*words, "--output", night_out)
    assert "already done │ 13" in " ".join(done.stdout.split())


@pytest.mark.long
def test_train_evaluate_and_use_a_bundle(ser_here, tmp_path):
    speak(tmp_path / "tones")
    corpus = f"ravdess={tmp_path / 'tones'}"
    bundle = tmp_path / "tones-model"
    done = ser_here(
        *("train", "--corpus", corpus, "--recipe", "seed", "--scale", "zscore", "--save", bundle),
        *("--epochs", "4", "--layers", "16,8", "--batch-size", "8", "--folds", "2"),
        *("--emotions", "happy,sad,angry"),
        *("--cache", tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for message in (
        "36 utterances",
        "random split",
        "2 folds by speaker",
        "not for commercial use",
    ):
        assert message in done.stdout
    assert set(json.loads((bundle / "card.json").read_text())["labels"]) == {
        "happy",
        "sad",
        "angry",
    }
    done = ser_here("model", "show", bundle)
    assert (done.returncode, "tones-model-" in done.stdout) == (0, True)
    words = ("evaluate", "--model", bundle, "--corpus", corpus, "--cache", tmp_path / "cache")
    done = ser_here(*words)
    assert done.returncode == 2
    assert "36 of 36 clips and 6 of 6 speakers stood in the training" in done.stderr
    words = (*words, "--allow-overlap")
    done = ser_here(*words, "--condition", "mulaw")
    assert done.returncode == 0, done.stderr
    assert "36 utterances of 6 speakers" in done.stdout
    angry = ser_here(*words, "--groups", "angry")
    assert angry.returncode == 0, angry.stderr
    assert "→ other" in angry.stdout
    assert "these figures say nothing about other voices" in done.stdout.replace("\n", " ")
    out = tmp_path / "out"
    words = ("--input", CALLS / "sales", "--output", out, "--model", bundle)
    assert "3 labelled" in ser_here("run", *words).stdout


@pytest.mark.long
def test_train_by_recipe_calls(ser_here, tmp_path):
    speak(tmp_path / "tones")
    (tmp_path / "voices").mkdir()
    for seed, speaker in enumerate(("ann", "bob")):
        for emotion, level_db in (("angry", -20.0), ("sad", -45.0)):
            samples = voice(1.0, level_db=level_db, seed=seed)
            soundfile.write(tmp_path / "voices" / f"{speaker}_{emotion}.wav", samples, 8_000)
    done = ser_here(
        *("train", "--corpus", f"ravdess={tmp_path / 'tones'}", "--feature-set", "test_simple"),
        *("--unheard", f"test_voices={tmp_path / 'voices'}", "--decay", "0.3"),
        *("--emotions", "happy,sad,angry", "--folds", "2", "--save", tmp_path / "quick"),
        *("--cache", tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for message in ("36 utterances", "first look", "For commercial use take calls"):
        assert message in done.stdout
    assert "Warning" not in done.stderr
    card = models.read_card(tmp_path / "quick")
    assert (card.settings["recipe"], card.settings["decay"]) == ("calls", 0.3)
    # What was never heard comes first.
    assert card.protocol == next(iter(card.results)) == "voices_mulaw_alone"
    out = tmp_path / "out"
    done = ser_here(
        "run", "--input", CALLS / "sales", "--output", out, "--model", tmp_path / "quick"
    )
    assert "3 labelled" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corpus", "ravdess"], "NAME=DIR such as"),
        (["--corpus", "ravdes=x"], "unknown corpus 'ravdes'"),
        (["--corpus", "ravdess=nowhere", "--feature-set", "telephone"], "nowhere"),
        (["--corpus", "ravdess=x", "--recipe", "seed", "--epochs", "0"], "epochs"),
        (["--corpus", "ravdess=x", "--recipe", "seed", "--dropout", "1.5"], "dropout"),
        (["--corpus", "ravdess=x", "--recipe", "seed", "--layers", "a,b"], "whole numbers"),
        (["--corpus", "ravdess=x", "--recipe", "seed", "--optimizer", "adm"], "optimizer"),
        (["--corpus", "ravdess=x", "--recipe", "seed", "--decay", "2"], "--recipe calls"),
        (["--corpus", "ravdess=x", "--scale", "zscore"], "use --recipe seed"),
        (["--corpus", "ravdess=x", "--decay", "0"], "decay=0.0: a number above 0 expected"),
        (["--corpus", "ravdess=x", "--decay", "much"], "--decay"),
        (["--corpus", "ravdess=x", "--unheard", "emovo"], "NAME=DIR expected, such as emovo="),
        (["--corpus", "ravdess=x", "--unheard", "emovo=a,"], "NAME=DIR expected, such as"),
        (["--corpus", "ravdess=x", "--noise", "nowhere"], "--noise nowhere: no such folder"),
    ],
)
def test_training_mistakes(ser_here, tmp_path, words, message):
    done = ser_here("train", *words, "--save", tmp_path / "bundle", cwd=tmp_path)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
