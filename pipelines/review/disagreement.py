"""How far the probabilities of another bundle are from those of a night, for each segment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import ledger
from pipelines.errors import UsageError
from pipelines.review import Progress
from pipelines.storage import files, published
from ser_core import tables
from ser_core.tables import Reader, database
from ser_core.tables.reader import feature_set_of, label_names
from ser_core.tables.schemas import PROBABILITY

if TYPE_CHECKING:
    from pipelines.steps.predicting import BundleHandler
    from ser_core.models import Bundle

_SCORES = pa.schema(
    [("uri", pa.string()), ("channel", pa.int16()), ("start_s", pa.float64()),
     ("score", pa.float64())]
)  # fmt: skip
# Segments between two reports of progress.
_REPORT_EVERY = 500


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence by row, in bits: 0 for equal distributions, 1 for disjoint ones.

    Parameters
    ----------
    p, q : np.ndarray [shape=(n, k)]
        Non-negative; rows are scaled to add up to 1.

    Returns
    -------
    np.ndarray [shape=(n,)]
    """
    from scipy.spatial.distance import jensenshannon

    with np.errstate(invalid="ignore", divide="ignore"):
        distance = jensenshannon(p.astype(np.float64), q.astype(np.float64), base=2, axis=1)
    # Rounding may make the sum under the root slightly negative, which gives NaN.
    return np.nan_to_num(np.square(distance))


def fill_scores(
    db: Any, reader: Reader, parts: Sequence[str], model: str, total: int, progress: Progress
) -> None:
    """Fill `scores` with the divergence of another bundle, which uses histories as in a night."""
    from pipelines.steps.predicting import BundleHandler
    from pipelines.storage import bundles

    card = bundles.check(model, "--against")
    stored = feature_set_of(reader.schema(parts[0]))
    if stored != (card.feature_set, card.fingerprint):
        raise UsageError(
            f"--against {model}: trained on features {card.feature_set!r} ({card.fingerprint}), "
            f"and the tables hold {stored[0]!r} ({stored[1]}); give a bundle trained on those"
        )
    for part in parts:
        labels = label_names(reader.schema(tables.beside(part, "segments")))
        if len(set(labels) & set(card.labels)) < 2:
            raise UsageError(
                f"--against {model}: its labels are {', '.join(card.labels)}, those of the tables "
                f"{', '.join(labels)}; at least two in common expected"
            )
    handler = BundleHandler(model)
    bundle = handler.load_model()

    def rows() -> Iterator[tuple]:
        scores = (
            score for part in parts for score in disagreements(_stored(db, part), handler, bundle)
        )
        for done, score in enumerate(scores):
            if done % _REPORT_EVERY == 0:
                progress(f"labelling with {card.id}", done, total)
            yield score
        progress(f"labelling with {card.id}", total, total)

    database.fill(db, "scores", _SCORES, rows())


def _stored(db: Any, part: str) -> ledger.Stored:
    """The labelled recordings of a part that count."""
    uris = db.execute(
        "SELECT uri FROM newest WHERE path = ? AND status = ? ORDER BY uri",
        [part, tables.LABELLED],
    ).fetchall()
    segments, features = (tables.beside(part, table) for table in ("segments", "features"))
    return ledger.Stored(part, segments, features, tuple(uri for (uri,) in uris))


def disagreements(
    stored: ledger.Stored, handler: BundleHandler, bundle: Bundle
) -> Iterator[tuple[str, int, float, float]]:
    """How far another bundle is from the stored probabilities, over the labels that both have.

    Parameters
    ----------
    stored : ledger.Stored
        Some recordings of a part.
    handler, bundle
        The other bundle. A channel's other segments are its history, as in a night.

    Yields
    ------
    tuple
        URI, channel, start in seconds and `divergence` of each segment.
    """
    from pipelines.steps import loading
    from pipelines.steps.predicting import MAX_RECORDINGS_A_BATCH

    common = [
        label
        for label in label_names(published.open_parquet(stored.segments).schema_arrow)
        if label in bundle.labels
    ]
    columns = [bundle.labels.index(label) for label in common]
    with files.naming("--output", f"{stored.segments} cannot be read", "fix this and run again"):
        night = published.read_rows(
            stored.segments, pc.field("uri").isin(pa.array(stored.uris, pa.string()))
        )
    night_probabilities = np.stack(
        [night[f"{PROBABILITY}{label}"].to_numpy() for label in common], axis=1
    )
    rows_of: dict[str, list[int]] = defaultdict(list)
    for i, uri in enumerate(night["uri"].to_pylist()):
        rows_of[uri].append(i)
    items = loading.load(stored)
    while batch := list(islice(items, MAX_RECORDINGS_A_BATCH)):
        for item, probabilities in handler.run_inference(batch, bundle):
            uri = item.examined.source.uri
            scores = divergence(
                night_probabilities[rows_of[uri]], probabilities[:, columns]
            ).tolist()
            for segment, score in zip(item.examined.segments, scores, strict=True):
                yield uri, segment.channel, segment.start_s, score
