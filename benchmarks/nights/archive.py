"""The call archive of a simulated month: new calls each day, late ones, replaced ones, bad ones."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import soundfile

ZONE = ZoneInfo("Europe/Berlin")
RATE_HZ = 8_000
QUEUES = ("billing", "sales", "support")
CUSTOMERS = 40
FIELDS = r"(?P<queue>[^/]+)/(?P<time>\d{8}T\d{6})_(?P<customer>k\d\d)_(?P<call>c\d+)\.\w+$"
PATTERN = "{date:%Y/%m/%d}"

# Shares of a day's calls.
LATE = 0.05  # lie in their folder a night or two later
REPLACED = 0.03  # are uploaded again the next day, with another content
BAD = 0.02  # hold no sound that can be decoded
SIDECARS = 0.05  # come with a file beside them
MONO_SHARE = 0.1

Fill = Callable[[str, bytes, float], None]
"""Puts a file into the archive: its path there, its bytes, the time of its last change."""


@dataclass(frozen=True)
class Call:
    """A file of the archive.

    Parameters
    ----------
    path : str
        Below the archive's root.
    customer : str
    day : datetime.date
        Of the call.
    arrives, replaced : int
        Numbers of the nights before which it lies there, and is replaced; -1 is never.
    bad : bool
    seed : int
    """

    path: str
    customer: str
    day: dt.date
    arrives: int
    replaced: int
    bad: bool
    seed: int

    @property
    def time(self) -> dt.datetime:
        """When it began, as its name tells."""
        clock = self.path.rpartition("/")[2].partition("_")[0]
        return dt.datetime.strptime(clock, "%Y%m%dT%H%M%S").replace(tzinfo=ZONE)


@dataclass
class Month:
    """All calls of a month, which follow from its seed.

    Parameters
    ----------
    days : sequence of datetime.date
        The day of each night, oldest first.
    calls_a_night : (int, int)
        Calls of the first and of the last day; the archive grows.
    seed : int
    """

    days: Sequence[dt.date]
    calls_a_night: tuple[int, int]
    seed: int
    calls: list[Call] = field(init=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        low, high = self.calls_a_night
        self.calls = []
        for night, day in enumerate(self.days):
            share = night / max(1, len(self.days) - 1)
            expected = low + share * (high - low)
            count = int(np.clip(random.normal(expected, 0.1 * expected), low, high))
            self.calls += [self._call(night, day, random) for _ in range(count)]

    def _call(self, night: int, day: dt.date, random: np.random.Generator) -> Call:
        # Local clocks: those of the odd nights leave an hour out, or have one twice.
        clock = dt.datetime.combine(day, dt.time()) + dt.timedelta(
            seconds=int(random.integers(86_400))
        )
        customer = f"k{random.integers(CUSTOMERS):02d}"
        number = len(self.calls) + 1
        queue = QUEUES[random.integers(len(QUEUES))]
        path = f"{day:%Y/%m/%d}/{queue}/{clock:%Y%m%dT%H%M%S}_{customer}_c{number:05d}.wav"
        late = int(random.integers(1, 3)) if random.random() < LATE else 0
        return Call(
            path=path,
            customer=customer,
            day=day,
            arrives=night + late,
            replaced=night + 1 if not late and random.random() < REPLACED else -1,
            bad=random.random() < BAD,
            seed=int(random.integers(2**31)),
        )

    def fill(self, night: int, put: Fill) -> None:
        """Put what has come since the night before into an archive."""
        for call in self.calls:
            came = dt.datetime.combine(self.days[night], dt.time(23, 30), ZONE).timestamp()
            if call.arrives == night:
                put(call.path, content(call), came)
                if call.seed % 1_000 < 1_000 * SIDECARS:
                    put(call.path.removesuffix("wav") + "json", b"{}", came)
            if call.replaced == night:
                put(call.path, content(replace(call, seed=call.seed + 1)), came)

    def there(self, night: int) -> list[Call]:
        """The calls that have come until a night."""
        return [call for call in self.calls if call.arrives <= night]


def content(call: Call) -> bytes:
    """The bytes of a call: mu-law, agent left and customer right, now and then mono."""
    random = np.random.default_rng(call.seed)
    if call.bad:
        return b"this is no sound %d" % call.seed
    seconds = float(random.uniform(3.0, 6.0))
    sides = [
        np.zeros(round(seconds * RATE_HZ), np.float32)
        + random.normal(0, 0.0006, round(seconds * RATE_HZ)).astype(np.float32)
        for _ in range(2)
    ]
    half = seconds * 0.45
    for side, start_s in enumerate((0.1, seconds - half - 0.1)):
        voice = _voices()[random.integers(len(_voices()))]
        first, count = round(start_s * RATE_HZ), round(half * RATE_HZ)
        offset = int(random.integers(len(voice) - count))
        gain = 10 ** (random.uniform(-14, 2) / 20)
        sides[side][first : first + count] += gain * voice[offset : offset + count]
    mono = random.random() < MONO_SHARE
    samples = np.mean(sides, axis=0) if mono else np.stack(sides, axis=1)
    return _wav(np.clip(samples, -1, 1))


def _wav(samples: np.ndarray) -> bytes:
    import io

    sink = io.BytesIO()
    soundfile.write(sink, samples, RATE_HZ, subtype="ULAW", format="WAV")
    return sink.getvalue()


_made: list[np.ndarray] = []


def _voices() -> list[np.ndarray]:
    """Some voices of ten seconds, made once."""
    from tests.speechlike import voice

    if not _made:
        for seed, f0_hz in enumerate((95, 120, 150, 180, 205, 230)):
            _made.append(voice(10.0, RATE_HZ, f0_hz=f0_hz, seed=seed))
    return _made


def into_folder(root: Path) -> Fill:
    """Puts files into a folder, each by one rename."""

    def put(path: str, data: bytes, changed_s: float) -> None:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        part.write_bytes(data)
        os.utime(part, (changed_s, changed_s))
        os.replace(part, target)

    return put


def nights_of(count: int) -> list[dt.date]:
    """Days of `count` nights: half up to that of 23 hours, half up to that of 25 hours, of 2026."""
    half = count // 2
    return [*_up_to(dt.date(2026, 3, 29), half), *_up_to(dt.date(2026, 10, 25), count - half)]


def _up_to(last: dt.date, count: int) -> Iterator[dt.date]:
    for back in range(count - 1, -1, -1):
        yield last - dt.timedelta(days=back)
