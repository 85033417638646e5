"""The steps of the night's graph on their own: which recording an unexpected error names."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import numpy as np
import pytest

from pipelines.errors import RecordingError
from pipelines.role_rule import RoleRule
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
    takes_history = True

    def predict(self, matrix, channel=None):
        assert len(channel) == len(matrix)
        if (matrix == 13).any():
            raise ZeroDivisionError("thirteen")
        return np.hstack([matrix, np.zeros_like(matrix)])


def test_a_batch_is_predicted_as_its_recordings_are():
    batch = [item("/a", 1, 2), item("/b"), item("/c", 3)]
    together = predict_batch(batch, Model())
    alone = [predict_batch([recording], Model())[0] for recording in batch]
    for in_batch, by_itself in zip(together, alone, strict=True):
        np.testing.assert_array_equal(in_batch, by_itself)
    assert [len(probabilities) for probabilities in together] == [2, 0, 1]


def test_a_model_that_raises_names_the_recording():
    handler = BundleHandler("any")
    batch = [item("/a", 1), item("/b", 2, 13), item("/c", 3)]
    with pytest.raises(RecordingError, match="recording /b: ZeroDivisionError: thirteen"):
        list(handler.run_inference(batch, Model()))


def test_a_worker_uses_one_thread_whatever_its_environment_says(level_model):
    code = (
        "import sys, numpy, scipy.linalg, threadpoolctl\n"
        "from pipelines.steps.predicting import BundleHandler\n"
        "before = {lib['num_threads'] for lib in threadpoolctl.threadpool_info()}\n"
        "BundleHandler(sys.argv[1]).load_model()\n"
        "import tensorflow as tf\n"
        "after = {lib['num_threads'] for lib in threadpoolctl.threadpool_info()}\n"
        "threads = tf.config.threading\n"
        "tf_threads = [threads.get_intra_op_parallelism_threads(),\n"
        "              threads.get_inter_op_parallelism_threads()]\n"
        "print(before, after, tf_threads)"
    )
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "TF")
    env = {**os.environ, **{f"{name}_NUM_THREADS": "2" for name in names}}
    done = subprocess.run(
        [sys.executable, "-c", code, str(level_model)],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "{2} {1} [1, 1]"


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

    step = ExamineRecordings(Settings("test_simple"), Guard(), UriFields(), RoleRule())
    step._examiner = types.SimpleNamespace(examine=fail, peak_memory_mb=0.0)
    with pytest.raises(RecordingError, match=says):
        list(step.process(Source("/a.wav", 1, 1)))
