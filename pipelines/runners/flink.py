"""What our settings mean to Beam's runners: the options that a user need not say.

What the user did say is never touched.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.errors import CommandError, UsageError
from pipelines.runners import dataflow, jobs

WORKER = "ser-worker"


def is_flink(name: str) -> bool:
    """Whether Beam would take this name for its Flink runner."""
    return name.lower().rpartition(".")[2] == "flinkrunner"


def settle(
    name: str,
    workers: int | None,
    given: Sequence[str],
    slots: Callable[[str], int] = jobs.flink_slots,
) -> tuple[list[str], str | None]:
    """Add to Beam's options what follows from ours.

    Parameters
    ----------
    name : str
        Of a runner that is not this machine.
    workers : int or None
        `--workers`; None is as many as the cluster has room for.
    given : sequence of str
        The user's options for Beam.
    slots : callable
        Flink's master -> its slots; may raise OSError, ValueError or KeyError.

    Returns
    -------
    list of str
        All options for Beam.
    str or None
        A line that says what was chosen.

    Raises
    ------
    UsageError
        Something that cannot be guessed is missing.
    CommandError
        The cluster cannot be asked.
    """
    if dataflow.is_dataflow(name):
        return dataflow.settings(given, workers)
    if not is_flink(name):
        return list(given), None
    said = PipelineOptions(list(given)).get_all_options(drop_default=True)
    if "job_endpoint" in said:
        return list(given), None  # a job server of the user's own, with a configuration of its own
    master = said.get("flink_master")
    if master is None:
        raise UsageError(
            "--flink_master: none given; HOST:PORT of the REST interface of a Flink cluster "
            "expected (its port is 8081 unless configured otherwise)"
        )
    added, chosen = [], []
    if master.startswith("["):  # [local]: within this process
        added.append(f"--parallelism={workers or len(os.sched_getaffinity(0))}")
        return [*_without(added, said), *given], None
    known = _slots(master, slots)
    if "parallelism" not in said:
        if not (workers or known):
            raise UsageError(
                f"--workers: {master} has no slots yet, so how many to ask for must be said, "
                "such as --workers 8"
            )
        added.append(f"--parallelism={workers or known}")
        chosen.append(f"parallelism {workers or known} (its slots: {known})")
    added.append("--sdk_worker_parallelism=1")
    if "environment_type" not in said:
        added += _environment(master)
        chosen.append(f"Python started by {WORKER} on this machine")
    if "flink_submit_uber_jar" not in said:
        added.append("--flink_submit_uber_jar")
        if "flink_job_server_jar" not in said:
            chosen.append("the job server jar that Beam fetches")
    line = f"Flink at {master}" + (f": {', '.join(chosen)}" if chosen else "")
    return [*_without(added, said), *given], line


def _slots(master: str, slots: Callable[[str], int]) -> int:
    try:
        return slots(master)
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(
            f"--flink_master {master}: cannot be asked ({error}); HOST:PORT of the REST interface "
            "of a running Flink JobManager expected"
        ) from error


def _environment(master: str) -> list[str]:
    if not _is_this_machine(master):
        raise UsageError(
            f"--environment_type: none given, and {master} is another machine, so how Python is "
            "started there must be said: EXTERNAL with --environment_config=localhost:50000 where "
            "a worker pool stands beside each TaskManager, PROCESS with "
            f'--environment_config=\'{{"command": "/path/of/{WORKER}"}}\' where this package is '
            "installed there (docs/runners.md)"
        )
    command = Path(sys.executable).with_name(WORKER)
    if not command.exists():
        found = shutil.which(WORKER)
        if found is None:
            raise UsageError(
                f"--environment_type: none given, and {WORKER} is not to be found beside "
                f"{sys.executable}; install this package there with pip, or say --environment_type"
            )
        command = Path(found)
    # What can be imported here can be there, such as feature sets that are not installed.
    env = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    config = json.dumps({"command": str(command), "env": env})
    return ["--environment_type=PROCESS", f"--environment_config={config}"]


def _is_this_machine(master: str) -> bool:
    host = urlsplit(jobs.flink_url(master)).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without(options: Sequence[str], said) -> list[str]:
    """Those that the user has not given."""
    return [one for one in options if one.removeprefix("--").partition("=")[0] not in said]
