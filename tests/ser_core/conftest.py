"""Shared by the tests of bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tiny_bundle


@pytest.fixture
def tiny(tmp_path) -> Path:
    weights = tiny_bundle.threshold([0, 1], [-1.0, 2.0])
    return tiny_bundle.make(tmp_path / "tiny", tiny_bundle.LABELS, "seed193", weights)
