"""A model's card as a page: use first, everything of the card in it, names as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ser_core import models
from ser_core.models.card import find
from ser_core.models.card_page import markdown
from ser_core.report import model_page, pages
from tests.browser import chromium, serious_faults

HOSTILE = "<img src=x onerror=document.title='owned'> `code` **bold**"


def visit(browser, html, tmp_path, width=1280, colours="light"):
    path = pages.write(tmp_path / "card.html", html)
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=colours)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: complaints.append(request.url))
    page.goto(path.as_uri())
    return page, [text for text in complaints if not text.startswith(("data:", path.as_uri()))]


@pytest.mark.parametrize("name", ["calls", "seed"])
def test_bundled_cards_lead_with_use_and_fold_conditions(name, tmp_path):
    folder = find(name)
    card = models.read_card(folder)
    html = model_page.page(card, model_page.read_pictures(folder))
    with chromium() as browser:
        for width, colours in ((390, "dark"), (1280, "light")):
            page, complaints = visit(browser, html, tmp_path, width, colours)
            assert complaints == []
            assert serious_faults(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            headings = page.locator("h2").all_inner_texts()
            assert headings[:2] == ["Use and limits", "How well it does"]
            assert page.locator("details[open]").count() == 0
            text = page.inner_text("body")
            assert "no lie detection" in text
            assert "**" not in text
            assert "`" not in text
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        text = page.inner_text("body")
        for result in card.results.values():
            assert result["protocol"] in text
            assert pages.percent(result["uar"]) in text
        for due in (*card.attribution, card.fingerprint, card.model_sha256):
            assert due in text


def test_the_figure_of_a_random_split_does_not_lead():
    card = models.read_card("seed")
    assert next(iter(card.results)) == card.protocol == "random"
    assert model_page.lead_result(card) == "speaker_mulaw"
    calls = models.read_card("calls")
    assert model_page.lead_result(calls) == calls.protocol
    uar = 100 * calls.results[calls.protocol]["uar"]
    beginning = f"Right in about {uar:.0f} of 100 utterances (UAR {uar:.1f} %"
    assert model_page.verdict(calls).startswith(beginning)
    assert "no results" in model_page.verdict(replace(calls, results={}))


def test_hostile_cards_are_text(tmp_path):
    card = models.read_card("calls")
    corpus = {**card.corpora[0], "name": HOSTILE, "note": HOSTILE, "warnings": [HOSTILE]}
    bad = replace(card, name=HOSTILE, licence=HOSTILE, attribution=(HOSTILE,), corpora=[corpus])
    (tmp_path / "confusion.png").write_text("no picture")
    assert model_page.read_pictures(tmp_path) == {}
    with chromium() as browser:
        page, complaints = visit(browser, model_page.page(bad), tmp_path)
        assert complaints == []
        assert page.title() == f"{bad.id}: model card"
        assert HOSTILE in page.inner_text("h1")
        assert page.locator("img, [style], script").count() == 0


def test_command(ser_here, tmp_path):
    done = ser_here("model", "show", "calls", "--html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = models.read_card("calls")
    assert card.id in (tmp_path / f"model-{card.id}.html").read_text(encoding="utf-8")
    done = ser_here("model", "show", "calls", "--save", "a.html", cwd=tmp_path)
    assert done.returncode == 2
    assert "--html is missing" in done.stderr


def test_chance_is_that_of_the_labels_that_a_test_has():
    card = models.read_card("calls")
    assert "chance is 16.7%." in markdown(card)
    name, result = next(iter(card.results.items()))
    few = {label: None if label in ("happy", "disgust") else 0.5 for label in card.labels}
    other = result | {"recall": few, "protocol": "Own (never heard), hard line"}
    page = markdown(replace(card, results={name: result, "own": other}))
    assert "chance is 16.7% for EMOVO (never heard), 25.0% for Own (never heard)." in page
    assert "chosen on EMO-DB, EMOVO, RAVDESS" in page
