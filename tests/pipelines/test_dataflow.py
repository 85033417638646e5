"""Dataflow without a cloud: what is asked for, what is staged, and how each end is taken."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import types
import urllib.request

import duckdb
import google.auth
import pyarrow.parquet as pq
import pytest
import soundfile
from google.auth.credentials import AnonymousCredentials

from pipelines import errors, nightly
from pipelines.errors import CommandError, HeldError, UsageError
from pipelines.runners import dataflow, jobs
from pipelines.runners import runner as runner_module
from pipelines.runners.runner import Runner
from ser_core import models
from tests.conftest import CALLS
from tests.dataflow_stand_in import (
    CANCELLED,
    DONE,
    FAILED,
    RUNNING,
    DataflowStandIn,
    storage_emulator,
)
from tests.speechlike import call

BUCKET = "bucket"
IMAGE = "registry.example.com/ser-beam:1"
NEEDED = ["--project=p", "--region=europe-west3", "--temp_location=gs://bucket/temp"]
WORDS = [*NEEDED, f"--sdk_container_image={IMAGE}"]


# ---------------------------------------------------------------- settings


def test_what_is_given_stays_and_what_is_missing_is_added():
    words, line = dataflow.complete_options(WORDS, workers=8)
    assert words[: len(WORDS)] == WORDS
    assert words[len(WORDS) :] == [
        "--machine_type=n2-standard-4",
        "--max_num_workers=8",
        "--number_of_worker_harness_threads=1",
        "--resource_hint=min_ram=4GB",
    ]
    assert line == (
        "Dataflow: project p, region europe-west3, at most 8 workers of n2-standard-4, "
        f"image {IMAGE}, public addresses"
    )
    assert dataflow.complete_options(words, workers=8)[0] == words
    own = ["--worker_machine_type=e2-highmem-8", "--num_workers=3", "--no_use_public_ips"]
    words, line = dataflow.complete_options([*WORDS, *own], workers=8)
    assert not any("max_num_workers" in word or word.startswith("--machine") for word in words)
    assert "at most 3 workers of e2-highmem-8" in line
    assert "private addresses" in line


@pytest.mark.parametrize("missing", [word.partition("=")[0] for word in WORDS])
def test_what_a_job_cannot_do_without_is_named(ser, tmp_path, missing):
    given = [word for word in WORDS if not word.startswith(missing)]
    with pytest.raises(UsageError, match=f"{missing}="):
        dataflow.complete_options(given)
    if missing == "--region":  # the command itself, once: nothing is made, nothing sent
        out = tmp_path / "out"
        done = ser("run", "--input", CALLS, "--output", out, "--runner=DataflowRunner", *given)
        assert done.returncode == errors.USAGE
        assert "ERROR - --runner=DataflowRunner needs --region=REGION (such as" in done.stderr
        assert not out.exists()


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--temp_location=/tmp", "gs://"),
        ("--staging_location=/tmp", "gs://"),
    ],
)
def test_values_that_cannot_be(word, says):
    given = [option for option in WORDS if option.partition("=")[0] != word.partition("=")[0]]
    with pytest.raises(UsageError, match=says):
        dataflow.complete_options([*given, word])


def test_names_that_beam_takes_for_dataflow():
    assert dataflow.is_dataflow("DataflowRunner")
    assert dataflow.is_dataflow("dataflow")
    assert not dataflow.is_dataflow("FlinkRunner")
    assert not dataflow.is_dataflow(None)
    assert Runner(name="Dataflow").job("rA-1").name == "ser-ra-1"
    assert Runner(name="Dataflow", beam_options=["--job_name=mine"]).job("rA-1").name == "mine"


# ---------------------------------------------------------------- a job


@pytest.fixture(scope="module")
def storage():
    with storage_emulator(BUCKET) as address:
        yield address


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    for i in range(3):
        soundfile.write(folder / f"good_{i}.wav", call([(1, 4, -20)], 5, seed=i), 8_000)
    return folder


@pytest.fixture
def night(monkeypatch, storage, archive, level_model, tmp_path):
    """Runs a night on a stand-in; the output is `tmp_path / "out"` unless another is given."""
    from apache_beam.runners.dataflow import dataflow_runner

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage)
    # Beam looks at a job every 5 s.
    hurry = types.SimpleNamespace(time=time.time, sleep=lambda s: time.sleep(s / 100))
    monkeypatch.setattr(dataflow_runner, "time", hurry)

    def run(stand_in: DataflowStandIn, *words: str, debug: bool = False, output: str = "") -> int:
        with stand_in.serving():
            given = [*WORDS, *words, "--no_auth", f"--dataflow_endpoint={stand_in.endpoint}"]
            runner, _ = runner_module.choose("DataflowRunner", 4, given, debug)
            card = models.read_card(str(level_model))
            job = nightly.Job(
                output=output or str(tmp_path / "out"),
                date=dt.date(2026, 3, 1),
                command="ser run",
                labelling=nightly.labelling_of(card),
                runner=runner,
                bundle=str(level_model),
                inputs=(str(archive),),
                chunk=None,
            )
            before = set(threading.enumerate())
            try:
                return nightly.run(job)
            except KeyboardInterrupt:
                # What asks for the job's state ends once it has heard; a process would just end.
                for thread in set(threading.enumerate()) - before:
                    thread.join(5)
                raise

    return run


def staged(address: str) -> dict[str, bytes]:
    """Every object of the emulator, by name."""

    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"{address}/storage/v1/b/{BUCKET}/o{path}") as answer:
            return answer.read()

    names = [item["name"] for item in json.loads(get("")).get("items", [])]
    return {name: get(f"/{name.replace('/', '%2F')}?alt=media") for name in names}


def pipeline_of(address: str, job: dict):
    """The pipeline that a job's workers would be given."""
    from apache_beam.portability.api import beam_runner_api_pb2

    url = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    name = url.removeprefix(f"gs://{BUCKET}/")
    return beam_runner_api_pb2.Pipeline.FromString(staged(address)[name])


