"""The files of deploy/, checked without a cluster: by schema, by linter and by our parser."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import duckdb
import kubernetes_validate
import pytest
import soundfile
import yaml

from pipelines import cli, errors, nights
from pipelines.errors import UsageError
from pipelines.runners import dataflow
from ser_core import __version__
from tests.conftest import ROOT
from tests.speechlike import call

DEPLOY = ROOT / "deploy"
KUBERNETES = "1.31"
DAY = dt.date(2026, 3, 1)
# Fields of the operator's kind FlinkDeployment, flink.apache.org/v1beta1.
FLINK_SPEC = {
    "flinkConfiguration", "flinkVersion", "image", "imagePullPolicy", "ingress", "job",
    "jobManager", "logConfiguration", "mode", "podTemplate", "restartNonce", "serviceAccount",
    "taskManager",
}  # fmt: skip
FLINK_PART = {"podTemplate", "replicas", "resource"}
# Statuses after which another attempt in the same night would fail in the same way.
FINAL = [errors.USAGE, errors.TOO_MANY_REJECTIONS, errors.NOTHING_MATCHED, errors.HELD]


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


def of_kind(name: str, kind: str) -> list[dict]:
    return [document for document in documents(name) if document["kind"] == kind]


def pods() -> list[tuple[str, dict]]:
    """The spec of each pod, with the name of its file."""
    found = []
    for name in ("cronjob.yaml", "flink.yaml"):
        for document in documents(name):
            if document["kind"] == "CronJob":
                found.append((name, document["spec"]["jobTemplate"]["spec"]["template"]["spec"]))
            elif document["kind"] == "FlinkDeployment":
                found.append((name, document["spec"]["taskManager"]["podTemplate"]["spec"]))
    assert len(found) == 3
    return found


def our_containers() -> list[tuple[dict, dict]]:
    """Containers of our image and init containers, each with its pod; not those of Flink."""
    return [
        (container, pod)
        for _, pod in pods()
        for container in (*pod["containers"], *pod.get("initContainers", ()))
    ]


def service(name: str = "ser.service") -> dict[str, list[str]]:
    settings: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(key, []).append(value)
    return settings


def cron_line() -> re.Match:
    lines = [
        line
        for line in (DEPLOY / "cron" / "ser").read_text().splitlines()
        if line and not line.startswith("#") and not re.match(r"\w+=", line)
    ]
    assert len(lines) == 1, lines
    field = r"(?:\*|\d+(?:-\d+)?)(?:/\d+)?(?:,\d+)*"
    found = re.fullmatch(rf"((?:{field} +){{5}})([a-z_][a-z0-9_-]*) +(.+)", lines[0])
    assert found, lines[0]
    return found


def dataflow_words(tmp_path: Path, *words: str) -> list[str]:
    """The command that run.sh starts, recorded by a stand-in for `ser` that is first on PATH."""
    stand_in = tmp_path / "ser"
    stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" ser "$@" >{tmp_path}/words\n')
    stand_in.chmod(0o755)
    subprocess.run(
        ["bash", DEPLOY / "dataflow" / "run.sh", *words],
        check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    return (tmp_path / "words").read_text().splitlines()


def command_lines(tmp_path: Path) -> dict[str, list[str]]:
    """All `ser` commands in deploy/, by their place."""
    found = {
        f"kubernetes/{name} {pod['containers'][0]['image']}": [*container["command"], *args]
        for name, pod in pods()
        for container in pod["containers"]
        if (args := container.get("args", [])) and container["command"] == ["ser"]
    }
    [start] = service()["ExecStart"]
    found["systemd/ser.service"] = shlex.split(start.replace("%%", "%"))
    shell = shlex.split(cron_line()[3].replace("\\%", "%"))
    found["airflow/ser_night.py"] = ["ser", *airflow_dag()["command"](DAY, "summary.json")[1:]]
    found["cron/ser"] = shell[shell.index("nice") + 1 : shell.index(">>/var/log/ser/ser.log")]
    found["dataflow/run.sh"] = dataflow_words(tmp_path)
    for path in DEPLOY.rglob("*.md"):
        text = path.read_text().replace("\\\n", " ")
        for i, line in enumerate(re.findall(r"^ {4,}(?:.* )?(ser [a-z].*)$", text, re.M)):
            found[f"{path.relative_to(DEPLOY)} {i}"] = shlex.split(line)
    return found


def airflow_dag() -> dict:
    """The names of the DAG's module, loaded with stand-ins for Airflow's."""
    dag = mock.MagicMock()
    modules = {
        "airflow": mock.MagicMock(),
        "airflow.sdk": mock.MagicMock(DAG=dag, task=lambda function: mock.MagicMock()),
        "airflow.sdk.exceptions": mock.MagicMock(
            AirflowException=RuntimeError, AirflowFailException=ValueError
        ),
        "airflow.timetables": mock.MagicMock(),
        "airflow.timetables.trigger": mock.MagicMock(),
    }
    with mock.patch.dict(sys.modules, modules):
        return {**runpy.run_path(str(DEPLOY / "airflow" / "ser_night.py")), "made": dag.call_args}


def parse(words: list[str]):
    """Parse as `ser` does, up to the start of the work, with the options of deploy/nightly.toml."""
    assert Path(words[0]).name == "ser"
    installed = {"/etc/ser/nightly.toml": str(DEPLOY / "nightly.toml")}
    return cli.parse([installed.get(word, word) for word in words[1:]])


def test_all_command_lines_parse(tmp_path):
    found = command_lines(tmp_path)
    assert len(found) >= 5
    for place, words in found.items():
        try:
            options = parse(words)
        except (SystemExit, UsageError) as error:
            pytest.fail(f"{place}: {shlex.join(words)}: {error}")
        if ".md " not in place:
            assert "{date:%Y/%m/%d}" in options.input[0], place
            assert options.min_age_s == 60, place
            # They run after midnight.
            assert options.date == (DAY if "airflow" in place else "yesterday"), place
            assert options.days == 3, place
        assert options.channel_roles == ("agent", "customer"), place


def test_a_misspelt_option_is_found():
    with pytest.raises(UsageError, match="did you mean --flink_master"):
        parse(["ser", "run", "--input=a", "--output=b", "--flink_mster=c"])


# ---------------------------------------------------------------- Kubernetes


@pytest.mark.parametrize("name", ["cronjob.yaml", "flink.yaml"])
def test_kubernetes_schemas(name):
    for document in documents(name):
        if document["kind"] != "FlinkDeployment":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
            continue
        # The kind belongs to the operator, but its pods are those of Kubernetes.
        assert document["apiVersion"] == "flink.apache.org/v1beta1"
        spec = document["spec"]
        assert set(spec) <= FLINK_SPEC
        assert set(spec["jobManager"]) | set(spec["taskManager"]) <= FLINK_PART
        assert all(isinstance(value, str) for value in spec["flinkConfiguration"].values())
        for part in (spec, spec["jobManager"], spec["taskManager"]):
            kubernetes_validate.validate(part["podTemplate"], KUBERNETES, strict=True)


def test_kubernetes_schemas_find_mistakes():
    [job] = of_kind("cronjob.yaml", "CronJob")
    job["spec"]["concurencyPolicy"] = job["spec"].pop("concurrencyPolicy")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, KUBERNETES, strict=True)


def test_pods_are_confined():
    for container, pod in our_containers():
        name = container["name"]
        security = {**pod.get("securityContext", {}), **container["securityContext"]}
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert security["runAsUser"] > 0, name
        assert set(container["resources"]["limits"]) >= {"cpu", "memory"}, name
        assert {"/tmp"} <= {mount["mountPath"] for mount in container["volumeMounts"]}, name
        for mount in container["volumeMounts"]:
            assert mount.get("readOnly", False) is (mount["name"] == "calls"), name
        # Secrets are set by reference, so only TZ has a value here.
        with_value = [entry["name"] for entry in container.get("env", []) if "value" in entry]
        assert set(with_value) <= {"TZ"}, name
        assert not re.search(r":latest$|^[^:]*$", container["image"]), name
    [flink] = of_kind("flink.yaml", "FlinkDeployment")
    assert flink["spec"]["podTemplate"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_final_failures_are_not_retried():
    jobs = [*of_kind("cronjob.yaml", "CronJob"), *of_kind("flink.yaml", "CronJob")]
    assert len(jobs) == 2
    for job in jobs:
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        work = job["spec"]["jobTemplate"]["spec"]
        assert work["activeDeadlineSeconds"] > 0
        assert (
            work["template"]["spec"]["restartPolicy"] == "Never"
        )  # the failure policy requires it
        rules = work["podFailurePolicy"]["rules"]
        [rule] = [candidate for candidate in rules if candidate["action"] == "FailJob"]
        assert rule["onExitCodes"]["values"] == FINAL
        assert rule["onExitCodes"]["containerName"] in [
            container["name"] for container in work["template"]["spec"]["containers"]
        ]
    assert service()["RestartPreventExitStatus"] == [" ".join(map(str, FINAL))]
    assert service()["SuccessExitStatus"] == [str(errors.TERMINATED)]


def test_as_many_workers_as_cores():
    [job] = of_kind("cronjob.yaml", "CronJob")
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    options = parse(["ser", *container["args"]])
    assert options.workers == int(container["resources"]["limits"]["cpu"])


def test_flink_versions_belong_together():
    [flink] = of_kind("flink.yaml", "FlinkDeployment")
    spec = flink["spec"]
    flink_version = re.match(r"flink:(\d+\.\d+)\.", spec["image"])[1]
    assert spec["flinkVersion"] == f"v{flink_version.replace('.', '_')}"
    [job] = of_kind("flink.yaml", "CronJob")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    server = pod["initContainers"][0]["image"]
    assert server == f"apache/beam_flink{flink_version}_job_server:{pinned('apache-beam')}"
    words = pod["containers"][0]["args"]
    assert f"--flink_master={flink['metadata']['name']}-rest:8081" in words
    # One worker pool per TaskManager, in the same pod.
    [pool] = spec["taskManager"]["podTemplate"]["spec"]["containers"]
    assert f"--environment_config=localhost:{pool['ports'][0]['containerPort']}" in words
    assert spec["flinkConfiguration"]["taskmanager.numberOfTaskSlots"] == "1"
    # Volumes have the same paths in the pod that lists and in the pods that read.
    assert pool["volumeMounts"] == pod["containers"][0]["volumeMounts"]


# ---------------------------------------------------------------- the image


def pinned(name: str) -> str:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    [version] = [line.partition("==")[2] for line in lines if line.startswith(f"{name}==")]
    return version


def test_dockerfile_by_hadolint():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_image_tags_are_this_version():
    files = [*DEPLOY.glob("kubernetes/*.yaml"), DEPLOY / "dataflow" / "settings.sh"]
    tags = [tag for file in files for tag in re.findall(r"/ser[a-z-]*:([\d.]+)", file.read_text())]
    assert len(tags) >= 5
    assert set(tags) == {__version__}


def test_dockerfile_versions_and_files():
    text = (DEPLOY / "Dockerfile").read_text()
    assert f"beam_python3.11_sdk:{pinned('apache-beam')}\n" in text
    assert "ARG PYTHON=python:3.11." in text
    stages = re.findall(r"^FROM .* AS (\w+)$", text, re.M)
    assert stages[-1] == "ser"  # the default target
    assert "USER 10001:10001" in text.rpartition("\nFROM ")[2]
    # Beam's boot needs a user with a name, a writable folder, pip, and this environment.
    runtime = text.partition(" AS runtime\n")[2]
    assert "useradd --uid 10001" in runtime
    assert "\nWORKDIR /tmp\n" in runtime
    assert "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1" in runtime
    assert not re.search(r"uninstall .*\bpip\b", text)
    # .dockerignore admits the copied files, and nothing else.
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    assert "*" in ignore
    copied = [
        name
        for words in re.findall(r"^COPY (?!--from)(.+)$", text, re.M)
        for name in words.split()[:-1]
        if name != "."
    ]
    assert copied
    for name in (*copied, *allowed):
        assert (ROOT / name).exists(), name
        assert any(Path(name).is_relative_to(folder) for folder in allowed), name


# ---------------------------------------------------------------- Dataflow


def test_dataflow_run_has_all_options_of_a_job(tmp_path):
    options = parse(dataflow_words(tmp_path))
    words, line = dataflow.complete_options(options.beam_options, options.workers)
    assert words[: len(options.beam_options)] == options.beam_options
    assert "at most 10 workers of n2-standard-4" in line
    assert "private addresses" in line


@pytest.mark.parametrize(
    ("words", "first", "last", "days"),
    [
        ((), dt.date(2026, 3, 8), dt.date(2026, 3, 8), 3),
        (("--date", "2026-03-01"), DAY, DAY, 3),
        (("--date=2026-03-01", "--days=1"), DAY, DAY, 1),
        (("--from", "2026-03-01", "--to", "yesterday"), DAY, dt.date(2026, 3, 8), 1),
        (("--from=2026-03-01", "--to=2026-03-01"), DAY, DAY, 1),
    ],
)
def test_the_nights_of_dataflow(tmp_path, monkeypatch, words, first, last, days):
    now = dt.datetime(2026, 3, 9, 2, 15, tzinfo=dt.UTC)
    monkeypatch.setattr(nights, "now", lambda: now)
    found = nights.choose(parse(dataflow_words(tmp_path, *words)))
    assert (found[0].date, found[-1].date) == (first, last)
    assert {len(night.dates) for night in found} == {days}


def gcloud_words(tmp_path: Path, *words: str) -> list[str]:
    """The arguments that template.sh gives to gcloud."""
    stand_in = tmp_path / "gcloud"
    stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/words\n')
    stand_in.chmod(0o755)
    subprocess.run(
        ["bash", DEPLOY / "dataflow" / "template.sh", *words],
        check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    return (tmp_path / "words").read_text().splitlines()


def launched(tmp_path: Path, *words: str) -> dict[str, str]:
    """The parameters of the job that template.sh launches; each is given once."""
    [parameters] = [
        word
        for word in gcloud_words(tmp_path, "launch", *words)
        if word.startswith("--parameters=^|^")
    ]
    pairs = [pair.split("=", 1) for pair in parameters.removeprefix("--parameters=^|^").split("|")]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_a_launch_takes_the_three_days_up_to_yesterday(tmp_path):
    given = launched(tmp_path)
    assert (given["date"], given["days"], given["time_zone"]) == ("yesterday", "3", "UTC")
    assert launched(tmp_path, "days=7")["days"] == "7"


def test_flex_template(tmp_path):
    """flex.py turns the parameters of the launcher into a command line that `ser` accepts."""
    metadata = json.loads((DEPLOY / "dataflow" / "metadata.json").read_text())
    known = {parameter["name"]: parameter for parameter in metadata["parameters"]}
    given = launched(tmp_path, "date=2026-03-01", "max_reject_ratio=0.1")
    assert given["date"] == "2026-03-01"
    required = {name for name, parameter in known.items() if not parameter.get("isOptional")}
    assert required <= set(given)
    for name, value in given.items():
        assert any(re.fullmatch(regex, value) for regex in known[name]["regexes"]), name
    # As the launcher calls it, with the parameters that it adds.
    given |= {name: "0" for name in ("model", "uri_fields") if name in known}
    added = {"runner": "DataflowRunner", "project": "p", "region": "r", "job_name": "ser-1"}
    added |= {"template_location": "gs://bucket/job_object", "temp_location": "gs://bucket/temp"}
    module = runpy.run_path(str(DEPLOY / "dataflow" / "flex.py"))
    options = parse(
        ["ser", *module["words"]([f"--{name}={v}" for name, v in (given | added).items()])]
    )
    assert set(given) == set(known), "a parameter that this test does not know"
    assert options.channel_roles == ("agent", "customer")
    assert options.max_reject_ratio == 0.1
    assert dataflow.submits_only(dataflow.complete_options(options.beam_options)[0])


def test_flex_template_build(tmp_path):
    words = gcloud_words(tmp_path, "build")
    assert words[:3] == ["dataflow", "flex-template", "build"]
    [path] = [word.partition("=")[2] for word in words if word.startswith("--metadata-file=")]
    assert json.loads(Path(path).read_text())["name"] == "ser"
    text = (DEPLOY / "Dockerfile").read_text()
    assert "COPY deploy/dataflow/flex.py /opt/flex/flex.py" in text
    assert "FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/flex/flex.py" in text


def test_the_environment_overrides_dataflow_settings():
    done = subprocess.run(
        ["bash", "-euc", f'. {DEPLOY}/dataflow/settings.sh; echo "$PROJECT $IMAGE"'],
        check=True, capture_output=True, text=True, env={"PROJECT": "theirs"},
    )  # fmt: skip
    assert done.stdout.startswith("theirs europe-west3-docker.pkg.dev/theirs/")


# ---------------------------------------------------------------- one machine


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_units(tmp_path):
    for path in (DEPLOY / "systemd").iterdir():
        shutil.copy(path, tmp_path)
    unit = tmp_path / "ser.service"
    unit.write_text(unit.read_text().replace("/opt/ser/bin/ser", "/bin/true"))

    def verify():
        words = ["systemd-analyze", "verify", "--man=no", unit, tmp_path / "ser.timer"]
        return subprocess.run(words, capture_output=True, text=True)

    assert verify().stderr == ""
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSytem=strict"))
    assert "ProtectSytem" in verify().stderr


def test_cron_line():
    found = cron_line()
    assert found[2] == "ser"  # files in /etc/cron.d name the user
    assert not re.search(r"(?<!\\)%", found[0])  # cron reads it as a line break
    assert found[3].endswith(" || ser-failed ser.cron")
    text = (DEPLOY / "cron" / "ser").read_text()
    for status in (errors.FAILED, *FINAL, errors.TERMINATED):
        assert re.search(rf"^#     {status} \w", text, re.M), status
    assert text.endswith("\n")  # cron ignores a last line without a line break


@pytest.mark.skipif(not shutil.which("logrotate"), reason="logrotate is not installed")
def test_log_rotation(tmp_path):
    rules = tmp_path / "rules"
    text = (DEPLOY / "cron" / "ser.logrotate").read_text()
    rules.write_text(text.replace("ser ser", "root root"))  # there may be no such user
    rules.chmod(0o644)
    words = ["logrotate", "--debug", "--state", tmp_path / "state", rules]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "error:" not in done.stderr


def test_no_secrets():
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert not re.search(r"BEGIN .*PRIVATE KEY|AKIA[0-9A-Z]{16}|AIza[\w-]{35}", text), path
            if path.suffix == ".json":
                json.loads(text)


# ---------------------------------------------------------------- Airflow


def test_the_dag_runs_one_night_at_a_time_and_labels_the_day_before():
    names = airflow_dag()
    assert names["made"].kwargs["max_active_runs"] == 1
    assert names["made"].kwargs["catchup"] is False
    for start, night in (
        ("2026-03-02T01:15:00+00:00", "2026-03-01"),  # 02:15 in Berlin
        ("2026-07-01T00:15:00+00:00", "2026-06-30"),
        ("2026-03-28T23:30:00+00:00", "2026-03-28"),  # already the 29th in Berlin
    ):
        assert names["night_of"](dt.datetime.fromisoformat(start)).isoformat() == night


@pytest.mark.parametrize(
    ("status", "error"), [(0, None), (1, RuntimeError), (3, ValueError), (5, RuntimeError)]
)
def test_the_dag_fails_in_the_words_of_the_summary(tmp_path, capsys, status, error):
    names, summary = airflow_dag(), tmp_path / "s.json"
    code = f'echo a line; echo \'{{"message": "the words"}}\' >{summary}; exit {status}'
    if error is None:
        assert names["run"](["sh", "-c", code], str(summary)) == {"message": "the words"}
    else:
        with pytest.raises(error, match=f"ser ended with status {status}: the words"):
            names["run"](["sh", "-c", code], str(summary))
    assert "a line" in capsys.readouterr().out


def airflow_command() -> str:
    """Airflow's command line, in an environment of its own: SER_AIRFLOW names it."""
    found = os.environ.get("SER_AIRFLOW") or shutil.which("airflow")
    if found is None:
        pytest.skip("no Airflow; set SER_AIRFLOW to its command, in an environment of its own")
    return found


