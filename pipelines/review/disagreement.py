"""How far the probabilities of another bundle are from those of a night, for each segment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import NothingMatchedError, UsageError
from pipelines.review import Progress, Say
from pipelines.storage import files, published
from pipelines.stored import Stored, elements, find_features
from ser_core import tables
from ser_core.tables import Reader, database
from ser_core.tables.reader import RUN, feature_set_of, label_names
from ser_core.tables.schemas import PROBABILITY

if TYPE_CHECKING:
    from pipelines.steps.predicting import BundleHandler
    from ser_core.models import Bundle
    from ser_core.models.signature import PublicKey

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


class Against(NamedTuple):
    """A bundle to compare with, and whose signature it must have."""

    model: str
    signed_by: PublicKey | None = None


def fill_scores(
    db: Any,
    reader: Reader,
    parts: Sequence[str],
    labels: Sequence[Sequence[str]],
    against: Against,
    total: int,
    say: Say,
    progress: Progress,
) -> None:
    """Fill `scores` with the divergence of another bundle, which uses histories as in a night.

    Parameters
    ----------
    db, reader
    parts : sequence of str
        Files of recordings with the rows of `newest`.
    labels : sequence of sequence of str
        Of each model that labelled these rows.
    against : Against
    total : int
        Number of segments.
    say, progress : callable

    Raises
    ------
    UsageError
        The bundle cannot be compared.
    NothingMatchedError
        The features of all recordings were erased.
    """
    from pipelines.steps.predicting import BundleHandler
    from pipelines.storage import bundles

    model, signed_by = against
    card = bundles.check(model, "--against", signed_by=signed_by)
    stored = feature_set_of(reader.schema(parts[0]))
    if stored != (card.feature_set, card.fingerprint):
        raise UsageError(
            f"--against {model}: trained on features {card.feature_set!r} ({card.fingerprint}), "
            f"and the tables hold {stored[0]!r} ({stored[1]}); give a bundle trained on those"
        )
    for of_model in labels:
        if len(set(of_model) & set(card.labels)) < 2:
            raise UsageError(
                f"--against {model}: its labels are {', '.join(card.labels)}, those of the tables "
                f"{', '.join(of_model)}; at least two in common expected"
            )
    missing, compared = labelled(db, reader)
    erased = "features were erased (--keep-features-days, or ser forget --only features)"
    if not compared:
        raise NothingMatchedError(
            f"--against {model}: nothing to compare: the {erased}; choose a later night with "
            "--date, or leave out --against"
        )
    if missing:
        say(f"warning: {missing:,} recordings are not compared with {card.id}: their {erased}")
    handler = BundleHandler(model, signed_by)
    bundle = handler.load_model()

    def rows() -> Iterator[tuple]:
        scores = (score for part in compared for score in disagreements(part, handler, bundle))
        for done, score in enumerate(scores):
            if done % _REPORT_EVERY == 0:
                progress(f"labelling with {card.id}", done, total)
            yield score
        progress(f"labelling with {card.id}", total, total)

    database.fill(db, "scores", _SCORES, rows())


def labelled(db: Any, reader: Reader) -> tuple[int, list[Stored]]:
    """The labelled recordings of `newest` whose features are stored, and how many have none."""
    db.execute(
        "CREATE OR REPLACE TABLE labelled AS SELECT uri, run, path, "
        "coalesce(features_run_id, run) AS features_run, true AS spoke FROM newest "
        f"WHERE status = '{tables.LABELLED}'"
    )
    missing, paths = find_features(db, reader, "labelled")
    # A list, since other tables are filled meanwhile.
    return missing, list(elements(db, reader, paths))


def disagreements(
    stored: Stored, handler: BundleHandler, bundle: Bundle
) -> Iterator[tuple[str, int, float, float]]:
    """How far another bundle is from the stored probabilities, over the labels that both have.

    Parameters
    ----------
    stored : Stored
        Some labelled recordings.
    handler, bundle
        The other bundle. A channel's other segments are its history, as in a night.

    Yields
    ------
    tuple
        URI, channel, start in seconds and `divergence` of each segment.
    """
    from pipelines.steps import loading
    from pipelines.steps.predicting import MAX_RECORDINGS_A_BATCH

    night, common = _probabilities(stored, bundle.labels)
    columns = [bundle.labels.index(label) for label in common]
    items = loading.load(stored)
    while batch := list(islice(items, MAX_RECORDINGS_A_BATCH)):
        for item, probabilities in handler.run_inference(batch, bundle):
            uri = item.examined.source.uri
            scores = divergence(night[uri], probabilities[:, columns]).tolist()
            for segment, score in zip(item.examined.segments, scores, strict=True):
                yield uri, segment.channel, segment.start_s, score


def _probabilities(
    stored: Stored, labels: Sequence[str]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The stored probabilities [segments, k] by URI, of the k labels that both models have."""
    keys = {(key.uri, key.run_id) for key in stored.keys}
    wanted = pc.field("uri").isin(pa.array(stored.uris, pa.string()))
    found = []
    for path in stored.segments:
        with files.naming("--output", f"{path} cannot be read", "fix this and run again"):
            rows = published.read_rows(path, wanted)
        places = zip(rows["uri"].to_pylist(), rows[RUN].to_pylist(), strict=True)
        found.append(rows.filter(pa.array([place in keys for place in places], pa.bool_())))
    found = [rows for rows in found if len(rows)]
    stored_labels = [name for rows in found for name in label_names(rows.schema)]
    common = [label for label in dict.fromkeys(stored_labels) if label in labels]
    by_uri: dict[str, list[np.ndarray]] = defaultdict(list)
    for rows in found:
        values = [
            rows[f"{PROBABILITY}{label}"].to_numpy()
            if label in label_names(rows.schema)
            else np.zeros(len(rows))
            for label in common
        ]
        for uri, row in zip(rows["uri"].to_pylist(), np.stack(values, axis=1), strict=True):
            by_uri[uri].append(row)
    return {uri: np.stack(rows) for uri, rows in by_uri.items()}, common
