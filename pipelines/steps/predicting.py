"""Predicting: a model bundle is applied to batches of recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from pipelines.steps.item import NAMESPACE, Item, naming_recording
from pipelines.storage import bundles
from pipelines.usage import spending
from ser_core import models
from ser_core.models.signature import PublicKey
from ser_core.threads import use_one_thread

MAX_RECORDINGS_A_BATCH = 32
# A recording and the probabilities of its segments, float32 [segments, labels].
Predicted: TypeAlias = tuple[Item, np.ndarray]


class BundleHandler(ModelHandler[Item, Predicted, models.Bundle]):
    """Applies a model bundle to the segments of a batch of recordings at once.

    Parameters
    ----------
    model : str
    signed_by : PublicKey, optional
        Whose signature the bundle must have.
    """

    def __init__(self, model: str, signed_by: PublicKey | None = None) -> None:
        super().__init__()
        self._model, self._signed_by = model, signed_by

    def load_model(self) -> models.Bundle:
        """Load the bundle, and limit this process to one thread, however it was started."""
        model = bundles.load(self._model, signed_by=self._signed_by)
        use_one_thread()
        return model

    def run_inference(
        self, batch: Sequence[Item], model: models.Bundle, inference_args: Any = None
    ) -> Iterable[Predicted]:
        """Predict a batch, and divide its CPU seconds among its recordings.

        Raises
        ------
        RecordingError
            The model fails on a recording.
        """
        spent: dict[str, float] = {}
        with spending(spent, "predict"):
            try:
                predicted = predict_batch(batch, model)
            except Exception:
                # Predict one by one to find the recording that fails.
                for item in batch:
                    with naming_recording(item.examined.source.uri):
                        predict_batch([item], model)
                raise
        for item, probabilities in zip(batch, predicted, strict=True):
            item.examined.cpu_s["predict"] = spent["predict"] / len(batch)
            yield item, probabilities

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": 1, "max_batch_size": MAX_RECORDINGS_A_BATCH}

    def get_metrics_namespace(self) -> str:
        return NAMESPACE


def predict_batch(batch: Sequence[Item], model: models.Bundle) -> list[np.ndarray]:
    """Probabilities of each recording's segments, float32 [segments, labels]."""
    vectors = [
        item.examined.vectors
        for item in batch
        if item.examined.segments and item.examined.vectors is not None
    ]
    if not vectors:
        return [np.empty((0, len(model.labels)), dtype=np.float32) for _ in batch]
    channels = None
    if model.takes_history:
        channels = np.array(
            [
                f"{i}/{segment.channel}"
                for i, item in enumerate(batch)
                for segment in item.examined.segments
            ]
        )
    probabilities = model.predict(np.concatenate(vectors), channel=channels)
    ends = np.cumsum([len(item.examined.segments) for item in batch])
    return np.split(probabilities, ends[:-1])


def without_model(item: Item) -> Predicted:
    """A recording of a run that only extracts features: no probabilities."""
    return item, np.empty((len(item.examined.segments), 0), dtype=np.float32)
