"""A run's record: begun before its pipeline, completed and published after it.

The record is kept in the run's staging folder. So another command can publish a run if its pipeline
ended but its launcher was killed.
"""

from __future__ import annotations

import datetime as dt
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

import pyarrow as pa

from pipelines import logs
from pipelines.books import DROPPED, Part, Seal, of_matched
from pipelines.ledger import Matched
from pipelines.storage import attempts, changes, files, forgotten, published, store, sums
from pipelines.usage import peak_memory_mb
from ser_core import policy, tables


@contextmanager
def opened(where: str, say: Callable[[str], None]) -> Iterator[store.Output]:
    """Open and hold an output, which finishes what earlier commands left undone.

    Raises
    ------
    HeldError, StoreError
        As `store.Output`.
    """
    with store.Output(where, finish=partial(publish_left_over, say=say)) as output:
        for line in output.remarks:
            say(line)
        yield output


def begin(output: store.Output, start: tables.RunStart) -> str:
    """Make a run's staging folder with its record in it; returns the folder."""
    staged = output.stage(start.run_id)
    with files.naming(f"--output {output.root}"):
        # Dates as ISO text.
        text = json.dumps(asdict(start), default=lambda value: value.isoformat())
        files.write_whole(files.join(staged, store.ABOUT), text)
    logs.set_run(start.run_id)
    attempts.note_run(start.run_id)
    return staged


def seal_nothing_new(staged: str, counts: Matched) -> None:
    """Seal a run that has nothing to do and needs no pipeline."""
    Seal(of_matched(counts), ()).write(files.join(staged, store.SEAL))


def publish(
    output: store.Output,
    staged: str,
    *,
    launcher_cpu_s: float = 0.0,
    ended: dt.datetime | None = None,
) -> Seal:
    """Write a sealed run's row, and make the run visible. Discard it if nothing matched.

    Parameters
    ----------
    output : store.Output
        Held.
    staged : str
        The run's staging folder.
    launcher_cpu_s : float
        CPU seconds of the launcher; unknown if another command publishes.
    ended : datetime, optional
        When the run ended; now by default.
    """
    seal = _read_seal(output, staged)
    if not seal.books.matched:
        output.discard(staged)
        return seal
    start = _read_start(output, staged)
    row = tables.run_row(start, seal.books, _cost(seal, launcher_cpu_s, ended), seal.sketch)
    if warning := policy.warning(start.analysed, start.lawful_basis):
        row["warnings"] = [warning, *row["warnings"]]
    schema = tables.runs_schema()
    with (
        files.naming(f"--output {output.root}"),
        files.written(files.join(staged, "runs", "part.parquet")) as sink,
    ):
        hashed = sums.HashedFile(sink)
        with tables.writer(hashed, schema) as file:
            file.write_table(pa.Table.from_pylist([row], schema=schema))
    _mark_dropped(output, staged, seal)
    parts = [part for part in seal.parts if part.recordings]
    sha256 = {
        table: [part.sha256.get(table, "") for part in parts] for table in tables.TABLES[:-1]
    } | {"runs": [hashed.sha256]}
    output.publish(
        staged,
        [part.name for part in parts],
        date=row["night"],
        sha256=sha256,
        features=seal.features,
    )
    attempts.note_published(row)
    return seal


def _mark_dropped(output: store.Output, staged: str, seal: Seal) -> None:
    """Mark the names under which forgotten bytes were met, so that no run reads them again."""
    names = [name for part in seal.parts for name in part.dropped]
    if not names:
        return
    with files.naming(f"--output {output.root}"):
        versions = [
            tuple(row.values())
            for name in names
            for rows in published.read_row_groups(files.join(staged, name), DROPPED.names)
            for row in rows.to_pylist()
        ]
        salt = forgotten.salt_of(forgotten.read(output.root))
        forgotten.write(
            output.root,
            forgotten.Forgetting(
                id=changes.new_id(dt.datetime.now(dt.UTC)),
                at=dt.datetime.now(dt.UTC),
                kind=forgotten.RENAMED,
                only=None,
                counts={},
                marks=forgotten.Marks.of(salt, versions, ()),
            ),
        )


def publish_left_over(output: store.Output, staged: str, *, say: Callable[[str], None]) -> None:
    """Publish a run whose pipeline ended but whose launcher was killed."""
    books = publish(output, staged, ended=_sealed_at(output, staged)).books
    if books.matched:
        say(f"run {store.run_id(staged)} had ended and is published now: {books.line()}")


def _read_seal(output: store.Output, staged: str) -> Seal:
    with files.naming(f"--output {output.root}"):
        return Seal.read(files.join(staged, store.SEAL))


def _sealed_at(output: store.Output, staged: str) -> dt.datetime:
    """When the run's pipeline ended, by the time of its seal."""
    path = files.join(staged, store.SEAL)
    with files.naming(f"--output {output.root}"):
        modified_us = max(item.modified_us for item in files.below(staged) if item.path == path)
    return dt.datetime.fromtimestamp(modified_us / 1e6, dt.UTC)


def _read_start(output: store.Output, staged: str) -> tables.RunStart:
    with files.naming(f"--output {output.root}"):
        text = files.read_text(files.join(staged, store.ABOUT))
    values = json.loads(text)
    values["night"] = dt.date.fromisoformat(values["night"])
    values["started"] = dt.datetime.fromisoformat(values["started"])
    values["redo"] = tuple(values.get("redo", ()))
    return tables.RunStart(**values)


def _cost(seal: Seal, launcher_cpu_s: float, ended: dt.datetime | None) -> tables.RunCost:
    return tables.RunCost(
        cpu_seconds=launcher_cpu_s + sum(sum(part.cpu_s.values()) for part in seal.parts),
        peak_memory_mb=peak_memory_mb() + _peak_of_workers_mb(seal.parts),
        fence=" | ".join(sorted({text for part in seal.parts for text in part.fences})) or None,
        ended=ended or dt.datetime.now(dt.UTC),
        table_bytes=sum(part.size_bytes for part in seal.parts),
        host=socket.gethostname(),
    )


def _peak_of_workers_mb(parts: tuple[Part, ...]) -> float:
    peak_mb: dict[str, float] = {}
    for part in parts:
        for process, mb in part.peak_memory_mb.items():
            peak_mb[process] = max(mb, peak_mb.get(process, 0.0))
    return sum(peak_mb.values())
