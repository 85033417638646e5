"""Trained models: bundles that label feature vectors, and the recipes that make them.

Importing this package is cheap: TensorFlow is imported when a bundle is loaded or trained.
"""

from ser_core.models.bundle import Bundle, check, load
from ser_core.models.card import (
    ALIASES,
    Card,
    bundled_for,
    bundled_names,
    default_name,
    read_card,
)

__all__ = [
    "ALIASES",
    "Bundle",
    "Card",
    "bundled_for",
    "bundled_names",
    "check",
    "default_name",
    "load",
    "read_card",
]
