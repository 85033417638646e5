"""The steps of the night's graph on their own: which recording an unexpected error names."""

from __future__ import annotations

import types

import numpy as np
import pytest

from pipelines.errors import RecordingError
from pipelines.steps.examining import ExamineRecordings
from pipelines.steps.item import Item
from pipelines.steps.predicting import BundleHandler, predict_batch
from pipelines.uri_fields import UriFields
from ser_core.errors import SerError
from ser_core.examine import Examined, Settings, Source, SpeechSegment
from ser_core.guarded import Guard


def item(uri: str, *levels: float) -> Item:
    segments = tuple(SpeechSegment(0, "mixed", i, i + 1.0, level) for i, level in enumerate(levels))
    vectors = np.array([[level] for level in levels], dtype=np.float32).reshape(-1, 1)
    return Item(Examined(Source(uri, 1, 1), segments=segments, vectors=vectors))


class Model:
    """Answers with the first dimension, and cannot take 13."""

    labels = ("level", "zero")

    def predict(self, matrix, channel=None):
        assert len(channel) == len(matrix)
        if (matrix == 13).any():
            raise ZeroDivisionError("thirteen")
        return np.hstack([matrix, np.zeros_like(matrix)])


def test_a_batch_is_predicted_as_its_recordings_are():
    batch = [item("/a", 1, 2), item("/b"), item("/c", 3)]
    together = predict_batch(batch, Model())
    alone = [predict_batch([recording], Model())[0] for recording in batch]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [len(probabilities) for probabilities in together] == [2, 0, 1]


def test_a_model_that_raises_names_the_recording():
    handler = BundleHandler("any")
    batch = [item("/a", 1), item("/b", 2, 13), item("/c", 3)]
    with pytest.raises(RecordingError, match="recording /b: ZeroDivisionError: thirteen"):
        list(handler.run_inference(batch, Model()))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ZeroDivisionError("planted"), "recording /a.wav: ZeroDivisionError: planted"),
        (SerError("the process that decodes cannot start"), "/a.wav: the process that decodes"),
    ],
)
def test_an_unexpected_error_in_examining_names_the_recording(error, says):
    def fail(*args):
        raise error

    step = ExamineRecordings(Settings("test_simple"), Guard(), UriFields())
    step._examiner = types.SimpleNamespace(examine=fail, peak_memory_mb=0.0)
    with pytest.raises(RecordingError, match=says):
        list(step.process(Source("/a.wav", 1, 1)))
