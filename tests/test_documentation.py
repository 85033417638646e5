"""Pages name files that exist, link to pages that exist, and show pictures of the present code."""

from __future__ import annotations

import re
import runpy

import pytest

from tests.conftest import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "deploy/*.md", "examples/*.md", "tests/data/*.md")
    for path in ROOT.glob(pattern)
)
# A path in code, such as `ser_core/audio` or `pipelines/storage/store.py`, from the root.
CODE_PATH = re.compile(r"`((?:ser_core|pipelines|benchmarks|tests|deploy|examples|docs)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES)
def test_files_and_links_exist(page):
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    files = [ROOT / name for name in CODE_PATH.findall(text)]
    links = [path.parent / name for name in LINK.findall(text)]
    missing = [str(file) for file in (*files, *links) if not file.exists()]
    assert not missing


def test_pictures_are_those_of_the_script():
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    for name in ("way_of_a_recording", "layers"):
        picture = ROOT / "docs" / f"{name.replace('_', '-')}.svg"
        text = picture.read_text(encoding="utf-8")
        assert text == pictures[name](), "out of date: run python docs/pictures.py"
        for path in re.findall(r">([\w/]+(?:\.py|/))<", text):
            assert (ROOT / path).exists() or (ROOT / "pipelines" / path).exists(), path
