"""What a run will cost, by what earlier runs into the same output cost on this machine.

A run costs CPU seconds for itself, for each recording, for each hour of a channel that is decoded
and searched for speech, and for each hour of speech that becomes features. The proportions are
measured once for each feature set (`benchmarks/plan.py`); the factor is that of the earlier runs.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ser_core.tables import Reader

# Runs that count: the newest ones up to so many hours of audio.
_HOURS = 200.0
# Hours of speech in an hour of a call, until a run has measured it.
SPEECH_SHARE = 0.35
# Seconds of a call, until a run has measured it; for headers that tell no duration.
CALL_S = 300.0
# Seconds until the workers of a run have started, and how long they take for what they could do
# in one second if they always had work; until a run has measured it.
START_S, SLOWNESS = 12.0, 1.2


@dataclass(frozen=True)
class Rates:
    """CPU seconds and bytes of tables for a run, a recording, a channel hour, an hour of speech."""

    run_s: float
    recording_s: float
    channel_hour_s: float
    speech_hour_s: float
    run_bytes: float
    recording_bytes: float
    speech_hour_bytes: float


# See docs/performance.md. Feature sets of others cost what the dearest one costs, until measured.
RATES = {
    "telephone": Rates(1.5, 0.005, 2.0, 5.0, 110e3, 650.0, 4.9e6),
    "voice": Rates(1.4, 0.002, 1.0, 48.0, 120e3, 50.0, 3.0e6),
}


@dataclass(frozen=True)
class Work:
    """What there is to do, or was done: recordings, hours of calls, channels, speech; runs."""

    recordings: int
    audio_h: float
    channel_h: float
    speech_h: float
    runs: int = 1

    def cpu_s(self, rates: Rates) -> float:
        """CPU seconds by rates."""
        return (
            self.runs * rates.run_s
            + self.recordings * rates.recording_s
            + self.channel_h * rates.channel_hour_s
            + self.speech_h * rates.speech_hour_s
        )

    def table_bytes(self, rates: Rates) -> float:
        """Bytes of tables by rates."""
        return (
            self.runs * rates.run_bytes
            + self.recordings * rates.recording_bytes
            + self.speech_h * rates.speech_hour_bytes
        )


@dataclass(frozen=True)
class Run:
    """What an earlier run did and cost."""

    work: Work
    cpu_s: float
    wall_s: float
    table_bytes: int
    workers: int


@dataclass(frozen=True)
class Costs:
    """Costs of this output.

    Parameters
    ----------
    rates : Rates
    runs : sequence of Run
        The newest runs on this machine, else on any: the pods of a cluster never meet their own.
    elsewhere : bool
        The runs were on other machines.
    """

    rates: Rates
    runs: Sequence[Run] = field(default_factory=tuple)
    elsewhere: bool = False

    @property
    def speech_share(self) -> float:
        """Hours of speech in an hour of a call."""
        audio_h = sum(run.work.audio_h for run in self.runs)
        return sum(run.work.speech_h for run in self.runs) / audio_h if audio_h else SPEECH_SHARE

    @property
    def call_s(self) -> float:
        """Seconds of a call."""
        count = sum(run.work.recordings for run in self.runs)
        return sum(run.work.audio_h for run in self.runs) * 3600 / count if count else CALL_S

    def cpu_s(self, work: Work) -> float:
        """CPU seconds of work."""
        return work.cpu_s(self.rates) * _factor(
            (run.cpu_s, run.work.cpu_s(self.rates)) for run in self.runs
        )

    def table_bytes(self, work: Work) -> float:
        """Bytes that work adds to the tables."""
        return work.table_bytes(self.rates) * _factor(
            (run.table_bytes, run.work.table_bytes(self.rates)) for run in self.runs
        )

    def wall_s(self, cpu_s: float, workers: int, runs: int = 1) -> float:
        """Seconds that runs take, one after another."""
        pairs = [
            (max(0.0, run.wall_s - START_S), run.cpu_s / run.workers)
            for run in self.runs
            if run.workers and run.wall_s > 2 * START_S
        ]
        slowness = _factor(pairs) if pairs else SLOWNESS
        return runs * START_S + slowness * cpu_s / workers

    @property
    def basis(self) -> str:
        """What the estimate is made from, in words."""
        if not self.runs:
            return "an estimate: no run yet"
        count = len(self.runs)
        runs = "the last run" if count == 1 else f"the last {count:,} runs"
        return f"as in {runs}" + (", on other machines" if self.elsewhere else "")


def _factor(pairs: Iterable[tuple[float, float]]) -> float:
    """How many times as much was measured as was expected; 1 if nothing was."""
    measured = expected = 0.0
    for value, guess in pairs:
        measured, expected = measured + value, expected + guess
    return measured / expected if expected else 1.0


def read(reader: Reader, feature_set: str) -> Costs:
    """The costs of an output, from its table `runs`. Runs of versions before 0.3.0 do not count."""
    columns = [
        "run_id", "host", "labelled", "no_speech", "extracted", "rejected", "audio_hours",
        "channel_hours", "speech_hours", "cpu_seconds", "started", "ended", "table_bytes",
        "workers", "settings",
    ]  # fmt: skip
    rates = RATES.get(feature_set, RATES["voice"])
    here: list[Run] = []
    elsewhere: list[Run] = []
    host = socket.gethostname()
    for path in reversed(reader.paths("runs")):
        with reader.open_file(path) as file:
            if not set(columns) <= set(file.schema_arrow.names):
                continue
            rows = file.read(columns=columns).to_pylist()
        for row in sorted(rows, key=lambda row: row["run_id"], reverse=True):
            # `ser label` decodes nothing, and costs another thing.
            if row["settings"] and row["channel_hours"]:
                (here if row["host"] == host else elsewhere).append(_run(row))
        if _hours(here) >= _HOURS:
            break
    if here:
        return Costs(rates, tuple(here))
    return Costs(rates, tuple(_newest(elsewhere)), elsewhere=bool(elsewhere))


def _hours(runs: Sequence[Run]) -> float:
    return sum(run.work.audio_h for run in runs)


def _newest(runs: Sequence[Run]) -> Iterator[Run]:
    """The first of these that have enough hours together."""
    hours = 0.0
    for run in runs:
        if hours >= _HOURS:
            return
        yield run
        hours += run.work.audio_h


def _run(row: dict) -> Run:
    examined = row["labelled"] + row["extracted"] + row["no_speech"] + row["rejected"]
    return Run(
        Work(examined, row["audio_hours"], row["channel_hours"], row["speech_hours"]),
        cpu_s=row["cpu_seconds"],
        wall_s=(row["ended"] - row["started"]).total_seconds(),
        table_bytes=row["table_bytes"],
        workers=row["workers"],
    )
