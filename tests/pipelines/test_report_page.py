"""The morning page in a real browser: nothing fetched, sorting, filtering, keys, hostile names."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from pipelines.report import measuring
from ser_core.report import morning, pages
from tests.browser import browser, serious_faults, visit  # noqa: F401
from tests.pipelines.test_report import HOSTILE, NIGHT, measured, out  # noqa: F401

pytestmark = pytest.mark.usefixtures("served")


@pytest.fixture(scope="module")
def served(measured, tmp_path_factory):
    """The page of the night on a disk."""
    return pages.write(tmp_path_factory.mktemp("pages") / "night.html", morning.page(measured))


@pytest.fixture
def show(visit, served):
    """Opens the page; afterwards nothing was fetched and nothing went wrong in it."""
    visits = []

    def open_(width=1280, fragment="", **settings):
        visits.append(visit(served, fragment, width=width, **settings))
        return visits[-1][0]

    yield open_
    for _, asked, faults in visits:
        assert {url.partition("#")[0] for url in asked} == {served.as_uri()}
        assert faults == []


def seen(page, table):
    """The heads of the rows of a table that are to be seen."""
    return [
        row.locator("th").inner_text().partition("\n")[0]
        for row in page.locator(f"{table} tbody tr").all()
        if row.is_visible()
    ]


def test_hostile_names_are_text(show, measured):
    page = show()
    assert page.title() == "Night of 2026-03-08"
    assert page.locator("img").count() == 0
    assert HOSTILE in page.inner_text("#negativity")
    assert HOSTILE in page.inner_text("#books ul")
    policy = page.get_attribute("meta[http-equiv]", "content")
    assert "unsafe" not in policy
    assert re.match(r"default-src 'none'; img-src data:; style-src 'sha256-", policy)


def test_the_verdict_is_seen_without_scrolling(show):
    """How many calls, was anything wrong, is it worse than usual, which call to hear first."""
    page = show()
    for question in ("How many calls", "Was anything wrong", "worse than usual", "hear first"):
        box = page.get_by_text(question).first.bounding_box()
        assert box["y"] + box["height"] < 500


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(show, width):
    page = show(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_sorting_with_the_keyboard(show):
    page = show()
    table = page.locator("#negativity table").first
    head = table.locator("thead th").nth(1)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    column = table.locator("tbody tr td:nth-child(2) data")
    calls = [int(cell.get_attribute("value")) for cell in column.all()]
    assert calls == sorted(calls, reverse=True)
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    calls = [int(cell.get_attribute("value")) for cell in column.all()]
    assert calls == sorted(calls)
    assert len(calls) == 3


def test_filtering_and_showing_all(show, measured):
    page = show()
    table = "#listen table"
    names = [call.name for call in measured.heard]
    assert seen(page, table) == names[: morning.SHOWN_CALLS]
    page.get_by_role("button", name=f"Show all {len(names)}").click()
    assert seen(page, table) == names
    page.keyboard.press("/")
    page.keyboard.type("BILLING")
    expected = [call.name for call in measured.heard if "billing" in call.place]
    assert seen(page, table) == expected
    status = page.locator("#listen [role=status]")
    assert status.inner_text() == f"{len(expected)} of {len(names)}"
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    assert seen(page, table) == names


def test_a_link_to_a_call_shows_its_row(show, measured):
    last = f"call-{len(measured.heard)}"
    page = show(fragment=f"#{last}")
    assert page.locator(f"#{last}").is_visible()


def test_the_statement_is_folded_and_can_be_opened(show):
    page = show()
    details = page.locator("#negativity details").first
    assert not details.locator("pre").is_visible()
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    assert details.locator("pre").inner_text().startswith("SELECT")


def test_light_and_dark_and_print(show):
    def background(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = show(color_scheme="light"), show(color_scheme="dark")
    assert background(light) == "rgb(255, 255, 255)"
    assert background(dark) != background(light)
    dark.emulate_media(media="print")
    assert background(dark) == background(light)
    assert not dark.locator(".tools").first.is_visible()
    assert not dark.locator("nav").is_visible()


def test_without_scripts_all_rows_are_there(show, measured):
    page = show(java_script_enabled=False)
    assert len(seen(page, "#listen table")) == len(measured.heard)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_for_people_with_other_means(show, scheme):
    page = show(color_scheme=scheme)
    for details in page.locator("details").all():
        details.locator("summary").first.click()
    assert serious_faults(page) == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_index_has_no_serious_fault(visit, out, tmp_path, width, scheme):
    links = {day: f"{day}.html" for day in (NIGHT, NIGHT - dt.timedelta(days=1))}
    html = morning.index(measuring.index_of(str(out), links))
    page, _, faults = visit(
        pages.write(tmp_path / "index.html", html), width=width, color_scheme=scheme
    )
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("tbody a").count() == 2
    assert faults == []
