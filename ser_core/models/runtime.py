"""TensorFlow and Keras: imported late, and set up the same way everywhere."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from ser_core.errors import BundleError

# Keras imports them for galleries and wrappers that nothing here uses, where they are installed:
# a second and 80 MB in each worker.
_NOT_NEEDED = ("matplotlib", "matplotlib.pyplot", "sklearn")


@cache
def load_keras() -> ModuleType:
    """Import Keras on TensorFlow, with one thread per operation and one operation at a time.

    One thread makes sums run in a fixed order, so that numbers do not depend on the machine's
    load; parallelism comes from processes. If TensorFlow has already started in this process, its
    threads stay as they are.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _standard_error_held_back(), _hidden(_NOT_NEEDED):
        import keras
        import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise BundleError(
            f"Keras runs on {keras.backend.backend()}, tensorflow expected; "
            f"unset KERAS_BACKEND, or set it to tensorflow"
        )
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass
    return keras


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Let imports fail, as if these modules were not installed, unless they are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _standard_error_held_back() -> Iterator[None]:
    """Hold back what native code writes to standard error, unless something fails.

    TensorFlow 2.21 logs at import which instructions it uses, whatever its settings.
    """
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            if failed:
                kept.seek(0)
                os.write(2, kept.read())
