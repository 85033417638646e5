"""`ser explore`: the page is written, what is wrong is said on the terminal, mistakes are early."""

from __future__ import annotations

import pytest
import soundfile

from tests.browser import chromium
from tests.pipelines.test_mistakes import ends
from tests.tones import speak


@pytest.mark.long
def test_the_page_of_files_and_of_ones_own_labels(ser, tmp_path):
    tones, labels = tmp_path / "tones", tmp_path / "labels.csv"
    speak(tones)
    clips = sorted(tones.rglob("*.wav"))
    soundfile.write(clips[1], *soundfile.read(clips[0]))
    lines = ["uri,start_s,end_s,label,annotator,speaker"]
    for i, path in enumerate(clips):
        code, speaker = path.stem.split("-")[2], path.stem.split("-")[-1]
        label = {"03": "happy", "04": "sad", "05": "angry"}[code]
        for annotator in ("ann", "bob"):
            answer = "sad" if (i, annotator) == (0, "bob") else label
            lines.append(f"{path.relative_to(tmp_path)},0,0.25,{answer},{annotator},s{speaker}")
    labels.write_text("\n".join(lines) + "\n")
    page = tmp_path / "pages" / "explore.html"
    done = ser(
        *("explore", "--corpus", f"ravdess={tones}", f"csv={labels}", "--page", page),
        *("--cache", tmp_path / "cache", "--jobs", "1", "--examples", "2"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for message in (
        "ser: RAVDESS: 36 utterances, 6 speakers, 3 emotions",
        "warning: RAVDESS: 36 of 36 files last exactly 0.250 s: a cut copy",
        "problem: RAVDESS: same audio twice",
        "problem: labels: annotators disagree: Of 36 utterances",
        f"ser: page: {page}",
    ):
        assert message in done.stdout, done.stdout
    # What was said as a warning is not said again.
    assert done.stdout.count("a cut copy") == 1
    assert "RAVDESS: samples (36)" in done.stderr
    with chromium() as browser:
        shown = browser.new_page(viewport={"width": 360, "height": 740})
        shown.goto(page.as_uri())
        assert shown.title() == "Labelled speech: RAVDESS, labels"
        text = shown.inner_text("body")
        for words in (
            "Cut copy",
            "Same audio in several corpora",
            "Krippendorff",
            "happy and sad (1)",
        ):
            assert words in text
        assert shown.locator("section").count() == 2
        assert shown.locator(".sounds img").count() == 2 * (2 * 3 + 1)
        assert shown.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("page", [".", "a.txt/b/explore.html"])
def test_a_page_that_cannot_be_written_is_refused_first(ser_here, tmp_path, page):
    (tmp_path / "a.txt").write_text("no folder")
    done = ser_here("explore", "--corpus", "ravdess=nowhere", "--page", page, cwd=tmp_path)
    ends(done, 2, "--page")


def test_a_corpus_that_is_not_there(ser_here, tmp_path):
    done = ser_here("explore", "--corpus", "ravdess=nowhere", cwd=tmp_path)
    ends(done, 2, "nowhere")
    assert not (tmp_path / "explore.html").exists()
