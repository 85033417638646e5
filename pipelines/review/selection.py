"""Picks the segments of a night that are worth listening to.

A night may have millions of segments, so DuckDB sorts them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import NothingMatchedError, UsageError
from pipelines.review import DISAGREEMENT, LEAST_SURE, RANDOM, Progress, Say
from pipelines.review.disagreement import Against, fill_scores
from pipelines.review.labelled import Key
from pipelines.storage import published, views
from ser_core import tables
from ser_core.report import review_page
from ser_core.tables import Reader, database
from ser_core.tables.reader import label_names, night_of
from ser_core.tables.schemas import META

if TYPE_CHECKING:
    from ser_core.models.signature import PublicKey

_RECORDINGS = pa.schema(
    [("uri", pa.string()), ("run_id", pa.string()), ("path", pa.string()), ("status", pa.string()),
     ("run", pa.string()), ("recording_id", pa.string()), ("size_bytes", pa.int64()),
     ("modified_us", pa.int64()),
     ("features_run_id", pa.string()), ("channels", pa.int16()), ("codec", pa.string()),
     ("sample_rate_hz", pa.int32()), ("speaker", pa.string())]
)  # fmt: skip
_SEGMENTS = pa.schema(
    [("uri", pa.string()), ("run_id", pa.string()), ("channel", pa.int16()), ("role", pa.string()),
     ("start_s", pa.float64()), ("end_s", pa.float64()), ("label", pa.string()),
     ("confidence", pa.float32())]
)  # fmt: skip
_LABELLED = pa.schema([("uri", pa.string()), ("channel", pa.int16()), ("start_ms", pa.int64())])
_WANTED = pa.schema([("uri", pa.string()), ("run_id", pa.string())])
# The nights, the last one first, and how many calls of each are labelled.
_NIGHTS = (
    "SELECT night::VARCHAR, count(*) FILTER (status = ?) FROM calls GROUP BY night "
    "ORDER BY night DESC"
)
# A reproducible random number that depends only on the segment and the seed. Segments of a channel
# do not overlap and last at least a second, so milliseconds tell them apart.
_DRAWN = "md5(concat_ws('/', {}, channel, round(start_s * 1000)::BIGINT, uri))"


@dataclass(frozen=True)
class Request:
    """Which segments to pick.

    Parameters
    ----------
    output : str
        Folder of the tables.
    date : str, optional
        A night, `YYYY-MM-DD`; by default the latest one with labelled segments.
    run_id : str, optional
        Pick from this run only.
    n : int
        Number of segments.
    by : sequence of (kind, share)
        Kinds from `KINDS`, each with a share of n, above 0. Shares need not add up to 1.
    against : str, optional
        The bundle to compare with, for the kind `disagreement`.
    signed_by : PublicKey, optional
        Whose signature that bundle must have.
    seed : int
    per_recording : int
        Most segments of one recording, not counting random ones.
    speaker_field : str, optional
        The `meta_` column that names a recording's speaker.
    labelled : set of (URI, channel, start in milliseconds)
        Segments that are left out, since people have labelled them.
    """

    output: str
    date: str | None = None
    run_id: str | None = None
    n: int = 200
    by: Sequence[tuple[str, float]] = ((LEAST_SURE, 1.0), (RANDOM, 1.0))
    against: str | None = None
    signed_by: PublicKey | None = None
    seed: int = 0
    per_recording: int = 3
    speaker_field: str | None = None
    labelled: Set[Key] = frozenset()

    def __post_init__(self) -> None:
        kinds = [kind for kind, _ in self.by]
        if DISAGREEMENT in kinds and self.against is None:
            raise UsageError("--by disagreement: --against BUNDLE is missing")
        if self.against is not None and DISAGREEMENT not in kinds:
            raise UsageError(
                "--against is used by --by disagreement only; add disagreement to --by"
            )


@dataclass(frozen=True)
class Choice:
    """A picked segment: `label` is the model's, `weight` the number of segments it represents."""

    uri: str
    channel: int
    role: str
    start_s: float
    end_s: float
    label: str
    confidence: float
    recording_id: str
    run_id: str
    why: str
    weight: float | None
    size_bytes: int
    modified_us: int
    channels: int
    codec: str
    sample_rate_hz: int
    speaker: str | None


@dataclass(frozen=True)
class Selection:
    """The segments picked from a night, in listening order.

    Parameters
    ----------
    night : str
        The night or run, in words.
    segments : int
        Number of segments that could have been picked.
    labels : tuple of str
        Labels of the bundles that labelled the night.
    choices : tuple of Choice
        Shuffled, so that a listener who stops early has heard some of each kind.
    """

    night: str
    segments: int
    labels: tuple[str, ...]
    choices: tuple[Choice, ...]


