"""Draws one call, with its waves if the original audio still exists, and prints newest rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from pipelines.errors import NothingMatchedError, UsageError
from pipelines.storage import published, views
from pipelines.storage.originals import ReplacedError, open_original
from ser_core import audio, tables
from ser_core.errors import AudioError, SerError
from ser_core.examine import Source
from ser_core.report import call_picture
from ser_core.tables import Reader
from ser_core.tables.reader import label_names, latest_rows, night_of
from ser_core.tables.schemas import PROBABILITY

# A long call's wave is reduced to about this many points, the extremes of short stretches.
WAVE_POINTS = 200_000
_SEGMENT_COLUMNS = (
    "channel", "role", "start_s", "end_s", "rms_db", "label", "confidence", "unsure",
)  # fmt: skip


def draw(output: str, recording: str, save: str | None) -> Iterator[str]:
    """Draw the latest row of a recording and write the picture; yields lines to print.

    Raises
    ------
    NothingMatchedError
        There is no such recording, or there are no tables.
    UsageError
        Several recordings match, or the picture cannot be written.
    """
    reader = published.open_reader(output)
    row, path = _find(reader, recording)
    if row["status"] == tables.REJECTED:
        yield f"{row['uri']}: rejected, {row['reason']}: {row['detail']}; nothing to draw"
        return
    labels = label_names(reader.schema(path))
    segments = _segments(reader, path, row, labels)
    waves, rate, problem = _waves(row)
    channels = row["by_channel"]
    figure = call_picture.draw(
        waves,
        rate,
        [channel["role"] for channel in channels],
        segments,
        title=os.path.basename(row["uri"]),
        labels=labels,
        duration_s=row["duration_s"],
        verdict=call_picture.Verdict(row["label"], row["confidence"], row["unsure"], row["arc"]),
        quarters=[row[f"negativity_q{q}"] for q in range(1, 5)],
    )
    save = save or f"call-{row['recording_id'][:8]}.png"
    try:
        call_picture.save(figure, save)
    except (OSError, SerError) as error:
        raise UsageError(f"--save {save}: cannot be written: {error}") from error
    verdict = f"{row['label']} ({row['confidence']:.2f})" if row["label"] else row["status"]
    yield f"{row['uri']}: {verdict}, {len(segments)} segments, {row['speech_s']:.1f} s of speech"
    if problem:
        yield f"{problem}: levels are drawn instead of waves"
    yield f"picture: {save}"


def write_call_page(
    output: str,
    recording: str,
    save: str,
    *,
    clips: bool = False,
    back: str | None = None,
    db: Any = None,
) -> str:
    """Write a call's page, and return its headline.

    Parameters
    ----------
    output : str
    recording : str
        URI or recording_id; as `ser show --recording` takes it.
    save : str
        The page, a local path.
    clips : bool
        Whether the page holds a compressed copy of the recording.
    back : str, optional
        Address of the page that lists the calls, relative to `save`; the page links to it.
    db : DuckDB connection, optional
        Of `views.connect(output)`, so that many pages need it once.

    Raises
    ------
    NothingMatchedError
        There is no such recording, or there are no tables.
    UsageError
        Several recordings match, or the page cannot be written.
    """
    raise NotImplementedError


_FIRST_ROWS = {
    "calls": "SELECT parse_filename(uri) AS recording, status, label, "
    "round(confidence::DOUBLE, 2) AS confidence, unsure, "
    "round(negativity::DOUBLE, 2) AS negativity, arc, "
    "round(speech_s, 1) AS speech_s FROM calls "
    "ORDER BY run_id DESC, uri LIMIT 15",
    "segments": "SELECT parse_filename(uri) AS recording, role, start_s, end_s, label, "
    "round(confidence::DOUBLE, 2) AS confidence, unsure FROM segments "
    "ORDER BY run_id DESC, uri, channel, start_s LIMIT 8",
}


def print_newest_rows(output: str) -> None:
    """Print the newest rows of the views `calls` and `segments`.

    Raises
    ------
    NothingMatchedError
        There are no tables.
    """
    published.require_paths(published.open_reader(output), "recordings")
    with views.connect(output) as db:
        for name, query in _FIRST_ROWS.items():
            _print_rows(name, db.execute(query))


def _print_rows(name: str, answer: Any) -> None:
    table = Table(title=name)
    for column in answer.description or ():
        table.add_column(column[0], no_wrap=True)
    for row in answer.fetchall():
        table.add_row(*("" if value is None else str(value) for value in row))
    console = Console()
    Console(width=max(console.width, 120)).print(table)


def _find(reader: Reader, recording: str) -> tuple[dict, str]:
    """The latest row whose id begins, or whose URI ends, with `recording`; and its file."""
    paths = published.require_paths(reader, "recordings")
    wanted = recording.replace("\\", "/")
    exact = (wanted, os.path.abspath(wanted))
    end = f"/{wanted.lstrip('/')}"
    matching = []
    for rows in reader.rows(paths, ["uri", "recording_id"]):
        for row in rows.to_pylist():
            uri, identity = row["uri"], row["recording_id"] or ""
            part = len(wanted) >= 4 and (identity.startswith(wanted) or uri.endswith(end))
            if uri in exact or identity == wanted or part:
                matching.append(row)
    latest = latest_rows(matching)
    if not latest:
        raise NothingMatchedError(
            f"--recording {recording}: no id begins and no URI ends with this; "
            f'`ser query "SELECT uri, recording_id FROM calls" --output {reader.root}` lists them'
        )
    if len(latest) > 1:
        listed = ", ".join(sorted(latest)[:3])
        raise UsageError(f"--recording {recording}: {len(latest)} recordings match: {listed}, …")
    ((uri, found),) = latest.items()
    of_row = (pc.field("uri") == uri) & (pc.field("run_id") == found["run"])
    rows = published.read_rows(found["path"], of_row)
    return rows.to_pylist()[0], found["path"]


def _segments(
    reader: Reader, path: str, row: dict, labels: Sequence[str]
) -> list[call_picture.Segment]:
    """The labelled segments of a row."""
    of_row = (pc.field("uri") == row["uri"]) & (pc.field("run_id") == row["run_id"])
    found = [
        segment
        for part in published.same_night(reader, "segments", [night_of(path)])
        for segment in published.read_rows(part, of_row).to_pylist()
    ]
    return [
        call_picture.Segment(
            **{name: segment[name] for name in _SEGMENT_COLUMNS},
            probabilities=[segment[f"{PROBABILITY}{label}"] for label in labels],
        )
        for segment in found
        if segment["label"] is not None
    ]


def _waves(row: dict) -> tuple[np.ndarray | None, int, str]:
    """Waves [channels, n], reduced to the extremes of short stretches, and their rate in Hz.

    If the original audio is missing, replaced or unreadable: None, and the problem in words.
    """
    step = max(1, int(row["duration_s"] * row["sample_rate_hz"] * 2 / WAVE_POINTS))
    source = Source(row["uri"], row["size_bytes"], None)
    raw = audio.RawFormat.of_row(row["uri"], row["codec"], row["sample_rate_hz"], row["channels"])
    try:
        with (
            open_original(source, row["recording_id"]) as path,
            audio.open(path, row["uri"], raw=raw) as stream,
        ):
            # Channels that hold the same are one.
            sides = len(row["by_channel"])
            blocks = [_extremes(block[:sides], step) for block in stream.blocks()]
    except ReplacedError:
        return None, 1, "the audio was replaced after it was labelled"
    except FileNotFoundError:
        return None, 1, "the audio no longer exists"
    except (AudioError, OSError):
        return None, 1, "the audio cannot be read"
    waves = np.concatenate(blocks, axis=1)
    return waves, max(1, round(waves.shape[1] / row["duration_s"])), ""


def _extremes(block: np.ndarray, step: int) -> np.ndarray:
    """Minimum and maximum of every `step` samples."""
    if step < 4:
        return block
    whole = block.shape[1] // step * step
    stretches = block[:, :whole].reshape(len(block), -1, step)
    return np.stack([stretches.min(axis=2), stretches.max(axis=2)], axis=2).reshape(len(block), -1)