def published(out) -> list:
    found = sorted(out.glob("recordings/**/*.parquet"))
    if not found:
        return []
    return duckdb.sql(
        f"SELECT parse_filename(uri), status, label FROM '{out}/recordings/**/*.parquet' ORDER BY 1"
    ).fetchall()


def test_the_job_and_what_is_staged(night, storage, tmp_path):
    before = set(staged(storage))
    stand_in = DataflowStandIn([RUNNING, FAILED], message="enough")
    with pytest.raises(CommandError):
        night(
            stand_in, "--service_account_email=ser@p.iam.example.com", "--no_use_public_ips",
            "--subnetwork=regions/europe-west3/subnetworks/s", "--disk_size_gb=50",
            "--autoscaling_algorithm=THROUGHPUT_BASED", "--labels=job=ser",
            "--experiments=enable_prime",
        )  # fmt: skip
    [job] = stand_in.jobs
    assert job["type"] == 1  # batch
    assert job["labels"] == {"job": "ser"}
    environment = job["environment"]
    assert environment["serviceAccountEmail"] == "ser@p.iam.example.com"
    assert {"enable_prime", "use_runner_v2", "use_multiple_sdk_containers"} <= set(
        environment["experiments"]
    )
    [workers] = environment["workerPools"]
    assert workers["machineType"] == "n2-standard-4"
    assert workers["diskSizeGb"] == 50
    assert workers["autoscalingSettings"] == {"algorithm": 2, "maxNumWorkers": 4}
    assert workers["ipConfiguration"] == 2  # private
    assert workers["subnetwork"] == "regions/europe-west3/subnetworks/s"
    assert workers["numThreadsPerWorker"] == 1
    [image] = workers["sdkHarnessContainerImages"]
    assert image["containerImage"] == IMAGE
    assert image["useSingleCorePerContainer"] is True
    # The pipeline and nothing else: the image has the code.
    [name] = set(staged(storage)) - before
    assert name.startswith("temp/")
    assert name.endswith("/pipeline.pb")
    check_pipeline(pipeline_of(storage, job))


