"""The page of an evaluation in a real browser: complete, nothing fetched, names are text."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ser_core.corpora import Corpus, Utterance
from ser_core.models import evaluation, verdict
from ser_core.report import evaluation_page, pages
from tests.browser import chromium, serious_faults
from tests.ser_core.test_evaluation import SPEAKERS, THREE, always, clips, right, sure_of, unequal
from tests.ser_core.test_evaluation import bundle as made

HOSTILE = (
    '"><img src=http://evil.example/x onerror=document.title="caught"><script>1</script>$\\frac{'
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return clips(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def hostile(corpus, cache) -> evaluation.Evaluation:
    """Two bundles, one with a history, on a corpus in which every name is an attack."""
    attacks = tuple(
        replace(clip, speaker=HOSTILE + clip.speaker, corpus=HOSTILE) for clip in corpus.utterances
    )
    odd = Utterance(attacks[0].path, HOSTILE, HOSTILE, HOSTILE)
    worse = Corpus(
        HOSTILE, HOSTILE, (*attacks, odd), {HOSTILE: 1}, note=HOSTILE, warnings=(HOSTILE,)
    )

    def answer(level, hz, count, mean, variance):
        return sure_of("happy" if count else "sad", THREE)

    about = {"channel_normalisation": "history", "licence": HOSTILE}
    pair = [made(THREE, answer, name=HOSTILE, card=about), unequal(15)]
    return evaluation.evaluate_conditions(
        pair, worse, ["clean", "mulaw", "gsm", "hard"], jobs=1, cache=cache
    )


def opened(browser, page_html, tmp_path, width=1280, colours="light"):
    path = pages.write(tmp_path / "e.html", page_html)
    requests: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=colours)
    # A style or a script that the policy forbids is an error in the console.
    page.on("console", lambda message: requests.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    return page, [url for url in requests if not url.startswith(("data:", path.as_uri()))]


def test_hostile_names_are_text_and_nothing_leaves_the_page(hostile, tmp_path):
    html = evaluation_page.page([hostile])
    assert "<script" not in html
    with chromium() as browser:
        for width, colours in ((360, "dark"), (1280, "light")):
            page, requests = opened(browser, html, tmp_path, width, colours)
            page.wait_for_timeout(200)
            assert requests == []
            assert serious_faults(page) == []
            assert page.title() != "caught"
            assert HOSTILE in page.title()
            assert HOSTILE in page.inner_text("h1")
            assert f"1 × {HOSTILE}" in page.inner_text("body")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("script").count() == 0
            pictures = page.locator("img")
            # UAR, differences, and two of the confidence of each bundle and what it knows.
            assert pictures.count() == 2 + 2 * 3
            assert pictures.evaluate_all("all => all.every(image => image.naturalWidth > 800)")


def test_figures_of_the_page_are_those_of_the_evaluation(hostile, tmp_path):
    html = evaluation_page.page([hostile])
    with chromium() as browser:
        page, _ = opened(browser, html, tmp_path)
        tables = page.locator("table.by-condition").all_inner_texts()
        differences = page.locator("table.differences").inner_text().splitlines()
        details = page.locator("details[open] > summary").all_inner_texts()
        assert page.locator("table.matrix").count() == 4 * 3
    rows = [re.split(r"\t", line) for line in tables[0].splitlines()][1:]
    assert rows[0][:3] == ["condition", "channel", "UAR"]
    assert len(rows) == 1 + 4 * 2
    first = hostile.bundles[0]
    for row, result in zip(rows[1:], first.results, strict=True):
        assert row[0] == result.condition
        assert row[2] == pages.percent(result.scores.uar)
        assert row[5] == pages.percent(result.sure)
    assert [summary.split(":")[0] for summary in details][:2] == ["clean", "mulaw"]
    assert len(differences) == 2 + len(hostile.differences) == 2 + 8
    assert "unequal" in differences[1]
    for line, difference in zip(differences[2:], hostile.differences, strict=True):
        assert verdict.in_points(difference) in line
        assert verdict.accuracy_in_points(difference) in line


def test_the_verdict_comes_first_and_what_is_wrong_with_it_next(hostile, tmp_path):
    warning = "seen before: see `ser model show`"
    doubtful = replace(hostile, warnings=(warning, *hostile.warnings), serious=(warning,))
    with chromium() as browser:
        page, _ = opened(browser, evaluation_page.page([doubtful]), tmp_path)
        texts = page.locator("main > *").all_inner_texts()[:3]
        assert texts[1] == "N" + verdict.verdict(doubtful)[1:]
        assert texts[1].startswith("Not to be relied on: ")
        assert texts[2] == "Serious: seen before: see ser model show."
        assert page.locator("details", has_text="Licences").get_attribute("open") is None
        assert page.locator("[style]").count() == 0


def test_a_page_of_one_bundle_one_condition_one_speaker(corpus, cache):
    """Where there is no interval, none is drawn or written."""
    alone = replace(
        corpus, utterances=tuple(clip for clip in corpus.utterances if clip.speaker == "a")
    )
    found = evaluation.evaluate_conditions([always("sad")], alone, ["clean"], jobs=1, cache=cache)
    html = evaluation_page.page([found])
    assert "1 speaker," in html
    assert "<td>–</td>" in html
    assert "The difference" not in html
    pair = evaluation.evaluate_conditions(
        [always("sad"), right()], alone, ["clean"], jobs=1, cache=cache
    )
    assert "one speaker: no interval" in evaluation_page.page([pair])


def test_several_corpora_are_sections(corpus, cache):
    found = [
        evaluation.evaluate_conditions(
            [right()], replace(corpus, name=name), ["mulaw"], jobs=1, cache=cache
        )
        for name in ("First", "Second")
    ]
    html = evaluation_page.page(found)
    assert '<a href="#corpus-2">Second</a>' in html
    assert html.count("UAR by condition.") == 2
    assert html.count('class="verdict"') == 2
    assert len(SPEAKERS) == 6
    assert len(html) < 1_000_000


def test_shown_conditions_are_clean_mulaw_and_the_worst(corpus, cache):
    found = evaluation.evaluate_conditions([unequal(15)], corpus, jobs=1, cache=cache)
    shown = evaluation_page._shown(found)
    assert {"clean", "mulaw", verdict.worst(found.bundles[0])} == set(shown)
    lowest = min(result.scores.uar for result in found.bundles[0].results)
    assert found.bundles[0].of(verdict.worst(found.bundles[0])).scores.uar == lowest
