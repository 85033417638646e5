"""A real browser for tests of pages. Without one, these tests are skipped and say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def chromium(*switches: str) -> Iterator:
    """A running Chromium, as Playwright's `Browser`."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on the path")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *switches])
        try:
            yield browser
        finally:
            browser.close()
