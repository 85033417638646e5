"""Drift: what of a night is unlike the training of its model, and unlike the nights before.

The view `drift` has the numbers: a row for each night, model, variable and group. `measure` reads
those of one night, and says in words what moved.
"""

from pipelines.drift.measuring import measure, measure_nights
from pipelines.drift.rows import Drift, Row

__all__ = ["Drift", "Row", "measure", "measure_nights"]
