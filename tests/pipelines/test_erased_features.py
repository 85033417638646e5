"""Calls whose features were erased: what commands say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import compaction, forgetting
from pipelines.errors import NothingMatchedError
from pipelines.review import DISAGREEMENT, selection
from pipelines.review.selection import Request
from pipelines.storage import erasing
from tests.pipelines.outputs import add_run, call

A, B = "/calls/aaaa.wav", "/calls/bbbb.wav"


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr(erasing, "GRACE_S", 0.0)


@pytest.fixture
def out(tmp_path) -> Path:
    add_run(tmp_path / "out", [call(A), call(B)])
    return tmp_path / "out"


def erase(out: Path, *uris: str) -> None:
    request = forgetting.Request("uri", forgetting.by_uri(uris), "features")
    forgetting.forget(str(out), request, lambda line: None)


def compared(out: Path, model: Path) -> tuple[set[str], list[str]]:
    """The recordings that are picked by disagreement, and what is said."""
    request = Request(str(out), n=10, by=((DISAGREEMENT, 1.0),), against=str(model))
    lines: list[str] = []
    found = selection.select(request, say=lines.append, progress=lambda *_: None)
    return {choice.uri for choice in found.choices}, lines


def test_bundles_are_compared_where_there_are_features(out, level_model):
    assert compared(out, level_model)[0] == {A, B}
    erase(out, A)
    uris, lines = compared(out, level_model)
    assert uris == {B}
    assert any(
        line.startswith("warning: 1 recordings are not compared") and "features were erased" in line
        for line in lines
    )
    erase(out, B)
    with pytest.raises(NothingMatchedError, match="nothing to compare: the features were erased"):
        compared(out, level_model)


def test_labels_that_count_no_more_do_not_matter(out, level_model):
    """Nor do they once files are merged, and those of a night are looked through."""
    add_run(out, [call(A), call(B)], labels=("sad", "happy"), model="m-0")
    for _ in range(2):
        add_run(out, [call(A), call(B)])
    compaction.compact(str(out), lambda line: None)
    assert compared(out, level_model)[0] == {A, B}


def test_a_call_that_is_drawn(out, ser_here, tmp_path):
    def show(uri: str) -> str:
        words = ("--recording", uri, "--save", tmp_path / "call.png")
        done = ser_here("show", "--output", out, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    erase(out, A)
    assert "its features were erased (--keep-features-days" in show(A)
    assert "erased" not in show(B)


def test_calls_that_are_labelled_again(out, ser_here, pitch_model):
    def label() -> tuple[int, str]:
        done = ser_here("label", "--output", out, "--model", pitch_model)
        return done.returncode, done.stdout + done.stderr

    erase(out, A, B)
    status, text = label()
    assert (status, "2 recordings have no stored features (erased by" in text) == (4, True), text
    assert "no recording in it has stored features or is without speech" in text
    add_run(out, [call(A)])
    status, text = label()
    assert (status, "1 recordings have no stored features (erased by" in text) == (0, True), text
