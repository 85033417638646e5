"""What a bundle says of its licence: in a few words, in full, and whom to name."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest

from pipelines.commands import model
from pipelines.night_options import model_line
from ser_core import features, models, training
from ser_core.corpora import Corpus, cremad, emodb, emovo, ravdess
from ser_core.models.card import Card, find
from ser_core.models.card_page import markdown
from tests import tiny_bundle

PLAIN = Card(name="tiny", labels=("calm", "angry"), feature_set="seed193", fingerprint="")
ALL = Corpus("A", "CC0", (), {}, any_use=True)
OPEN = Corpus("B", "CC BY", (), {}, any_use=True, attribution="B by somebody")
CLOSED = Corpus("C", "NC", (), {}, attribution="C by others")


def terms(corpora, card=PLAIN):
    return replace(card, **training._terms(card, corpora))


@pytest.mark.parametrize(
    ("corpora", "words", "due"),
    [
        ([ALL], "free for any use", ()),
        ([ALL, OPEN], "free for any use with attribution", ("B by somebody",)),
        ([OPEN, CLOSED, OPEN], "not for commercial use", ("B by somebody", "C by others")),
    ],
)
def test_the_terms_of_a_model_are_those_of_its_corpora(corpora, words, due):
    card = terms(corpora)
    assert card.terms == words
    assert card.attribution == due


def test_what_a_training_starts_from_counts_too():
    start = replace(PLAIN, any_use=False, attribution=("D by the first",))
    card = terms([OPEN], start)
    assert card.terms == "not for commercial use"
    assert card.attribution == ("B by somebody", "D by the first")


def test_of_a_start_without_a_licence_nothing_is_known():
    start = replace(PLAIN, licence="trained on own data; started from a-1: not stated")
    assert terms([ALL], start).terms == "use not known"
    assert terms([CLOSED], replace(start, any_use=False)).terms == "not for commercial use"


@pytest.mark.parametrize("name", ["encoder", "voice"])
def test_a_feature_set_with_weights_is_named(name):
    card = terms([ALL], replace(PLAIN, feature_set=name))
    assert card.terms == "free for any use with attribution"
    [due] = card.attribution
    assert "OpenAI" in due
    assert "MIT" in due
    assert not features.get("telephone").attribution


@pytest.mark.parametrize("name", models.bundled_names())
def test_each_bundled_model_names_whom_its_features_are_from(name):
    card = models.read_card(name)
    due = features.get(card.feature_set).attribution
    assert not due or due in card.attribution
    assert due in (find(name) / "CARD.md").read_text()
    assert not any(alias in card.licence for alias in models.ALIASES)


@pytest.mark.parametrize(
    ("licence", "words"),
    [
        ("trained on EMO-DB, CC0", "free for any use"),
        ("trained on RAVDESS, CC BY-NC-SA 4.0: not for commercial use", "not for commercial use"),
        ("trained on EMOVO, for research only", "not for commercial use"),
        ("not stated", "use not known"),
        ("trained on own data, own data; started from a-1: not stated", "use not known"),
    ],
)
def test_older_cards_are_known_by_their_words(licence, words):
    assert replace(PLAIN, licence=licence).terms == words


def test_the_corpora_name_their_authors_and_licences():
    for part in ("Cao", "Open Database License 1.0", "Database Contents License 1.0", "https://"):
        assert part in cremad.ATTRIBUTION
    assert "CC BY-NC-SA 4.0" in ravdess.ATTRIBUTION
    assert "Costantini" in emovo.ATTRIBUTION
    assert emodb.LICENCE == "CC0"


def test_the_night_s_line_is_short():
    for name in ("calls-fast", "seed"):
        card = models.read_card(name)
        line = model_line(name, card)
        assert line == f"model {card.id}, {card.terms}: ser model show {name}"
        assert len(line) < 100
    assert models.read_card("calls-fast").permits_any_use
    assert not models.read_card("seed").permits_any_use


def test_the_page_and_ser_model_show_name_all_that_is_due(tmp_path, capsys):
    card = replace(PLAIN, any_use=True, attribution=("B by somebody",), licence="trained on B")
    page = markdown(card)
    assert "**Licence:** free for any use with attribution: trained on B." in page
    assert "- B by somebody." in page
    folder = tiny_bundle.make(
        tmp_path / "m", ("calm", "angry"), "seed193", tiny_bundle.threshold([0], [0.0]),
        any_use=True, attribution=("B by somebody",),
        training=(np.zeros(193), np.ones(193)),
    )  # fmt: skip
    assert model.run(Namespace(model=str(folder), html=False, save=None)) == 0
    assert "B by somebody" in capsys.readouterr().out
    (folder / "CARD.md").unlink()
    assert model.run(Namespace(model=str(folder), html=False, save=None)) == 0
    assert "attribution: B by somebody" in capsys.readouterr().out
    here = models.load(folder).adapted(np.random.default_rng(0).normal(size=(60, 193)))
    assert here.card.terms == "free for any use with attribution"
