"""axe-core, which looks for faults that keep people from using a page. It is fetched by npm."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

VERSION = "4.10.3"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ser-tests"


@cache
def source() -> str:
    """The script, kept outside the repository; skips the test where npm cannot fetch it."""
    kept = CACHE / f"axe-{VERSION}.min.js"
    if not kept.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm on the path to fetch axe-core")
        with tempfile.TemporaryDirectory() as folder:
            words = [npm, "pack", f"axe-core@{VERSION}", "--silent"]
            done = subprocess.run(words, cwd=folder, capture_output=True, timeout=120, check=False)
            packed = list(Path(folder).glob("axe-core-*.tgz"))
            if done.returncode or not packed:
                pytest.skip(f"npm cannot fetch axe-core: {done.stderr.decode()[-200:]}")
            with tarfile.open(packed[0]) as archive:
                member = archive.extractfile("package/axe.min.js")
                assert member is not None
                CACHE.mkdir(parents=True, exist_ok=True)
                part = kept.with_suffix(f".{os.getpid()}")
                part.write_bytes(member.read())
                part.replace(kept)
    return kept.read_text(encoding="utf-8")


def serious_faults(page: Any) -> list[str]:
    """The serious and critical faults of a page that is open in a browser."""
    page.evaluate(source())  # through the debugger, which a page's policy does not bind
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{fault['id']}: {fault['help']}: {node['html'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"][:3]
    ]
