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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa

from pipelines import errors, ledger
from pipelines.books import BOOKS, Books, Listed, Part, Seal
from pipelines.errors import NothingMatchedError
from pipelines.runners import jobs, local
from pipelines.steps.closing import Close
from pipelines.steps.dealing import Dealt
from pipelines.steps.examining import Examine
from pipelines.steps.finding import Find
from pipelines.steps.loading import LoadStored, stored_meta
from pipelines.steps.parts import schemas
from pipelines.steps.predicting import Predict
from pipelines.steps.writing import WriteParts
from pipelines.storage import bundles, files, store
from pipelines.uri_fields import UriFields
from ser_core import features, models, tables
from ser_core.examine import Settings
from ser_core.guarded import Guard

LIBRARIES = ("apache-beam", "keras", "numpy", "pyarrow", "ser-pipeline", "soundfile", "soxr")
# The list of a chunk, in its staging folder.
GIVEN = "given.parquet"


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
    card : models.Card or None
        The bundle's.
    settings : Settings
        Its feature set is the model's.
    inputs : tuple of str
        Patterns; `label` has none.
    guard, fields
        Of `run` and `extract`.
    chunk : int or None
        Recordings a run; None is all at once.
    max_reject_ratio : float in [0, 1]
    runner : local.Runner
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
    runner: local.Runner
    card: models.Card | None = None
    inputs: tuple[str, ...] = ()
    guard: Guard = field(default_factory=Guard)
    fields: UriFields = field(default_factory=UriFields)
    chunk: int | None = 5_000
    max_reject_ratio: float = 0.2
    profile: str | None = None
    say: Callable[[str], None] = print


class Submitted(Exception):  # noqa: N818  (no error: the work is done elsewhere)
    """A template was made; its job is started by somebody else."""

    def line(self) -> str:
        """For a person."""
        return f"run {self.args[0]} is a template now; the command after its job publishes it"


def run(job: Job) -> int:
    """Examine and label the recordings that are new. Returns the exit status."""
    finder = ledger.NewRecordings(job.inputs, job.date, files.absolute(job.output))

    def read(elements, progress: str | None):
        return elements | "Examine" >> beam.ParDo(
            Examine(job.settings, job.guard, job.fields, progress)
        )

    return _night(
        job, finder, read, lambda output: job.fields.names,
        nothing=f"--input {' '.join(job.inputs)}: nothing matches; "
        "a pattern such as 'calls/**/*.wav', a folder, or @list.txt expected",
    )  # fmt: skip


def label(job: Job) -> int:
    """Label what is stored with another model, without the audio. Returns the exit status."""
    if job.card is None:
        raise ValueError("model=None: a bundle expected")
    finder = ledger.StoredRecordings(files.absolute(job.output), job.card.id)

    def read(elements, progress: str | None):
        return elements | "Load" >> beam.ParDo(LoadStored(progress))

    return _night(
        job, finder, read, stored_meta,
        nothing=f"--output {files.absolute(job.output)}: no recording in it was labelled, "
        "extracted or without speech; fill it with `ser run` or `ser extract` first",
    )  # fmt: skip


def _night(job: Job, finder: ledger.Finder, read, meta_of, *, nothing: str) -> int:
    """Work off what a finder finds. Returns the exit status."""
    try:
        with _opened(job) as output:
            books = Night(job, output, finder, read, meta_of(output)).work_off()
    except Submitted as error:
        job.say(error.line())
        return errors.DONE
    if not books.matched:
        raise NothingMatchedError(nothing)
    return _close(job, books)


@contextmanager
def _opened(job: Job) -> Iterator[store.Output]:
    """The output, held; what earlier runs left undone is done first."""
    finish = partial(_publish, say=job.say)
    with store.Output(job.output, finish=finish) as output:
        for line in output.remarks:
            job.say(line)
        feature_set = features.get(job.settings.feature_set)
        output.check_feature_set(feature_set.id, feature_set.fingerprint)
        yield output


