"""What goes wrong in a simulated month, and what is done about it: one function an accident."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.nights.archive import FIELDS, PATTERN, ZONE, Call, Month
from benchmarks.nights.commands import Ser
from benchmarks.nights.stores import Place

ROLES, SWAPPED = "agent,customer", "customer,agent"
LATE_NIGHTS = 3
FAILED, TOO_MANY = 1, 3


@dataclass
class Played:
    """A month that is being played.

    Parameters
    ----------
    month : Month
    place : Place
    ser : Ser
    models : sequence of str
        The one to begin with, and the one to change to.
    told : Path
        Folder of the reader.
    random : np.random.Generator
    """

    month: Month
    place: Place
    ser: Ser
    models: Sequence[str]
    told: Path
    random: np.random.Generator
    night: int = 0
    model: str = ""
    # Paths that were erased, with the number of the night.
    forgotten: dict[str, int] = field(default_factory=dict)
    kept_from: dt.date | None = None
    swapped_on: dt.date | None = None
    kills: int = 0
    skipped: list[str] = field(default_factory=list)
    usual_s: float = 10.0

    def __post_init__(self) -> None:
        self.model = self.models[0]
        self._tell([])

    @property
    def day(self) -> dt.date:
        """The day of the night."""
        return self.month.days[self.night]

    def words(
        self, *more: object, day: dt.date | None = None, roles: str = ROLES, below: str = PATTERN
    ) -> list[object]:
        """The command of a night."""
        return [
            "run", "--input", f"{self.place.archive}/{below}", "--output", self.place.output,
            "--date", day or self.day, "--channel-roles", roles, "--uri-fields", FIELDS,
            "--time-zone", ZONE.key, "--model", self.model, "--max-reject-ratio", "0.9", *more,
        ]  # fmt: skip

    def run(self, *more: object) -> None:
        """The night as it should be."""
        done = self.ser(*self.words("--days", LATE_NIGHTS, *more))
        self.usual_s = done.seconds

    def kill(self, *words: object) -> None:
        """Kill a command at a random moment, from its start to about its end."""
        self.kills += self.ser.killed(self.random.uniform(0.2, 1.0) * self.usual_s, *words)

    def fails(self, accident: AbstractContextManager) -> None:
        """The night fails while an accident lasts."""
        with accident:
            self.ser(*self.words("--days", LATE_NIGHTS), expected=[FAILED])

    def forget(self, calls: Iterable[Call], *condition: object, kill: bool = False) -> None:
        """Forget calls that are in the tables, which a condition names."""
        paths = [call.path for call in calls]
        self._tell([[f"{self.place.archive}/{path}" for path in paths]])
        words = ["forget", "--output", self.place.output, *condition]
        if kill:
            self.kill(*words)
        # Exit 4: what was killed had erased all of it.
        self.ser(*words, expected=[0, 4] if kill else [0])
        self.forgotten |= dict.fromkeys(paths, self.night)

    def _tell(self, groups: list[list[str]]) -> None:
        part = self.told / "groups.part"
        part.write_text(json.dumps(groups))
        part.replace(self.told / "groups.json")


Accident = Callable[[Played], None]


def roles_swapped(played: Played) -> None:
    """The roles are given the wrong way round."""
    played.ser(*played.words("--days", LATE_NIGHTS, roles=SWAPPED))
    played.swapped_on = played.day


def roles_corrected(played: Played) -> None:
    """Some nights later somebody notices, and corrects them by one command."""
    played.run()
    assert played.swapped_on is not None
    night = played.swapped_on
    words = played.words("--days", LATE_NIGHTS, "--redo", f"date={night}", day=night)
    played.ser("plan", *words[1:])
    played.ser(*words)


def killed(played: Played) -> None:
    """The run is killed at a random moment, and started again."""
    played.kill(*played.words("--days", LATE_NIGHTS))
    played.run()


def disk_full(played: Played) -> None:
    """The output's disk is full; then somebody makes room."""
    if played.place.disk is None:
        played.skipped.append("disk full: needs a disk, and root to mount a small one")
    else:
        played.fails(played.place.full_disk())
    played.run()


def credential_expired(played: Played) -> None:
    """The credential of the S3 server has expired; then it is renewed."""
    if played.place.faults is not None:
        played.fails(played.place.expired_credential())
    played.run()


def call_forgotten(played: Played) -> None:
    """A caller wants one call to be forgotten."""
    played.run()
    call = next(call for call in played.month.calls if not call.bad and call.replaced < 0)
    played.forget([call], "--uri", f"{played.place.archive}/{call.path}")


def customer_forgotten(played: Played) -> None:
    """A customer wants to be forgotten; the command is killed, and given again."""
    played.run()
    calls = played.month.there(played.night)
    customer = calls[len(calls) // 2].customer
    theirs = [call for call in calls if call.customer == customer and _is_kept(played, call)]
    played.forget(theirs, "--where", f"meta_customer = '{customer}'", kill=True)


def compacted(played: Played) -> None:
    """The small files of the nights are merged; the command is killed, and given again."""
    played.run()
    played.kill("compact", "--output", played.place.output)
    played.ser("compact", "--output", played.place.output)


def model_changed(played: Played) -> None:
    """From tonight another model labels."""
    played.model = played.models[1]
    played.run()


def labelled_anew(played: Played) -> None:
    """The nights before the change get the labels of the new model; once it is killed."""
    played.run()
    words = ["label", "--output", played.place.output, "--model", played.model]
    words += ["--date", str(played.day)]
    if played.kills:
        played.kill(*words)
    played.ser(*words)


def changed_and_labelled(played: Played) -> None:
    """Another model, and its labels for all nights at once."""
    played.model = played.models[1]
    labelled_anew(played)


def retention(played: Played) -> None:
    """Calls older than some days are erased: those of the first two nights."""
    first = played.month.days[min(2, len(played.month.days) - 2)]
    played.run("--keep-days", (played.day - first).days)
    played.kept_from = first


def nothing(played: Played) -> None:
    """Recordings come, and no run meets them."""


def at_once(played: Played) -> None:
    """The last model labels all days in one run."""
    played.model = played.models[1]
    played.ser(*played.words(below=""))


def _is_kept(played: Played, call: Call) -> bool:
    return call.path not in played.forgotten


# What happens in which night, the first being night 1. The disturbances leave no trace.
MONTH: dict[int, Accident] = {
    5: roles_swapped,
    7: killed,
    9: roles_corrected,
    11: disk_full,
    13: killed,
    14: call_forgotten,
    15: compacted,
    16: credential_expired,
    18: model_changed,
    20: labelled_anew,
    22: customer_forgotten,
    25: compacted,
    28: retention,
}
FIVE: dict[int, Accident] = {
    1: roles_swapped,
    2: roles_corrected,
    3: killed,
    4: customer_forgotten,
    5: changed_and_labelled,
}
# What they are compared with: a month without disturbances, and one run over all five days.
CALM_MONTH: dict[int, Accident] = {18: model_changed, 20: labelled_anew}
CALM_FIVE: dict[int, Accident] = {**dict.fromkeys(range(1, 5), nothing), 5: at_once}
