"""Pages agree with the code: files, links, command lines, pictures."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.errors import UsageError
from tests.conftest import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "deploy/**/*.md", "examples/*.md", "tests/data/*.md")
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


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_parse(page):
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ {4,}(ser [a-z].*)$", text, re.M):
        if "…" in line or "ser COMMAND" in line:
            continue
        installed = line.replace("/etc/ser/nightly.toml", str(ROOT / "deploy" / "nightly.toml"))
        words = shlex.split(installed, comments=True)
        try:
            cli.parse(words[1:])
        except (SystemExit, UsageError) as error:
            pytest.fail(f"{line}: {error}")


def test_pictures_are_those_of_the_script():
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    for name in ("way_of_a_recording", "layers"):
        picture = ROOT / "docs" / f"{name.replace('_', '-')}.svg"
        text = picture.read_text(encoding="utf-8")
        assert text == pictures[name](), "out of date: run python docs/pictures.py"
        for path in re.findall(r">([\w/]+(?:\.py|/))<", text):
            assert (ROOT / path).exists() or (ROOT / "pipelines" / path).exists(), path


def test_each_row_of_the_reliability_page_names_a_test_of_a_fault():
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\) \|$", text, re.M))
    assert len(listed) == len(re.findall(r"^\| (?!fault \||---)", text, re.M))
    marked = {
        (function, path.relative_to(ROOT).as_posix())
        for path in (ROOT / "tests").rglob("test_*.py")
        for function in _with_marker(path)
    }
    assert listed == marked, "out of date: run make reliability"


def _with_marker(path: Path) -> list[str]:
    """The tests of a file that are marked as faults."""
    return [
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and any("mark.fault(" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
