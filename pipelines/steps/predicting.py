"""Predicting: a model bundle applied to batches of recordings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from pipelines.steps.item import NAMESPACE, Item
from pipelines.storage import bundles
from pipelines.usage import spending
from ser_core import models

MAX_RECORDINGS_A_BATCH = 32
# A recording with the probabilities of its segments, float32 [segments, labels].
Predicted: TypeAlias = tuple[Item, np.ndarray]


class BundleHandler(ModelHandler[Item, Predicted, models.Bundle]):
    """Applies a model bundle to the segments of a batch of recordings at once."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def load_model(self) -> models.Bundle:
        return bundles.load(self._model)

    def run_inference(
        self, batch: Sequence[Item], model: models.Bundle, inference_args=None
    ) -> Iterable[Predicted]:
        spent: dict[str, float] = {}
        with spending(spent, "predict"):
            spoken = [one.examined for one in batch if one.examined.segments]
            matrix = [one.vectors for one in spoken if one.vectors is not None]
            channels = [
                f"{i}/{segment.channel}" for i, one in enumerate(spoken) for segment in one.segments
            ]
            answers = iter(())
            if matrix:
                answers = iter(model.predict(np.concatenate(matrix), channel=np.asarray(channels)))
        nothing = np.empty((0, len(model.labels)), dtype=np.float32)
        for item in batch:
            share = spent["predict"] / len(batch)
            item.examined.cpu_s["predict"] = share
            count = len(item.examined.segments)
            yield item, np.stack(list(itertools.islice(answers, count))) if count else nothing

    def batch_elements_kwargs(self):
        return {"min_batch_size": 1, "max_batch_size": MAX_RECORDINGS_A_BATCH}

    def get_metrics_namespace(self) -> str:
        return NAMESPACE


def without_model(item: Item) -> Predicted:
    """A recording whose features are extracted, no more."""
    return item, np.empty((len(item.examined.segments), 0), dtype=np.float32)
