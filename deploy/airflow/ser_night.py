"""A night for Airflow 2.9 or newer and Airflow 3: copy to the folder of the DAGs.

Change: ZONE, the schedule, and where `ser` and its options are. `ser` has an environment of its
own on the machine where the task runs; Airflow's needs nothing of it. For another day, or to do a
month again, use Airflow's backfill: each of its runs labels the day before its date.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import tempfile
from typing import Any
from zoneinfo import ZoneInfo

try:
    from airflow.sdk import DAG, task
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.exceptions import AirflowException, AirflowFailException
    from airflow.models.dag import DAG
from airflow.timetables.trigger import CronTriggerTimetable

ZONE = os.environ.get("SER_TIME_ZONE", "Europe/Berlin")
SER = os.environ.get("SER_COMMAND", "/opt/ser/bin/ser")
CONFIG = os.environ.get("SER_CONFIG", "/etc/ser/nightly.toml")
# Another attempt would end in the same way: usage, published but not as expected, nothing matched.
FINAL = (2, 3, 4)


def night_of(start: dt.datetime) -> dt.date:
    """The night that a run of the DAG labels: the day before it starts, in ZONE."""
    return start.astimezone(ZoneInfo(ZONE)).date() - dt.timedelta(days=1)


def command(night: dt.date, summary: str) -> list[str]:
    """The command of a night. Files of the two days before that came late are met, too."""
    return [
        SER, "run", "--config", CONFIG, "--date", night.isoformat(), "--days", "3",
        "--summary", summary,
    ]  # fmt: skip


def run(words: list[str], summary: str) -> dict[str, Any]:
    """Run the command; returns its summary.

    Raises
    ------
    AirflowException
        It failed, and Airflow tries again. The message is the summary's.
    AirflowFailException
        It failed, and another attempt would fail, too.
    """
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            for line in process.stdout or ():
                print(line.decode(errors="replace").rstrip(), flush=True)
        except BaseException:  # the task is ended: so is the command
            process.terminate()
            raise
    try:
        with open(summary, encoding="utf-8") as file:
            told: dict[str, Any] = json.load(file)
    except OSError:
        told = {"message": f"{words[0]} wrote no summary"}
    if process.returncode:
        error = AirflowFailException if process.returncode in FINAL else AirflowException
        raise error(f"ser ended with status {process.returncode}: {told['message']}")
    return told


with DAG(
    dag_id="ser_night",
    description="Emotions of the call recordings of last night",
    schedule=CronTriggerTimetable("15 2 * * *", timezone=ZONE),
    start_date=dt.datetime(2026, 1, 1, tzinfo=ZoneInfo(ZONE)),
    catchup=False,  # --days takes late files; a backfill is started by hand
    max_active_runs=1,  # one run holds the output at a time
    dagrun_timeout=dt.timedelta(hours=8),
    default_args={"retries": 2, "retry_delay": dt.timedelta(minutes=5)},
    tags=["ser"],
) as dag:

    @task
    def label_night(dag_run: Any = None) -> dict[str, Any]:
        """Label the calls of the night; returns the books."""
        # A run that is triggered by hand may have no date of its own.
        start = dag_run.logical_date or dag_run.run_after
        with tempfile.TemporaryDirectory(prefix="ser-") as folder:
            summary = os.path.join(folder, "summary.json")
            told = run(command(night_of(start), summary), summary)
        return {name: told[name] for name in ("message", "run_ids", "books", "warnings")}

    label_night()
