"""This machine as a runner: Beam's `FnApiRunner` with several worker processes."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress

import psutil
from apache_beam.options.pipeline_options import PipelineOptions

_WORKER = "pipelines.runners.worker"
_NAMES = ("directrunner", "fnapirunner")
_END_S = 5.0


def is_local(name: str | None) -> bool:
    """Whether a runner's name means this machine."""
    return name is None or name.lower() in _NAMES


def beam_runner(beam_options: Sequence[str], *, debug: bool):
    """Beam's runner for this machine; its workers end with this process.

    It is what DirectRunner falls back to once it has failed to download another runner.
    """
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.job.utils import dict_to_struct
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    command = f"exec {shlex.quote(sys.executable)} -m {_WORKER} {os.getpid()}"
    if not debug:
        # What fails comes back as an exception; a log on a full disk would hang the worker.
        command += " >/dev/null 2>&1"
    # Beam passes no options to such workers; they need those of file systems.
    given = PipelineOptions(list(beam_options)).get_all_options(drop_default=True)
    info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=dict_to_struct(given))
    return FnApiRunner(
        SubprocessSDKEnvironment.from_command_string(command),
        provision_info=ExtendedProvisionInfo(info),
    )


def end_children() -> None:
    """End the workers and theirs."""
    family = psutil.Process().children(recursive=True)
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=_END_S)
