"""A real browser for tests of pages. Without one, these tests are skipped and say so."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

AXE_VERSION = "4.10.3"


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


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A Chromium for the tests of a module, which plays sound without a click before."""
    with chromium("--autoplay-policy=no-user-gesture-required") as running:
        yield running


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., tuple[Any, list[str], list[str]]]]:
    """Opens a page; gives it, the addresses it asked for, and what went wrong in it.

    It takes a path, what follows it in the address, and settings of Playwright's `new_context`,
    or a `context` that is there already.
    """
    contexts = []

    def open_(path: Path, at: str = "", *, width: int = 1280, context: Any = None, **settings: Any):
        if context is None:
            context = browser.new_context(viewport={"width": width, "height": 800}, **settings)
            contexts.append(context)
        page = context.new_page()
        asked: list[str] = []
        faults: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: faults.append(message.text) if message.type == "error" else None,
        )
        page.goto(path.as_uri() + at)
        return page, asked, faults

    yield open_
    for context in contexts:
        context.close()


def until(page: Any, holds: str, seconds: float = 20) -> None:
    """Wait for a condition (Playwright's own waiting needs `eval`, which the pages forbid)."""
    ends = time.monotonic() + seconds
    while not page.evaluate(holds):
        assert time.monotonic() < ends, f"never: {holds}"
        page.wait_for_timeout(20)


@cache
def _axe() -> str:
    """Source of axe-core, which looks for what keeps people from using a page; from npm, cached."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ser-axe-core"
    source = folder / "package" / "axe.min.js"
    if not source.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm on the path, which axe-core comes from")
        folder.mkdir(parents=True, exist_ok=True)
        words = [npm, "pack", f"axe-core@{AXE_VERSION}", "--silent"]
        packed = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
        if packed.returncode:
            pytest.skip(f"axe-core cannot be fetched: {packed.stderr.strip()[:200]}")
        with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
            archive.extract("package/axe.min.js", folder, filter="data")
    return source.read_text(encoding="utf-8")


def serious_faults(page: Any) -> list[str]:
    """What axe-core finds serious or critical in a Playwright page: rule, and the first place."""
    page.evaluate(_axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']}: {fault['help']}: {fault['nodes'][0]['html'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
