"""The speech encoder as a feature set."""

from __future__ import annotations

import numpy as np
import pytest

from ser_core import features

ENCODER = features.get("encoder")


def noise(seconds: float, rate_hz: int = 8_000) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(round(seconds * rate_hz))
    return (0.1 * samples).astype(np.float32)


def test_fingerprint_is_pinned() -> None:
    assert ENCODER.fingerprint == "d132d68595de6227"


@pytest.mark.parametrize("seconds", [1 / 8_000, 0.5, 3.21])
def test_vector_is_finite(seconds: float) -> None:
    vector = ENCODER.extract(noise(seconds), 8_000)
    assert vector.shape == (3072,)
    assert np.isfinite(vector).all()


def test_only_the_first_30_seconds_count() -> None:
    samples = noise(31)
    np.testing.assert_array_equal(
        ENCODER.extract(samples, 8_000), ENCODER.extract(samples[: 30 * 8_000], 8_000)
    )
