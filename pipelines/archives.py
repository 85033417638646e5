"""The stored features of an output folder, as a sample of its archive's speech.

`ser adapt` fits a model to it, and `ser run` says when that is due. No label and no audio is read.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import ledger
from pipelines.errors import NothingMatchedError, UsageError
from pipelines.storage import bundles, files, published
from pipelines.stored import Stored, to_matrix
from ser_core import features, models, tables
from ser_core.models import archive
from ser_core.tables.reader import RUN, night_of, run_of

# An agent's speech says nothing about what is normal for callers.
ROLES = ("customer", "mixed")
# With less, an archive's mean depends on who happened to call.
MIN_CALLS, MIN_SPEECH_H = 50, 1.0
# Vectors in memory; more are sampled, evenly by recording.
SAMPLE_BYTES = 256 << 20
_SEED = 0
# What `advice` looks at: so many vectors of a night, of at least so many recordings.
_NIGHT_ROWS, _NIGHT_CALLS = 2_000, 20
_NIGHT_ROW_GROUPS = 4
# And so many of the newest rows of an archive, where callers hardly speak.
_NEWEST_ROWS = 500_000
# Nights that a model is fitted to again.
_REFIT_NIGHTS = 30


@dataclass(frozen=True)
class ArchiveSample:
    """Features of an archive's speech.

    Parameters
    ----------
    matrix : np.ndarray [shape=(n, d)], float32
    recording : np.ndarray [shape=(n,)], int
        Number of each row's recording.
    recordings, segments : int
        In the archive; the sample may hold fewer segments.
    speech_h : float
        Hours of speech in the archive.
    nights : tuple of str
        Its nights, YYYY-MM-DD, in order.
    """

    matrix: np.ndarray
    recording: np.ndarray
    recordings: int
    segments: int
    speech_h: float
    nights: tuple[str, ...]


def read_sample(output: str, card: models.Card, nights: int | None = None) -> ArchiveSample:
    """Read the newest features of each recording of an output folder.

    Parameters
    ----------
    output : str
    card : Card
        Of the model that the features are for.
    nights : int, optional
        The last nights; all by default.

    Raises
    ------
    NothingMatchedError
        Nothing is stored there.
    UsageError
        The features are another model's, or too few.
    StoreError
        They cannot be read.
    """
    parts = _parts(output, card, nights)
    index = [_recordings_of_rows(part, first) for part, first in _numbered(parts)]
    rows = np.concatenate([np.empty(0, np.int64), *(numbers for numbers, _ in index)])
    speech_h = sum(seconds for _, seconds in index) / 3600
    spoken = np.unique(rows[rows >= 0])
    if len(spoken) < MIN_CALLS or speech_h < MIN_SPEECH_H:
        raise UsageError(
            f"--output {output}: {len(spoken):,} calls with {speech_h:.1f} hours of callers' "
            f"speech found, at least {MIN_CALLS} calls and {MIN_SPEECH_H:g} hour expected; "
            + ("leave out --nights, or " if nights is not None else "")
            + "wait until more calls are in it"
        )
    columns = len(features.get(card.feature_set).names)
    kept = choose_rows(rows, SAMPLE_BYTES // (4 * columns))
    ends = np.cumsum([len(numbers) for numbers, _ in index])[:-1]
    matrix = np.concatenate(
        [
            vectors
            for part, mask in zip(parts, np.split(kept, ends), strict=True)
            for vectors in _vectors(part, mask)
        ]
    )
    return ArchiveSample(
        matrix=matrix,
        recording=rows[kept],
        recordings=len(spoken),
        segments=int(np.count_nonzero(rows >= 0)),
        speech_h=speech_h,
        nights=tuple(sorted({_night_of(part) for part in parts})),
    )


def advice(output: str, model: str, since: str) -> str | None:
    """A line for the user, if the model should be fitted to the archive; it reads little.

    Parameters
    ----------
    output, model : str
    since : str
        A run id: the features of newer runs are tonight's.

    Raises
    ------
    StoreError, BundleError
        Something cannot be read.
    """
    training, fitted = bundles.read_adaptation(model)
    if training is None:
        return None
    reader = published.open_reader(output)
    if fitted is None:
        if not _is_large(reader):
            return None
        return "the archive is large enough to fit the model to it, without labels: " + _command(
            output, model, save=f"{posixpath.basename(model)}-here"
        )
    matrix, recording = _night(reader, since)
    if len(np.unique(recording)) < _NIGHT_CALLS:
        return None
    distance = archive.distance(fitted.statistics, matrix, recording, training)
    if distance <= archive.MOVED or not _is_large(reader, _REFIT_NIGHTS):
        return None
    return (
        f"tonight's calls differ from those that the model was fitted to on {fitted.date} "
        f"(distance {distance:.2f}, up to {archive.MOVED:g} expected): fit it again with "
        + _command(
            output, model, "--nights", str(_REFIT_NIGHTS),
            save=posixpath.basename(model) if files.is_remote(model) else model,
        )
    )  # fmt: skip


def _command(output: str, model: str, *more: str, save: str) -> str:
    return shlex.join(["ser", "adapt", "--output", output, "--model", model, *more, "--save", save])


def _is_large(reader: tables.Reader, nights: int | None = None) -> bool:
    """Whether the newest features of the last nights, or of all, are enough for `read_sample`."""
    paths = reader.newest_first("features")
    last = sorted({night_of(path) for path in paths})[-(nights or 0) :]
    newest = (path for path in paths if night_of(path) in last)
    run_of_uri: dict[str, str] = {}
    spoken: set[str] = set()
    speech_s, rows_read = 0.0, 0
    for path in newest:
        for rows in reader.rows([path], ["uri", "role", "start_s", "end_s"]):
            names = ("uri", "run", "role", "start_s", "end_s")
            columns = (rows[name].to_pylist() for name in names)
            for uri, run, role, start_s, end_s in zip(*columns, strict=True):
                # Also of other roles: what an older run took for a caller counts no more.
                if run_of_uri.setdefault(uri, run) == run and role in ROLES:
                    spoken.add(uri)
                    speech_s += end_s - start_s
            if len(spoken) >= MIN_CALLS and speech_s >= MIN_SPEECH_H * 3600:
                return True
            rows_read += len(rows)
            if rows_read >= _NEWEST_ROWS:
                return False
    return False


def _night(reader: tables.Reader, since: str) -> tuple[np.ndarray, np.ndarray]:
    """A bounded sample of the vectors of newer runs: [n, d], and the URI of each [n]."""
    found, recordings = [], []
    paths = [path for path in reader.newest_first("features") if run_of(path) >= since]
    paths = paths[:_NIGHT_ROW_GROUPS]
    for path in paths:
        with published.open_parquet(path) as file:
            count = _NIGHT_ROW_GROUPS // len(paths)
            groups = np.unique(np.linspace(0, file.num_row_groups - 1, count).astype(int))
            rows = file.read_row_groups(groups.tolist(), columns=["uri", "role", "vector"])
        rows = rows.filter(pc.is_in(rows["role"], pa.array(ROLES)))
        uris = rows["uri"].to_numpy(zero_copy_only=False).astype(str)
        _, numbers = np.unique(uris, return_inverse=True)
        kept = choose_rows(numbers, _NIGHT_ROWS // len(paths))
        found.append(to_matrix(rows["vector"].filter(pa.array(kept))))
        recordings.append(uris[kept])
    if not found:
        return np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=str)
    return np.concatenate(found), np.concatenate(recordings)


def choose_rows(recording: np.ndarray, limit: int) -> np.ndarray:
    """Choose rows at random, as many of each recording as fit, and of each recording alike.

    Parameters
    ----------
    recording : np.ndarray [shape=(n,)], int
        Number of each row's recording; -1 leaves a row out.
    limit : int >= 1
        The most rows to choose.

    Returns
    -------
    np.ndarray [shape=(n,)], bool
    """
    rows = np.flatnonzero(recording >= 0)
    if len(rows) <= limit:
        return recording >= 0
    drawn = np.random.default_rng(_SEED).random(len(rows))
    order = np.lexsort((drawn, recording[rows]))
    _, first, sizes = np.unique(recording[rows][order], return_index=True, return_counts=True)
    place = np.arange(len(rows)) - np.repeat(first, sizes)  # within the row's recording
    most = 1
    while np.minimum(sizes, most + 1).sum() <= limit:
        most += 1
    chosen = order[place < most]
    if len(chosen) > limit:  # more recordings than rows
        chosen = chosen[np.argsort(drawn[chosen], kind="stable")[:limit]]
    kept = np.zeros(len(recording), dtype=bool)
    kept[rows[chosen]] = True
    return kept


def _parts(output: str, card: models.Card, nights: int | None) -> list[Stored]:
    """The parts that hold features of the newest row of any recording."""
    reader = published.open_reader(output)
    published.require_paths(reader, "recordings")
    published.check_features_of_model(output, card.id, card.feature_set, card.fingerprint)
    with ledger.StoredRecordings(reader.root, "").found() as todo:
        parts = [part for part in todo.elements if part.features is not None]
    last = sorted({_night_of(part) for part in parts})[-(nights or 0) :]
    parts = [part for part in parts if _night_of(part) in last]
    if not parts and not reader.paths("features"):
        raise NothingMatchedError(
            f"--output {output}: no features found in it; `ser run` and `ser extract` store them, "
            "and --keep-features-days and `ser forget --only features` erase them"
        )
    return parts


def _night_of(part: Stored) -> str:
    return night_of(part.features or "")


def _numbered(parts: Sequence[Stored]) -> Iterator[tuple[Stored, int]]:
    """Each part, with the number of its first recording."""
    first = 0
    for part in parts:
        yield part, first
        first += len(part.uris)


def _recordings_of_rows(part: Stored, first: int) -> tuple[np.ndarray, float]:
    """The number of each row's recording in a part's row groups, -1 for rows that do not count.

    Returns
    -------
    numbers : np.ndarray [shape=(rows of the row groups,)], int
    seconds : float
        Speech in the rows that count.
    """
    number_of = {(key.uri, key.features_run_id): first + i for i, key in enumerate(part.keys)}
    numbers, seconds = [np.empty(0, dtype=np.int64)], 0.0
    for group in _row_groups(part, ["uri", RUN, "role", "start_s", "end_s"]):
        keys = zip(group["uri"].to_pylist(), group[RUN].to_pylist(), strict=True)
        found = np.array([number_of.get(key, -1) for key in keys], np.int64)
        found[~np.isin(group["role"].to_numpy(zero_copy_only=False).astype(str), ROLES)] = -1
        span_s = group["end_s"].to_numpy() - group["start_s"].to_numpy()
        seconds += float(span_s[found >= 0].sum())
        numbers.append(found)
    return np.concatenate(numbers), seconds


def _vectors(part: Stored, mask: np.ndarray) -> Iterator[np.ndarray]:
    """The vectors of some rows of a part's row groups: float32 [n, d], one array a row group."""
    start = 0
    for group in _row_groups(part, ["vector"]):
        wanted = np.flatnonzero(mask[start : start + len(group)])
        start += len(group)
        if len(wanted):
            yield to_matrix(group["vector"].take(pa.array(wanted)))


def _row_groups(part: Stored, columns: Sequence[str]) -> Iterator[pa.Table]:
    assert part.features is not None
    return published.read_row_groups(part.features, columns, part.row_groups)
