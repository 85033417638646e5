"""Forgetting: what was chosen is marked, erased from everything, and never brought back.

A recording is its bytes. All rows that an output holds of the chosen recordings go: of all
versions, all models, and of equal bytes under other names. `ser run --keep-days` forgets by age in
the same way.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import publishing
from pipelines.errors import NothingMatchedError, StoreError, UsageError
from pipelines.storage import changes, erasing, files, forgotten, inputs, published, store
from pipelines.storage.erasing import Hits
from pipelines.storage.forgotten import FEATURES, Forgetting, Marks
from pipelines.storage.lists import read_list
from ser_core import tables
from ser_core.names import readable
from ser_core.tables import database
from ser_core.tables.reader import night_of

# A beginning of a recording's id that is shorter could be meant for another one.
LEAST_ID = 8

_VERSION = pa.schema(
    [("uri", pa.string()), ("recording_id", pa.string()), ("size_bytes", pa.int64()),
     ("modified_us", pa.int64())]
)  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """Recordings to forget.

    Parameters
    ----------
    versions : list of tuple
        URI, size and time of change in microseconds.
    recording_ids : set of str
    """

    versions: list[tuple[str, int | None, int | None]] = field(default_factory=list)
    recording_ids: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, rows: Iterable[tuple]) -> Chosen:
        """From rows of URI, recording id, size and time."""
        versions, ids = set(), set()
        for uri, recording_id, size_bytes, modified_us in rows:
            versions.add((uri, size_bytes, modified_us))
            if recording_id:
                ids.add(recording_id)
        return cls(list(versions), ids)


# Takes a reader; gives the recordings.
Choice = Callable[[tables.Reader], Chosen]


# ---------------------------------------------------------------- choosing


def by_uri(patterns: Sequence[str]) -> Choice:
    """Choose by URIs, patterns, folders, or `@list.txt` with one of these a line.

    Raises
    ------
    UsageError
        A text is empty, or names all of a machine or store; or the list cannot be read.
    """
    texts = [
        line
        for text in patterns
        for line in (read_list(text[1:], "--uri") if text.startswith("@") else [text])
    ]
    for text in texts:
        if not text.rpartition("://")[2].strip("/ "):
            raise UsageError(
                f"--uri: {text!r} found, which would mean everything; a URI, a pattern or a folder "
                "expected: is a variable of the shell not set?"
            )

    def choose(reader: tables.Reader) -> Chosen:
        known = {uri for rows in _rows(reader, ["uri"]) for uri in rows["uri"].to_pylist()}
        wanted: set[str] = set()
        for text in texts:
            wanted |= matching(text, known)
        if not wanted:
            _check_folders(texts, known)
        return _of_uris(reader, wanted)

    return choose


def _check_folders(texts: Sequence[str], uris: set[str]) -> None:
    """Raise an error for a name without a folder: it means this folder alone."""
    names = [text for text in texts if "/" not in text]
    if names and uris:
        example = min(uris)
        root = "/".join(example.split("/")[:3]) if files.is_remote(example) else ""
        raise NothingMatchedError(
            f"--uri: no recording is {files.absolute(names[0])}; URIs in the tables are as "
            f"{example}: give '{root}/**/{names[0]}' for that name in every folder"
        )


def matching(text: str, uris: set[str]) -> set[str]:
    """The URIs that a text means: it is a URI, else a folder, else a pattern.

    Examples
    --------
    >>> matching("/calls/call[1].wav", {"/calls/call[1].wav", "/calls/call1.wav"})
    {'/calls/call[1].wav'}
    """
    path = readable(text if files.is_remote(text) else files.absolute(text))
    for exact in (readable(text), path):
        if exact in uris:
            return {exact}
    folder = f"{path.rstrip('/')}/"
    below = {uri for uri in uris if uri.startswith(folder)}
    return below or {uri for uri in uris if inputs.covers(path, uri)}


def by_recording(identity: str) -> Choice:
    """Choose by the id of a recording, or a beginning that only one has.

    Raises
    ------
    UsageError
        From the choice: the beginning is too short, or several recordings have it.
    """

    def choose(reader: tables.Reader) -> Chosen:
        wanted = identity.lower()
        if len(wanted) < LEAST_ID:
            raise UsageError(
                f"--recording: {len(wanted)} characters found, the recording_id or at "
                f"least the first {LEAST_ID} of it expected"
            )
        found = {
            value
            for rows in _rows(reader, ["recording_id"])
            for value in rows["recording_id"].unique().to_pylist()
            if value and value.startswith(wanted)
        }
        if len(found) > 1:
            raise UsageError(
                f"--recording: {len(found)} recordings begin with it; give more of the id"
            )
        return _of_rows(reader, lambda rows: pc.is_in(rows["recording_id"], pa.array(found, _S)))

    return choose


def by_sql(condition: str, output: str) -> Choice:
    """Choose the rows of the view `calls` that fulfil a condition in SQL.

    Raises
    ------
    UsageError
        From the choice: DuckDB cannot evaluate the condition.
    """

    def choose(reader: tables.Reader) -> Chosen:
        import duckdb

        from pipelines.storage import views

        query = f"SELECT uri FROM calls WHERE (\n{condition}\n)"
        example = "a condition over the columns of the view calls expected, such as "
        example += "\"meta_customer = '4711'\""
        try:
            if len(duckdb.extract_statements(query)) != 1:
                raise UsageError("--where: several statements found, one expected")
            with views.connect(output) as db:
                uris = {uri for (uri,) in db.execute(query).fetchall()}
        except duckdb.Error as error:
            if (problem := views.unread(error)) is not None:
                raise StoreError(f"--output {output}: cannot be read: {problem}") from error
            # Without what it quotes, since messages are stored with attempts.
            text = re.sub(r"'[^']*'|\"[^\"]*\"", "…", _first(error))
            raise UsageError(f"--where: {text}; {example}") from error
        return _of_uris(reader, uris)

    return choose


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def by_age(before: dt.date, *, only: str | None = None) -> Choice:
    """Choose recordings of calls before a date (UTC); without a call time, by their first run.

    Parameters
    ----------
    before : datetime.date
    only : str, optional
        `features` leaves out versions of files without a row in a night that has any features.
    """

    def choose(reader: tables.Reader) -> Chosen:
        import duckdb

        from pipelines.storage import views

        query = _BY_AGE
        values: list[object] = [before]
        if only == FEATURES:
            query += " AND bool_or(list_contains(?::DATE[], date))"
            # The first run may lie in a night whose features are erased already.
            values.append(sorted({night_of(path) for path in reader.paths(FEATURES)}))
        try:
            with views.connect(reader.root) as db:
                return Chosen.of(database.fetch(db, query, values))
        except duckdb.Error as error:
            problem = views.unread(error) or _first(error)
            raise StoreError(f"--output {reader.root}: cannot be read: {problem}") from error

    return choose


# Rows of one version have different times, if it was done again with other --uri-fields: the latest
# time that was read counts, as in the view `calls`. The id of files without samples is left out, as
# in `_identified`.
_BY_AGE = """\
SELECT
    uri,
    max(recording_id) FILTER (reason IS DISTINCT FROM 'empty'),
    size_bytes,
    epoch_us(modified_at)
