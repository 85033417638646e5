"""The page of a call, in a browser: what it says, and what it plays, where from and when."""

from __future__ import annotations

import shlex
import shutil
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.errors import NothingMatchedError, UsageError
from pipelines.showing import write_call_page
from pipelines.sound import not_played
from pipelines.storage import views
from tests.browser import browser, serious_faults, until, visit  # noqa: F401
from tests.pipelines.review_nights import (  # noqa: F401
    HOSTILE,
    RATE,
    archive,
    examined_night,
    night,
    soft_model,
)
from tests.speechlike import call

PLAYS = "!audio.paused && audio.currentTime > 0 && !audio.seeking"


def only_page(asked, path) -> bool:
    return {url.partition("#")[0] for url in asked} == {path.as_uri()}


def rows_of(answer) -> list[dict]:
    names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def starts(page) -> list[float]:
    data = page.evaluate("JSON.parse(document.getElementById('data').textContent).segments")
    return [start for start, *_ in data]


def test_a_click_plays_the_recording_from_two_seconds_before(visit, night, archive, tmp_path):
    path = tmp_path / "c.html"
    said = write_call_page(str(night), HOSTILE[0], str(path), back="../report.html")
    page, asked, faults = visit(path)
    assert page.inner_text("h1") == said
    assert page.get_attribute("nav a", "href") == "../report.html"
    assert page.evaluate("getComputedStyle(document.getElementById('head')).display") == "block"
    page.wait_for_timeout(200)
    assert only_page(asked, path)
    start = starts(page)[1]
    page.click(".seg[data-number='1']")
    until(page, PLAYS)
    assert start - 2.05 <= page.evaluate("audio.currentTime") <= start - 0.5
    assert page.evaluate("location.hash") == f"#t={start - 2:g}"
    until(page, f"audio.currentTime >= {start}")
    until(page, "document.querySelector('tr[data-number=\"1\"]').classList.contains('now')")
    # After a click on a segment the space bar pauses.
    page.keyboard.press(" ")
    until(page, "audio.paused")
    page.click("button[data-number='0']")
    until(page, "!audio.paused && audio.currentTime < 3")
    assert {unquote(url.partition("#")[0]) for url in asked} == {
        f"file://{path}", f"file://{archive}/{HOSTILE[0]}",
    }  # fmt: skip
    assert not faults


def test_keys(visit, night, tmp_path):
    path = tmp_path / "c.html"
    write_call_page(str(night), HOSTILE[1], str(path))
    page, asked, faults = visit(path)
    place = "parseFloat(document.getElementById('seek').value)"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(place) == 5
    assert only_page(asked, path)
    page.keyboard.press(" ")
    until(page, PLAYS)
    assert page.evaluate("audio.currentTime") >= 4.95
    page.keyboard.press(" ")
    until(page, "audio.paused")
    page.goto(path.as_uri() + "#t=0")
    first, second, *_ = starts(page)
    for key, start in (("j", first), ("j", second), ("k", first)):
        page.keyboard.press(key)
        until(page, PLAYS)
        wanted = max(0, start - 2)
        assert wanted - 0.05 <= page.evaluate("audio.currentTime") <= wanted + 1.9
    # A button that has the focus keeps the space bar.
    page.keyboard.press(" ")
    page.focus("button[data-number='1']")
    page.keyboard.press(" ")
    until(page, f"!audio.paused && audio.currentTime >= {second - 2.05}")
    assert not faults


def test_a_link_names_a_time_and_fetches_nothing(visit, night, tmp_path):
    path = tmp_path / "c.html"
    write_call_page(str(night), HOSTILE[2], str(path))
    page, asked, faults = visit(path, "#t=5.5")
    assert page.inner_text("#time") == "0:05 / 0:12"
    assert page.get_attribute("tr.now", "aria-current") == "true"
    assert only_page(asked, path)
    page.evaluate("location.hash = '#t=9.5'")
    until(page, "document.getElementById('time').textContent === '0:09 / 0:12'")
    page.keyboard.press(" ")
    until(page, PLAYS)
    assert page.evaluate("audio.currentTime") >= 9.45
    assert not faults


