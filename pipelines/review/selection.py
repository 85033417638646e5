"""Which segments of a night are worth a listen.

A night may have millions of segments: DuckDB sorts them.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from pipelines.errors import NothingMatchedError, UsageError
from pipelines.review import DISAGREEMENT, LEAST_SURE, RANDOM, Progress, Say
from pipelines.review.disagreement import fill_scores
from pipelines.storage import published
from ser_core import tables
from ser_core.report import review_page
from ser_core.tables import Reader, database
from ser_core.tables.reader import label_names, night_of, run_of
from ser_core.tables.schemas import META

_RECORDINGS = pa.schema(
    [("uri", pa.string()), ("run_id", pa.string()), ("path", pa.string()), ("status", pa.string()),
     ("run", pa.string()), ("recording_id", pa.string()), ("size_bytes", pa.int64()),
     ("modified_us", pa.int64()),
     ("channels", pa.int16()), ("speaker", pa.string())]
)  # fmt: skip
_SEGMENTS = pa.schema(
    [("uri", pa.string()), ("run_id", pa.string()), ("channel", pa.int16()), ("role", pa.string()),
     ("start_s", pa.float64()), ("end_s", pa.float64()), ("label", pa.string()),
     ("confidence", pa.float32())]
)  # fmt: skip
# A number that anybody can draw again: it depends on the segment and the seed alone. Segments of
# a channel do not overlap and last a second or more, so milliseconds tell them apart.
_DRAWN = "md5(concat_ws('/', {}, channel, round(start_s * 1000)::BIGINT, uri))"


@dataclass(frozen=True)
class Wanted:
    """What to pick.

    Parameters
    ----------
    output : str
        Folder of the tables.
    date : str, optional
        A night, `YYYY-MM-DD`; the latest one with labelled segments unless given.
    run_id : str, optional
        One run alone.
    n : int
        Segments in all.
    by : sequence of (kind, share)
        Kinds of `KINDS`, each with a share > 0 of n; shares are taken in proportion.
    against : str, optional
        The other bundle, of a disagreement.
    seed : int
    per_recording : int
        The most segments of one recording, those drawn at random apart.
    speaker_field : str, optional
        The `meta_` column that names a recording's speaker.
    """

    output: str
    date: str | None = None
    run_id: str | None = None
    n: int = 200
    by: Sequence[tuple[str, float]] = ((LEAST_SURE, 1.0), (RANDOM, 1.0))
    against: str | None = None
    seed: int = 0
    per_recording: int = 3
    speaker_field: str | None = None

    def __post_init__(self) -> None:
        kinds = [kind for kind, _ in self.by]
        if DISAGREEMENT in kinds and self.against is None:
            raise UsageError("--by disagreement: --against BUNDLE says with whom")
        if self.against is not None and DISAGREEMENT not in kinds:
            raise UsageError("--against: only --by disagreement asks another bundle; add it")


@dataclass(frozen=True)
class Choice:
    """A segment that was picked; `label` is the model's, `weight` how many it stands for."""

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
    speaker: str | None


@dataclass(frozen=True)
class Selection:
    """What was picked of a night, in the order to listen.

    Parameters
    ----------
    night : str
        In words.
    segments : int
        All that could have been picked.
    labels : tuple of str
        Of the bundles whose labels these are.
    choices : tuple of Choice
        Shuffled, so that whoever stops half way has heard some of each kind.
    """

    night: str
    segments: int
    labels: tuple[str, ...]
    choices: tuple[Choice, ...]


def select(wanted: Wanted, *, say: Say, progress: Progress) -> Selection:
    """Pick segments: those drawn at random first, from all; then the others, kind by kind.

    Of every recording the latest row of the night counts. The same tables, n and seed give the
    same list.

    Raises
    ------
    NothingMatchedError
        Nothing to pick from.
    UsageError
        An unknown column, or a bundle that cannot be compared.
    """
    reader = published.open_reader(wanted.output)
    with database.connect() as db:
        night, parts = _night(db, reader, wanted)
        labels = _fill_pool(db, reader, parts)
        total = database.count(db, "pool")
        if wanted.against is not None:
            fill_scores(db, reader, parts, wanted.against, total, progress)
        db.execute(
            "CREATE TABLE chosen (uri VARCHAR, channel SMALLINT, start_s DOUBLE, why VARCHAR, "
            "weight DOUBLE)"
        )
        most = wanted.per_recording if total > wanted.n else wanted.n
        parts_of_n = quotas(min(wanted.n, total), wanted.by)
        for kind in sorted(parts_of_n, key=lambda kind: kind != RANDOM):
            _take(db, kind, parts_of_n[kind], total, wanted.seed, most)
        choices = _chosen(db, wanted.seed)
    counts = Counter(one.why for one in choices)
    say(f"{night}: {total:,} segments, {len(choices):,} of them picked")
    for kind, quota in parts_of_n.items():
        line = f"  {counts[kind]:,} × {review_page.WHY[kind]}"
        if kind == RANDOM and quota:
            line += f", each for {total / quota:.1f}"
        if counts[kind] < quota:
            line += f"; {quota:,} wanted, at most {most} of a recording (--per-recording)"
        say(line)
    if total < wanted.n:
        say(f"--n {wanted.n:,}: there are no more than these {total:,}")
    return Selection(night, total, labels, choices)


