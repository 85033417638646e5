"""The nightly job, and the two that share its way: `run`, `extract`, `label`.

    match -> leave out what is done -> examine -> predict -> write -> check -> publish

A long list is worked off in chunks. Each chunk is one run with its own books, published alone. The
steps from "examine" to "check" are the Beam graph of `pipelines.graph`.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from pipelines import errors, graph, ledger, publishing, usage
from pipelines.books import Books, Listed, Seal, of_matched
from pipelines.errors import NothingMatchedError
from pipelines.role_rule import RoleRule
from pipelines.runners.runner import Outcome, Runner
from pipelines.steps.parts import Layout
from pipelines.storage import bundles, files, published, store
from pipelines.tried_with import TriedWith
from pipelines.uri_fields import UriFields
from ser_core import features, models, tables
from ser_core.examine import Settings
from ser_core.guarded import Guard

LIBRARIES = (
    "apache-beam", "keras", "numpy", "onnxruntime", "pyarrow", "ser-pipeline", "soundfile", "soxr",
)  # fmt: skip
# The list of a chunk, in its staging folder.
GIVEN = "given.parquet"


@dataclass(frozen=True)
class Job:
    """The job of one command, for `run` or `label`.

    Parameters
    ----------
    output : str
    date : datetime.date
        The night under which rows are filed.
    command : str
        Command line for the table `runs`, without secrets.
    labelling : tables.Labelling
        The job's feature set; and the model's id, labels and thresholds if there is a model.
    runner : Runner
        Where Beam works.
    bundle : str or None
        The model. None extracts features only.
    model_licence : str or None
    inputs : tuple of str
        Patterns of the recordings; `label` has none.
    settings, roles, guard, fields
        Of the examination; for `run`.
    chunk : int or None
        Recordings per run. None is one run.
    min_age_s : float
        Recordings that were changed later than this many seconds ago wait; for `run`.
    max_reject_ratio : float in [0, 1]
    profile : str or None
        A file to which each run adds a line of JSON: CPU seconds by stage.
    say : callable
        Prints a line for the user.
    """

    output: str
    date: dt.date
    command: str
    labelling: tables.Labelling
    runner: Runner
    bundle: str | None = None
    model_licence: str | None = None
    inputs: tuple[str, ...] = ()
    settings: Settings | None = None
    roles: RoleRule = field(default_factory=RoleRule)
    guard: Guard = field(default_factory=Guard)
    fields: UriFields = field(default_factory=UriFields)
    chunk: int | None = 5_000
    min_age_s: float = 0.0
    max_reject_ratio: float = 0.2
    profile: str | None = None
    say: Callable[[str], None] = print


def labelling_of(card: models.Card) -> tables.Labelling:
    """The part of a card that the rows of the tables need."""
    return tables.Labelling(
        model_id=card.id,
        labels=tuple(card.labels),
        feature_set=card.feature_set,
        unsure_segment_below=card.unsure_segment_below,
        unsure_recording_below=card.unsure_recording_below,
    )


@dataclass(frozen=True)
class Task:
    """The differences between `run` and `label`.

    Parameters
    ----------
    finder : ledger.Finder
        Finds what there is to do.
    examine : callable
        Takes a folder in which workers count their progress, or None; gives the graph's step.
    meta : callable
        Takes the output; gives the names of the columns `meta_<name>`.
    nothing : str
        Error message if nothing matches.
    """

    finder: ledger.Finder
    examine: Callable[[str | None], graph.Examine | graph.Load]
    meta: Callable[[store.Output], Sequence[str]]
    nothing: str


def run(job: Job) -> int:
    """Examine and label the recordings that are new. Returns the exit status."""
    settings = job.settings or Settings(job.labelling.feature_set)
    return work_off(
        job,
        Task(
            finder=ledger.NewRecordings(
                job.inputs,
                job.date,
                files.absolute(job.output),
                TriedWith(settings, job.guard, job.roles, job.fields),
                job.min_age_s,
            ),
            examine=partial(graph.Examine, settings, job.guard, job.fields, job.roles),
            meta=lambda output: job.fields.names,
            nothing=f"--input {' '.join(job.inputs)}: nothing matches; "
            "a pattern such as 'calls/**/*.wav', a folder, or @list.txt expected",
        ),
    )


def label(job: Job) -> int:
    """Label what is stored with another model, without the audio. Returns the exit status."""
    if job.labelling.model_id is None:
        raise ValueError("labelling: it has no model; a bundle expected")
    output = files.absolute(job.output)
    return work_off(
        job,
        Task(
            finder=ledger.StoredRecordings(output, job.labelling.model_id),
            examine=graph.Load,
            meta=lambda output: published.open_reader(output.root).meta_names(),
            nothing=f"--output {output}: no recording in it was labelled, "
            "extracted or without speech; fill it with `ser run` or `ser extract` first",
        ),
    )


def work_off(job: Job, task: Task) -> int:
    """Do what there is to do in one or more runs. Returns the exit status."""
    books = Books()
    with _opened(job) as output, closing(_chunks(job, task)) as chunks:
        layout = Layout(job.labelling, tuple(task.meta(output)))
        for chunk in chunks:
            cpu_s = usage.cpu_s()
            record = _record(job)
            staged = publishing.begin(output, record)
            if chunk.nothing_new:
                publishing.seal_nothing_new(staged, chunk.counts)
            else:
                submitted = job.runner.job(record.run_id)
                pipeline = job.runner.pipeline(submitted)
                # Workers on this machine count their recordings here.
                progress = None if output.remote else files.join(staged, store.PROGRESS)
                graph.build(
                    pipeline,
                    find=_find(job, task, output, chunk, staged),
                    examine=task.examine(progress),
                    bundle=bundles.for_workers(job.bundle, staged, local=job.runner.local),
                    staged=staged,
                    layout=layout,
                )
                if submitted:
                    with files.naming(f"--output {output.root}"):
                        store.note_job(staged, submitted)
                outcome = job.runner.run(pipeline, progress, chunk.recordings, submitted)
                if outcome is Outcome.SUBMITTED:
                    job.say(
                        f"run {record.run_id} is a template now; the command after its job "
                        "publishes it"
                    )
                    return errors.DONE
            seal = publishing.publish(output, staged, launcher_cpu_s=usage.cpu_s() - cpu_s)
            _add_profile(job.profile, seal)
            books += seal.books
    if not books.matched:
        raise _nothing_matched(task, books)
    return _conclude(job, books)


def _nothing_matched(task: Task, books: Books) -> NothingMatchedError:
    beside = f"; {books.skipped:,} files beside recordings were skipped" if books.skipped else ""
    return NothingMatchedError("; ".join([task.nothing + beside, *books.warnings]))


@contextmanager
def _opened(job: Job) -> Iterator[store.Output]:
    """Open and hold the output. Opening it finishes what earlier runs left undone."""
    finish = partial(publishing.publish_left_over, say=job.say)
    with store.Output(job.output, finish=finish) as output:
        for line in output.remarks:
            job.say(line)
        feature_set = features.get(job.labelling.feature_set)
        published.check_feature_set(output.root, feature_set.id, feature_set.fingerprint)
        yield output


@dataclass(frozen=True)
class Chunk:
    """The work of one run.

    Parameters
    ----------
    elements : list or None
        Source or Stored. None if a worker finds them.
    counts : ledger.Matched
        Of what matched; what was left out counts in the first chunk.
    """

    elements: list | None
    counts: ledger.Matched = field(default_factory=lambda: ledger.Matched(0))

    @property
    def nothing_new(self) -> bool:
        """Whether there is nothing to do."""
        return self.elements is not None and not self.elements

    @property
    def uris(self) -> list[str]:
        """URIs of its recordings."""
        return [uri for element in self.elements or () for uri in ledger.uris(element)]

    @property
    def recordings(self) -> int | None:
        """Number of its recordings; None if a worker finds them."""
        return None if self.elements is None else len(self.uris)


def _chunks(job: Job, task: Task) -> Generator[Chunk, None, None]:
    """All there is to do, in chunks.

    Raises
    ------
    NothingMatchedError
        Nothing matches.
    """
    if job.chunk is None:
        yield Chunk(None)
        return
    with task.finder.found() as todo:
        counts = todo.counts
        if not counts.matched:
            raise _nothing_matched(task, of_matched(counts))
        if not counts.todo:
            yield Chunk([], counts)
        number = -(-counts.todo // job.chunk)
        for i, elements in enumerate(_cut(todo.elements, job.chunk)):
            if number > 1:
                job.say(f"chunk {i + 1} of {number}")
            todo_here = sum(len(ledger.uris(element)) for element in elements)
            left_out = counts if i == 0 else ledger.Matched(0)
            matched = todo_here + left_out.already_done + left_out.waiting
            yield Chunk(elements, replace(left_out, matched=matched))


def _cut(elements: Iterable, size: int) -> Iterator[list]:
    """Group elements into chunks of `size` recordings. A stored part is not cut."""
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


def _record(job: Job) -> tables.RunStart:
    """The record of a run that begins now."""
    started = dt.datetime.now(dt.UTC)
    return tables.RunStart(
        run_id=store.new_run_id(started),
        night=job.date,
        command=job.command,
        versions={name: importlib.metadata.version(name) for name in LIBRARIES}
        | {"python": platform.python_version()},
        model_id=job.labelling.model_id,
        model_licence=job.model_licence,
        feature_set=job.labelling.feature_set,
        started=started,
    )


def _find(
    job: Job, task: Task, output: store.Output, chunk: Chunk, staged: str
) -> graph.FindAll | graph.TakeChunk:
    """The graph's first step. The list of a chunk is written for the books."""
    if chunk.elements is None:
        return graph.FindAll(task.finder, staged)
    with (
        files.naming(f"--output {output.root}"),
        ledger.listing(files.join(staged, GIVEN)) as note,
    ):
        for element in chunk.elements:
            note(element)
    return graph.TakeChunk(chunk.elements, Listed(GIVEN, chunk.counts), job.runner.workers)