def test_a_copy_plays_where_the_recording_is_gone(visit, soft_model, tmp_path):
    calls, path = tmp_path / "calls", tmp_path / "c.html"
    calls.mkdir()
    sides = np.stack([np.zeros(30 * 11_025), call([(1, 4, -20), (21, 24, -20)], 30, 11_025)], 1)
    soundfile.write(calls / "a.wav", sides, 11_025, "PCM_16")
    out = examined_night(tmp_path / "out", calls, soft_model)
    write_call_page(str(out), str(calls / "a.wav"), str(path), clips=True)
    (calls / "a.wav").unlink()
    page, asked, faults = visit(path.rename(tmp_path / "moved.html"))
    page.click("#play")
    until(page, PLAYS)
    assert page.evaluate("audio.duration") == pytest.approx(30, abs=0.05)
    assert all(url.startswith(("blob:", "file://" + str(tmp_path / "moved.html"))) for url in asked)
    assert not faults
    # Without the recording, and without a copy.
    write_call_page(str(out), str(calls / "a.wav"), str(path), clips=True)
    page, _, faults = visit(path)
    assert page.is_disabled("#play")
    assert page.inner_text("#problem") == "The audio no longer exists."
    assert "Bars are levels" in page.inner_text("body")
    page.click("button[data-number='1']")
    assert page.evaluate("location.hash").startswith("#t=1")
    assert not faults


def test_what_browsers_do_not_play_is_said_and_copied(visit, soft_model, tmp_path):
    calls, path = tmp_path / "calls", tmp_path / "c.html"
    calls.mkdir()
    soundfile.write(calls / "a.wav", call([(1, 4, -20)], 5), RATE, "GSM610")
    out = examined_night(tmp_path / "out", calls, soft_model)
    write_call_page(str(out), "calls/a.wav", str(path))
    page, asked, faults = visit(path)
    assert page.is_disabled("#play")
    assert page.inner_text("#problem").startswith("Browsers do not play gsm in WAV")
    assert "--clips" in page.inner_text("#problem")
    page.keyboard.press(" ")
    assert only_page(asked, path)
    write_call_page(str(out), "calls/a.wav", str(path), clips=True)
    page, _, more = visit(path)
    page.keyboard.press("j")
    until(page, PLAYS)
    assert not faults + more


@pytest.mark.parametrize(
    ("name", "subtype", "codec", "plays"),
    [
        ("a.wav", "PCM_16", "pcm_s16", True), ("a.wav", "ULAW", "mulaw", True),
        ("a.wav", "ALAW", "alaw", True), ("a.wav", "FLOAT", "pcm_f32", True),
        ("a.wav", "GSM610", "gsm", False), ("a.wav", "IMA_ADPCM", "adpcm_ima", False),
        ("a.flac", "PCM_16", "pcm_s16", True), ("a.ogg", "OPUS", "opus", True),
        ("a.ogg", "VORBIS", "vorbis", True), ("a.mp3", "MPEG_LAYER_III", "mp3", True),
        ("a.au", "ULAW", "mulaw", False), ("a.aiff", "PCM_16", "pcm_s16", False),
    ],
)  # fmt: skip
def test_what_is_said_to_play_does(browser, tmp_path, name, subtype, codec, plays):
    soundfile.write(tmp_path / name, call([(0, 1, -20)], 1), RATE, subtype)
    (tmp_path / "p.html").write_text("<audio id=a></audio>")
    page = browser.new_page()
    page.goto((tmp_path / "p.html").as_uri())
    played = page.evaluate(
        "name => new Promise(done => { a.onloadedmetadata = () => done(true);"
        "a.onerror = () => done(false); a.src = name; })",
        name,
    )
    page.close()
    assert (played, not not_played((tmp_path / name).read_bytes()[:64], codec)) == (plays, plays)


def test_hostile_names_are_text_and_the_policy_is_strict(visit, night, tmp_path):
    path = tmp_path / "c.html"
    for name in HOSTILE:
        write_call_page(str(night), name, str(path), back="javascript:alert(1)//\"'<b>")
        page, asked, faults = visit(path)
        assert page.inner_text(".name") == name
        assert page.title().endswith(name)
        assert page.locator("img, b:not(.legend b), script:not([id])").count() == 1
        assert only_page(asked, path)
        assert not faults
    policy = page.get_attribute("meta[http-equiv]", "content")
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")


