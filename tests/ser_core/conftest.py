"""Shared by the tests of bundles, and of trainings by recipes `calls` and `transfer`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser_core import training
from ser_core.corpora import Corpus
from tests import tiny_bundle
from tests.ser_core.buzzes import QUICK, make_corpus


@pytest.fixture
def tiny(tmp_path) -> Path:
    weights = tiny_bundle.threshold([0, 1], [-1.0, 2.0])
    return tiny_bundle.make(tmp_path / "tiny", tiny_bundle.LABELS, "seed193", weights)


@pytest.fixture(scope="session")
def buzzes(tmp_path_factory) -> Corpus:
    """Four speakers of four emotions."""
    return make_corpus(tmp_path_factory.mktemp("buzzes"), "Buzzes", range(1, 5))


@pytest.fixture(scope="session")
def hums(tmp_path_factory) -> Corpus:
    """Two others, through another microphone; nobody is calm."""
    folder = tmp_path_factory.mktemp("hums")
    return make_corpus(folder, "Hums-2", (6, 7), ("neutral", "happy", "angry"), tilt=1.0)


@pytest.fixture(scope="session")
def buzz_cache(tmp_path_factory) -> Path:
    """Where the vectors of both are kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def calls_bundle(buzzes, hums, buzz_cache, tmp_path_factory) -> Path:
    """A bundle of recipe `calls` trained on both."""
    folder = tmp_path_factory.mktemp("bundles") / "buzzes"
    return training.train([buzzes, hums], QUICK, folder, jobs=1, cache=buzz_cache)
