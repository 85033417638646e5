"""This machine as a runner: Beam's `FnApiRunner` with several worker processes.

Each run marks its workers on their command line, so that its end ends them and no other child of
this process.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.runners.private import serve_privately

_WORKER = "pipelines.runners.worker"
_NAMES = ("directrunner", "fnapirunner")
# What Beam calls its threads that wait for a worker.
_BEAM_THREAD = "run_worker"
_END_S = 5.0


def is_local(name: str | None) -> bool:
    """Whether a runner's name means this machine."""
    return name is None or name.lower() in _NAMES


def beam_runner(beam_options: Sequence[str], *, debug: bool) -> Any:
    """Beam's runner for this machine; its workers end with this process.

    It is what DirectRunner falls back to once it has failed to download another runner.
    """
    serve_privately()
    mark = uuid.uuid4().hex
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.job.utils import dict_to_struct
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    command = f"exec {shlex.quote(sys.executable)} -m {_WORKER} {os.getpid()} {mark}"
    if not debug:
        # What fails comes back as an exception; a log on a full disk would hang the worker.
        command += " >/dev/null 2>&1"
    # Beam passes no options to such workers; they need those of file systems.
    given = PipelineOptions(list(beam_options)).get_all_options(drop_default=True)
    info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=dict_to_struct(given))
    runner: Any = FnApiRunner(
        SubprocessSDKEnvironment.from_command_string(command),
        provision_info=ExtendedProvisionInfo(info),
    )
    runner.mark = mark
    return runner


def workers(pipeline: beam.Pipeline) -> list[psutil.Process]:
    """The workers that a pipeline of `beam_runner` has started."""
    mark = getattr(pipeline.runner, "mark", None)
    if mark is None:
        return []
    return [child for child in children() if any(mark in word for word in _words(child))]


def children() -> list[psutil.Process]:
    """Processes that this one has started."""
    return psutil.Process().children()


def end(processes: Iterable[psutil.Process]) -> None:
    """End processes and all that they have started; wait until Beam's threads know."""
    family: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            family += [process, *process.children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=_END_S)
    for thread in threading.enumerate():
        if thread.name == _BEAM_THREAD:  # it waits for a worker, and fails now
            thread.join(_END_S)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
