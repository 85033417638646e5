"""Makes docs/reliability.md of the tests: `make reliability`, or

    python -m pytest -p tests.reliability --reliability docs/reliability.md -m fault

A test that plants a fault is marked `@pytest.mark.fault(kind, fault, outcome)`. Its fixture `tried`
counts how often it planted it, if not once. The page gets a row for each such test that passed or
was skipped; rows of tests that did not run stay. With a failure nothing is written.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TRIED = "tried"
# Sections of the page, in their order.
KINDS = {
    "disk": "Disks and folders",
    "process": "Processes and machines",
    "input": "Recordings, and names of files",
    "store": "Object stores",
    "file": "Files that are not ours: configuration, models, lists, tables",
}
_TOP = """# Reliability

What was tried to break a night, how often, and what came of it. Each fault is a real one: a full
disk is a small disk, a kill is SIGKILL, a store that fails answers through a proxy. In each row
nothing was lost, nothing was counted twice and nothing was invented: where a night was disturbed,
the next one ends with closed books and all rows.

The tests write this page: `make reliability` runs them and writes their rows. The exit statuses
are in [nightly.md](nightly.md), the reasons of rejections in [tables.md](tables.md), what a
recording cannot do in [security.md](security.md).
"""
_HEAD = ("", "| fault | tried | last | outcome | test |", "| --- | --- | --- | --- | --- |")
_LINK = re.compile(r"\[(test_\w+)\]\(\.\./([\w/]+\.py)\) \|$")


@dataclass
class Row:
    """A test of a fault, with what became of its cases."""

    kind: str
    fault: str
    outcome: str
    tried: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} found, one of {', '.join(KINDS)} expected")


_rows: dict[str, Row] = {}
_failed: list[str] = []


def pytest_addoption(parser) -> None:
    parser.addoption("--reliability", metavar="FILE", help="write the table of faults to this page")


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if marker := item.get_closest_marker("fault"):
            _rows.setdefault(_name(item.nodeid), Row(*marker.args))


def pytest_runtest_logreport(report) -> None:
    row = _rows.get(_name(report.nodeid))
    if row is None:
        return
    if report.failed:
        _failed.append(report.nodeid)
    elif report.skipped:
        row.skipped[str(report.longrepr[2]).removeprefix("Skipped: ")] += 1
    elif report.when == "call":
        row.tried += dict(report.user_properties).get(TRIED, 1)


def pytest_sessionfinish(session) -> None:
    path = session.config.getoption("--reliability")
    if path and not _failed and not session.testsfailed:
        page = Path(path)
        before = page.read_text(encoding="utf-8") if page.exists() else ""
        page.write_text(merged(before, _rows), encoding="utf-8")


def merged(page: str, rows: dict[str, Row]) -> str:
    """The page with these rows, by test, in place of its own rows of the same tests."""
    lines: dict[str, dict[str, str]] = {title: {} for title in KINDS.values()}
    title = ""
    for line in page.splitlines():
        title = line.removeprefix("## ") if line.startswith("## ") else title
        if found := _LINK.search(line):
            lines[title][f"{found[2]}::{found[1]}"] = line
    for name, row in rows.items():
        if row.tried or row.skipped:
            for listed in lines.values():
                listed.pop(name, None)
            lines[KINDS[row.kind]][name] = _line(name, row)
    text = _TOP
    for title, listed in lines.items():
        if listed:
            text += "\n".join((f"\n## {title}", *_HEAD, *listed.values(), ""))
    return text


def _line(name: str, row: Row) -> str:
    skipped = [f"not where {reason}" for reason in row.skipped]
    tried = " · ".join([f"{row.tried:,}"] * bool(row.tried) + skipped)
    file, _, function = name.partition("::")
    cells = (row.fault, tried, str(dt.date.today()), row.outcome, f"[{function}](../{file})")
    return f"| {' | '.join(cells)} |"


def _name(nodeid: str) -> str:
    """Of the test, without its case."""
    return nodeid.partition("[")[0]
