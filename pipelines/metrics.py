"""`--metrics FILE.prom`: the last attempt as gauges, for node_exporter's textfile collector.

The file is replaced by one rename. The times of the last success and of the last failure survive
from the file before.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pipelines import summary
from pipelines.storage import attempts, files
from ser_core import __version__

SUCCESS, FAILURE = "ser_last_success_timestamp_seconds", "ser_last_failure_timestamp_seconds"
# Counts of the books that are no outcomes; the others add up to `matched`.
NO_OUTCOMES = ("matched", "skipped", "mixed")


@dataclass(frozen=True)
class Gauge:
    """A gauge, with its values by further labels."""

    name: str
    help: str
    values: Mapping[tuple[tuple[str, str], ...], float]


def text(current: attempts.Current, before: str = "") -> str:
    """The metrics of an attempt that has ended.

    Parameters
    ----------
    current : attempts.Current
    before : str
        The metrics that these replace.
    """
    base = {"output": current.output or "", "command": _command(current.attempt.command)}
    lines = []
    for gauge in _gauges(current, _timestamps(current, base, before)):
        lines += [f"# HELP {gauge.name} {gauge.help}", f"# TYPE {gauge.name} gauge"]
        lines += [
            f"{gauge.name}{_labels({**base, **dict(more)})} {value:.15g}"
            for more, value in gauge.values.items()
        ]
    return "\n".join(lines) + "\n"


def write(path: str, current: attempts.Current) -> None:
    """Replace the file; the times that survive are read from it.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    path = files.absolute(path)
    before = ""
    with suppress(Exception):
        before = files.read_text(path)
    with files.naming(f"--metrics {path}", advice=summary.advice(current)):
        files.write_whole(path, text(current, before))


def _gauges(current: attempts.Current, times: Iterable[Gauge]) -> list[Gauge]:
    attempt, rows = current.attempt, current.rows
    gauges = [
        *times,
        _gauge("ser_last_exit_code", "Exit status of the last attempt.", attempt.exit_code or 0),
        _gauge(
            "ser_last_duration_seconds", "Wall time of the last attempt.", attempt.seconds or 0.0
        ),
    ]
    counts = summary.books(rows)
    gauges += [
        _by(
            "ser_last_recordings",
            "Recordings that the last attempt matched, by outcome.",
            "outcome",
            {name: count for name, count in counts.items() if name not in NO_OUTCOMES},
        ),
        _by(
            "ser_last_rejected_recordings",
            "Recordings rejected by the last attempt, by reason.",
            "reason",
            summary.reasons(rows),
        ),
    ]
    content = summary.content(current)
    gauges += [
        _gauge(
            "ser_last_audio_seconds",
            "Audio of the recordings that the last attempt examined.",
            3600 * content["audio_hours"],
        ),
        _gauge("ser_last_cpu_seconds", "CPU time of the last attempt.", content["cpu_seconds"]),
        _gauge(
            "ser_last_peak_memory_bytes",
            "Peak memory of the last attempt, all processes together.",
            content["peak_memory_mb"] * 2**20,
        ),
        _gauge(
            "ser_last_warnings", "Warnings of the last attempt.", float(len(content["warnings"]))
        ),
        _gauge(
            "ser_last_unmet_expectations",
            "Expectations (--expect) that the last attempt did not meet.",
            float(sum(not item["met"] for item in current.expectations)),
        ),
        Gauge(
            "ser_build_info",
            "Version and model of the last attempt; the value is always 1.",
            {(("model", (content["model"] or {}).get("id") or ""), ("version", __version__)): 1.0},
        ),
    ]
    return [gauge for gauge in gauges if gauge.values]


def _timestamps(current: attempts.Current, base: Mapping[str, str], before: str) -> list[Gauge]:
    """When the last success and the last failure ended, from this attempt or from those before."""
    ended = dt.datetime.fromisoformat(current.attempt.ended or current.attempt.started).timestamp()
    now = SUCCESS if current.attempt.exit_code == 0 else FAILURE
    found = []
    for name, help in (
        (SUCCESS, "When the last attempt that ended with status 0 ended."),
        (FAILURE, "When the last attempt that ended with another status ended."),
    ):
        line = re.compile(re.escape(name + _labels(base)) + r" ([0-9.e+]+)$", re.M)
        earlier = line.search(before)
        if name == now:
            found.append(_gauge(name, help, ended))
        elif earlier:
            found.append(_gauge(name, help, float(earlier[1])))
    return found


def _gauge(name: str, help: str, value: float) -> Gauge:
    return Gauge(name, help, {(): float(value)})


def _by(name: str, help: str, label: str, values: Mapping[str, float]) -> Gauge:
    return Gauge(name, help, {((label, key),): float(value) for key, value in values.items()})


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _command(command_line: str) -> str:
    return command_line.split()[1] if len(command_line.split()) > 1 else ""
