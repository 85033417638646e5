"""Dataflow: options of a job, checked before it is submitted; waiting for its end; cancelling it.

No library of Google is imported before a job is submitted or cancelled.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipelines.errors import CommandError, HeldError, UsageError
from pipelines.logs import say

# One process per core, each with a model and a decoding child: about 4 GB per core.
MACHINE_TYPE = "n2-standard-4"
# The same hint for all stages. Stages with different hints are not fused, and the features of all
# recordings would be stored between examining and predicting.
RESOURCE_HINT = "min_ram=4GB"
_NEEDED = (
    ("project", "--project=PROJECT", "the project that pays"),
    ("region", "--region=REGION", "such as europe-west3, near the recordings"),
    ("temp_location", "--temp_location=gs://BUCKET/temp", "a folder for temporary files"),
)
# Each installs the package on workers whose image does not contain it.
_PACKAGES = ("setup_file", "requirements_file", "extra_packages")
# Options with which a job can be found again.
_WHERE = ("project", "region", "dataflow_endpoint", "impersonate_service_account")


def is_dataflow(runner: str | None) -> bool:
    """Whether this is a name of Beam's Dataflow runner."""
    name = (runner or "").lower().rpartition(".")[2]
    return name in ("dataflow", "dataflowrunner")


def complete_options(given: Sequence[str], workers: int | None = None) -> tuple[list[str], str]:
    """Complete the options of a Dataflow job.

    Parameters
    ----------
    given : sequence of str
        The user's options for Beam. None of them is changed.
    workers : int, optional
        `--workers`: the maximum number of machines, unless Beam's own options set it.

    Returns
    -------
    list of str, str
        All options for Beam, and a line that lists the main ones.

    Raises
    ------
    UsageError
        A required option is missing, or a folder is not in Cloud Storage.
    """
    values = PipelineOptions(list(given)).get_all_options(drop_default=True)
    missing = [f"{option} ({why})" for name, option, why in _NEEDED if not values.get(name)]
    if missing:
        raise UsageError(f"--runner=DataflowRunner needs {', '.join(missing)}")
    for name in ("temp_location", "staging_location"):
        found = values.get(name)
        if found and not found.startswith("gs://"):
            raise UsageError(f"--{name} {found}: a folder of Cloud Storage, gs://…, expected")
    if not values.get("sdk_container_image") and not any(values.get(name) for name in _PACKAGES):
        raise UsageError(
            "--runner=DataflowRunner needs --sdk_container_image=IMAGE, the image of "
            "deploy/Dockerfile, target beam: the workers run this package"
        )
    added = []
    if not values.get("machine_type"):
        added.append(f"--machine_type={MACHINE_TYPE}")
    if workers and not values.get("max_num_workers") and not values.get("num_workers"):
        added.append(f"--max_num_workers={workers}")
    if not values.get("number_of_worker_harness_threads"):
        # Processes use the cores. Each thread would have its own decoding child.
        added.append("--number_of_worker_harness_threads=1")
    if not values.get("resource_hints"):
        added.append(f"--resource_hint={RESOURCE_HINT}")
    chosen = PipelineOptions([*given, *added]).get_all_options()
    most = chosen["max_num_workers"] or chosen["num_workers"]
    parts = [
        f"project {chosen['project']}",
        f"region {chosen['region']}",
        f"{f'at most {most} workers' if most else 'workers'} of {chosen['machine_type']}",
        f"image {chosen['sdk_container_image'] or 'of Beam'}",
        "private addresses" if chosen["use_public_ips"] is False else "public addresses",
    ]
    return [*given, *added], f"Dataflow: {', '.join(parts)}"


def submits_only(options: Sequence[str]) -> bool:
    """Whether the options create a template, whose job is started later."""
    return bool(PipelineOptions(list(options)).view_as(GoogleCloudOptions).template_location)


def job_name(options: Sequence[str], otherwise: str) -> str:
    """The job name that the user or a template's launcher gives; `otherwise` by default."""
    return PipelineOptions(list(options)).view_as(GoogleCloudOptions).job_name or otherwise


def where(options: Sequence[str]) -> str:
    """The options with which `cancel` finds a job again, as one line."""
    values = PipelineOptions(list(options)).get_all_options(drop_default=True)
    words = [f"--{name}={values[name]}" for name in _WHERE if values.get(name)]
    words += [f"--{name}" for name in ("no_auth",) if values.get(name)]
    words += ["--template_location=…"] if values.get("template_location") else []
    return shlex.join(words)


def wait(result: Any) -> None:
    """Wait until the job is done.

    Parameters
    ----------
    result : DataflowPipelineResult
        Result of `Pipeline.run`.

    Raises
    ------
    CommandError
        The job failed or was cancelled, or the service no longer answers.
    """
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException

    say(f"Dataflow job {result.job_id()}", stream=sys.stderr)
    job, reason = f"the Dataflow job {result.job_id()}", ""
    try:
        state = result.wait_until_finish()
    except DataflowRuntimeException as error:
        state = result.state
        reason = str(error).partition("Error:\n")[2].strip()
    except AssertionError:  # Beam raises this when its requests fail
        raise CommandError(
            f"{job} may still go on: the service no longer says what becomes of it. Run again "
            "later: that publishes it if it came to its end, and else does what is left"
        ) from None
    if state == "DONE":
        return
    if state == "CANCELLED":
        raise CommandError(f"{job} was cancelled; nothing of it was published. Run again")
    cause = f": {reason.splitlines()[-1]}" if reason and reason != "None" else ""
    raise CommandError(
        f"{job} ended as {state}{cause}; nothing of it was published. "
        "See its log in the console, fix the cause and run again"
    )


def cancel(where: str, name: str) -> str | None:
    """Cancel the job of this name.

    Parameters
    ----------
    where : str
        From the function `where`.
    name : str
        Job name.

    Returns
    -------
    str or None
        A message for the user; None if no such job is running.

    Raises
    ------
    HeldError
        The job of a template is running. It is not left over, since no command waits for it.
    """
    from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient
    from google.cloud import dataflow

    options = PipelineOptions(shlex.split(where))
    cloud = options.view_as(GoogleCloudOptions)
    try:
        client = DataflowApplicationClient(options, root_staging_location="")
        request = dataflow.ListJobsRequest(
            project_id=cloud.project,
            location=cloud.region,
            filter=dataflow.ListJobsRequest.Filter.ACTIVE,
        )
        # Beam's own search by name does not end if there is no such job.
        active = [job.id for job in client._jobs_client.list_jobs(request) if job.name == name]
        if active and cloud.template_location:
            raise HeldError(
                f"the Dataflow job {active[0]} ({name}) is still at work on this output; wait for "
                "its end, or cancel it"
            )
        for job_id in active:
            client.modify_job_state(job_id, "JOB_STATE_CANCELLED")
    except HeldError:
        raise
    except Exception as error:
        return (
            f"the Dataflow job {name} may still go on: the service cannot be asked ({error}); "
            "cancel it there. It can publish nothing"
        )
    return f"cancelling the Dataflow job {', '.join(active)} ({name})" if active else None