def test_on_a_phone_and_on_paper(visit, night, tmp_path):
    path = tmp_path / "c.html"
    write_call_page(str(night), "mono.wav", str(path))
    page, _, faults = visit(path, width=390, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("#play").bounding_box()["height"] >= 44
    assert "Both sides may be on one channel" in page.inner_text("header")
    page.emulate_media(media="print")
    assert not page.is_visible("#play")
    assert page.locator(".list tbody tr").count() == page.locator(".seg").count() > 0
    assert not faults


@pytest.mark.parametrize(("width", "colours"), [(390, "dark"), (1280, "light")])
def test_no_serious_fault_for_people_with_other_means(visit, night, tmp_path, width, colours):
    path = tmp_path / "c.html"
    write_call_page(str(night), HOSTILE[1], str(path), back="../report.html")
    page, _, _ = visit(path, width=width, color_scheme=colours)
    for details in page.locator("details").all():
        details.locator("summary").first.click()
    assert serious_faults(page) == []


def test_the_numbers_are_those_of_the_queries(visit, night, tmp_path):
    path = tmp_path / "c.html"
    write_call_page(str(night), HOSTILE[1], str(path))
    page, _, _ = visit(path)
    page.click("details >> nth=0")
    of_call, of_segments = (shlex.split(pre.inner_text())[2] for pre in page.locator("pre").all())
    with views.connect(str(night)) as db:
        [facts], rows = rows_of(db.execute(of_call)), rows_of(db.execute(of_segments))
    assert page.locator(".list tbody tr").count() == len(rows) > 0
    for line, row in zip(page.locator(".list tbody tr").all(), rows, strict=True):
        text = line.inner_text()
        for words in (
            row["label"],
            f"{100 * row['confidence']:.0f} %",
            f"{100 * row['p_angry']:.0f} %",
        ):
            assert words in text
        assert ("unsure" in text) == row["unsure"]
    seen = page.inner_text(".facts")
    assert f"{100 * facts['negativity']:.0f} %" in seen
    assert facts["label"] in page.inner_text("h1")
    assert facts["status"] in seen


def test_rejected_calls_have_a_page_too(ser_here, soft_model, visit, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "list.wav").write_text("only text")
    out = examined_night(tmp_path / "out", calls, soft_model)
    done = ser_here(
        "show", "--html", "--output", out, "--recording", calls / "list.wav", "--save", "r.html",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Rejected: unsupported format" in done.stdout
    page, _, faults = visit(tmp_path / "r.html")
    assert page.inner_text("h1") == "Rejected: unsupported format"
    assert "Text, not audio." in page.inner_text("header")
    assert not faults


CONTRADICTIONS = {
    "codec of one channel": ({"codec": "gsm"}, {}, "its row contradicts itself: 2 channels of gsm"),
    "no channels": ({"channels": 0, "codec": "mulaw"}, {}, "channels=0 found"),
    "too many channels": (
        {"by_channel": [{"channel": i, "role": "agent", "analysed": False} for i in range(3)]},
        {}, "its row names 3 channels, and 2 found",
    ),
    "empty channels": ({"by_channel": [None, {"channel": None}]}, {}, "Stretch by stretch"),
    "endless": ({"duration_s": float("inf")}, {}, "Id"),
    "no status": ({"status": None, "label": None, "confidence": None}, {}, "Not labelled yet"),
    "codec without a name": ({"codec": "<b>"}, {}, "Browsers do not play <b> in WAV"),
    "another model's label": ({}, {"label": "bored"}, "3 rows of the table segments contradict"),
    "no probability": ({}, {"p_angry": None}, "3 rows of the table segments contradict"),
    "ends before it starts": ({}, {"end_s": 0.0}, "3 rows of the table segments contradict"),
    "another channel": ({}, {"channel": 7}, "Stretch by stretch"),
    "after the end": ({}, {"start_s": 900.0, "end_s": 903.0}, "Stretch by stretch"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_rows_that_contradict_each_other_or_the_recording(visit, night, tmp_path, name):
    of_call, of_segments, words = CONTRADICTIONS[name]
    out, path = shutil.copytree(night, tmp_path / "out"), tmp_path / "c.html"
    for table, changes in (("recordings", of_call), ("segments", of_segments)):
        [file] = out.glob(f"{table}/**/*.parquet")
        rows = pq.read_table(file)
        altered = [row | changes for row in rows.to_pylist()]
        pq.write_table(pa.Table.from_pylist(altered, schema=rows.schema), file)
    for clips in (True, False):
        write_call_page(str(out), HOSTILE[1], str(path), clips=clips)
    page, asked, faults = visit(path)
    assert words in page.inner_text("body")
    assert only_page(asked, path)
    assert not faults


def test_mistakes(ser_here, night, tmp_path):
    with pytest.raises(NothingMatchedError, match="no id begins"):
        write_call_page(str(night), "nobody.wav", str(tmp_path / "c.html"))
    with pytest.raises(UsageError, match="the page cannot be written"):
        write_call_page(str(night), "mono.wav", "/proc/c.html")
    for words, message in (
        (("--html",), "--recording names the call"),
        (("--recording", "mono.wav", "--clips"), "add --html"),
    ):
        done = ser_here("show", "--output", night, *words, cwd=tmp_path)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