@dataclass(frozen=True)
class Night:
    """Works off what there is to do in runs, each of which is checked and published.

    Parameters
    ----------
    job : Job
    output : store.Output
        Held.
    finder : ledger.Finder
    read : callable
        Takes elements to do, and a folder for progress; gives items.
    meta : sequence of str
        Names of the columns `meta_<name>`.
    """

    job: Job
    output: store.Output
    finder: ledger.Finder
    read: Callable[[Any, str | None], Any]
    meta: Sequence[str]

    def work_off(self) -> Books:
        """All of it. Nothing is published where nothing matches."""
        if self.job.chunk is None:
            return self._run(None)
        total = Books()
        with self.finder.found() as todo:
            if not todo.matched:
                return total
            chunks = -(-todo.todo // self.job.chunk)
            done = todo.matched - todo.todo
            for i, chunk in enumerate(_chunks(todo.elements, self.job.chunk)):
                if chunks > 1:
                    self.job.say(f"chunk {i + 1} of {chunks}")
                total = total + self._run(chunk, done if i == 0 else 0)
            if not todo.todo:
                total = self._run([], done)
        return total

    def _run(self, chunk: Sequence | None, already_done: int = 0) -> Books:
        """One run: of a chunk, or of all that a worker finds."""
        started = dt.datetime.now(dt.UTC)
        staged = self.output.stage(store.new_run_id(started))
        labelling = _labelling(self.job.card, self.job.settings.feature_set)
        about = About(
            run_id=store.run_id(staged),
            night=self.job.date.isoformat(),
            command=self.job.command,
            versions={name: importlib.metadata.version(name) for name in LIBRARIES}
            | {"python": platform.python_version()},
            model_id=labelling.model_id,
            model_licence=self.job.card.licence if self.job.card else None,
            feature_set=labelling.feature_set,
            started=started.isoformat(),
        )
        with files.naming(f"--output {self.output.root}"):
            files.write_whole(files.join(staged, store.ABOUT), json.dumps(asdict(about)))
        cpu_s = local.cpu_s()
        if chunk is not None and not chunk:
            Seal(Books(already_done=already_done, matched=already_done), ()).write(
                files.join(staged, store.SEAL)
            )
        elif not self._work(staged, chunk, already_done, labelling):
            raise Submitted(about.run_id)
        seal = _read_seal(self.output, staged)
        if not seal.books.matched:
            self.output.discard(staged)
            return seal.books
        self._profile(seal.parts)
        _publish(self.output, staged, cpu_s=local.cpu_s() - cpu_s)
        return seal.books

    def _work(
        self,
        staged: str,
        chunk: Sequence | None,
        already_done: int,
        labelling: tables.Labelling,
    ) -> bool:
        """match -> leave out what is done -> examine -> predict -> write -> check.

        Returns
        -------
        bool
            Whether it was done: False where a template was made.
        """
        job, total = self.job, None
        # Where workers may count what they did, and this process can look.
        progress = None if self.output.remote else files.join(staged, store.PROGRESS)
        submitted = job.runner.job(store.run_id(staged))
        pipeline = beam.Pipeline(
            runner=job.runner.beam_runner(), options=job.runner.options(submitted)
        )
        if chunk is None:
            found, listed = pipeline | "Find" >> Find(self.finder, staged)
            elements = found | "Reshuffle" >> beam.Reshuffle()
        else:
            uris = [uri for element in chunk for uri in ledger.uris(element)]
            with (
                files.naming(f"--output {self.output.root}"),
                ledger.listing(files.join(staged, GIVEN)) as note,
            ):
                note(uris)
            total = len(uris)
            given = Listed(GIVEN, matched=total + already_done, already_done=already_done)
            elements = pipeline | "Chunk" >> Dealt(chunk, job.runner.workers)
            listed = pipeline | "Listed" >> beam.Create([given], reshuffle=False)
        items = self.read(elements, progress)
        model = bundles.for_workers(job.model, staged, local=job.runner.local)
        parts = (
            items
            | "Predict" >> Predict(model)
            | "Write" >> beam.ParDo(WriteParts(staged, labelling, self.meta))
        )
        (parts, listed) | "Close" >> Close(staged, partial(schemas, labelling, self.meta))
        if submitted:
            with files.naming(f"--output {self.output.root}"):
                jobs.note_job(staged, submitted)
        return job.runner.run(pipeline, progress, total, submitted)

    def _profile(self, parts: Sequence[Part]) -> None:
        if self.job.profile is None:
            return
        by_stage: Counter = Counter()
        for part in parts:
            by_stage.update(part.cpu_s)
        with open(self.job.profile, "a", encoding="utf-8") as file:
            file.write(json.dumps(by_stage) + "\n")


@dataclass(frozen=True)
class About:
    """What is known of a run when it begins: columns of `runs`, dates as ISO text."""

    run_id: str
    night: str
    command: str
    versions: dict[str, str]
    model_id: str | None
    model_licence: str | None
    feature_set: str
    started: str


def _publish(
    output: store.Output,
    staged: str,
    *,
    cpu_s: float = 0.0,
    say: Callable[[str], None] | None = None,
) -> None:
    """Write a sealed run's row and make the run visible.

    Parameters
    ----------
    cpu_s : float
        Of the launcher; what it was is gone where another one publishes.
    say : callable, optional
        Told that an earlier run is published now.
    """
    with files.naming(f"--output {output.root}"):
        about = About(**json.loads(files.read_text(files.join(staged, store.ABOUT))))
    seal = _read_seal(output, staged)
    if not seal.books.matched:
        output.discard(staged)
        return
    peak_mb: dict[str, float] = {}
    for part in seal.parts:
        for process, mb in part.peak_memory_mb.items():
            peak_mb[process] = max(mb, peak_mb.get(process, 0.0))
    night = dt.date.fromisoformat(about.night)
    row = {
        **asdict(about),
        **{name: getattr(seal.books, name) for name in BOOKS if name != "by_reason"},
        "night": night,
        "started": dt.datetime.fromisoformat(about.started),
        "by_reason": dict(seal.books.by_reason),
        "cpu_seconds": cpu_s + sum(sum(part.cpu_s.values()) for part in seal.parts),
        "peak_memory_mb": local.peak_memory_mb() + sum(peak_mb.values()),
        "ended": dt.datetime.now(dt.UTC),
    }
    schema = tables.runs_schema()
    with (
        files.naming(f"--output {output.root}"),
        files.written(files.join(staged, "runs", "part.parquet")) as sink,
        tables.writer(sink, schema) as file,
    ):
        file.write_table(pa.Table.from_pylist([row], schema=schema))
    output.publish(staged, [part.name for part in seal.parts], date=night)
    if say:
        say(f"run {about.run_id} had come to its end and is published now: {seal.books.line()}")


def _read_seal(output: store.Output, staged: str) -> Seal:
    with files.naming(f"--output {output.root}"):
        return Seal.read(files.join(staged, store.SEAL))


def _chunks(elements: Iterable, size: int) -> Iterator[list]:
    """Elements of so many recordings together; a stored part is never cut."""
    chunk: list = []
    count = 0
    for element in elements:
        chunk.append(element)
        count += len(ledger.uris(element))
        if count >= size:
            yield chunk
            chunk, count = [], 0
    if chunk:
        yield chunk


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