def select(request: Request, *, say: Say, progress: Progress) -> Selection:
    """Pick segments: first the random ones from all segments, then the other kinds.

    The latest row of each recording counts. The same tables, request and seed give the same list.

    Raises
    ------
    NothingMatchedError
        There is nothing to pick from.
    UsageError
        An unknown column, or a bundle that cannot be compared.
    """
    reader = published.open_reader(request.output)
    with database.connect() as db:
        night, parts = _load_night(db, reader, request)
        labels = _fill_pool(db, reader, parts)
        _leave_out(db, request, night, say)
        total = database.count(db, "pool")
        if request.against is not None:
            against = Against(request.against, request.signed_by)
            fill_scores(db, reader, parts, labels, against, total, say, progress)
        db.execute(
            "CREATE TABLE chosen (uri VARCHAR, channel SMALLINT, start_s DOUBLE, why VARCHAR, "
            "weight DOUBLE)"
        )
        most = request.per_recording if total > request.n else request.n
        quotas_by_kind = split_by_shares(min(request.n, total), request.by)
        for kind in sorted(quotas_by_kind, key=lambda kind: kind != RANDOM):
            _pick(db, kind, quotas_by_kind[kind], total, request.seed, most)
        choices = _read_choices(db, request.seed)
    counts = Counter(choice.why for choice in choices)
    say(f"{night}: {total:,} segments, {len(choices):,} of them picked")
    for kind, quota in quotas_by_kind.items():
        line = f"  {counts[kind]:,} × {review_page.WHY[kind]}"
        if kind == RANDOM and quota:
            line += f", each representing {total / quota:.1f}"
        if counts[kind] < quota:
            line += f"; {quota:,} requested, but at most {most} per recording (--per-recording)"
        say(line)
    if total < request.n:
        say(f"--n {request.n:,}: the night has only {total:,} segments")
    names = tuple(dict.fromkeys(name for of_model in labels for name in of_model))
    return Selection(night, total, names, choices)


def split_by_shares(n: int, by: Sequence[tuple[str, float]]) -> dict[str, int]:
    """Split n by shares into whole numbers; the largest remainders are rounded up."""
    whole = sum(share for _, share in by)
    exact = {kind: n * share / whole for kind, share in by}
    parts = {kind: math.floor(value) for kind, value in exact.items()}
    order = sorted(exact, key=lambda kind: parts[kind] - exact[kind])
    for kind in order[: n - sum(parts.values())]:
        parts[kind] += 1
    return parts


def _load_night(db: Any, reader: Reader, request: Request) -> tuple[str, list[str]]:
    """Fill `newest` with the rows of a night that count, or with those of a run.

    Returns
    -------
    str
        The night or run, in words.
    list of str
        Its files of `recordings` with labelled rows.
    """
    paths = published.require_paths(reader, "recordings")
    with views.connect(request.output) as db_of_views:
        nights = dict(db_of_views.execute(_NIGHTS, [tables.LABELLED]).fetchall())
        if request.run_id is not None:
            asked, words = f"--run-id {request.run_id}", f"run {request.run_id}"
            query, value = "FROM history WHERE run_id = ?", request.run_id
        else:
            asked = f"--date {request.date}" if request.date else f"--output {reader.root}"
            latest = next((night for night, count in nights.items() if count), "")
            value = request.date or latest
            words, query = f"night {value}", "FROM calls WHERE night = try_cast(? AS DATE)"
        wanted = db_of_views.execute(
            f"SELECT uri, run_id, date::VARCHAR AS date, status {query}", [value]
        ).fetchall()
    if not wanted and (request.date or request.run_id):
        listed = ", ".join(list(nights)[:5]) + (", …" if len(nights) > 5 else "")
        raise NothingMatchedError(f"{asked}: nothing found; the tables hold the nights {listed}")
    if request.speaker_field is not None:
        _check_speaker_field(reader, request.speaker_field)
    dates = {date for _, _, date, _ in wanted}
    paths = [path for path in paths if night_of(path) in dates]
    database.fill(db, "wanted", _WANTED, ((uri, run) for uri, run, *_ in wanted))
    _fill_newest(db, reader, paths, request)
    labelled = db.execute(
        "SELECT DISTINCT path FROM newest WHERE status = ? ORDER BY path", [tables.LABELLED]
    ).fetchall()
    if labelled:
        return words, [path for (path,) in labelled]
    raise NothingMatchedError(
        f"{asked}: no labelled segment found; `ser show` prints the newest rows, and `ser label` "
        "labels what `ser extract` stored"
    )


def _check_speaker_field(reader: Reader, name: str) -> None:
    """Raise a UsageError unless the tables have the column meta_NAME."""
    known = reader.meta_names()
    if name.removeprefix(META) not in known:
        raise UsageError(
            f"--speaker-field {name}: no such column; columns found: {', '.join(known) or 'none'} "
            "(--uri-fields makes them)"
        )


