"""Flink: options of a job that the user need not give, and the cluster's REST interface."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.errors import CommandError, UsageError

WORKER = "ser-worker"
_ANSWER_S = 10.0
_END_S = 60.0
_LOOK_EVERY_S = 0.5
_ENDED = ("FINISHED", "FAILED", "CANCELED")


def is_flink(name: str) -> bool:
    """Whether this is a name of Beam's Flink runner."""
    return name.lower().rpartition(".")[2] == "flinkrunner"


def complete_options(
    given: Sequence[str],
    workers: int | None = None,
    slots: Callable[[str], int] | None = None,
) -> tuple[list[str], str | None]:
    """Complete the options of a Flink job.

    Parameters
    ----------
    given : sequence of str
        The user's options for Beam. None of them is changed.
    workers : int, optional
        `--workers`; by default, the number of slots of the cluster.
    slots : callable, optional
        Number of slots of a Flink master. May raise OSError, ValueError or KeyError.

    Returns
    -------
    list of str, str or None
        All options for Beam, and a line that lists what was added.

    Raises
    ------
    UsageError
        A required option is missing.
    CommandError
        The cluster does not answer.
    """
    values = PipelineOptions(list(given)).get_all_options(drop_default=True)
    if "job_endpoint" in values:
        return list(given), None  # the user's job server has its own configuration
    master = values.get("flink_master")
    if master is None:
        raise UsageError(
            "--flink_master: none given; HOST:PORT of the REST interface of a Flink cluster "
            "expected (the default port is 8081)"
        )
    added, chosen = [], []
    if master.startswith("["):  # [local]: within this process
        added.append(f"--parallelism={workers or len(os.sched_getaffinity(0))}")
        return [*_without(added, values), *given], None
    known = _slots(master, slots or slots_of)
    if "parallelism" not in values:
        if not (workers or known):
            raise UsageError(
                f"--workers: {master} has no slots yet; give the number of workers, "
                "such as --workers 8"
            )
        added.append(f"--parallelism={workers or known}")
        chosen.append(f"parallelism {workers or known} (its slots: {known})")
    added.append("--sdk_worker_parallelism=1")
    if "environment_type" not in values:
        added += _environment(master)
        chosen.append(f"Python started by {WORKER} on this machine")
    if "flink_submit_uber_jar" not in values:
        added.append("--flink_submit_uber_jar")
        if "flink_job_server_jar" not in values:
            chosen.append("the job server jar that Beam fetches")
    line = f"Flink at {master}" + (f": {', '.join(chosen)}" if chosen else "")
    return [*_without(added, values), *given], line


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
            f"--environment_type: none given, and {master} is another machine, so choose "
            "how Python starts there: EXTERNAL with --environment_config=localhost:50000 where "
            "a worker pool runs beside each TaskManager, or PROCESS with "
            f'--environment_config=\'{{"command": "/path/of/{WORKER}"}}\' where this package is '
            "installed there (docs/runners.md)"
        )
    command = Path(sys.executable).with_name(WORKER)
    if not command.exists():
        found = shutil.which(WORKER)
        if found is None:
            raise UsageError(
                f"--environment_type: none given, and {WORKER} was not found beside "
                f"{sys.executable}; install this package there with pip, or give --environment_type"
            )
        command = Path(found)
    # Workers can import what this process can, such as feature sets that are not installed.
    env = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    config = json.dumps({"command": str(command), "env": env})
    return ["--environment_type=PROCESS", f"--environment_config={config}"]


def _is_this_machine(master: str) -> bool:
    host = urlsplit(url(master)).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without(options: Sequence[str], given: Collection[str]) -> list[str]:
    """Options whose names the user has not given."""
    return [
        option for option in options if option.removeprefix("--").partition("=")[0] not in given
    ]


# ---------------------------------------------------------------- its REST interface


def cancel(master: str, name: str) -> str | None:
    """Cancel the job of this name, and wait for its end. Returns a message, or None if none ran."""
    try:
        running = [job["jid"] for job in _jobs(master) if _goes_on(job, name)]
        for jid in running:
            _ask(master, f"/v1/jobs/{jid}?mode=cancel", method="PATCH")
        ended = _wait_for_end(master, name)
    except (OSError, ValueError, KeyError) as error:
        return (
            f"job {name} of an earlier run may still go on: {master} cannot be asked "
            f"({error}). It can publish nothing"
        )
    if not running:
        return None
    return f"job {name} of a run that was cut off: " + (
        "cancelled" if ended else f"cancelled, but it has not ended after {_END_S:g} s"
    )


def slots_of(master: str) -> int:
    """Number of tasks that a Flink cluster can run at once.

    Raises
    ------
    OSError, ValueError, KeyError
        It does not answer, or it is not Flink.
    """
    return int(_ask(master, "/v1/overview")["slots-total"])


def url(master: str) -> str:
    """The address of a JobManager's REST interface, as Beam reads `--flink_master`."""
    return master if master.startswith(("http://", "https://")) else f"http://{master}"


def _wait_for_end(master: str, name: str) -> bool:
    end = time.monotonic() + _END_S
    while any(_goes_on(job, name) for job in _jobs(master)):
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def _jobs(master: str) -> list[dict]:
    return _ask(master, "/v1/jobs/overview")["jobs"]


def _goes_on(job: dict, name: str) -> bool:
    return job["name"] == name and job["state"] not in _ENDED


def _ask(master: str, path: str, method: str = "GET") -> dict:
    request = urllib.request.Request(url(master) + path, method=method)
    with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
        text = answer.read()
    with suppress(ValueError):
        return json.loads(text)
    raise ValueError("this is not the REST interface of a Flink JobManager")
