"""`ser review`: segments of a night worth a listen, as a CSV and a page that plays them.

`select` picks them from the tables, `review` writes the list that `ser train` reads once it has
labels, `write_clips` copies their audio where that is asked for. A night may have millions of
segments: DuckDB sorts them, and what another bundle says of them is told part by part.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import ledger
from pipelines.errors import NothingMatchedError, UsageError
from pipelines.storage import files, published
from pipelines.storage.inputs import as_local_file, local_path
from ser_core import audio, tables
from ser_core.errors import AudioError
from ser_core.examine import Source
from ser_core.report import pages, review_page
from ser_core.tables import Reader, database
from ser_core.tables.reader import feature_set_of, label_names, night_of, run_of
from ser_core.tables.schemas import META

if TYPE_CHECKING:
    from pipelines.steps.predicting import BundleHandler
    from ser_core.models import Bundle

LEAST_SURE, DISAGREEMENT, RANDOM = "least_sure", "disagreement", "random"
KINDS = (LEAST_SURE, DISAGREEMENT, RANDOM)
# What `ser train` reads, and what it leaves alone.
READ_BACK = ("uri", "channel", "start_s", "end_s", "label", "annotator", "speaker")
EXTRA = ("why", "weight", "confidence", "recording_id", "run_id")
GUESS = "guess"

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]

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
_SCORES = pa.schema(
    [("uri", pa.string()), ("channel", pa.int16()), ("start_s", pa.float64()),
     ("score", pa.float64())]
)  # fmt: skip
# Segments between two words about how far it is.
_TOLD = 500
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


def review(
    wanted: Wanted,
    *,
    save: str,
    page: str | None = None,
    clips: str | None = None,
    labels: Sequence[str] = (),
    annotator: str = "",
    show_guess: bool = False,
    say: Say,
    progress: Progress,
) -> None:
    """Pick segments and write the list, the page and, where asked for, the clips.

    Parameters
    ----------
    wanted : Wanted
    save, page : str
        The CSV and the page; this beside that unless given.
    clips : str, optional
        A folder for the segments' audio, copied there.
    labels : sequence of str
        The page's buttons; the bundle's labels unless given.
    annotator : str
        Who is going to listen, if that is known.
    show_guess : bool
        Whether list and page hold the model's label, too.
    say, progress : callable

    Raises
    ------
    NothingMatchedError
        No such night, or none with labelled segments.
    UsageError
        Files that would be written over others, a bundle for other features, and the like.
    StoreError
        Files that cannot be read or written.
    """
    save, page = _places(save, page)
    for label, count in Counter(labels).items():
        if count > 1:
            raise UsageError(f"--labels: {label!r} twice; a button each expected")
    chosen = select(wanted, say=say, progress=progress)
    columns = (*READ_BACK, *EXTRA, *([GUESS] if show_guess else []))
    rows = [_row(one, columns) for one in chosen.choices]
    sources = _originals(chosen.choices)
    if clips is not None:
        sources = write_clips(chosen.choices, clips, page=page, progress=progress)
    _say_what_is_missing(sources, say)
    with files.naming(f"--save {save}"):
        files.write_whole(save, as_csv(columns, rows))
    pages.write(
        page,
        review_page.render(
            chosen.night,
            segments=chosen.segments,
            columns=columns,
            rows=rows,
            items=[
                _item(one, source, show_guess)
                for one, source in zip(chosen.choices, sources, strict=True)
            ],
            labels=labels or chosen.labels,
            annotator=annotator,
            clips=clips is not None,
        ),
    )
    if clips is not None:
        say(f"clips: {clips}: recordings of people; take them away when you are done")
    say(f"list: {save}")
    say(f"page: {page}; open it in a browser, and train on what it downloads")


def _places(save: str, page: str | None) -> tuple[str, str]:
    """Absolute paths of list and page; a list that somebody filled in is not written over."""
    for option, path in (("--save", save), ("--page", page)):
        if path is not None and files.is_remote(path):
            raise UsageError(f"{option} {path}: a file of this machine expected")
    save = files.absolute(save)
    page = files.absolute(page) if page else str(Path(save).with_suffix(".html"))
    if page == save:
        raise UsageError(f"--save {save}: the page would take its place; end it in .csv")
    if os.path.lexists(save) and (what := _worth_keeping(save)):
        raise UsageError(f"--save {save}: {what}; give another name")
    return save, page


def _worth_keeping(path: str) -> str | None:
    """What a file holds that a new list must not take the place of."""
    with (
        files.naming(f"--save {path}", "cannot be read"),
        open(path, newline="", encoding="utf-8") as file,
    ):
        try:
            lines = csv.DictReader(file)
            if not set(READ_BACK) <= {*(lines.fieldnames or READ_BACK)}:
                return "another file is there"
            return "it holds labels" if any(line["label"] for line in lines) else None
        except (csv.Error, UnicodeDecodeError):
            return "another file is there"


# ---------------------------------------------------------------- picking


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
            _score(db, reader, parts, wanted.against, total, progress)
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


# ---------------------------------------------------------------- what another bundle says


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


def _score(
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


# ---------------------------------------------------------------- the list


def _row(one: Choice, columns: Sequence[str]) -> list[str]:
    """A line of the list. Times are written so that the very same numbers are read back."""
    said = {
        "uri": one.uri,
        "channel": str(one.channel),
        "start_s": repr(one.start_s),
        "end_s": repr(one.end_s),
        "speaker": one.speaker or "",
        "why": one.why,
        "weight": "" if one.weight is None else repr(one.weight),
        "confidence": str(np.float32(one.confidence)),
        "recording_id": one.recording_id,
        "run_id": one.run_id,
        GUESS: one.label,
    }
    return [said.get(name, "") for name in columns]


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The list as text. Values stand as they are: a spreadsheet may take one for a formula."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue()


# ---------------------------------------------------------------- what can be heard


@dataclass(frozen=True)
class Heard:
    """Where a page finds a segment's audio, or why it does not."""

    url: str = ""
    problem: str = ""
    whole: bool = field(default=False)  # a clip, which is the segment and nothing else