FROM files.recordings
GROUP BY uri, size_bytes, modified_at
HAVING coalesce(arg_max(call_time, run_id)::DATE, min(date)) < ?"""


_S = pa.string()
_COLUMNS = ["uri", "recording_id", "size_bytes", "modified_at", "reason"]
_EMPTY = "empty"


def _rows(reader: tables.Reader, columns: Sequence[str]) -> Iterator[pa.Table]:
    yield from reader.rows(reader.paths("recordings"), columns)


def _identified(rows: pa.Table) -> pa.Table:
    """Rows without the id of recordings that hold no samples.

    Many such files have the same bytes, which say nothing about anybody. Their ids must not be
    marked: what is empty tomorrow is to be rejected, not dropped.
    """
    empty = pc.fill_null(pc.equal(rows["reason"], _EMPTY), False)
    ids = pc.if_else(empty, pa.scalar(None, _S), rows["recording_id"])
    return rows.set_column(rows.schema.get_field_index("recording_id"), "recording_id", ids)


def _of_uris(reader: tables.Reader, uris: set[str]) -> Chosen:
    wanted = pa.array(uris, _S)
    return _of_rows(reader, lambda rows: pc.is_in(rows["uri"], wanted))


def _of_rows(reader: tables.Reader, condition: Callable[[pa.Table], pa.ChunkedArray]) -> Chosen:
    return Chosen.of(
        tuple(row[name] for name in _VERSION.names)
        for rows in map(_identified, _rows(reader, _COLUMNS))
        for row in rows.filter(condition(rows)).select(_VERSION.names).to_pylist()
    )


# ---------------------------------------------------------------- forgetting


@dataclass(frozen=True)
class Request:
    """What is to be forgotten.

    Parameters
    ----------
    kind : str
        For the log, as in `Forgetting`: the option that chose it.
    choice : callable
    only : str or None
        `features` to erase these and keep the rest.
    """

    kind: str
    choice: Choice
    only: str | None = None


def preview(output: str, request: Request) -> Hits:
    """What a request would erase; nothing is written.

    Raises
    ------
    NothingMatchedError
        No recording is chosen.
    """
    root = files.absolute(output)
    return _find(root, request, forgotten.salt_of(forgotten.read(root)))[1]


def forget(output: str, request: Request, say: Callable[[str], None]) -> Hits:
    """Forget what a request chooses; it is erased when this returns.

    Raises
    ------
    NothingMatchedError
        No recording is chosen.
    HeldError, StoreError
        As `store.Output`.
    """
    with publishing.opened(output, say) as held:
        return forget_in(held, request)


def forget_in(output: store.Output, request: Request) -> Hits:
    """As `forget`, in an output that is held."""
    root = output.root
    marks, hits = _find(root, request, forgotten.salt_of(forgotten.read(root)))
    now = dt.datetime.now(dt.UTC)
    forgetting = Forgetting(
        id=changes.new_id(now),
        at=now,
        kind=request.kind,
        only=request.only,
        counts={**hits.rows, "calls": len(hits.uris)},
        marks=marks,
    )
    with files.naming(f"--output {root}"):
        forgotten.write(root, forgetting)
    erasing.erase(output, forgetting)
    return hits


def retain(
    output: store.Output, night: dt.date, days: int | None, features_days: int | None
) -> Iterator[str]:
    """Forget what is older than so many days; yields lines for the user.

    Parameters
    ----------
    output : store.Output
        Held.
    night : datetime.date
        Days are counted back from it, or from today if it lies ahead.
    days, features_days : int or None
        For recordings, and for features alone.
    """
    last = min(night, dt.date.today())
    for name, count, only in (
        ("keep-days", days, None),
        ("keep-features-days", features_days, FEATURES),
    ):
        if count is None:
            continue
        before = last - dt.timedelta(days=count)
        choice = by_age(before, only=only)
        try:
            hits = forget_in(output, Request(name, choice, only))
        except NothingMatchedError:
            continue
        yield f"--{name} {count}: {line(hits, only)} from before {before} are erased"


def _find(root: str, request: Request, salt: bytes) -> tuple[Marks, Hits]:
    reader = published.open_reader(root)
    published.require_paths(reader, "recordings")
    chosen = request.choice(reader)
    marks = Marks.of(salt, chosen.versions, chosen.recording_ids)
    hits = erasing.find(root, marks, request.only) if marks else Hits()
    if not hits.rows:
        # By age, only calls are chosen that have features.
        if request.only and (chosen.versions or request.kind == "before"):
            raise NothingMatchedError(
                f"--{request.kind}: --output {root} holds no features of what matches; they may be "
                "erased already"
            )
        raise NothingMatchedError(
            f"--{request.kind}: no recording in --output {root} matches; what was forgotten before "
            "matches nothing any more"
        )
    if request.only:
        # Marks are for `ser check`: only of what is erased now.
        marks = Marks.of(salt, (), hits.recording_ids)
    return marks, hits


def line(hits: Hits, only: str | None) -> str:
    """What is erased, as text."""
    rows = ", ".join(f"{hits.rows.get(name, 0):,} {name}" for name in _ORDER if name in hits.rows)
    nights = sorted(hits.nights)
    when = f"night {nights[0]}"
    if len(nights) > 1:
        when = f"{len(nights):,} nights, {nights[0]} to {nights[-1]}"
    of_what, calls = ("the features of ", hits.recording_ids) if only else ("", hits.uris)
    return (
        f"{of_what}{len(calls):,} calls (rows: {rows}; {when}; about "
        f"{hits.size_bytes / 1e6:,.1f} MB)"
    )


_ORDER = ("recordings", "segments", "features")
