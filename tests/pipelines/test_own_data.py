"""One's own labels from the command line: mistakes, agreement, training, and no random split."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from pipelines.commands import train
from ser_core import features, models
from tests.conftest import CALLS
from tests.pipelines.test_mistakes import ends
from tests.tones import speak

HEADER = "uri,channel,start_s,end_s,label,annotator,speaker"


@pytest.fixture
def labels(tmp_path):
    """36 clips of six speakers, by two annotators who differ about one."""
    speak(tmp_path / "tones")
    lines = [HEADER]
    for i, path in enumerate(sorted((tmp_path / "tones").rglob("*.wav"))):
        code, speaker = path.stem.split("-")[2], path.stem.split("-")[-1]
        label = {"03": "happy", "04": "sad", "05": "angry"}[code]
        for annotator in ("ann", "bob"):
            vote = "sad" if (i, annotator) == (0, "bob") else label
            name = path.relative_to(tmp_path)
            lines.append(f"{name},,0,0.24,{vote},{annotator},s{speaker}")
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


QUICK = ("--recipe", "seed", "--scale", "zscore", "--epochs", "4", "--layers", "8")


@pytest.mark.long
def test_labels_of_two_annotators_train_a_model_by_speaker(ser, labels, tmp_path):
    cache = ("--cache", tmp_path / "cache")
    done = ser("train", "--corpus", f"csv={labels}", *QUICK, "--save", tmp_path / "ours", *cache)
    assert done.returncode == 0, done.stdout + done.stderr
    text = " ".join(done.stdout.split())
    for says in (
        "Krippendorff's alpha over 36 shared stretches",
        "ann and bob",
        "1 stretches without agreement",
        "ann happy, bob sad",
        "warning: few clips of",
        "--from calls",
        "a first look, fold 1 of 6",
    ):
        assert says in text, text
    card = models.read_card(tmp_path / "ours")
    assert card.protocol == "speaker"
    assert "random" not in card.results
    assert card.results["speaker"]["utterances"] == 35
    assert card.settings["split"] == "speaker"
    (corpus,) = card.corpora
    assert (corpus["name"], corpus["utterances"], corpus["speakers"]) == ("labels", 36, 6)
    assert corpus["agreement"]["disputed"] == 1
    assert "Krippendorff's alpha 0.9" in (tmp_path / "ours" / "CARD.md").read_text()
    # By name it is done, and the card has both.
    done = ser(
        "train", "--corpus", f"csv={labels}", *QUICK, "--split", "random", "--save",
        tmp_path / "random", *cache,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "one voice" in done.stdout
    assert set(models.read_card(tmp_path / "random").results) >= {"random", "speaker"}


@pytest.mark.long
def test_a_table_of_labels_and_public_corpora(ser_here, labels, tmp_path):
    table = tmp_path / "map.csv"
    table.write_text("label,emotion\nhappy,good\nsad,bad\nangry,bad\n")
    words = ("train", "--corpus", f"csv={labels}", f"ravdess={tmp_path / 'tones'}", *QUICK)
    done = ser_here(
        *words, "--label-map", table, "--save", tmp_path / "two", "--cache", tmp_path / "cache"
    )
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "two" / "card.json").read_text())
    assert card["labels"] == ["bad", "good"]
    assert [corpus["name"] for corpus in card["corpora"]] == ["labels", "RAVDESS"]


@pytest.mark.long
def test_a_feature_set_of_another_package_is_trained_and_labels_a_night(ser_here, labels, tmp_path):
    done = ser_here(
        "train", "--corpus", f"csv={labels}", "--feature-set", "test_simple",
        "--save", tmp_path / "simple", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    card = models.read_card(tmp_path / "simple")
    assert card.feature_set == "test_simple"
    assert card.fingerprint == features.get("test_simple").fingerprint
    assert card.settings["recipe"] == "calls"
    assert {"labels_mulaw_folds", "labels_clean_folds"} <= set(card.results)
    again = ser_here(
        "train", "--corpus", f"csv={labels}", "--from", tmp_path / "simple", "--save",
        tmp_path / "again", "--folds", "2", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert "penalty" in again.stdout + again.stderr or "do not help" in again.stdout + again.stderr
    after = models.read_card(tmp_path / "again")
    assert after.settings["from"] == card.id
    last = again.stdout.strip().splitlines()[-1]
    assert f"{after.id} is " in last
    assert f"{card.id}: UAR " in last
    done = ser_here(
        "run", "--input", CALLS, "--output", tmp_path / "out", "--model", tmp_path / "simple",
        "--channel-roles", "agent,customer", "--date", "2026-03-01",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pq.read_table(tmp_path / "out" / "recordings").to_pylist()
    labelled = [row for row in rows if row["status"] == "labelled"]
    assert labelled
    assert {row["model_id"] for row in labelled} == {card.id}
    assert {row["label"] for row in labelled} <= {"angry", "happy", "sad"}


def test_mistakes_of_labels_end_a_training_before_it_begins(ser_here, labels, tmp_path):
    with labels.open("a") as file:
        csv.writer(file).writerows(
            [["gone.wav", "", 0, 1, "sad", "ann", "x"], ["", "", "", "", "sad"]]
        )
    done = ser_here("train", "--corpus", f"csv={labels}", *QUICK, "--save", tmp_path / "ours")
    assert done.returncode == 2
    assert "2 mistakes" in done.stderr
    assert "line 74: gone.wav: no such file" in done.stderr
    assert "line 75: no uri" in done.stderr
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--split", "random"), "does not apply to recipe calls, which always splits by speaker"),
        (("--epochs", "3"), "--epochs does not apply to recipe calls"),
        (("--recipe", "seed", "--from", "calls"), "--from does not apply to recipe seed"),
        (("--from", "calls", "--decay", "1"), "--decay does not apply with --from"),
        (("--from", "calls", "--feature-set", "voice"), "--feature-set does not apply with --from"),
        (("--recipe", "transfer"), "needs a bundle to start from: give --from"),
        (("--feature-set", "gone"), "no feature set is called 'gone'"),
        (("--from", "gone"), "model 'gone': no such folder"),
        (("--from", "seed"), "only bundles of recipe calls of this version can be started from"),
        (("--recipe", "seed", "--label-map", "gone.csv"), "gone.csv: cannot be read"),
    ],
)
def test_settings_that_do_not_go_together(ser_here, labels, tmp_path, words, says):
    done = ser_here("train", "--corpus", f"csv={labels}", "--save", tmp_path / "ours", *words)
    ends(done, 2, says)


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (0.012, 0.139, "is better than calls-1: UAR +7.3 points (95 %: +1.2 to +13.9"),
        (-0.012, 0.139, "is not told apart from calls-1: UAR +7.3 points (95 %: -1.2 to +13.9"),
        (-0.139, -0.012, "is worse than calls-1: UAR +7.3 points"),
        (None, None, "is not told apart from calls-1: UAR +7.3 points, of one speaker"),
    ],
)
def test_a_training_from_a_bundle_ends_with_its_verdict(low, high, sentence):
    found = {"difference": 0.073, "low": low, "high": high, "p": None}
    card = replace(
        models.read_card("calls"), settings={"from": "calls-1"}, measures={"against_start": found}
    )
    assert train._verdict(card).startswith(f"{card.id} {sentence}")
    card = replace(card, measures={"against_start": None})
    assert train._verdict(card) == (
        f"{card.id} cannot be compared with calls-1, which has other labels"
    )