def quotas(n: int, by: Sequence[tuple[str, float]]) -> dict[str, int]:
    """n in parts by shares, in whole numbers: the largest remainders are rounded up."""
    whole = sum(share for _, share in by)
    exact = {kind: n * share / whole for kind, share in by}
    parts = {kind: math.floor(value) for kind, value in exact.items()}
    order = sorted(exact, key=lambda kind: parts[kind] - exact[kind])
    for kind in order[: n - sum(parts.values())]:
        parts[kind] += 1
    return parts


def _night(db: Any, reader: Reader, wanted: Wanted) -> tuple[str, list[str]]:
    """Fill `newest`, the latest row a URI; the night in words, and its parts with such rows."""
    by_night: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in reader.paths("recordings"):
        by_night[night_of(path), run_of(path)].append(path)
    if not by_night:
        raise NothingMatchedError(f"--output {reader.root}: no tables found; `ser run` fills them")
    nights = sorted({date for date, _ in by_night}, reverse=True)
    if wanted.run_id is not None:
        asked = f"--run-id {wanted.run_id}"
        tried = {f"run {wanted.run_id}": [key for key in by_night if key[1] == wanted.run_id]}
    else:
        some = [wanted.date] if wanted.date is not None else nights
        asked = f"--date {wanted.date}" if wanted.date is not None else f"--output {reader.root}"
        tried = {f"night {one}": [key for key in by_night if key[0] == one] for one in some}
    if not any(tried.values()):
        said = ", ".join(nights[:5]) + (", …" if len(nights) > 5 else "")
        raise NothingMatchedError(f"{asked}: nothing found; there are the nights {said}")
    if wanted.speaker_field is not None:
        _check_speaker_field(reader, wanted.speaker_field)
    for words, keys in tried.items():
        paths = [path for key in keys for path in by_night[key]]
        _fill_newest(db, reader, paths, wanted.speaker_field)
        spoken = db.execute(
            "SELECT DISTINCT path FROM newest WHERE status = ? ORDER BY path", [tables.LABELLED]
        ).fetchall()
        if spoken:
            return words, [path for (path,) in spoken]
    raise NothingMatchedError(
        f"{asked}: no labelled segment; `ser show` prints what is there, `ser label` labels what "
        "`ser extract` stored"
    )


def _check_speaker_field(reader: Reader, name: str) -> None:
    known = reader.meta_names()
    if name.removeprefix(META) not in known:
        said = ", ".join(known) or "none"
        raise UsageError(
            f"--speaker-field {name}: no such column; there are: {said} (--uri-fields makes them)"
        )


def _fill_newest(db: Any, reader: Reader, paths: Sequence[str], speaker_field: str | None) -> None:
    """Fill `newest`, the latest row of each URI in these files."""
    speaker = META + (speaker_field or "").removeprefix(META)
    columns = [name for name in _RECORDINGS.names if name not in ("run", "path", "modified_us")]
    columns.append("modified_at")

    def rows() -> Iterator[pa.Table]:
        wanted = [speaker if name == "speaker" else name for name in columns]
        for table in reader.rows(paths, wanted):
            names = ["speaker" if name == speaker else name for name in table.schema.names]
            yield table.rename_columns(names).select(_RECORDINGS.names).cast(_RECORDINGS)

    db.execute("DROP TABLE IF EXISTS every")
    db.execute("DROP TABLE IF EXISTS newest")
    database.fill(db, "every", _RECORDINGS, rows())
    database.keep_latest(db, "newest", "every")


def _fill_pool(db: Any, reader: Reader, parts: Sequence[str]) -> tuple[str, ...]:
    """Fill `pool`, all segments that may be picked; gives the labels that models had."""
    labels: dict[str, None] = {}

    def rows() -> Iterator[pa.Table]:
        for part in parts:
            path = tables.beside(part, "segments")
            labels.update(dict.fromkeys(label_names(reader.schema(path))))
            for some in published.read_row_groups(path, _SEGMENTS.names):
                yield some.select(_SEGMENTS.names).cast(_SEGMENTS)

    database.fill(db, "segments", _SEGMENTS, rows())
    db.execute(
        "CREATE TABLE pool AS FROM segments SEMI JOIN (FROM newest WHERE status = ?) "
        "USING (uri, run_id)",
        [tables.LABELLED],
    )
    db.execute("DROP TABLE segments")
    return tuple(labels)


def _take(db: Any, kind: str, n: int, total: int, seed: int, most: int) -> None:
    """Add up to n segments of a kind to `chosen`, none that is there already."""
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


def _chosen(db: Any, seed: int) -> tuple[Choice, ...]:
    names = ", ".join(one.name for one in fields(Choice))
    # Another order than the one by which some were drawn.
    drawn = _DRAWN.format(f"'order {int(seed)}'")
    rows = db.execute(
        f"SELECT {names} FROM pool JOIN chosen USING (uri, channel, start_s) "
        "JOIN (SELECT uri, recording_id, size_bytes, modified_us, channels, speaker FROM newest) "
        f"USING (uri) ORDER BY {drawn}"
    ).fetchall()
    return tuple(Choice(*row) for row in rows)
