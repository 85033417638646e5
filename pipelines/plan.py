"""`ser plan`: what a run would do, without doing it: counts, hours, time, problems."""

from __future__ import annotations

import datetime as dt
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from pipelines import store
from pipelines.errors import NothingMatchedError
from pipelines.uri_fields import UriFields
from ser_core import audio, features
from ser_core.errors import AudioError
from ser_core.examine import Settings, Source

# Headers of this many recordings tell about all.
SAMPLE = 300
# CPU seconds an hour of audio where no run has measured it yet; see docs/performance.md.
CPU_S_AN_HOUR = 250.0


def show(
    *,
    inputs: Sequence[str],
    output: str,
    date: dt.date,
    settings: Settings,
    fields: UriFields,
    workers: int,
) -> None:
    """Print the plan.

    Raises
    ------
    NothingMatchedError
        No input matches.
    """
    there = store.Output(output)
    feature_set = features.get(settings.feature_set)
    there.check_feature_set(feature_set.id, feature_set.fingerprint)
    matched = store.match(inputs, date=date, output=str(there.root))
    if not matched:
        raise NothingMatchedError(f"--input {' '.join(inputs)}: nothing matches")
    done = there.done()
    new = [one for one in matched if (one.uri, one.size_bytes, one.modified_us) not in done]
    sample = random.Random(0).sample(new, min(SAMPLE, len(new)))
    probes = [_probe(source, settings) for source in sample]
    hours = [seconds / 3600 for seconds, _ in probes if seconds is not None]
    total_hours = sum(hours) / max(1, len(sample)) * len(new)
    cost, basis = _cost(there)
    problems = Counter(problem for _, problem in probes if problem)

    table = Table(title=f"What a run into {there.root} would do", show_header=False)
    table.add_row("matched", f"{len(matched):,}")
    table.add_row("already done", f"{len(matched) - len(new):,}")
    table.add_row("new", f"{len(new):,} ({_kinds(new)})")
    table.add_row("bytes", f"{sum(one.size_bytes or 0 for one in new) / 1e6:,.1f} MB")
    everything = len(sample) == len(new)
    about = "all headers read" if everything else f"from the headers of {len(sample)}"
    table.add_row("audio", f"{total_hours:,.2f} h ({about})")
    table.add_row(
        "time", f"about {_span(total_hours * cost / workers)} with {workers} processes ({basis})"
    )
    for problem, count in problems.most_common():
        table.add_row("problem", f"{problem}: {count:,} of {len(sample):,} looked at")
    unread = sum(fields.pattern != "" and not _says(fields, one.uri) for one in new)
    if unread:
        table.add_row("problem", f"--uri-fields does not match: {unread:,} of {len(new):,} new")
    if fields.pattern and new:
        time, meta = fields.read(new[0].uri)
        read = ", ".join(f"{name}={value}" for name, value in {"call_time": time, **meta}.items())
        table.add_row("for example", f"{os.path.basename(new[0].uri)}: {read}")
    Console().print(table)


def _says(fields: UriFields, uri: str) -> bool:
    time, meta = fields.read(uri)
    return time is not None or any(value is not None for value in meta.values())


def _probe(source: Source, settings: Settings) -> tuple[float | None, str | None]:
    """Seconds as the header says, and what would be a problem."""
    if store.REMOTE.match(source.uri):
        return None, None
    try:
        path = store.local_path(source.uri)
        with audio.open(path, source.uri, limits=settings.limits) as stream:
            if stream.channels > 1 and stream.channels != len(settings.channel_roles):
                return None, "channel_roles_unknown (--channel-roles)"
            return stream.declared_s, None
    except AudioError as error:
        return None, error.reason


def _kinds(sources: Sequence[Source]) -> str:
    kinds = Counter(Path(source.uri).suffix.lower() or "no extension" for source in sources)
    return ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common(5)) or "nothing"


def _cost(output: store.Output) -> tuple[float, str]:
    """CPU seconds an hour of audio: of the last run there that did an hour or more."""
    for path in reversed(output.files("runs")):
        for row in pq.ParquetFile(path).read(columns=["audio_hours", "cpu_seconds"]).to_pylist():
            if row["audio_hours"] >= 1:
                return row["cpu_seconds"] / row["audio_hours"], "as in the last run"
    return CPU_S_AN_HOUR, "a guess: no run there has done an hour yet"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
