"""Flink: the options of a job that a user need not give, and the cluster's REST interface."""

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
    """Whether Beam would take this name for its Flink runner."""
    return name.lower().rpartition(".")[2] == "flinkrunner"


def complete_options(
    given: Sequence[str],
    workers: int | None = None,
    slots: Callable[[str], int] | None = None,
) -> tuple[list[str], str | None]:
    """Complete the options of a Flink job, and say in a line what was chosen.

    Parameters
    ----------
    given : sequence of str
        The user's options for Beam; none of them is changed.
    workers : int, optional
        `--workers`; as many as the cluster has room for where left out.
    slots : callable, optional
        Flink's master -> its slots; may raise OSError, ValueError or KeyError.

    Returns
    -------
    list of str, str or None
        All options for Beam, and the line.

    Raises
    ------
    UsageError
        Something that cannot be guessed is missing.
    CommandError
        The cluster cannot be asked.
    """
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
    known = _slots(master, slots or slots_of)
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
    """Cancel the job of that name and wait for its end; a line to say, None where none goes on."""
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
    """How many tasks a Flink cluster can run at once.

    Raises
    ------
    OSError, ValueError, KeyError
        It does not answer, or not as Flink does.
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