def check_pipeline(pipeline) -> None:
    from apache_beam.portability.api import beam_runner_api_pb2
    from apache_beam.portability.common_urns import resource_hints

    parts = pipeline.components
    stages = {
        transform.unique_name.split("/")[0]: transform.environment_id
        for transform in parts.transforms.values()
        if transform.environment_id
    }
    assert {"Examine", "Predict", "Write"} <= set(stages)
    # With one environment they are fused: no features are stored on the way.
    [environment] = {stages[name] for name in ("Examine", "Predict", "Write")}
    worker_env = parts.environments[environment]
    assert worker_env.resource_hints == {resource_hints.MIN_RAM_BYTES.urn: str(4 * 10**9).encode()}
    image = beam_runner_api_pb2.DockerPayload.FromString(worker_env.payload)
    assert image.container_image == IMAGE
    assert not worker_env.dependencies


def test_done(night, storage, tmp_path):
    """The stand-in does the job's work; publishing follows."""

    def work(job):
        assert not published(tmp_path / "out")
        run_staged(storage, job)

    assert night(DataflowStandIn(work=work)) == errors.DONE
    assert published(tmp_path / "out") == [(f"good_{i}.wav", "labelled", "angry") for i in range(3)]


def test_done_in_a_bucket(night, storage, monkeypatch):
    """As above, with the output in the store: lease, parts, seal, copies."""
    nobody = AnonymousCredentials(), "test"
    monkeypatch.setattr(google.auth, "default", lambda *args, **options: nobody)
    stand_in = DataflowStandIn(work=lambda job: run_staged(storage, job))
    assert night(stand_in, output="gs://bucket/tables") == errors.DONE
    found = {name: data for name, data in staged(storage).items() if name.startswith("tables/")}
    tables = sorted({name.split("/")[1] for name in found})
    assert tables == ["_lock", "_sums", "features", "recordings", "runs", "segments"]
    [rows] = [data for name, data in found.items() if name.startswith("tables/recordings/")]
    labels = pq.read_table(io.BytesIO(rows))["label"].to_pylist()
    assert labels == ["angry"] * 3
    # The bundle was put where the workers find it, and is gone again.
    assert not any("_staging" in name for name in found)


def run_staged(address: str, job: dict) -> None:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    proto = pipeline_of(address, job)
    pipeline = beam.Pipeline.from_runner_api(proto, FnApiRunner(), PipelineOptions([]))
    pipeline.run().wait_until_finish()


def test_failed(night, tmp_path):
    stand_in = DataflowStandIn([RUNNING, FAILED], message="Traceback\nValueError: no such thing")
    with pytest.raises(CommandError, match="ended as FAILED: ValueError: no such thing") as caught:
        night(stand_in)
    assert caught.value.status == errors.FAILED
    assert not published(tmp_path / "out")


def test_cancelled_by_somebody(night, tmp_path):
    with pytest.raises(CommandError, match="was cancelled; nothing of it was published") as caught:
        night(DataflowStandIn([RUNNING, "JOB_STATE_CANCELLING", CANCELLED]))
    assert caught.value.status == errors.FAILED
    assert not published(tmp_path / "out")


def test_ctrl_c_cancels_the_job(night, tmp_path):
    stand_in = DataflowStandIn([RUNNING])
    main = threading.main_thread().ident
    assert main is not None

    def press():
        stand_in.looked.wait(60)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):  # the command turns it into status 130
        night(stand_in)
    assert stand_in.cancelled.is_set()
    assert not published(tmp_path / "out")


def test_a_job_that_was_left_is_found_again_by_its_name():
    stand_in = DataflowStandIn([RUNNING])
    with stand_in.serving():
        where = dataflow.where([*WORDS, "--no_auth", f"--dataflow_endpoint={stand_in.endpoint}"])
        assert dataflow.cancel(where, "ser-1") is None
        stand_in.jobs.append({"name": "ser-1"})
        assert dataflow.cancel(where, "another") is None
        assert dataflow.cancel(where, "ser-1") == "cancelling the Dataflow job job-1 (ser-1)"
        assert stand_in.cancelled.is_set()
        assert dataflow.cancel(where, "ser-1") is None
        stand_in.refuses = True
        assert "ser-1 may still go on: the service cannot be asked (403" in str(
            dataflow.cancel(where, "ser-1")
        )


