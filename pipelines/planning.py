"""Estimates what a run would do: counts, hours, time, problems."""

from __future__ import annotations

import datetime as dt
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from pipelines import ledger
from pipelines.errors import NothingMatchedError
from pipelines.redo import Redo
from pipelines.role_rule import RoleRule
from pipelines.storage import files, published
from pipelines.storage import inputs as inputs_of
from pipelines.storage.inputs import local_path
from pipelines.tried_with import TriedWith
from pipelines.uri_fields import UriFields
from ser_core import features
from ser_core.errors import AudioError
from ser_core.examine import Settings, Source
from ser_core.guarded import Guard, HeaderReader
from ser_core.roles import Roles, roles_of
from ser_core.tables import Reader

# The headers of this many recordings are read to estimate the rest.
SAMPLE = 300
# CPU seconds per hour of audio, used until a run has measured it; see docs/performance.md.
CPU_S_PER_HOUR = 250.0


def print_plan(
    *,
    inputs: Sequence[str],
    output: str,
    dates: Sequence[dt.date],
    settings: Settings,
    fields: UriFields,
    roles: RoleRule,
    guard: Guard,
    min_age_s: float,
    redo: tuple[str, ...],
    model_id: str,
    workers: int,
) -> None:
    """Print the plan.

    Raises
    ------
    NothingMatchedError
        No input matches.
    """
    tables = published.open_reader(output)
    feature_set = features.get(settings.feature_set)
    published.check_feature_set(output, feature_set.id, feature_set.fingerprint)
    tried_with = TriedWith(settings, guard, roles, fields)
    finder = ledger.NewRecordings(
        tuple(inputs),
        tuple(dates),
        tables.root,
        tried_with,
        min_age_s,
        Redo(redo, tried_with.described(), model_id) if redo else None,
    )
    with finder.found() as todo:
        counts = todo.counts
        if not counts.matched:
            text = inputs_of.nothing_matches(inputs, dates)
            raise NothingMatchedError("; ".join([text, *counts.warnings]))
        new = _NewRecordings(fields)
        for source in todo.elements:
            new.add(source)
    sample = new.sample
    with HeaderReader(settings.limits, guard, raw=settings.raw) as reader:
        probes = [
            _probe(reader, source, roles.roles(fields.read(source.uri)[1])) for source in sample
        ]
    hours = [seconds / 3600 for seconds, _ in probes if seconds is not None]
    # Some headers do not tell a duration: such recordings are taken to be as long as the others.
    readable = sum(problem is None for _, problem in probes) / max(1, len(sample))
    total_hours = sum(hours) / max(1, len(hours)) * counts.todo * readable
    cost, basis = _cost(tables)
    problems = Counter(problem for _, problem in probes if problem)

    table = Table(title=f"What a run into {tables.root} would do", show_header=False)
    table.add_row("matched", f"{counts.matched:,}")
    table.add_row("already done", f"{counts.already_done:,}{_rejected_text(counts)}")
    if counts.waiting:
        table.add_row("waiting", f"{counts.waiting:,} (--min-age-s)")
    if counts.skipped:
        table.add_row("skipped", f"{counts.skipped:,} files beside recordings")
    table.add_row("new", f"{counts.todo:,} ({new.kinds_text()})")
    if counts.redone:
        table.add_row("of these, again", f"{counts.redone:,} (--redo {', '.join(redo)})")
    table.add_row("bytes", f"{new.size_bytes / 1e6:,.1f} MB")
    complete = len(sample) == counts.todo
    basis_of_hours = "all headers read" if complete else f"from the headers of {len(sample)}"
    table.add_row("audio", f"{total_hours:,.2f} h ({basis_of_hours})")
    table.add_row(
        "time", f"about {_span(total_hours * cost / workers)} with {workers} processes ({basis})"
    )
    for problem, count in problems.most_common():
        table.add_row("problem", f"{problem}: {count:,} of {len(sample):,} examined")
    for line in counts.warnings:
        table.add_row("problem", line)
    if new.without_fields:
        table.add_row(
            "problem", f"--uri-fields does not match: {new.without_fields:,} of {counts.todo:,} new"
        )
    if fields.has_time:
        table.add_row("call_time", f"read from {new.with_time:,} of {counts.todo:,} new paths")
    if fields.pattern and sample:
        time, meta = fields.read(sample[0].uri)
        read = ", ".join(f"{name}={value}" for name, value in {"call_time": time, **meta}.items())
        table.add_row("for example", f"{os.path.basename(sample[0].uri)}: {read}")
    Console().print(table)


def _rejected_text(counts: ledger.Matched) -> str:
    by_reason = counts.rejected_earlier
    if not by_reason:
        return ""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in by_reason.most_common())
    return f"; {by_reason.total():,} of them rejected earlier ({reasons})"


def _probe(reader: HeaderReader, source: Source, roles: Roles) -> tuple[float | None, str | None]:
    """Duration in seconds by the header, and the reason to expect a rejection, if any."""
    try:
        if files.is_remote(source.uri):
            with files.read(source.uri) as file:
                header = reader.read(file, source.uri)
        else:
            header = reader.read(local_path(source.uri), source.uri)
    except Exception as error:
        if files.is_unavailable(error):
            return None, "unreadable"
        raise
    try:
        if header.reason is None:
            roles_of(header.channels, roles, tracks=header.tracks)
    except AudioError as error:
        return None, f"{error.reason} (--channel-roles)"
    return header.declared_s, header.reason


@dataclass
class _NewRecordings:
    """Counts of the new recordings, and a random sample; the list itself may not fit in memory."""

    fields: UriFields
    size_bytes: int = 0
    without_fields: int = 0
    with_time: int = 0
    seen: int = 0
    kinds: Counter = field(default_factory=Counter)
    sample: list[Source] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, source: Source) -> None:
        """Count a recording."""
        self.size_bytes += source.size_bytes or 0
        self.kinds[os.path.splitext(source.uri)[1].lower() or "no extension"] += 1
        if self.fields.pattern:
            time, meta = self.fields.read(source.uri)
            self.with_time += time is not None
            self.without_fields += time is None and all(v is None for v in meta.values())
        # Each recording is in the sample with the same probability (Vitter 1985, algorithm R).
        place = self._random.randint(0, self.seen)
        self.seen += 1
        if len(self.sample) < SAMPLE:
            self.sample.append(source)
        elif place < SAMPLE:
            self.sample[place] = source

    def kinds_text(self) -> str:
        return ", ".join(f"{n:,} {kind}" for kind, n in self.kinds.most_common(5)) or "nothing"


def _cost(tables: Reader) -> tuple[float, str]:
    """CPU seconds per hour of audio in the last run of an hour or more, and the basis in words."""
    for path in reversed(tables.paths("runs")):
        for row in tables.open_file(path).read(columns=["audio_hours", "cpu_seconds"]).to_pylist():
            if row["audio_hours"] >= 1:
                return row["cpu_seconds"] / row["audio_hours"], "as in the last run"
    return CPU_S_PER_HOUR, "an estimate: no run of an hour or more yet"


def _span(seconds: float) -> str:
    """A time span for a person."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