def _add_profile(path: str | None, seal: Seal) -> None:
    if path is None or not seal.books.matched:
        return
    by_stage: Counter = Counter()
    for part in seal.parts:
        by_stage.update(part.cpu_s)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(by_stage) + "\n")


def _conclude(job: Job, books: Books) -> int:
    """Print what was done, and return the exit status."""
    for line in books.warnings:
        job.say(f"warning: {line}")
    if not books.examined:
        waiting = f", {books.waiting:,} waiting" if books.waiting else ""
        job.say(
            f"nothing new: {books.matched:,} matched, {books.already_done:,} already done"
            + waiting
            + books.left_out()
        )
        return errors.DONE
    job.say(books.line())
    if books.mixed:
        job.say(
            f"{books.mixed:,} recordings are mono or have equal channels: "
            "what the agent says may be labelled there, too"
        )
    if job.fields.pattern:
        _say_fields(job, books)
    if books.by_reason["unreadable"] == books.matched:
        job.say("nothing that --input names could be read: is the archive there, and mounted?")
        return errors.NOTHING_MATCHED
    rejected = books.rejected - books.rejected_before
    if rejected > job.max_reject_ratio * books.examined:
        before = f" (and {books.rejected_before:,} not for the first time)"
        job.say(
            f"{rejected:,} of {books.examined:,} recordings were rejected"
            + (before if books.rejected_before else "")
            + f", more than --max-reject-ratio {job.max_reject_ratio:g}; the rest is published. "
            "SELECT reason, detail, uri FROM recordings WHERE status = 'rejected' tells why"
        )
        return errors.TOO_MANY_REJECTIONS
    return errors.DONE


def _say_fields(job: Job, books: Books) -> None:
    """Print what --uri-fields read from the paths."""
    if not books.with_fields:
        job.say(
            f"warning: --uri-fields reads nothing from any of {books.examined:,} paths; "
            "`ser plan` shows an example"
        )
    elif job.fields.has_time:
        warning = "" if books.with_call_time else "warning: "
        job.say(
            f"{warning}call_time read from {books.with_call_time:,} of {books.examined:,} paths"
        )
