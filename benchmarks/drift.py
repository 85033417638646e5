"""Whether drift is noticed, and how often an ordinary night is taken for it: built archives.

    python benchmarks/drift.py [--calls 120] [--shifted 24] [--keep FOLDER] [--save F.md]

Calls of two sides are built from CREMA-D and RAVDESS: eight agents, four queues, mu-law. Each is
examined and labelled once, which gives its sketch. A night of 200 calls is drawn from them with
replacement. Ordinary archives are 60 such nights. In the others, from night 31 on, all calls (or a
quarter of them) are of one condition, and otherwise the same: 12 dB lower, of a narrower band,
through GSM, with another microphone in one queue, with the roles swapped. In one, they are of
another language (EMOVO). A night is noticed if `drift` has an alarm. Needs the folder SER_DATA, or
../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import datetime as dt
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.signal
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.calls.files import through_gsm
from benchmarks.calls.material import default_data, find_utterances
from benchmarks.calls.talk import build_call
from pipelines import drift
from pipelines.storage import bundles, views
from ser_core import models, tables
from ser_core.corpora import Utterance
from ser_core.examine import Settings, Source, examine
from ser_core.tables import sketch
from ser_core.tables.sketch import Binning, Sketch
from ser_core.threads import use_one_thread

RATE, MINUTES, AGENTS = 8_000, 0.6, 8
QUEUES = ("billing", "support", "sales", "retention")
HOME, ABROAD = ("cremad", "ravdess"), ("emovo",)
ORDINARY, SHIFTED_FROM, SHIFTED_NIGHTS = 60, 30, 3
FIRST = dt.date(2026, 1, 1)
AGENT_CUSTOMER = ("agent", "customer")
MICROPHONE_QUEUE = "sales"


def lower(channels: np.ndarray) -> np.ndarray:
    """12 dB lower."""
    return channels * 10 ** (-12 / 20)


def narrower(channels: np.ndarray) -> np.ndarray:
    """Nothing above 2,400 Hz."""
    filter_ = scipy.signal.butter(8, 2_400, fs=RATE, output="sos")
    return scipy.signal.sosfilt(filter_, channels)


def gsm(channels: np.ndarray) -> np.ndarray:
    """From a mobile phone: GSM 06.10 before the mu-law of the recording."""
    return np.stack([through_gsm(np.clip(channel, -1, 1 - 2**-15)) for channel in channels])


def microphone(channels: np.ndarray) -> np.ndarray:
    """A headset that favours high frequencies, at the same level."""
    bright = scipy.signal.lfilter([1.0, -0.6], [1.0], channels)
    return bright * np.sqrt(np.mean(channels**2) / np.mean(bright**2))


@dataclass(frozen=True)
class Condition:
    """What the calls of a condition go through.

    Parameters
    ----------
    title : str
    change : callable
        From and to float [2, n].
    corpora : tuple of str
    roles : tuple of str
        As the run takes the channels.
    queue : str or None
        Only the calls of this queue change.
    """

    title: str
    change: Callable[[np.ndarray], np.ndarray] = lambda channels: channels
    corpora: tuple[str, ...] = HOME
    roles: tuple[str, ...] = AGENT_CUSTOMER
    queue: str | None = None


CONDITIONS = {
    "ordinary": Condition("ordinary nights"),
    "level": Condition("level: 12 dB lower", lower),
    "band": Condition("bandwidth: nothing above 2,400 Hz", narrower),
    "gsm": Condition("codec: GSM before the recording", gsm),
    "language": Condition("language: Italian", corpora=ABROAD),
    "microphone": Condition("one queue's microphone", microphone, queue=MICROPHONE_QUEUE),
    "roles": Condition("roles swapped", roles=AGENT_CUSTOMER[::-1]),
}


@dataclass(frozen=True)
class Call:
    """A call's queue, and its sketch as a night of one call."""

    queue: str
    sketch: Sketch