def test_a_template_is_made_and_not_waited_for(monkeypatch, storage, tmp_path):
    import apache_beam as beam

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage)
    stand_in = DataflowStandIn([RUNNING])
    with stand_in.serving():
        given = [*WORDS, "--no_auth", f"--dataflow_endpoint={stand_in.endpoint}"]
        given.append("--template_location=gs://bucket/templates/night")
        runner, _ = runner_module.choose("DataflowRunner", None, given, False)
        job = runner.job("r1")
        pipeline = runner.pipeline(job)
        _ = pipeline | beam.Create([1, 2])
        assert runner.run(pipeline, None, 2, job) is runner_module.Outcome.SUBMITTED
        assert not stand_in.jobs
        template = json.loads(staged(storage)["templates/night"])
        assert template["name"] == job.name == "ser-r1"
        assert template["environment"]["workerPools"][0]["machineType"] == "n2-standard-4"
        # Once somebody has started it, it holds the output until its end.
        stand_in.jobs.append({"name": job.name})
        with pytest.raises(HeldError, match="still at work"):
            jobs.cancel(job)
        stand_in.states = [FAILED]
        stand_in.state()
        assert jobs.cancel(job) is None


def test_a_service_that_refuses(night, tmp_path):
    with pytest.raises(CommandError, match=r"403 .*not yours") as caught:
        night(DataflowStandIn(refuses=True))
    assert caught.value.status == errors.FAILED
    assert not published(tmp_path / "out")


def test_a_service_that_falls_silent(night, tmp_path):
    stand_in = DataflowStandIn([RUNNING])

    def fall_silent():
        stand_in.looked.wait(60)
        stand_in.refuses = True

    threading.Thread(target=fall_silent, daemon=True).start()
    with pytest.raises(CommandError, match="job-1 may still go on"):
        night(stand_in)
    assert not published(tmp_path / "out")


@pytest.mark.long
@pytest.mark.parametrize(
    ("ends", "status", "says"),
    [
        ("done", 0, "3 labelled"),
        ("failed", 1, "ended as FAILED: ValueError: no such thing"),
        ("cancelled", 1, "was cancelled"),
        ("Ctrl-C", 130, "interrupted"),
    ],
)
def test_exit_statuses(tmp_path, storage, archive, level_model, ends, status, says):
    """The command itself, at Beam's own pace."""
    states = {"done": DONE, "failed": FAILED, "cancelled": CANCELLED, "Ctrl-C": RUNNING}
    stand_in = DataflowStandIn(
        [RUNNING, states[ends]],
        message="ValueError: no such thing" if ends == "failed" else "",
        work=lambda job: run_staged(storage, job),
    )
    with stand_in.serving():
        words = ["run", "--input", archive, "--output", tmp_path / "out", "--model", level_model]
        words += ["--runner=DataflowRunner", *WORDS, "--no_auth"]
        words.append(f"--dataflow_endpoint={stand_in.endpoint}")
        job = subprocess.Popen(
            [sys.executable, "-m", "pipelines", *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "STORAGE_EMULATOR_HOST": storage},
        )  # fmt: skip
        if ends == "Ctrl-C":
            assert stand_in.looked.wait(120)
            job.send_signal(signal.SIGINT)
        stdout, stderr = job.communicate(timeout=120)
    assert job.returncode == status, stderr
    assert says in stdout + stderr
    assert "Dataflow: project p, region europe-west3" in stdout
    assert "Traceback" not in stderr
    assert stand_in.cancelled.is_set() is (ends == "Ctrl-C")
    assert len(published(tmp_path / "out")) == (3 if ends == "done" else 0)
