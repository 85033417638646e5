"""What a run did, counted from what it wrote, and compared with what it was given.

This, too, happens where there is room for it: DuckDB compares, in the worker that writes the seal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import ledger
from pipelines.errors import CommandError
from pipelines.storage import files, published
from ser_core import tables
from ser_core.examine import MIXED
from ser_core.tables import RunCounts, database


@dataclass(frozen=True)
class Part:
    """Files of one name, one in each table, with the same recordings, and what they cost.

    Parameters
    ----------
    name, first_uri : str
    recordings, size_bytes : int
        The size is that of the three files.
    cpu_s : dict
        By stage.
    peak_memory_mb : dict
        By process.
    """

    name: str
    first_uri: str
    recordings: int
    size_bytes: int
    cpu_s: dict[str, float]
    peak_memory_mb: dict[str, float]


@dataclass(frozen=True)
class Books(RunCounts):
    """Recordings by what became of them; its fields are columns of `runs`."""

    def __add__(self, other: Books) -> Books:
        return Books(*(getattr(self, name) + getattr(other, name) for name in BOOKS))

    @property
    def examined(self) -> int:
        """Recordings that this run dealt with."""
        return self.labelled + self.extracted + self.no_speech + self.rejected

    def line(self) -> str:
        """For a person."""
        counts = f"{self.matched:,} matched = "
        if self.extracted:
            counts += f"{self.extracted:,} extracted + "
        counts += (
            f"{self.labelled:,} labelled + {self.no_speech:,} without speech + "
            f"{self.rejected:,} rejected + {self.already_done:,} already done"
        )
        if self.by_reason:
            said = ", ".join(f"{reason} {n:,}" for reason, n in self.by_reason.most_common())
            counts += f" (rejected: {said})"
        return counts


BOOKS = tuple(Books.__dataclass_fields__)


@dataclass(frozen=True)
class Listed:
    """What a run was given: a file of URIs in its staging folder, and how many there are."""

    name: str
    matched: int
    already_done: int


@dataclass(frozen=True)
class Seal:
    """The end of a run's pipeline: its books, and the parts that count.

    Others are left over from attempts that failed.
    """

    books: Books
    parts: tuple[Part, ...]

    def write(self, path: str) -> None:
        """Whole or not at all."""
        said = asdict(self)
        # asdict counts a Counter's pairs.
        said["books"]["by_reason"] = dict(self.books.by_reason)
        files.write_whole(path, json.dumps(said))

    @classmethod
    def read(cls, path: str) -> Seal:
        """What `write` wrote."""
        said = json.loads(files.read_text(path))
        books = said["books"] | {"by_reason": Counter(said["books"]["by_reason"])}
        return cls(Books(**books), tuple(Part(**part) for part in said["parts"]))


def check(staged: str, parts: Sequence[str], listed: Listed) -> Books:
    """Count what a run wrote, and compare it with what it was given.

    Parameters
    ----------
    staged : str
        The run's staging folder.
    parts : sequence of str
        Names of the parts that count.
    listed : Listed

    Raises
    ------
    CommandError
        A recording that is missing, twice, or nobody's; or one without all its segments and
        features.
    """
    books = Books(matched=listed.matched, already_done=listed.already_done)
    rows = pa.schema([("uri", pa.string()), ("spoke", pa.bool_())])

    def recordings() -> Iterator[pa.Table]:
        nonlocal books
        columns = ["uri", "status", "reason", "duration_s", "by_channel"]
        for table in _read(staged, "recordings", parts, columns):
            books = books + _count(table)
            spoke = pc.is_in(table["status"], pa.array([tables.LABELLED, tables.EXTRACTED]))
            yield pa.table([table["uri"], spoke], schema=rows)

    with database.connect() as db:
        database.fill(db, "given", ledger.LIST, _read(staged, "", [listed.name], ["uri"]))
        database.fill(db, "rows", rows, recordings())
        for name in ("segments", "features"):
            database.fill(db, name, ledger.LIST, _read(staged, name, parts, ["uri"]))
        db.execute(
            "CREATE TABLE counts AS SELECT uri, sum(given) AS given, sum(rows) AS rows, "
            "bool_or(spoke) AS spoke, sum(segments) AS segments, sum(features) AS features FROM ("
            "SELECT uri, 1 AS given, 0 AS rows, false AS spoke, 0 AS segments, 0 AS features "
            "FROM given "
            "UNION ALL SELECT uri, 0, 1, spoke, 0, 0 FROM rows "
            "UNION ALL SELECT uri, 0, 0, false, count(*), 0 FROM segments GROUP BY uri "
            "UNION ALL SELECT uri, 0, 0, false, 0, count(*) FROM features GROUP BY uri"
            ") GROUP BY uri"
        )
        problems = []
        for what, wrong in (
            ("are missing", "rows < given"),
            ("are there twice or were not asked for", "rows > given"),
            ("have other segments than features", "segments <> features"),
            ("have no segment and are not without speech", "spoke AND segments = 0"),
            ("have segments and should have none", "segments > 0 AND NOT spoke"),
        ):
            n, first = db.execute(f"SELECT count(*), min(uri) FROM counts WHERE {wrong}").fetchone()
            if n:
                problems.append(f"{n:,} recordings {what}, the first: {first}")
    if problems:
        raise CommandError(
            f"the books do not close: {'; '.join(problems)}. Nothing of this run was published; "
            "please report this"
        )
    return books


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
        audio_hours=(pc.sum(recordings["duration_s"]).as_py() or 0.0) / 3600,
        by_reason=Counter(reason for reason in recordings["reason"].to_pylist() if reason),
    )


def _read(
    staged: str, table: str, parts: Sequence[str], columns: Sequence[str]
) -> Iterator[pa.Table]:
    folder = files.join(staged, table) if table else staged
    for name in parts:
        yield from published.read_row_groups(files.join(folder, name), columns)
