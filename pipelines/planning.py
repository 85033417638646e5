"""Estimates what a run would do: counts, hours, time, room, problems."""

from __future__ import annotations

import datetime as dt
import math
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from pipelines import costs, errors, ledger
from pipelines.costs import Work
from pipelines.errors import NothingMatchedError
from pipelines.redo import Redo
from pipelines.role_rule import RoleRule
from pipelines.storage import files, published
from pipelines.storage import inputs as inputs_of
from pipelines.tried_with import TriedWith
from pipelines.uri_fields import UriFields
from ser_core import features
from ser_core.errors import AudioError
from ser_core.examine import Settings, Source
from ser_core.guarded import Guard
from ser_core.header_reader import HeaderReader
from ser_core.names import path_of
from ser_core.roles import Roles, roles_of

# The headers of so many recordings are read; of more, those of a random sample of this size. In an
# object store each costs a request or two.
HEADERS, REMOTE_HEADERS = 3_000, 300
# Above this share of the headers, a plan expects that most recordings will be rejected.
_MOST = 0.5
# Quantile of the normal distribution for an interval of 95 %.
_Z = 1.96
_PATTERNS_SHOWN = 6


@dataclass(frozen=True)
class Request:
    """What is planned: the options of a run.

    Parameters
    ----------
    inputs : sequence of str
    output : str
    dates : sequence of datetime.date
    settings, fields, roles, guard
        Of the examination.
    min_age_s : float
    redo : tuple of str
    model_id : str
    workers : int
    runs : int
        Nights of a backfill, each of which is a run.
    """

    inputs: Sequence[str]
    output: str
    dates: Sequence[dt.date]
    settings: Settings
    fields: UriFields
    roles: RoleRule
    guard: Guard
    min_age_s: float
    redo: tuple[str, ...]
    model_id: str
    workers: int
    runs: int = 1


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Parameters
    ----------
    output : str
    patterns : tuple of str
        The first ones, as they are looked for.
    counts : ledger.Matched
    survey : ledger.Survey
    new : NewRecordings
    headers, headers_with_duration : int
        Number of headers read, and of those that tell a duration.
    audio_h, audio_h_error : float
        Hours of audio, and half of its 95 % interval; 0 if all headers tell a duration.
    cpu_s, wall_s, table_bytes : float
    workers : int
    basis : str
        What the costs are estimated from.
    problems : dict of str to int
        Expected rejections among the headers that were read.
    """

    output: str
    patterns: tuple[str, ...]
    counts: ledger.Matched
    survey: ledger.Survey
    new: NewRecordings
    headers: int
    headers_with_duration: int
    audio_h: float
    audio_h_error: float
    cpu_s: float
    wall_s: float
    table_bytes: float
    workers: int
    basis: str
    problems: dict[str, int]

    @property
    def status(self) -> int:
        """The exit status."""
        most = self.headers and sum(self.problems.values()) > _MOST * self.headers
        return errors.WOULD_REJECT if most else errors.DONE

    def as_json(self) -> dict[str, Any]:
        """The plan as `--json` prints it."""
        counts, survey = self.counts, self.survey
        return {
            "output": self.output,
            "patterns": list(self.patterns),
            "matched": counts.matched,
            "already_done": counts.already_done,
            "waiting": counts.waiting,
            "forgotten": counts.forgotten,
            "skipped": counts.skipped,
            "to_do": counts.todo,
            "redone": counts.redone,
            **asdict(survey),
            "rejected_before": dict(counts.rejected_earlier),
            "bytes": self.new.size_bytes,
            "headers_read": self.headers,
            "headers_with_duration": self.headers_with_duration,
            "audio_hours": self.audio_h,
            "audio_hours_error": self.audio_h_error,
            "cpu_seconds": self.cpu_s,
            "wall_seconds": self.wall_s,
            "table_bytes": self.table_bytes,
            "workers": self.workers,
            "basis": self.basis,
            "problems": self.problems,
            "warnings": list(counts.warnings),
            "exit_status": self.status,
        }


def make(request: Request) -> Plan:
    """Plan a run.

    Raises
    ------
    NothingMatchedError
        No input matches, or what `--redo` names is not there.
    """
    reader = published.open_reader(request.output)
    settings = request.settings
    feature_set = features.get(settings.feature_set)
    published.check_feature_set(request.output, feature_set.id, feature_set.fingerprint)
    tried_with = TriedWith(settings, request.guard, request.roles, request.fields)
    redo = Redo(request.redo, tried_with.described(), request.model_id) if request.redo else None
    finder = ledger.NewRecordings(
        tuple(request.inputs),
        tuple(request.dates),
        reader.root,
        tried_with,
        request.min_age_s,
        redo,
        with_survey=True,
    )
    with finder.found() as todo:
        counts, survey = todo.counts, todo.survey
        if not counts.matched:
            text = inputs_of.nothing_matches(request.inputs, request.dates)
            raise NothingMatchedError("; ".join([text, *counts.warnings]))
        new = NewRecordings(request.fields)
        for source in todo.elements:
            new.add(source)
    with HeaderReader(settings.limits, request.guard, raw=settings.raw) as headers:
        probes = [
            _probe(headers, source, request.roles.roles(request.fields.read(source.uri)[1]))
            for source in new.sample
        ]
    known = costs.read(reader, settings.feature_set)
    expected = _Expected.of(probes, counts.todo, known.call_s)
    work = Work(
        counts.todo,
        expected.audio_h,
        expected.channel_h,
        expected.audio_h * known.speech_share,
        # A night without new recordings starts no workers.
        runs=min(request.runs, counts.todo),
    )
    cpu_s = known.cpu_s(work) if counts.todo else 0.0
    patterns = islice(inputs_of.expanded(request.inputs, request.dates), _PATTERNS_SHOWN + 1)
    return Plan(
        output=reader.root,
        patterns=tuple(patterns),
        counts=counts,
        survey=survey,
        new=new,
        headers=len(probes),
        headers_with_duration=sum(probe.seconds is not None for probe in probes),
        audio_h=expected.audio_h,
        audio_h_error=expected.audio_h_error,
        cpu_s=cpu_s,
        wall_s=known.wall_s(cpu_s, request.workers, work.runs) if counts.todo else 0.0,
        table_bytes=known.table_bytes(work) if counts.todo else 0.0,
        workers=request.workers,
        basis=known.basis,
        problems=dict(Counter(probe.problem for probe in probes if probe.problem).most_common()),
    )


@dataclass(frozen=True)
class _Probe:
    """What a header tells: seconds, channels, and the reason to expect a rejection, if any."""

    seconds: float | None = None
    channels: int = 1
    problem: str | None = None


def _probe(reader: HeaderReader, source: Source, roles: Roles) -> _Probe:
    try:
        if files.is_remote(source.uri):
            with files.read(source.uri) as file:
                header = reader.read(file, source.uri)
        else:
            header = reader.read(path_of(source.uri), source.uri)
    except Exception as error:
        if files.is_unavailable(error):
            return _Probe(problem="unreadable")
        raise
    if header.reason is not None:
        return _Probe(problem=header.reason)
    try:
        roles_of(header.channels, roles, tracks=header.tracks)
    except AudioError as error:
        return _Probe(problem=f"{error.reason} (--channel-roles)")
    return _Probe(header.declared_s, header.channels)


@dataclass(frozen=True)
class _Expected:
    """Hours to be expected of all recordings, by headers of some."""

    audio_h: float
    channel_h: float
    audio_h_error: float

    @classmethod
    def of(cls, probes: Sequence[_Probe], count: int, call_s: float) -> _Expected:
        """Estimate from a random sample; those that tell no duration are as long as the others.

        Parameters
        ----------
        probes : sequence of _Probe
        count : int
            Number of recordings.
        call_s : float
            Seconds of a call, if no header tells a duration.
        """
        accepted = [probe for probe in probes if probe.problem is None]
        if not accepted:
            return cls(0.0, 0.0, 0.0)
        known = [probe for probe in accepted if probe.seconds is not None]
        known = known or [replace(probe, seconds=call_s) for probe in accepted]
        mean_s = float(np.mean([probe.seconds for probe in known]))
        channels = float(np.mean([probe.channels for probe in known]))
        by_channel_s = float(np.mean([(probe.seconds or 0) * probe.channels for probe in known]))
        # A rejected recording costs no hours.
        seconds = np.array([
            0.0 if probe.problem else mean_s if probe.seconds is None else probe.seconds
            for probe in probes
        ])  # fmt: skip
        total_h = float(seconds.mean()) * count / 3600
        # Of all recordings, the part that is not in the sample is uncertain.
        share = 1 - len(probes) / count
        error = _Z * float(seconds.std()) / math.sqrt(len(probes)) * math.sqrt(max(0.0, share))
        per_audio = by_channel_s / mean_s if mean_s else channels
        return cls(total_h, total_h * per_audio, error * count / 3600)


@dataclass
class NewRecordings:
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
        if len(self.sample) < (REMOTE_HEADERS if files.is_remote(source.uri) else HEADERS):
            self.sample.append(source)
        elif place < len(self.sample):
            self.sample[place] = source
