"""The books of a run: counts from its rows, compared with the list of its recordings.

DuckDB compares them within its memory limit, in the worker that writes the seal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import ledger
from pipelines.errors import CommandError
from pipelines.storage import files, published
from ser_core import reversal, tables
from ser_core.examine import Source
from ser_core.roles import MIXED
from ser_core.tables import RunCounts, database
from ser_core.tables.schemas import META
from ser_core.tables.sketch import Sketch


@dataclass(frozen=True)
class Part:
    """Files of one name, one in each table, with the same recordings; and their cost.

    Parameters
    ----------
    name, first_uri : str
        `first_uri` is the smallest URI of its recordings.
    recordings : int
        Number of recordings.
    size_bytes : int
        Size of the three files together.
    cpu_s : dict
        CPU seconds by stage.
    peak_memory_mb : dict
        Peak memory by process.
    spectra : tuple of reversal.Spectra
        Of a sample of its recordings. The seal has none.
    dropped : tuple of str
        Names of lists in the staging folder: recordings that were forgotten and got no row.
    sha256 : dict of str to str
        Of the three files, by table.
    fences : tuple of str
        What was closed round the processes that decoded them; each text once.
    sketch : Sketch
        Of its recordings. The seal has that of all parts.
    """

    name: str
    first_uri: str
    recordings: int
    size_bytes: int
    cpu_s: dict[str, float]
    peak_memory_mb: dict[str, float]
    spectra: tuple[reversal.Spectra, ...] = ()
    dropped: tuple[str, ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)
    fences: tuple[str, ...] = ()
    sketch: Sketch = field(default_factory=Sketch, compare=False)


@dataclass(frozen=True)
class Books(RunCounts):
    """Numbers of recordings by outcome; those of `RunCounts` are columns of `runs`.

    Parameters
    ----------
    rejected_earlier : Counter of str
        Recordings already done that were rejected then, by reason.
    rejected_before : int
        Recordings rejected now whose URI an earlier run had rejected, too.
    with_call_time, with_fields : int
        Recordings whose path gave a call's time; whose path gave any field.
    """

    rejected_earlier: Counter[str] = field(default_factory=Counter)
    rejected_before: int = 0
    with_call_time: int = 0
    with_fields: int = 0

    def __add__(self, other: Books) -> Books:
        return Books(*(getattr(self, name) + getattr(other, name) for name in BOOKS))

    @property
    def examined(self) -> int:
        """Number of recordings that the run examined."""
        return self.labelled + self.extracted + self.no_speech + self.rejected

    def line(self) -> str:
        """The counts as one line of text."""
        counts = f"{self.matched:,} matched = "
        if self.extracted:
            counts += f"{self.extracted:,} extracted + "
        counts += (
            f"{self.labelled:,} labelled + {self.no_speech:,} without speech + "
            f"{self.rejected:,} rejected + {self.already_done:,} already done"
        )
        if self.waiting:
            counts += f" + {self.waiting:,} waiting"
        if self.forgotten:
            counts += f" + {self.forgotten:,} forgotten"
        if self.by_reason:
            counts += f" (rejected: {_counted(self.by_reason)})"
        return counts + self.left_out()

    def left_out(self) -> str:
        """What was left out, as the end of a line of text."""
        text = ""
        if self.rejected_earlier:
            count = self.rejected_earlier.total()
            text += f"; {count:,} of them rejected earlier ({_counted(self.rejected_earlier)})"
        if self.skipped:
            text += f"; {self.skipped:,} files beside them skipped"
        return text


def _counted(by_reason: Counter[str]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in by_reason.most_common())


BOOKS = tuple(Books.__dataclass_fields__)
_COUNTERS = ("by_reason", "rejected_earlier")


def of_matched(counts: ledger.Matched) -> Books:
    """The books of what matched, before anything is examined."""
    return Books(**{name: getattr(counts, name) for name in _MATCHED})


_MATCHED = tuple(name for name in ledger.Matched.__dataclass_fields__ if name in BOOKS)


@dataclass(frozen=True)
class Listed:
    """The list of a run's recordings.

    Parameters
    ----------
    name : str
        A file of URIs in the staging folder.
    counts : ledger.Matched
        Of what matched; recordings that were left out are not in the file.
    """

    name: str
    counts: ledger.Matched


@dataclass(frozen=True)
class Seal:
    """What a pipeline writes last.

    Parameters
    ----------
    books : Books
    parts : tuple of Part
        Parts that are not listed are left over from failed attempts.
    features : bool
        Whether the parts hold features.
    sketch : tuple of dict
        The elements of the column `sketch`.
    """

    books: Books
    parts: tuple[Part, ...]
    features: bool = True
    sketch: tuple[dict[str, Any], ...] = ()

    def write(self, path: str) -> None:
        """Write the seal as JSON, whole or not at all."""
        # How people sound is stored nowhere; the sketch of all parts has that of each.
        parts = tuple(replace(part, spectra=(), sketch=Sketch()) for part in self.parts)
        content = asdict(replace(self, parts=parts))
        # asdict would count the pairs of a Counter.
        content["books"] |= {name: dict(getattr(self.books, name)) for name in _COUNTERS}
        for part in content["parts"]:
            del part["spectra"], part["sketch"]
        files.write_whole(path, json.dumps(content))

    @classmethod
    def read(cls, path: str) -> Seal:
        """Read a seal that `write` wrote."""
        content = json.loads(files.read_text(path))
        books = content["books"]
        # A run of an older version may have been sealed and not published.
        books |= {name: Counter(books.get(name, ())) for name in _COUNTERS}
        books["warnings"] = tuple(books.get("warnings", ()))
        parts = (
            Part(**{**part, **{name: tuple(part.get(name, ())) for name in ("dropped", "fences")}})
            for part in content["parts"]
        )
        sketch = tuple(content.get("sketch", ()))
        return cls(Books(**books), tuple(parts), content.get("features", True), sketch)


# What a part lists of the recordings that it dropped.
DROPPED = pa.schema([("uri", pa.string()), ("size_bytes", pa.int64()), ("modified_us", pa.int64())])


def write_dropped(path: str, sources: Sequence[Source]) -> None:
    """Write a list of recordings that were forgotten and got no row."""
    rows = [(source.uri, source.size_bytes, source.modified_us) for source in sources]
    columns = [
        pa.array(values, item.type)
        for values, item in zip(zip(*rows, strict=True), DROPPED, strict=True)
    ]
    with files.written(path) as file, tables.writer(file, DROPPED) as writer:
        writer.write_table(pa.table(columns, schema=DROPPED))


def check(
    staged: str,
    parts: Sequence[str],
    listed: Listed,
    meta: Sequence[str] = (),
    dropped: Sequence[str] = (),
    *,
    features: bool = True,
) -> Books:
    """Count the rows that a run wrote, and compare them with the list of its recordings.

    Parameters
    ----------
    staged : str
        The run's staging folder.
    parts : sequence of str
        Names of the parts that count.
    listed : Listed
    meta : sequence of str
        Names of the columns `meta_<name>`.
    dropped : sequence of str
        Lists of recordings that were forgotten and got no row.
    features : bool
        Whether the run wrote features.

    Raises
    ------
    CommandError
        A recording is missing, duplicated or not in the list; or its segments and features are
        incomplete.
    """
    books = of_matched(listed.counts)
    uri = pa.schema([("uri", pa.string())])
    rows = pa.schema([*uri, ("spoke", pa.bool_()), ("rejected", pa.bool_())])

    def recordings() -> Iterator[pa.Table]:
        nonlocal books
        columns = ["uri", "status", "reason", "duration_s", "channels", "speech_s"]
        columns += ["by_channel", "call_time"]
        columns += [f"{META}{name}" for name in meta]
        for table in _read(staged, "recordings", parts, columns):
            books = books + _count(table)
            spoke = pc.is_in(table["status"], pa.array([tables.LABELLED, tables.EXTRACTED]))
            rejected = pc.equal(table["status"], tables.REJECTED)
            yield pa.table([table["uri"], spoke, rejected], schema=rows)

    # Without features, those of earlier runs were counted when they were loaded.
    vectors = "features" if features else "segments"
    with database.connect() as db:
        database.fill(db, "given", ledger.LIST, _read(staged, "", [listed.name], ledger.LIST.names))
        database.fill(db, "rows", rows, recordings())
        for name, source in (("segments", "segments"), ("features", vectors)):
            database.fill(db, name, uri, _read(staged, source, parts, ["uri"]))
        database.fill(db, "dropped", uri, _read(staged, "", dropped, ["uri"]))
        db.execute(
            "CREATE TABLE counts AS SELECT uri, sum(given) AS given, sum(rows) AS rows, "
            "bool_or(spoke) AS spoke, sum(segments) AS segments, sum(features) AS features FROM ("
            "SELECT uri, 1 AS given, 0 AS rows, false AS spoke, 0 AS segments, 0 AS features "
            "FROM given "
            "UNION ALL SELECT uri, 0, 1, spoke, 0, 0 FROM rows "
            "UNION ALL SELECT uri, 0, 1, false, 0, 0 FROM dropped "
            "UNION ALL SELECT uri, 0, 0, false, count(*), 0 FROM segments GROUP BY uri "
            "UNION ALL SELECT uri, 0, 0, false, 0, count(*) FROM features GROUP BY uri"
            ") GROUP BY uri"
        )
        problems = []
        count = database.count(db, "given")
        if count != listed.counts.todo:
            problems.append(f"{count:,} recordings are listed, {listed.counts.todo:,} expected")
        for problem, condition in (
            ("are missing", "rows < given"),
            ("are duplicated or not in the list", "rows > given"),
            ("have different numbers of segments and features", "segments <> features"),
            ("have speech but no segments", "spoke AND segments = 0"),
            ("have segments but should have none", "segments > 0 AND NOT spoke"),
        ):
            n, first = db.execute(
                f"SELECT count(*), min(uri) FROM counts WHERE {condition}"
            ).fetchone()
            if n:
                problems.append(f"{n:,} recordings {problem}, the first: {first}")
        forgotten = books.forgotten + database.count(db, "dropped")
        before = db.execute(
            "SELECT count(*) FROM rows WHERE rejected AND EXISTS (FROM given WHERE "
            "given.uri = rows.uri AND rejected_before)"
        ).fetchone()[0]
    if problems:
        raise CommandError(
            f"the books do not close: {'; '.join(problems)}. Nothing of this run was published; "
            "please report this"
        )
    return replace(books, rejected_before=before, forgotten=forgotten)


def _count(recordings: pa.Table) -> Books:
    status = Counter(recordings["status"].to_pylist())
    return Books(
        labelled=status[tables.LABELLED],
        extracted=status[tables.EXTRACTED],
        no_speech=status[tables.NO_SPEECH],
        rejected=status[tables.REJECTED],
        mixed=sum(
            any(channel["role"] == MIXED for channel in channels)
            for channels in recordings["by_channel"].to_pylist()
        ),
        audio_hours=_hours(recordings["duration_s"]),
        channel_hours=_hours(pc.multiply(recordings["duration_s"], recordings["channels"])),
        speech_hours=_hours(recordings["speech_s"]),
        by_reason=Counter(reason for reason in recordings["reason"].to_pylist() if reason),
        with_call_time=pc.count(recordings["call_time"]).as_py(),
        with_fields=_count_with_fields(recordings),
    )


def _hours(seconds: pa.ChunkedArray) -> float:
    return (pc.sum(seconds).as_py() or 0.0) / 3600


def _count_with_fields(recordings: pa.Table) -> int:
    known = pc.is_valid(recordings["call_time"])
    for name in recordings.schema.names:
        if name.startswith(META):
            known = pc.or_(known, pc.is_valid(recordings[name]))
    return pc.sum(known).as_py() or 0


def _read(
    staged: str, table: str, parts: Sequence[str], columns: Sequence[str]
) -> Iterator[pa.Table]:
    folder = files.join(staged, table) if table else staged
    for name in parts:
        yield from published.read_row_groups(files.join(folder, name), columns)
