"""How far another bundle is from the labels of a night, segment by segment, part by part."""

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

if TYPE_CHECKING:
    from pipelines.steps.predicting import BundleHandler
    from ser_core.models import Bundle

_SCORES = pa.schema(
    [("uri", pa.string()), ("channel", pa.int16()), ("start_s", pa.float64()),
     ("score", pa.float64())]
)  # fmt: skip
# Segments between two words about how far it is.
_TOLD = 500


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence by row, in bits: 0 where two say the same, 1 where the opposite.

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
    # Rounding may bring the sum under the root just below zero.
    return np.nan_to_num(np.square(distance))


def fill_scores(
    db: Any, reader: Reader, parts: Sequence[str], model: str, total: int, progress: Progress
) -> None:
    """Fill `scores` with the disagreement of another bundle, with histories as in a night."""
    from pipelines.steps.predicting import BundleHandler
    from pipelines.storage import bundles

    card = bundles.check(model, "--against")
    there = feature_set_of(reader.schema(parts[0]))
    if there != (card.feature_set, card.fingerprint):
        raise UsageError(
            f"--against {model}: made for features {card.feature_set!r} ({card.fingerprint}), and "
            f"the tables hold {there[0]!r} ({there[1]}); take a bundle for these"
        )
    for part in parts:
        labels = label_names(reader.schema(tables.beside(part, "segments")))
        if len(set(labels) & set(card.labels)) < 2:
            raise UsageError(
                f"--against {model}: its labels are {', '.join(card.labels)}, those of the tables "
                f"{', '.join(labels)}; two or more in common expected"
            )
    handler = BundleHandler(model)
    bundle = handler.load_model()

    def rows() -> Iterator[tuple]:
        found = (one for part in parts for one in disagreements(_stored(db, part), handler, bundle))
        for done, one in enumerate(found):
            if done % _TOLD == 0:
                progress(f"asking {card.id}", done, total)
            yield one
        progress(f"asking {card.id}", total, total)

    database.fill(db, "scores", _SCORES, rows())


def _stored(db: Any, part: str) -> ledger.Stored:
    uris = db.execute(
        "SELECT uri FROM newest WHERE path = ? AND status = ? ORDER BY uri",
        [part, tables.LABELLED],
    ).fetchall()
    segments, features = (tables.beside(part, table) for table in ("segments", "features"))
    return ledger.Stored(part, segments, features, tuple(uri for (uri,) in uris))


def disagreements(
    one: ledger.Stored, handler: BundleHandler, bundle: Bundle
) -> Iterator[tuple[str, int, float, float]]:
    """How far another bundle is from what a night wrote, over the labels that both have.

    Parameters
    ----------
    one : ledger.Stored
        Some recordings of a part.
    handler, bundle
        The other bundle, asked as a night asks: a channel's other segments are its history.

    Yields
    ------
    tuple
        URI, channel, start in s, and `divergence` of each segment.
    """
    from pipelines.steps import loading
    from pipelines.steps.predicting import MAX_RECORDINGS_A_BATCH

    common = [
        label
        for label in label_names(published.open_parquet(one.segments).schema_arrow)
        if label in bundle.labels
    ]
    columns = [bundle.labels.index(label) for label in common]
    with files.naming("--output", f"{one.segments} cannot be read", "mend that and run again"):
        night = published.read_rows(
            one.segments, pc.field("uri").isin(pa.array(one.uris, pa.string()))
        )
    ours = np.stack([night[f"p_{label}"].to_numpy() for label in common], axis=1)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for i, uri in enumerate(night["uri"].to_pylist()):
        rows_of[uri].append(i)
    items = loading.load(one)
    while batch := list(islice(items, MAX_RECORDINGS_A_BATCH)):
        for item, theirs in handler.run_inference(batch, bundle):
            uri = item.examined.source.uri
            scores = divergence(ours[rows_of[uri]], theirs[:, columns]).tolist()
            for segment, score in zip(item.examined.segments, scores, strict=True):
                yield uri, segment.channel, segment.start_s, score
