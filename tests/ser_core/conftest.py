"""Shared by several tests: corpora of buzzes, and a bundle of recipe `calls` trained on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser_core import training
from ser_core.corpora import Corpus
from ser_core.models.recipes.calls.recipe import CallsRecipe
from tests.ser_core.buzzes import make_corpus

QUICK = CallsRecipe(feature_set="telephone", folds=2)


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
