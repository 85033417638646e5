"""`ser review` as a user meets it: the command, and the page in a browser."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import soundfile

from pipelines.review import (
    listing,
)  # fmt: skip
from tests.browser import browser, serious_faults, until, visit  # noqa: F401
from tests.pipelines.review_nights import (  # noqa: F401
    HOSTILE,
    LABELS,
    RATE,
    archive,
    examined_night,
    made,
    night,
    page_data,
    soft_model,
)
from tests.speechlike import call

# ---------------------------------------------------------------- as a user types it


def test_command(ser, night, tmp_path):
    words = ("review", "--output", night, "--n", "6", "--save", tmp_path / "mine.csv")
    done = ser(*words, "--by", "least-sure=2,random=1", "--annotator", "ana", "--labels", "x,y")
    assert done.returncode == 0, done.stderr
    assert "4 × the model was least sure here" in done.stdout
    assert "2 × drawn at random, each representing 5.0" in done.stdout
    page = (tmp_path / "mine.html").read_text(encoding="utf-8")
    assert (page_data(page)["labels"], page_data(page)["annotator"]) == (["x", "y"], "ana")
    assert page_data(page)["name"] == "mine"


def test_lists_without_a_name_are_named_after_the_night(ser_here, night, tmp_path):
    for name in ("review-2026-03-01", "review-2026-03-01-2"):
        done = ser_here("review", "--output", night, "--n", "3", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"{name}.csv").exists()
        assert (tmp_path / f"{name}.html").exists()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--output", "nothing"), 4, "no tables found; `ser run` fills them"),
        (("--date", "2020-01-01"), 4, "the tables hold the nights 2026-03-01"),
        (("--run-id", "r0"), 4, "--run-id r0: nothing found"),
        (("--by", "random=0"), 2, "a number above 0 expected"),
        (("--by", "hardest"), 2, "'hardest' found; least-sure, disagreement, random expected"),
        (("--by", "disagreement"), 2, "--against BUNDLE is missing"),
        (("--by", "random", "--against", "calls"), 2, "is used by --by disagreement only"),
        (("--against", "calls"), 2, "the tables hold 'test_simple'"),
        (("--against", "nobody"), 2, "no bundled model of that name"),
        (("--save", "s3://a/b.csv"), 2, "a local file expected"),
        (("--save", "a.html"), 2, "a name that ends in .csv"),
        (("--labels", "a,b,a"), 2, "'a' twice"),
    ],
)
def test_mistakes(night, tmp_path, monkeypatch, capsys, words, status, message):
    from pipelines.cli import main

    monkeypatch.chdir(tmp_path)
    try:
        ended = main(["review", "--output", str(night), *words])
    except SystemExit as error:
        ended = error.code
    assert (ended, message in capsys.readouterr().err) == (status, True)
    assert not list(tmp_path.glob("*.csv"))


# ---------------------------------------------------------------- the page, in a browser


def name(page, who="ana"):
    page.fill("#annotator", who)
    page.keyboard.press("Enter")


def place(page) -> float:
    return page.evaluate("audio.currentTime")


def test_page_plays_the_segment_alone(visit, night, tmp_path):
    rows, _, _ = made(night, tmp_path)
    page, asked, faults = visit(tmp_path / "list.html")
    for i, row in enumerate(rows[:3]):
        start, end = float(row["start_s"]), float(row["end_s"])
        if i == 1:  # as in a browser that takes no notice of the address's #t=
            page.evaluate("audio.src = audio.src.split('#')[0]")
        page.keyboard.press(" ")
        until(page, "!audio.paused && audio.currentTime > 0 && !audio.seeking")
        seen = [place(page)]
        page.wait_for_timeout(300)
        seen.append(place(page))
        assert start - 0.05 <= seen[0] < seen[1] <= end
        until(page, "audio.paused")
        # A busy browser looks at the clock a little late, never early.
        assert end - 0.15 <= place(page) <= end + 0.75
        page.keyboard.press(" ")
        until(page, f"!audio.paused && audio.currentTime < {end - 0.3}")
        page.keyboard.press("ArrowRight")
    assert not faults
    # Nothing is asked for but the page and the recordings.
    asked_for = {unquote(url.partition("#")[0]) for url in asked}
    assert asked_for <= {f"file://{tmp_path}/list.html", *("file://" + row["uri"] for row in rows)}


def test_page_takes_labels_by_keys_and_gives_the_list(visit, night, tmp_path):
    rows, _, _ = made(night, tmp_path)
    page, _, faults = visit(tmp_path / "list.html")
    page.keyboard.press("1")
    assert "Enter your name first" in page.inner_text("#note")
    assert page.evaluate("document.activeElement.id") == "annotator"
    name(page, 'Ana "A", B')
    assert page.inner_text("#progress") == "1 of 10"
    for pressed in ("1", "2", "?", "s", "2"):
        page.keyboard.press(pressed)
    assert page.inner_text("#progress") == "6 of 10"
    assert page.inner_text("#counts") == "3 labelled, 1 not sure, 6 open"
    page.keyboard.press("u")
    assert page.inner_text("#progress") == "5 of 10"
    page.keyboard.press("1")
    page.keyboard.press("Backspace")
    page.keyboard.press("1")
    page.reload()
    assert page.inner_text("#progress") == "6 of 10"
    assert page.inner_text("#counts") == "3 labelled, 1 not sure, 6 open"
    assert page.input_value("#annotator") == 'Ana "A", B'
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#labels button.given").split() == ["1", "neutral"]
    assert page.locator("#labels button").count() == 8
    with page.expect_download() as waiting:
        page.click("#download")
    suggested = waiting.value.suggested_filename
    assert re.fullmatch(r"list-Ana_A_B-[0-9a-f]{4}-[0-9a-f]{6}\.csv", suggested)
    name(page, "Ana_A_B")
    assert suggested not in page.inner_text("#download")
    expected = [list(rows[0]), *(list(row.values()) for row in rows)]
    for i, label in {1: "neutral", 2: "calm", 3: "", 5: "neutral"}.items():
        expected[i][4:6] = label, 'Ana "A", B'
    text = Path(waiting.value.path()).read_bytes().decode("utf-8")
    assert text == listing.as_csv(expected[0], expected[1:])
    assert not faults


def test_page_shows_hostile_names_as_text(visit, night, tmp_path):
    labels = ["<b>bold</b>", "</script><script>document.title='owned'</script>", 'a,"b"', "plain"]
    who = "</script><img src=x onerror=document.title='owned'>"
    rows, _, _ = made(night, tmp_path, labels=labels, annotator=who)
    page, _, faults = visit(tmp_path / "list.html")
    assert page.input_value("#annotator") == who
    seen = set()
    for _ in rows:
        seen.add(page.inner_text("#name"))
        page.keyboard.press("2")
    assert seen == {*HOSTILE, "mono.wav"}
    assert page.title() == "Review: night 2026-03-01"
    assert page.locator("img, b, script:not([id])").count() == 1  # its own script
    with page.expect_download() as waiting:
        page.click("#download")
    with open(waiting.value.path(), newline="", encoding="utf-8") as file:
        back = list(csv.DictReader(file))
    assert {row["label"] for row in back} == {labels[1]}
    assert [row["uri"] for row in back] == [row["uri"] for row in rows]
    assert not faults


def test_page_on_a_phone(visit, night, tmp_path):
    made(night, tmp_path, labels=[*LABELS, "a rather long label that has to be broken somewhere"])
    page, _, faults = visit(tmp_path / "list.html", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    name(page)
    page.click("#play")
    until(page, "!audio.paused && audio.currentTime > 0")
    page.click("#labels button:nth-child(2)")
    page.click("#unsure")
    page.click("#undo")
    assert page.inner_text("#counts") == "1 labelled, 0 not sure, 9 open"
    for button in page.locator("#labels button, #more button, #play").all():
        assert button.bounding_box()["height"] >= 44
    assert not faults


def test_page_plays_clips_also_where_it_was_moved_with_them(visit, night, tmp_path):
    (tmp_path / "here").mkdir()
    rows, _, _ = made(night, tmp_path / "here", clips=str(tmp_path / "here" / "clips"))
    (tmp_path / "here").rename(tmp_path / "there")
    page, asked, _ = visit(tmp_path / "there" / "list.html")
    page.keyboard.press(" ")
    until(page, "audio.currentTime > 0.2")
    start_s, end_s = float(rows[0]["start_s"]), float(rows[0]["end_s"])
    lead_s = min(5.0, start_s)
    assert page.evaluate("audio.duration") == pytest.approx(end_s - start_s + lead_s, abs=1e-3)
    assert place(page) >= lead_s
    page.keyboard.press("b")
    until(page, "!audio.paused && audio.currentTime > 0 && !audio.seeking")
    assert place(page) < lead_s
    assert all(url.startswith((tmp_path / "there").as_uri()) for url in asked)


def test_page_says_what_it_cannot_play(visit, soft_model, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    soundfile.write(calls / "a.wav", call([(1, 4, -20)], 5), RATE, "GSM610")
    made(examined_night(tmp_path / "out", calls, soft_model), tmp_path)
    page, _, _ = visit(tmp_path / "list.html")
    page.wait_for_selector("#problem:not([hidden])")
    assert "ser review --clips DIR" in page.inner_text("#problem")


def test_page_keeps_two_annotators_apart(visit, night, tmp_path):
    made(night, tmp_path)
    page, _, _ = visit(tmp_path / "list.html")
    name(page, "ana")
    page.keyboard.press("1")
    page.once("dialog", lambda dialog: dialog.dismiss())
    name(page, "ben")
    assert page.inner_text("#counts") == "0 labelled, 0 not sure, 10 open"
    name(page, "ana")
    assert page.inner_text("#counts") == "1 labelled, 0 not sure, 9 open"
    page.once("dialog", lambda dialog: dialog.accept())
    name(page, "anna")
    assert page.inner_text("#counts") == "1 labelled, 0 not sure, 9 open"


def test_page_tells_the_guess_after_an_answer_only(visit, night, tmp_path):
    rows, _, _ = made(night, tmp_path, show_guess=True)
    page, _, _ = visit(tmp_path / "list.html")
    name(page)
    assert rows[0]["guess"] in LABELS
    assert not page.is_visible("#guess")
    page.keyboard.press("g")
    assert page.inner_text("#guess") == f"The model said: {rows[0]['guess']}"
    page.keyboard.press("1")
    assert not page.is_visible("#guess")
    assert page.inner_text("#before") == f"1: neutral; the model said {rows[0]['guess']}."


def test_page_plays_from_before_and_shows_the_wave(visit, night, tmp_path):
    rows, html, _ = made(night, tmp_path)
    page, _, faults = visit(tmp_path / "list.html")
    late = next(i for i, row in enumerate(rows) if float(row["start_s"]) > 6)
    for _ in range(late):
        page.keyboard.press("ArrowRight")
    start_s = float(rows[late]["start_s"])
    assert len(page_data(html)["items"][late]["wave"]) == 160
    assert page.is_visible("#wave")
    page.click("#earlier")
    until(page, "!audio.paused && audio.currentTime > 0 && !audio.seeking")
    assert start_s - 5.05 <= place(page) < start_s
    needle = float(page.get_attribute("#needle", "x1"))
    assert 0 <= needle < 160
    assert not faults


@pytest.mark.parametrize(("width", "colours"), [(390, "dark"), (1280, "light")])
def test_page_has_no_serious_fault_and_no_hint(visit, browser, night, tmp_path, width, colours):
    made(night, tmp_path)
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=colours, reduced_motion="reduce"
    )
    page, _, faults = visit(tmp_path / "list.html", context=context)
    assert serious_faults(page) == []
    for _ in range(10):
        text = page.inner_text("body").lower()
        assert "least sure" not in text
        assert "confidence" not in text
        assert "picked" not in text
        page.keyboard.press("ArrowRight")
    assert not faults
    context.close()