def _fill_newest(db: Any, reader: Reader, paths: Sequence[str], request: Request) -> None:
    """Fill `newest` with the rows of these files that are wanted."""
    speaker = META + (request.speaker_field or "").removeprefix(META)
    columns = [name for name in _RECORDINGS.names if name not in ("run", "path", "modified_us")]
    columns.append("modified_at")

    def rows() -> Iterator[pa.Table]:
        wanted = [speaker if name == "speaker" else name for name in columns]
        for table in reader.rows(paths, wanted):
            names = ["speaker" if name == speaker else name for name in table.schema.names]
            yield table.rename_columns(names).select(_RECORDINGS.names).cast(_RECORDINGS)

    database.fill(db, "all_rows", _RECORDINGS, rows())
    db.execute("CREATE TABLE newest AS FROM all_rows SEMI JOIN wanted USING (uri, run_id)")


def _fill_pool(db: Any, reader: Reader, parts: Sequence[str]) -> list[tuple[str, ...]]:
    """Fill `pool` with all segments that may be picked; returns the labels of each model."""
    labels: dict[tuple[str, ...], None] = {}
    found = db.execute("SELECT DISTINCT run FROM newest WHERE status = ?", [tables.LABELLED])
    runs = pa.array([run for (run,) in found.fetchall()], pa.string())

    def rows() -> Iterator[pa.Table]:
        for path in published.same_night(reader, "segments", map(night_of, parts)):
            for group in published.read_row_groups(path, _SEGMENTS.names):
                if pc.any(pc.is_in(group["run_id"], runs)).as_py():
                    labels[label_names(reader.schema(path))] = None
                    yield group.select(_SEGMENTS.names).cast(_SEGMENTS)

    database.fill(db, "segments", _SEGMENTS, rows())
    db.execute(
        "CREATE TABLE pool AS FROM segments SEMI JOIN (FROM newest WHERE status = ?) "
        "USING (uri, run_id)",
        [tables.LABELLED],
    )
    db.execute("DROP TABLE segments")
    return list(labels)


def _leave_out(db: Any, request: Request, night: str, say: Say) -> None:
    """Take the segments out of `pool` that people have labelled.

    Raises
    ------
    NothingMatchedError
        No other is left.
    """
    if not request.labelled:
        return
    database.fill(db, "labelled", _LABELLED, request.labelled)
    before = database.count(db, "pool")
    db.execute(
        "DELETE FROM pool USING labelled WHERE pool.uri = labelled.uri "
        "AND pool.channel = labelled.channel "
        "AND round(pool.start_s * 1000)::BIGINT = labelled.start_ms"
    )
    after = database.count(db, "pool")
    if not after:
        raise NothingMatchedError(f"{night}: all {before:,} segments are labelled already")
    if after < before:
        say(f"{night}: {before - after:,} segments are labelled already and left out")


def _pick(db: Any, kind: str, n: int, total: int, seed: int, most: int) -> None:
    """Add up to n segments of a kind to `chosen`, leaving out those already chosen."""
    drawn = _DRAWN.format(int(seed))
    if kind == RANDOM:
        db.execute(
            f"INSERT INTO chosen SELECT uri, channel, start_s, ?, ? FROM pool ORDER BY {drawn} "
            "LIMIT ?",
            [kind, total / n if n else None, n],
        )
        return
    scored = "pool" if kind == LEAST_SURE else "pool JOIN scores USING (uri, channel, start_s)"
    first = "confidence" if kind == LEAST_SURE else "score DESC"
    db.execute(
        f"WITH ranked AS (SELECT *, {drawn} AS drawn, row_number() OVER (PARTITION BY uri "
        f"ORDER BY {first}, {drawn}) AS place FROM {scored} "
        "ANTI JOIN chosen USING (uri, channel, start_s)), "
        "had AS (SELECT uri, count(*) AS taken FROM chosen WHERE why <> ? GROUP BY uri) "
        "INSERT INTO chosen SELECT uri, channel, start_s, ?, NULL FROM ranked "
        "LEFT JOIN had USING (uri) WHERE place + coalesce(taken, 0) <= ? "
        f"ORDER BY {first}, drawn LIMIT ?",
        [RANDOM, kind, most, n],
    )


def _read_choices(db: Any, seed: int) -> tuple[Choice, ...]:
    """The chosen segments, shuffled."""
    names = ", ".join(field.name for field in fields(Choice))
    # Not the order by which the random ones were drawn.
    drawn = _DRAWN.format(f"'order {int(seed)}'")
    rows = db.execute(
        f"SELECT {names} FROM pool JOIN chosen USING (uri, channel, start_s) "
        "JOIN (SELECT uri, recording_id, size_bytes, modified_us, channels, codec, "
        "sample_rate_hz, speaker FROM newest) "
        f"USING (uri) ORDER BY {drawn}"
    ).fetchall()
    return tuple(Choice(*row) for row in rows)
