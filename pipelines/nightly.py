"""The nightly job, and the two that share its way: `run`, `extract`, `label`.

    match -> leave out what is done -> examine -> predict -> write -> check -> publish

A long list is worked off in chunks. Each chunk is one run with its own books, published alone. The
steps from "examine" to "check" are the Beam graph of `pipelines.graph`.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from pipelines import errors, forgetting, graph, ledger, publishing, usage
from pipelines.books import Books, Listed, Seal
from pipelines.chunks import Chunk, chunks, nothing_matched
from pipelines.conclusion import conclude
from pipelines.errors import NothingMatchedError
from pipelines.job import Job, Task
from pipelines.redo import Redo
from pipelines.runners.runner import Outcome
from pipelines.steps.parts import Layout
from pipelines.storage import attempts, bundles, files, inputs, published, store
from pipelines.tried_with import TriedWith
from ser_core import features, tables, temporary
from ser_core.examine import Settings
from ser_core.labelling import labelling_of
from ser_core.tables.sketch import Binning

__all__ = ["Job", "label", "labelling_of", "run"]

LIBRARIES = (
    "apache-beam", "keras", "numpy", "onnxruntime", "pyarrow", "ser-pipeline", "soundfile", "soxr",
)  # fmt: skip
# The list of a chunk, in its staging folder.
GIVEN = "given.parquet"


def run(job: Job) -> int:
    """Examine and label the recordings that are new. Returns the exit status."""
    settings = job.settings or Settings(job.labelling.feature_set)
    tried_with = TriedWith(settings, job.guard, job.roles, job.fields)
    described = tried_with.described()
    return work_off(
        job,
        Task(
            finder=ledger.NewRecordings(
                job.inputs,
                job.dates or (job.date,),
                files.absolute(job.output),
                tried_with,
                job.min_age_s,
                _redo(job, described),
            ),
            examine=partial(
                graph.Examine,
                settings,
                job.guard,
                job.fields,
                job.roles,
                output=files.absolute(job.output),
            ),
            meta=lambda output: job.fields.names,
            nothing=lambda: inputs.nothing_matches(job.inputs, job.dates or (job.date,)),
            settings=described,
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
            features=False,
            nothing=lambda: (
                f"--output {output}: no recording in it has stored features or is without speech; "
                "`ser run` and `ser extract` make features from the audio, with --redo also of "
                "calls that are already done"
            ),
        ),
    )


def work_off(job: Job, task: Task) -> int:
    """Do what there is to do in one or more runs. Returns the exit status."""
    books = Books()
    with (
        _opened(job, task) as output,
        _retention(job, output),
        closing(chunks(job, task)) as work,
    ):
        latest = published.latest_run_id(output.root)
        layout = Layout(
            job.labelling,
            tuple(task.meta(output)),
            task.features,
            bundles.read_binning(job.bundle) if job.bundle else Binning(),
        )
        for chunk in work:
            cpu_s = usage.cpu_s()
            record = _record(job, task, chunk, latest)
            latest = record.run_id
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
                    bundle=bundles.for_workers(
                        job.bundle,
                        staged,
                        local=job.runner.local,
                        signed=job.signed_by is not None,
                    ),
                    signed_by=job.signed_by,
                    staged=staged,
                    layout=layout,
                )
                if submitted:
                    with files.naming(f"--output {output.root}"):
                        store.note_job(staged, submitted)
                outcome = job.runner.run(pipeline, progress, chunk.recordings, submitted)
                if outcome is Outcome.SUBMITTED:
                    line = (
                        f"run {record.run_id} is a template now; the command after its job "
                        "publishes it"
                    )
                    job.say(line)
                    attempts.note_message(line)
                    return errors.DONE
            seal = publishing.publish(output, staged, launcher_cpu_s=usage.cpu_s() - cpu_s)
            _add_profile(job.profile, seal)
            books += seal.books
    if not books.matched:
        raise nothing_matched(task, books)
    return conclude(job, books)


@contextmanager
def _opened(job: Job, task: Task) -> Iterator[store.Output]:
    """Open and hold the output. Opening it finishes what earlier runs left undone."""
    temporary.sweep()
    with publishing.opened(job.output, job.say) as output:
        feature_set = features.get(job.labelling.feature_set)
        names = (feature_set.id, feature_set.fingerprint)
        model = job.labelling.model_id
        if model is not None and not task.features:
            published.check_features_of_model(output.root, model, *names)
        else:
            option = "--feature-set" if model is None else "--model"
            published.check_feature_set(output.root, *names, option)
        yield output


@contextmanager
def _retention(job: Job, output: store.Output) -> Iterator[None]:
    """Forget what is too old once all is published, and also if nothing matched."""

    def retain() -> None:
        for line in forgetting.retain(output, job.date, job.keep_days, job.keep_features_days):
            job.say(line)

    try:
        yield
    except NothingMatchedError:
        retain()
        raise
    retain()


def _redo(job: Job, settings: dict[str, str]) -> Redo | None:
    """What is to be done again."""
    if not job.redo:
        return None
    return Redo(job.redo, settings, job.labelling.model_id, job.nights_left is not None)


def _record(job: Job, task: Task, chunk: Chunk, latest: str | None) -> tables.RunStart:
    """The record of a run that begins now, after the latest one."""
    started = dt.datetime.now(dt.UTC)
    return tables.RunStart(
        run_id=store.new_run_id(started, latest),
        night=job.date,
        command=job.command,
        versions={name: importlib.metadata.version(name) for name in LIBRARIES}
        | {"python": platform.python_version()},
        model_id=job.labelling.model_id,
        model_licence=job.model_licence,
        feature_set=job.labelling.feature_set,
        started=started,
        analysed=job.analysed,
        lawful_basis=job.lawful_basis,
        settings=task.settings,
        workers=job.runner.workers if job.runner.local else 0,
        redo=job.redo,
        redo_left=chunk.left + (job.nights_left or 0) if job.redo else 0,
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
    with files.naming(f"--profile {path}"):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(by_stage) + "\n")
