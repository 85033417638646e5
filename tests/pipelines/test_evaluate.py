"""`ser evaluate` as a user types it."""

from __future__ import annotations

import json

import pytest

from pipelines.commands import evaluate
from ser_core.corpora import Corpus, Utterance
from ser_core.models import evaluation
from tests import tiny_bundle
from tests.ser_core.test_evaluation import SPEAKERS, clips, right
from tests.tones import speak


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    speak(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """By the tone: one that knows all three, one with other edges, one with other labels."""
    folder = tmp_path_factory.mktemp("models")
    for name, labels, edges in (
        ("good", ("sad", "angry", "happy"), [250.0, 1_000.0]),
        ("bad", ("sad", "angry", "happy"), [250.0, 10_000.0]),
        ("other", ("bored", "angry"), [250.0]),
    ):
        rule = tiny_bundle.threshold([3], edges, 0.05)
        tiny_bundle.make(folder / name, labels, "test_simple", rule, name=name)
    card = folder / "bad" / "card.json"
    values = json.loads(card.read_text())
    card.write_text(json.dumps({**values, "corpora": [{"name": "RAVDESS"}]}))
    return folder


@pytest.fixture
def say(ser_here, tones, models, tmp_path):
    def run(*words):
        corpus = ("--corpus", f"ravdess={tones}", "--cache", tmp_path / "cache", "--jobs", "1")
        (tmp_path / "taken").touch()
        words = [models / word if word in ("good", "bad", "other") else word for word in words]
        return ser_here("evaluate", *corpus, *words, cwd=tmp_path)

    return run


def test_two_bundles_side_by_side_as_tables_json_and_page(say, tmp_path):
    done = say(
        *("--model", "good", "--against", "bad", "--condition", "clean", "mulaw"),
        *("--json", "out/e.json", "--page", "out/e.html"),
    )
    assert done.returncode == 0, done.stderr
    assert "36 utterances of 6 speakers" in done.stdout
    assert "bad-" in done.stdout
    assert "good is better" in done.stdout
    first = next(line for line in done.stdout.splitlines() if "against" in line)
    assert "not to be relied on: good is better under all 2 conditions" in first
    assert "serious: bad-" in done.stdout
    assert "these figures say nothing about other voices; see the figures" in done.stdout
    assert "`" not in done.stdout
    tables = [line for line in done.stdout.splitlines() if line[:1] in "│┃┏└├┡"]
    assert max(map(len, tables)) <= 100
    figures = json.loads((tmp_path / "out" / "e.json").read_text())
    (evaluation,) = figures["evaluations"]
    assert evaluation["corpus"] == "RAVDESS"
    assert [each["scores"]["uar"] for each in evaluation["bundles"][0]["results"]] == [1, 1]
    assert evaluation["differences"][0]["difference"] == pytest.approx(1 / 3)
    assert "RAVDESS" in (tmp_path / "out" / "e.html").read_text()
    assert str(tmp_path) not in (tmp_path / "out" / "e.html").read_text()


def test_every_condition_unless_told_which(say):
    done = say("--model", "good")
    assert done.returncode == 0, done.stderr
    for condition in (
        "clean",
        "8khz",
        "mulaw",
        "alaw",
        "gsm",
        "opus",
        "mp3",
        "hard",
        "packet_loss",
    ):
        assert f"│ {condition} " in done.stdout
    text = say("--model", "good", "--condition", "mulaw").stdout
    assert "│ gsm " not in text
    assert "→ angry" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--against", "other"), "take --groups angry, negative or four"),
        (("--against", "nowhere"), "nowhere"),
        (("--condition", "mulaw", "tin"), "invalid choice: 'tin'"),
        (("--page", "."), "--page .: a folder found"),
        (("--json", "taken/e.json"), "is not writable; give another path"),
    ],
)
def test_mistakes(say, words, says):
    done = say("--model", "good", *words)
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_bundles_of_other_labels_by_groups(say):
    done = say("--model", "good", "--against", "other", "--groups", "angry", "--condition", "clean")
    assert done.returncode == 0, done.stderr
    assert "good is better" in done.stdout


def test_names_do_not_move_the_terminal(tmp_path, capsys):
    """Neither as rich's markup nor as the terminal's own."""
    from rich.console import Console

    bad = "[/red]\x1b[2J[bold]"
    corpus_of_clips = clips(tmp_path, SPEAKERS[:1], times=1)
    odd = Utterance(corpus_of_clips.utterances[0].path, bad, "a", bad)
    corpus = Corpus(bad, "CC0", (*corpus_of_clips.utterances, odd), {})
    found = evaluation.evaluate_conditions([right()], corpus, ["clean"], jobs=1, cache=tmp_path)
    evaluate._print(Console(width=100), found, known_warnings=())
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "right-01234567 on [/red]?[2J[bold]" in text
    assert "1 of other emotions left out ([/red]?[2J[bold])" in text
    assert "one speaker: no interval" in text
