"""The nightly job, and the two that share its way: `run`, `extract`, `label`.

    match -> leave out what is done -> reshuffle -> examine -> predict -> write -> check -> publish

A long list is worked off in chunks; each is a run with its own books, published by itself.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import errors, execute, store
from pipelines.errors import CommandError, NothingMatchedError
from pipelines.stored import LoadStored, Stored, stored_meta, to_label
from pipelines.transforms import Examine, Part, Predict, Seal, WriteParts, read_seal
from pipelines.uri_fields import UriFields
from ser_core import features, models, tables
from ser_core.examine import MIXED, Settings, Source
from ser_core.guarded import Guard

LIBRARIES = ("apache-beam", "keras", "numpy", "pyarrow", "ser-pipeline", "soundfile", "soxr")


@dataclass(frozen=True)
class Job:
    """What a command was asked to do; `nightly.run` does it.

    Parameters
    ----------
    output : str
    date : datetime.date
        The night under which rows are filed.
    command : str
        For the table of runs, secrets left out.
    model : str or None
        Bundle; None extracts features only.
    settings : Settings
        Its feature set is the model's.
    inputs : tuple of str
        Patterns; `label` has none.
    guard, fields
        Of `run` and `extract`.
    chunk : int or None
        Recordings a run; None is all at once.
    max_reject_ratio : float in [0, 1]
    runner : execute.Runner
        Where Beam works.
    profile : str or None
        A file to add a line of JSON to for each run: CPU seconds by stage.
    say : callable
        Takes a line for the person or log that watches.
    """

    output: str
    date: dt.date
    command: str
    model: str | None
    settings: Settings
    runner: execute.Runner
    inputs: tuple[str, ...] = ()
    guard: Guard = field(default_factory=Guard)
    fields: UriFields = field(default_factory=UriFields)
    chunk: int | None = 5_000
    max_reject_ratio: float = 0.2
    profile: str | None = None
    say: Callable[[str], None] = print


@dataclass(frozen=True)
class Books:
    """What a run did, counted from what it wrote."""

    matched: int = 0
    already_done: int = 0
    labelled: int = 0
    extracted: int = 0
    no_speech: int = 0
    rejected: int = 0
    mixed: int = 0
    audio_hours: float = 0.0
    by_reason: Counter = field(default_factory=Counter)

    def __add__(self, other: Books) -> Books:
        return Books(*(getattr(self, name) + getattr(other, name) for name in _BOOKS))

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


_BOOKS = tuple(Books.__dataclass_fields__)


def run(job: Job) -> int:
    """Examine and label the recordings that are new. Returns the exit status."""
    card = models.read_card(job.model) if job.model else None
    feature_set = features.get(job.settings.feature_set)
    labelling = _labelling(card, feature_set.id)
    with store.Output(job.output) as output:
        output.check_feature_set(feature_set.id, feature_set.fingerprint)
        matched = store.match(job.inputs, date=job.date, output=str(output.root))
        if not matched:
            raise NothingMatchedError(
                f"--input {' '.join(job.inputs)}: nothing matches; "
                "a pattern such as 'calls/**/*.wav', a folder, or @list.txt expected"
            )
        done = output.done()
        new = [one for one in matched if (one.uri, one.size_bytes, one.modified_us) not in done]

        def work(pipeline, chunk: Sequence[Source], staged: Path):
            return (
                pipeline
                | "New" >> beam.Create(chunk)
                | "Reshuffle" >> beam.Reshuffle()
                | "Examine"
                >> beam.ParDo(
                    Examine(job.settings, job.guard, job.fields, str(staged / "progress"))
                )
                | "Predict" >> Predict(job.model)
                | "Write" >> beam.ParDo(WriteParts(str(staged), labelling, job.fields.names))
            )

        night = _Night(job, output, labelling, card)
        books = night.work_off(new, lambda source: [source.uri], work, len(matched) - len(new))
    return _close(job, books)


def label(job: Job) -> int:
    """Label what is stored with another model, without the audio. Returns the exit status."""
    if job.model is None:
        raise ValueError("model=None: a bundle expected")
    card = models.read_card(job.model)
    feature_set = features.get(card.feature_set)
    labelling = _labelling(card, feature_set.id)
    with store.Output(job.output) as output:
        output.check_feature_set(feature_set.id, feature_set.fingerprint)
        parts, matched = to_label(output, card.id)
        if not matched:
            raise NothingMatchedError(
                f"--output {output.root}: no recording in it was labelled, extracted or "
                "without speech; fill it with `ser run` or `ser extract` first"
            )
        meta = stored_meta(output)

        def work(pipeline, chunk: Sequence[Stored], staged: Path):
            return (
                pipeline
                | "Stored" >> beam.Create(chunk)
                | "Reshuffle" >> beam.Reshuffle()
                | "Load" >> beam.ParDo(LoadStored(str(staged / "progress")))
                | "Predict" >> Predict(job.model)
                | "Write" >> beam.ParDo(WriteParts(str(staged), labelling, meta))
            )

        todo = sum(len(part.uris) for part in parts)
        night = _Night(job, output, labelling, card)
        books = night.work_off(parts, lambda part: part.uris, work, matched - todo)
    return _close(job, books)


@dataclass(frozen=True)
class _Night:
    """Works off a list in chunks, each a run that is checked and published."""

    job: Job
    output: store.Output
    labelling: tables.Labelling
    card: models.Card | None

    def work_off(self, todo: Sequence, uris_of, work, already_done: int) -> Books:
        total = Books()
        size = self.job.chunk or max(1, len(todo))
        chunks = [todo[at : at + size] for at in range(0, len(todo), size)] or [todo]
        for i, chunk in enumerate(chunks):
            if len(chunks) > 1:
                self.job.say(f"chunk {i + 1} of {len(chunks)}")
            books = self._run(chunk, uris_of, work, already_done if i == 0 else 0)
            total = total + books
        return total

    def _run(self, chunk: Sequence, uris_of, work, already_done: int) -> Books:
        started = dt.datetime.now(dt.UTC)
        staged = self.output.stage(store.new_run_id(started))
        uris = [uri for element in chunk for uri in uris_of(element)]
        parts: list[Part] = []
        launcher_cpu_s = execute.cpu_s()
        if chunk:
            seal = staged / "parts.json"
            runner = self.job.runner
            job_name = runner.job_name()
            pipeline = beam.Pipeline(runner=runner.beam_runner(), options=runner.options(job_name))
            work(pipeline, chunk, staged) | "Seal" >> Seal(str(seal))
            runner.run(pipeline, staged / "progress", len(uris), job_name)
            parts = read_seal(seal)
            self._profile(parts)
        books = check_books(staged, [part.name for part in parts], uris)
        books = replace(books, matched=len(uris) + already_done, already_done=already_done)
        self._write_run(staged, books, parts, started, launcher_cpu_s)
        self.output.publish(staged, [part.name for part in parts], date=self.job.date)
        return books

    def _profile(self, parts: Sequence[Part]) -> None:
        if self.job.profile is None:
            return
        by_stage: Counter = Counter()
        for part in parts:
            by_stage.update(part.cpu_s)
        with open(self.job.profile, "a", encoding="utf-8") as file:
            file.write(json.dumps(by_stage) + "\n")

    def _write_run(self, staged, books: Books, parts, started, launcher_cpu_s: float) -> None:
        peak_by_process: dict[int, float] = {}
        for part in parts:
            peak_by_process[part.process] = max(
                part.peak_memory_mb, peak_by_process.get(part.process, 0.0)
            )
        row = {
            **{name: getattr(books, name) for name in _BOOKS if name != "by_reason"},
            "run_id": staged.name,
            "night": self.job.date,
            "command": self.job.command,
            "versions": {name: importlib.metadata.version(name) for name in LIBRARIES}
            | {"python": platform.python_version()},
            "model_id": self.labelling.model_id,
            "model_licence": self.card.licence if self.card else None,
            "feature_set": self.labelling.feature_set,
            "by_reason": dict(books.by_reason),
            "cpu_seconds": execute.cpu_s()
            - launcher_cpu_s
            + sum(seconds for part in parts for seconds in part.cpu_s.values()),
            "peak_memory_mb": execute.peak_memory_mb() + sum(peak_by_process.values()),
            "started": started,
            "ended": dt.datetime.now(dt.UTC),
        }
        schema = tables.runs_schema()
        with (
            store.naming(self.output.root),
            tables.writer(staged / "runs" / "part.parquet", schema) as file,
        ):
            file.write_table(pa.Table.from_pylist([row], schema=schema))


def check_books(staged: Path, parts: Sequence[str], uris: Sequence[str]) -> Books:
    """Count what a run wrote, and compare it with what it was given.

    Raises
    ------
    CommandError
        A recording that is missing, twice, or nobody's; or one without all its segments and
        features.
    """
    expected = Counter(uris)
    rows: Counter = Counter()
    spoken: set[str] = set()
    books = Books()
    columns = ["uri", "status", "reason", "duration_s", "by_channel"]
    for table in _read(staged, "recordings", parts, columns):
        status = Counter(table["status"].to_pylist())
        uri = table["uri"].to_pylist()
        rows.update(uri)
        speaks = pc.is_in(
            table["status"], pa.array([tables.LABELLED, tables.EXTRACTED])
        ).to_pylist()
        spoken.update(u for u, yes in zip(uri, speaks, strict=True) if yes)
        mixed = sum(
            any(channel["role"] == MIXED for channel in channels)
            for channels in table["by_channel"].to_pylist()
        )
        books = books + Books(
            labelled=status[tables.LABELLED],
            extracted=status[tables.EXTRACTED],
            no_speech=status[tables.NO_SPEECH],
            rejected=status[tables.REJECTED],
            mixed=mixed,
            audio_hours=(pc.sum(table["duration_s"]).as_py() or 0.0) / 3600,
            by_reason=Counter(reason for reason in table["reason"].to_pylist() if reason),
        )
    segments = Counter(
        u for t in _read(staged, "segments", parts, ["uri"]) for u in t["uri"].to_pylist()
    )
    vectors = Counter(
        u for t in _read(staged, "features", parts, ["uri"]) for u in t["uri"].to_pylist()
    )
    problems = [
        f"{len(wrong):,} recordings {what}, the first: {min(wrong)}"
        for what, wrong in (
            ("are missing", expected - rows),
            ("are there twice or were not asked for", rows - expected),
            ("have other segments than features", (segments - vectors) + (vectors - segments)),
            ("have no segment and are not without speech", spoken - segments.keys()),
            ("have segments and should have none", segments.keys() - spoken),
        )
        if wrong
    ]
    if problems:
        raise CommandError(
            f"the books do not close: {'; '.join(problems)}. Nothing of this run was published; "
            "please report this"
        )
    return books


def _read(staged: Path, table: str, parts: Sequence[str], columns) -> Iterator[pa.Table]:
    for name in parts:
        yield pq.ParquetFile(staged / table / name).read(columns=columns)


def _labelling(card: models.Card | None, feature_set: str) -> tables.Labelling:
    if card is None:
        return tables.Labelling(None, (), feature_set)
    return tables.Labelling(
        model_id=card.id,
        labels=tuple(card.labels),
        feature_set=card.feature_set,
        unsure_segment_below=card.unsure_segment_below,
        unsure_recording_below=card.unsure_recording_below,
    )


def _close(job: Job, books: Books) -> int:
    """Say what was done, and turn it into an exit status."""
    if not books.examined:
        job.say(f"nothing new: {books.matched:,} matched, {books.already_done:,} already done")
        return errors.DONE
    job.say(books.line())
    if books.mixed:
        job.say(
            f"{books.mixed:,} recordings are mono: what the agent says may be labelled there, too"
        )
    if books.examined and books.rejected > job.max_reject_ratio * books.examined:
        job.say(
            f"{books.rejected:,} of {books.examined:,} recordings were rejected, more than "
            f"--max-reject-ratio {job.max_reject_ratio:g}; the rest is published. "
            "SELECT reason, detail, uri FROM recordings WHERE status = 'rejected' tells why"
        )
        return errors.TOO_MANY_REJECTIONS
    return errors.DONE