def build(condition: Condition, count: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write calls as mu-law, one after the other; gives the queue and the file of each."""
    utterances = find_utterances(default_data(), condition.corpora)
    speakers = np.random.default_rng(0).permutation(sorted({u.speaker for u in utterances}))
    agents = speakers[: min(AGENTS, len(speakers) // 3)]
    customers = speakers[len(agents) :]
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    path = folder / "call.wav"
    for number in range(count):
        rng = np.random.default_rng([1, number])
        cast = (str(agents[number % len(agents)]), str(customers[number % len(customers)]))
        own = by_speaker[cast[0]] + by_speaker[cast[1]]
        channels, _ = build_call(own, RATE, 60 * MINUTES * rng.uniform(0.7, 1.3), rng, cast=cast)
        queue = QUEUES[int(rng.integers(len(QUEUES)))]
        if condition.queue in (None, queue):
            channels = np.clip(condition.change(channels), -1, 1 - 2**-15)
            soundfile.write(path, channels.T, RATE, format="WAV", subtype="ULAW")
            yield queue, path


def sketches(name: str, count: int, model: str) -> list[Call]:
    """Examine and label calls of a condition, as a night does."""
    condition, bundle, binning = CONDITIONS[name], models.load(model), bundles.read_binning(model)
    use_one_thread()
    settings = Settings(bundle.feature_set, channel_roles=condition.roles)
    calls = []
    with tempfile.TemporaryDirectory() as folder:
        for queue, path in build(condition, count, Path(folder)):
            found = examine(path, Source(str(path), 1, 1), settings)
            vectors = found.vectors
            if vectors is None or not len(vectors):
                continue
            probabilities = bundle.predict(vectors)
            own = Sketch()
            own.add(found, probabilities, bundle.labels, {"queue": queue}, binning)
            calls.append(Call(queue, own))
    return calls


def night_of(calls: Sequence[Call], rng: np.random.Generator, count: int) -> list[Sketch]:
    """A night's calls, drawn with replacement."""
    return [calls[i].sketch for i in rng.integers(len(calls), size=count)]


def usual_calls(name: str, calls: dict[str, list[Call]]) -> list[Call]:
    """The ordinary calls that nights before a condition are drawn from.

    They are the same calls as those of the condition, so that nothing but the condition differs.
    """
    same = CONDITIONS[name].corpora == HOME and CONDITIONS[name].queue is None
    return calls["ordinary"][: len(calls[name])] if same else calls["ordinary"]


def shifted_night(
    name: str, calls: dict[str, list[Call]], rng: np.random.Generator, count: int, share: float
) -> list[Sketch]:
    """A night of which a share of the calls has shifted; of one queue, where it is that one's."""
    queue, ordinary = CONDITIONS[name].queue, calls["ordinary"]
    if queue is None:
        new, usual = round(share * count), usual_calls(name, calls)
        return night_of(calls[name], rng, new) + night_of(usual, rng, count - new)
    others = [call for call in ordinary if call.queue != queue]
    same = [call for call in ordinary if call.queue == queue]
    changed = [call for call in calls[name] if call.queue == queue]
    of_queue = round(count * len(same) / len(ordinary))
    new = round(share * of_queue)
    return [
        *night_of(changed, rng, new),
        *night_of(same, rng, of_queue - new),
        *night_of(others, rng, count - of_queue),
    ]


def publish(out: Path, nights: Sequence[Sequence[Sketch]], model_id: str, binning: Binning) -> None:
    """Write the table `runs` of an archive: one run a night."""
    for number, night in enumerate(nights):
        date = FIRST + dt.timedelta(number)
        run = f"r{date:%Y%m%d}T021500-aaaaaa"
        row = {
            "run_id": run, "night": date, "model_id": model_id, "warnings": [], "redo": [],
            "sketch": sketch.total(night).rows(binning),
        }  # fmt: skip
        folder = out / "runs" / f"date={date}" / f"run={run}"
        folder.mkdir(parents=True)
        table = pa.Table.from_pylist([row], schema=tables.runs_schema())
        pq.write_table(table, folder / "part-00000-of-00001.parquet")


def alarms(out: Path, nights: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The alarms of some nights of an archive."""
    dates = {FIRST + dt.timedelta(n): n for n in nights}
    with views.connect(out) as db:
        moved = [
            row[0] for row in db.execute("SELECT DISTINCT night FROM drift WHERE moved").fetchall()
        ]
        found = {dates[date]: drift.measure(db, date).alarms for date in moved if date in dates}
    return {n: found.get(n, ()) for n in nights}


def in_archive(
    nights: Sequence[Sequence[Sketch]], ask: Sequence[int], model_id: str, binning: Binning
) -> dict[int, tuple[str, ...]]:
    """The alarms of some nights of an archive of these nights."""
    with tempfile.TemporaryDirectory() as folder:
        publish(Path(folder), nights, model_id, binning)
        return alarms(Path(folder), ask)


def main() -> None:
    """Print the table, and what the alarms say."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=120, help="ordinary calls that are built")
    parser.add_argument("--shifted", type=int, default=24, help="calls of each other condition")
    parser.add_argument("--night", type=int, nargs="+", default=[200], help="calls of a night")
    parser.add_argument("--model", default=models.default_name())
    parser.add_argument("--archives", type=int, default=3, help="archives of each kind")
    parser.add_argument("--keep", type=Path, help="folder for the sketches of the calls")
    parser.add_argument("--save", type=Path, help="write the table as Markdown to this file")
    options = parser.parse_args()
    calls = {}
    for name, condition in CONDITIONS.items():
        count = options.calls if name == "ordinary" or condition.queue else options.shifted
        calls[name] = kept(
            options.keep and options.keep / f"{options.model}-{name}-{count}.pickle",
            partial(sketches, name, count, options.model),
        )
        print(f"{condition.title}: {len(calls[name])} calls", file=sys.stderr, flush=True)
    model_id, binning = models.read_card(options.model).id, bundles.read_binning(options.model)
    examples: list[str] = []
    lines = [
        f"| archive, model `{options.model}` | calls a night | nights | nights with an alarm "
        "| noticed on the first night |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for size in options.night:
        for line, example in measure(calls, size, options.archives, model_id, binning):
            print(line, example, file=sys.stderr, flush=True)
            lines.append(line)
            examples += [f"- {example}"] * bool(example)
    lines += ["", *examples]
    print("\n".join(lines))
    if options.save:
        options.save.write_text("\n".join(lines) + "\n", encoding="utf-8")


def kept(path: Path | None, make: Callable[[], list[Call]]) -> list[Call]:
    """What a file of an earlier call of this program holds, or what is made now."""
    if path is None:
        return make()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(make()))
    made: list[Call] = pickle.loads(path.read_bytes())
    return made


def measure(
    calls: dict[str, list[Call]], size: int, archives: int, model_id: str, binning: Binning
) -> Iterator[tuple[str, str]]:
    """The lines of the table, of nights of one size; and an alarm of each, if there is one."""
    ordinary = calls["ordinary"]
    found: dict[int, tuple[str, ...]] = {}
    for seed in range(archives):
        rng = np.random.default_rng([seed, size])
        nights = [night_of(ordinary, rng, size) for _ in range(ORDINARY)]
        of_archive = in_archive(nights, range(ORDINARY), model_id, binning)
        found |= {ORDINARY * seed + n: alarm for n, alarm in of_archive.items()}
    false = [alarm for alarm in found.values() if alarm]
    example = false[0][0] if false else ""
    yield f"| ordinary | {size} | {len(found)} | {len(false)} | |", example
    for share in (1.0, 0.25):
        for name in [name for name in CONDITIONS if name != "ordinary"]:
            noticed, first, example = 0, 0, ""
            for seed in range(archives):
                rng = np.random.default_rng([seed, size, 1])
                usual = usual_calls(name, calls)
                nights = [night_of(usual, rng, size) for _ in range(SHIFTED_FROM)]
                nights += [
                    shifted_night(name, calls, rng, size, share) for _ in range(SHIFTED_NIGHTS)
                ]
                ask = range(SHIFTED_FROM, len(nights))
                of_archive = in_archive(nights, ask, model_id, binning)
                noticed += sum(map(bool, of_archive.values()))
                first += bool(of_archive[SHIFTED_FROM])
                example = example or "; ".join(of_archive[SHIFTED_FROM])
            title = CONDITIONS[name].title + ("" if share == 1 else f", {share:.0%} of the calls")
            yield (
                f"| {title} | {size} | {archives * SHIFTED_NIGHTS} | {noticed} "
                f"| {first} of {archives} |",
                example,
            )


if __name__ == "__main__":
    main()
