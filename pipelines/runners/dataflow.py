"""Google's Dataflow: what a job must be told, checked before anything is sent; its end.

Nothing here is called for other runners, and nothing of Google's is imported before a job is
submitted or cancelled.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from pipelines.errors import CommandError, HeldError, UsageError

# One process a core, each with a model and a child that decodes: about 4 GB a core.
MACHINE_TYPE = "n2-standard-4"
# The same for all stages: those with other hints than their neighbours are not fused with them,
# and the features of all recordings would be stored between examining and predicting.
RESOURCE_HINT = "min_ram=4GB"
_NEEDED = (
    ("project", "--project=PROJECT", "the project that pays"),
    ("region", "--region=REGION", "such as europe-west3, near the recordings"),
    ("temp_location", "--temp_location=gs://BUCKET/temp", "a folder for temporary files"),
)
# Each brings the package to workers whose image does not have it.
_PACKAGES = ("setup_file", "requirements_file", "extra_packages")
# What is needed to ask the service about a job later.
_WHERE = ("project", "region", "dataflow_endpoint", "impersonate_service_account")


def is_dataflow(runner: str | None) -> bool:
    """Whether Beam would take this name for its Dataflow runner."""
    name = (runner or "").lower().rpartition(".")[2]
    return name in ("dataflow", "dataflowrunner")


def complete_options(given: Sequence[str], workers: int | None = None) -> tuple[list[str], str]:
    """Complete the options of a Dataflow job, and say in a line what was chosen.

    Parameters
    ----------
    given : sequence of str
        The user's options for Beam; none of them is changed.
    workers : int, optional
        `--workers`: the most machines, unless Beam's own options say how many.

    Returns
    -------
    list of str, str
        All options for Beam, and the line.

    Raises
    ------
    UsageError
        Something is missing without which no job can be made, or its workers not be run.
    """
    said = PipelineOptions(list(given)).get_all_options(drop_default=True)
    missing = [f"{option} ({why})" for name, option, why in _NEEDED if not said.get(name)]
    if missing:
        raise UsageError(f"--runner=DataflowRunner needs {', '.join(missing)}")
    for name in ("temp_location", "staging_location"):
        found = said.get(name)
        if found and not found.startswith("gs://"):
            raise UsageError(f"--{name} {found}: a folder of Cloud Storage, gs://…, expected")
    if not said.get("sdk_container_image") and not any(said.get(name) for name in _PACKAGES):
        raise UsageError(
            "--runner=DataflowRunner needs --sdk_container_image=IMAGE, the image of "
            "deploy/Dockerfile, target beam: the workers run this package"
        )
    added = []
    if not said.get("machine_type"):
        added.append(f"--machine_type={MACHINE_TYPE}")
    if workers and not said.get("max_num_workers") and not said.get("num_workers"):
        added.append(f"--max_num_workers={workers}")
    if not said.get("number_of_worker_harness_threads"):
        # Each thread would have a child of its own that decodes: processes use the cores.
        added.append("--number_of_worker_harness_threads=1")
    if not said.get("resource_hints"):
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
    """Whether a template is made, whose job somebody else starts: there is nothing to wait for."""
    return bool(PipelineOptions(list(options)).view_as(GoogleCloudOptions).template_location)


def job_name(options: Sequence[str], otherwise: str) -> str:
    """What a job is called: as the user says, else that. A template's launcher says, too."""
    return PipelineOptions(list(options)).view_as(GoogleCloudOptions).job_name or otherwise


def where(options: Sequence[str]) -> str:
    """What `cancel` must be told to find a job of these options again."""
    said = PipelineOptions(list(options)).get_all_options(drop_default=True)
    words = [f"--{name}={said[name]}" for name in _WHERE if said.get(name)]
    words += [f"--{name}" for name in ("no_auth",) if said.get(name)]
    words += ["--template_location=…"] if said.get("template_location") else []
    return shlex.join(words)


def wait(result: Any) -> None:
    """Wait until the job has ended well.

    Parameters
    ----------
    result : DataflowPipelineResult
        What `Pipeline.run` returned.

    Raises
    ------
    CommandError
        It failed, somebody cancelled it, or the service no longer says.
    """
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException

    print(f"ser: Dataflow job {result.job_id()}", file=sys.stderr, flush=True)
    job, reason = f"the Dataflow job {result.job_id()}", ""
    try:
        state = result.wait_until_finish()
    except DataflowRuntimeException as error:
        state = result.state
        reason = str(error).partition("Error:\n")[2].strip()
    except AssertionError:  # what Beam says when its asking has failed
        raise CommandError(
            f"{job} may still go on: the service no longer says what becomes of it. Run again "
            "later: that publishes it if it came to its end, and else does what is left"
        ) from None
    if state == "DONE":
        return
    if state == "CANCELLED":
        raise CommandError(f"{job} was cancelled; nothing of it was published. Run again")
    what = f": {reason.splitlines()[-1]}" if reason and reason != "None" else ""
    raise CommandError(
        f"{job} ended as {state}{what}; nothing of it was published. "
        "Its log in the console says more; mend that and run again"
    )


def cancel(where: str, name: str) -> str | None:
    """Ask for the end of the job of that name, whoever submitted it.

    Parameters
    ----------
    where : str
        From the function of that name.
    name : str
        The job's.

    Returns
    -------
    str or None
        A line to say; None where no such job goes on.

    Raises
    ------
    HeldError
        The job of a template goes on: nobody waits for that, so it is not a left over one.
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
        # Beam's own search by name never ends where there is none.
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