_STORE = "It is in an object store, which a browser does not read."
_GONE = "The recording is not there any more."
_REPLACED = "Another recording has taken its place since that night."
_CLIPS = " “ser review --clips DIR” copies the segments for this page."


def _originals(choices: Sequence[Choice]) -> list[Heard]:
    """The recordings themselves."""
    seen: dict[str, Heard] = {}
    for one in choices:
        if one.uri not in seen:
            seen[one.uri] = _original(one)
    return [seen[one.uri] for one in choices]


def _original(one: Choice) -> Heard:
    scheme = one.uri.partition("://")[0].lower()
    if files.is_remote(one.uri):
        return Heard(one.uri) if scheme in ("https", "http") else Heard(problem=_STORE + _CLIPS)
    path = local_path(one.uri)
    try:
        about = os.stat(path)
        touched = (about.st_size, about.st_mtime_ns // 1000) != (one.size_bytes, one.modified_us)
        if touched and _sha256(path) != one.recording_id:
            return Heard(problem=_REPLACED)
    except OSError:
        return Heard(problem=_GONE)
    return Heard("file://" + quote(os.fsencode(path)))


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_clips(
    choices: Sequence[Choice], folder: str, *, page: str, progress: Progress
) -> list[Heard]:
    """Write each segment as a WAV file (16 bit) of its channel alone.

    Parameters
    ----------
    choices : sequence of Choice
    folder : str
        Made where it is not there.
    page : str
        Addresses are relative to this file, so that both can be moved together.
    progress : callable

    Returns
    -------
    list of Heard
        One a choice.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    by_uri: dict[str, list[int]] = defaultdict(list)
    for i, one in enumerate(choices):
        by_uri[one.uri].append(i)
    heard: dict[int, Heard] = {}
    with files.naming(f"--clips {folder}"):
        os.makedirs(folder, exist_ok=True)
    for done, (_, some) in enumerate(sorted(by_uri.items())):
        progress("clips of recordings", done, len(by_uri))
        found = _clips_of([choices[i] for i in some])
        if isinstance(found, str):
            heard.update(dict.fromkeys(some, Heard(problem=found)))
            continue
        rate, samples = found
        for i, clip in zip(some, samples, strict=True):
            path = os.path.join(folder, f"{_name(choices[i])}.wav")
            with files.naming(f"--clips {folder}"), files.written(os.path.abspath(path)) as file:
                file.write(_wav(clip, rate))
            relative = os.path.relpath(path, os.path.dirname(page))
            heard[i] = Heard(quote(os.fsencode(relative)), whole=True)
    progress("clips of recordings", len(by_uri), len(by_uri))
    return [heard[i] for i in range(len(choices))]


def _name(one: Choice) -> str:
    """The same for the same segment, whatever its recording is called."""
    said = f"{one.recording_id}\0{one.uri}\0{one.channel}\0{one.start_s!r}\0{one.end_s!r}"
    return hashlib.sha256(said.encode()).hexdigest()[:20]


def _clips_of(some: Sequence[Choice]) -> tuple[int, list[np.ndarray]] | str:
    """Rate, and the samples of some segments of one recording; or why there are none."""
    uri = some[0].uri
    source = Source(uri, some[0].size_bytes, some[0].modified_us)
    # What a night took is not too large for this.
    limits = audio.Limits(max_duration_s=math.inf, max_bytes=1 << 62)
    try:
        with as_local_file(source) as path:
            if _sha256(path) != some[0].recording_id:
                return _REPLACED
            with audio.open(path, uri, limits=limits) as stream:
                spans = [
                    (one.channel, round(one.start_s * stream.rate), round(one.end_s * stream.rate))
                    for one in some
                ]
                return stream.rate, cut(stream.blocks(), spans)
    except FileNotFoundError:
        return _GONE
    except AudioError as error:
        return f"It cannot be decoded: {error.reason}, {error.detail}."
    except OSError as error:
        return f"It cannot be read: {files.said(error)}."


def cut(blocks: Iterator[np.ndarray], spans: Sequence[tuple[int, int, int]]) -> list[np.ndarray]:
    """The samples of (channel, start, end), in samples, from blocks [channels, m] in order."""
    pieces: list[list[np.ndarray]] = [[] for _ in spans]
    last = max(end for _, _, end in spans)
    at = 0
    for block in blocks:
        for piece, (channel, start, end) in zip(pieces, spans, strict=True):
            piece.append(block[channel, max(start - at, 0) : max(end - at, 0)].copy())
        at += block.shape[1]
        if at >= last:
            break
    return [np.concatenate(piece) for piece in pieces]


def _wav(samples: np.ndarray, rate: int) -> bytes:
    """16 bit, which all browsers play; samples that had no more stay what they were."""
    import soundfile

    whole = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, whole, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _say_what_is_missing(sources: Sequence[Heard], say: Say) -> None:
    for problem, count in Counter(one.problem for one in sources if one.problem).items():
        say(f"warning: {count:,} of {len(sources):,} segments cannot be played: {problem}")


def _item(one: Choice, heard: Heard, show_guess: bool) -> Mapping[str, Any]:
    """What the page shows of a segment."""
    said = {
        "url": heard.url,
        "problem": heard.problem,
        "clip": heard.whole,
        "name": one.uri.rpartition("/")[2],
        "channel": one.channel,
        "channels": one.channels,
        "role": one.role,
        "start_s": one.start_s,
        "end_s": one.end_s,
        "why": one.why,
    }
    return {**said, "guess": one.label} if show_guess else said