@pytest.mark.long
def test_a_real_airflow_runs_three_nights(tmp_path, level_model):
    airflow = airflow_command()
    days = ["2026-03-01", "2026-03-02", "2026-03-03"]
    for i, day in enumerate(days):
        folder = tmp_path / "calls" / day
        folder.mkdir(parents=True)
        soundfile.write(folder / "a.wav", call([(1, 4, -20)], 5, seed=i), 8_000)
    config = tmp_path / "nightly.toml"
    config.write_text(
        f'input = "calls/{{date:%Y-%m-%d}}/*.wav"\noutput = "out"\nmodel = "{level_model}"\n'
        "workers = 1\n"
    )
    ser = tmp_path / "ser"
    ser.write_text(
        f"#!/bin/sh\nPYTHONPATH={os.environ['PYTHONPATH']} exec {sys.executable} -m pipelines "
        '"$@"\n'
    )
    ser.chmod(0o755)
    env = {
        "PATH": f"{Path(airflow).parent}:/usr/bin:/bin", "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DEPLOY / "airflow"), "SER_CONFIG": str(config),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "SER_COMMAND": str(ser), "HOME": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    subprocess.run([airflow, "db", "migrate"], env=env, check=True, capture_output=True)
    for day in days:
        start = dt.date.fromisoformat(day) + dt.timedelta(days=1)
        words = [airflow, "dags", "test", "ser_night", f"{start}T02:15:00+01:00"]
        done = subprocess.run(words, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    found = duckdb.sql(
        f"SELECT date::VARCHAR, count(*) FROM '{tmp_path}/out/recordings/**/*.parquet' "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert found == [(day, 1) for day in days]


# ---------------------------------------------------------------- the alert


def test_the_alert_has_the_words_of_the_summary(tmp_path):
    script = (DEPLOY / "systemd" / "ser-failed").read_text()
    assert "/opt/ser/bin/python" in script
    logger = tmp_path / "logger"
    logger.write_text("#!/bin/sh\nexit 1\n")  # no syslog here
    here = tmp_path / "ser-failed"
    here.write_text(
        script.replace("/opt/ser/bin/python", sys.executable).replace(
            "/usr/bin/logger", str(logger)
        )
    )
    for path in (logger, here):
        path.chmod(0o755)
    summary = tmp_path / "s.json"
    told = {"exit_code": 1, "started": "2026-03-01T01:15:00+00:00", "host": "h", "message": "disk"}
    unmet = {"met": False, "expect": "labelled > 3", "found": {"labelled": 2}}
    summary.write_text(json.dumps(told | {"expectations": [unmet]}))
    done = subprocess.run([here, "ser.service", summary], capture_output=True, text=True)
    assert done.stdout == (
        "ser.service failed: status 1, started 2026-03-01T01:15:00+00:00 on h: disk\n"
        "not met: labelled > 3 ({'labelled': 2})\n"
    )
    # A command that was killed leaves the summary of the night before.
    os.utime(summary, (time.time() - 80_000,) * 2)
    done = subprocess.run([here, "ser.service", summary], capture_output=True, text=True)
    assert done.stdout == (
        "ser.service failed: it ended without a word (killed, or not started): the summary is that "
        "of 2026-03-01T01:15:00+00:00\n"
    )
    done = subprocess.run([here, "x", tmp_path / "none"], capture_output=True, text=True)
    assert done.stdout == f"x failed: no summary in {tmp_path}/none\n"


def test_systemd_units_by_systemd():
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze here")
    for name in ("ser.service", "ser.timer"):
        done = subprocess.run(
            [verify, "verify", DEPLOY / "systemd" / name], capture_output=True, text=True
        )
        # What is not installed here is no mistake of the unit.
        lines = [line for line in done.stderr.splitlines() if "is not executable" not in line]
        assert not [line for line in lines if "ser" in line], done.stderr
