"""Networks of bundles: loaded safely, checked against the card, and called in fixed batches."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_core import features, temporary
from ser_core.errors import BundleError
from ser_core.models.card import CARD, MODEL, Card
from ser_core.models.file_checks import check_keras
from ser_core.models.history import HISTORY
from ser_core.models.keras_versions import check_keras_version
from ser_core.models.runtime import load_keras

# Every call of the network has this many rows, so that a row's numbers don't depend on its
# neighbours (other sizes change them by 4e-7).
BATCH_ROWS = 64
# A mean over a picture is computed 8 floats at a time across rows. So its last bits depend on a
# row's place in the batch modulo 8, and differ in the last row, where fewer than 8 are left.
LANES = 8
_ROWS_PER_LANE = BATCH_ROWS // LANES - 1


def load_network(path: Path, content: bytes, card: Card) -> Any:
    """The network as a Keras model, checked against its card.

    Parameters
    ----------
    path : Path
        For messages.
    content : bytes
        Of the file, whose hash was checked; these are loaded, whatever the file holds by now.
    card : Card

    Raises
    ------
    BundleError
        It is unsafe, cannot be loaded, or has other inputs or outputs than the card names; or this
        version of Keras is known to load hostile files.
    """
    check_keras_version()
    check_keras(path, content)
    keras = load_keras()
    try:
        with temporary.folder() as folder:
            checked = Path(folder) / MODEL
            checked.write_bytes(content)
            model = keras.saving.load_model(checked, compile=False, safe_mode=True)
    except Exception as error:
        raise BundleError(
            f"{path}: Keras {keras.__version__} cannot load it ({first_line(error)}); "
            f"use the versions that the bundle's card names, or train it again"
        ) from error
    widths = _widths(card)
    found = [x.shape[-1] for x in model.inputs], model.output_shape[-1]
    if found != (widths, len(card.labels)):
        raise BundleError(
            f"{path}: takes {', '.join(map(str, found[0]))} numbers and gives {found[1]} outputs, "
            f"{', '.join(map(str, widths))} and {len(card.labels)} labels expected by {CARD}"
        )
    return model


def as_function(model: Any, card: Card) -> Callable:
    """The network as a function of float32 [64, width of each input] to float32 [64, labels]."""
    import tensorflow as tf

    widths = _widths(card)

    @tf.function(
        input_signature=[tf.TensorSpec([BATCH_ROWS, width], tf.float32) for width in widths],
        autograph=False,
    )
    def call(*batch: Any) -> Any:
        return model(list(batch) if len(batch) > 1 else batch[0], training=False)

    return lambda *batch: call(*map(tf.constant, batch)).numpy()


def lanes_of(matrix: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """The lane in which each row is computed, decided by its channel alone.

    A channel's rows take one lane after the other, from one that its first vector decides: so
    channels are spread over the lanes, and none changes lanes because of another.

    Parameters
    ----------
    matrix : np.ndarray [shape=(n, d)], float32
    channel : np.ndarray [shape=(n,)]
        Rows of one id are one channel's segments in order.

    Returns
    -------
    np.ndarray [shape=(n,)], int
        From 0 to `LANES` - 1.
    """
    lanes = np.empty(len(matrix), dtype=int)
    _, index = np.unique(channel, return_inverse=True)
    order = np.argsort(index, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(index[order])) + 1):
        if len(rows):
            first = zlib.crc32(np.ascontiguousarray(matrix[rows[0]]).tobytes())
            lanes[rows] = (first + np.arange(len(rows))) % LANES
    return lanes


def padded_batches(
    inputs: Sequence[np.ndarray], lanes: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
    """Batches of exactly `BATCH_ROWS` rows, padded with zeros.

    Parameters
    ----------
    inputs : sequence of np.ndarray [shape=(n, width)]
    lanes : np.ndarray [shape=(n,)], int, optional
        The lane of each row, from `lanes_of`; by default rows follow one another.

    Yields
    ------
    rows : np.ndarray, int
        The rows of the inputs that this batch holds.
    places : np.ndarray, int
        Their places in the batch: of the same remainder by `LANES` as their lanes.
    batch : list of np.ndarray [shape=(BATCH_ROWS, width)], float32
    """
    if lanes is None:
        lanes = np.arange(len(inputs[0])) % LANES
    order = np.argsort(lanes, kind="stable")
    counts = np.bincount(lanes, minlength=LANES)
    nth = np.empty(len(lanes), dtype=int)  # row of its lane
    nth[order] = np.arange(len(lanes)) - np.repeat(np.cumsum(counts) - counts, counts)
    numbers, steps = np.divmod(nth, _ROWS_PER_LANE)
    for number in range(numbers.max(initial=-1) + 1):
        rows = np.flatnonzero(numbers == number)
        places = lanes[rows] + LANES * steps[rows]
        batch = [np.zeros((BATCH_ROWS, x.shape[1]), dtype=np.float32) for x in inputs]
        for padded, x in zip(batch, inputs, strict=True):
            padded[places] = x[rows]
        yield rows, places, batch


def _widths(card: Card) -> list[int]:
    """Widths of the network's inputs."""
    columns = len(features.get(card.feature_set).names)
    return [columns, 1, columns, columns] if card.channel_normalisation == HISTORY else [columns]


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
