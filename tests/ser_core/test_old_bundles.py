"""Bundles that version 0.1.0 wrote: loaded, and with the answers that they gave then.

Version 0.1.0 wrote `tests/data/bundle-0.1.0`, by `make_relative` of its `tests/tiny_bundle.py` over
`seed193`, with two temperatures, doubts about histories and a share for them. `expected.npz` holds
vectors and the answers that version 0.1.0 gave to them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ser_core import models
from ser_core.errors import BundleError

FOLDER = Path(__file__).parents[1] / "data" / "bundle-0.1.0"


@pytest.fixture(scope="module")
def old() -> models.Bundle:
    return models.load(FOLDER)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "expected.npz") as kept:
        return dict(kept)


def test_its_card_is_read(old):
    card = models.check(FOLDER)
    assert card == old.card
    assert old.id == f"relative-{card.model_sha256[:8]}"
    assert (card.temperature, card.temperature_with_history) == (0.8, 1.3)
    assert (card.history_doubted, card.history_share) == ((0.5, 0.9), 0.75)
    assert (card.adapted, card.any_use, card.attribution) == (None, None, ())


def test_its_answers_are_those_of_then(old, expected):
    alone = old.predict(expected["matrix"])
    related = old.predict(expected["matrix"], expected["channel"])
    np.testing.assert_allclose(alone, expected["alone"], atol=1e-6)
    np.testing.assert_allclose(related, expected["with_history"], atol=1e-6)
    assert np.abs(related - alone).max() > 0.1


def test_it_is_saved_as_it_is(old, expected, tmp_path):
    old.save(tmp_path / "relative")
    again = models.load(tmp_path / "relative")
    assert again.card == old.card
    for name in ("model.keras", "reference.npz"):
        assert (tmp_path / "relative" / name).read_bytes() == (FOLDER / name).read_bytes()
    np.testing.assert_array_equal(
        again.predict(expected["matrix"], expected["channel"]),
        old.predict(expected["matrix"], expected["channel"]),
    )


def test_it_cannot_be_adapted(old, expected):
    with pytest.raises(BundleError, match="cannot be adapted"):
        old.adapted(expected["matrix"])
