"""Shows one call, as a picture or as a page, and prints newest rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipelines import calls
from pipelines.errors import UsageError
from pipelines.sound import NoSoundError, find_original, read_copy, read_waves
from pipelines.storage import files, published, views
from ser_core import tables
from ser_core.errors import SerError
from ser_core.report import call_page, call_picture, call_story, pages
from ser_core.report.call import Call
from ser_core.report.call_page import Playback


def draw(output: str, recording: str, save: str | None) -> Iterator[str]:
    """Draw a call and write the picture; yields lines to print.

    Raises
    ------
    NothingMatchedError
        There is no such recording, or there are no tables.
    UsageError
        Several recordings match, or the picture cannot be written.
    """
    call, has_features = _read(output, recording)
    if call.status == tables.REJECTED:
        yield f"{call.uri}: rejected, {call.reason}: {call.detail}; nothing to draw"
        return
    waves, rate, problem = _waves(call)
    figure = call_picture.draw(call, waves, rate)
    save = save or f"call-{(call.recording_id or '')[:8]}.png"
    try:
        call_picture.save(figure, save)
    except (OSError, SerError) as error:
        raise UsageError(f"--save {save}: cannot be written: {error}") from error
    yield _in_words(call)
    if problem:
        yield f"{problem}: levels are drawn instead of waves"
    if not has_features:
        yield _ERASED
    yield f"picture: {save}"


def show_page(output: str, recording: str, save: str | None, *, clips: bool) -> Iterator[str]:
    """Write a call's page; yields lines to print. Raises what `write_call_page` raises."""
    call, has_features = _read(output, recording)
    save = save or f"call-{(call.recording_id or 'unreadable')[:8]}.html"
    playback = _write(call, output, save, clips=clips, back=None)
    yield _in_words(call)
    if playback.problem:
        yield playback.problem
    if not has_features:
        yield _ERASED
    if playback.copy:
        yield (
            f"the page holds a copy of the recording ({len(playback.copy) / 1000:,.0f} kB): it is "
            "speech of people; delete it when you are done"
        )
    yield f"page: {save}"


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
        The page; a path, or an address in an object store.
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
    with nullcontext(db) if db is not None else views.connect(output) as db:
        [call] = calls.read(db, [calls.find(db, recording)])
    _write(call, output, save, clips=clips, back=back)
    return call_story.headline(call)


_ERASED = (
    "its features were erased (--keep-features-days, or ser forget --only features): its labels "
    "stay, and `ser label` leaves it out"
)


def _read(output: str, recording: str) -> tuple[Call, bool]:
    """A call, and whether its features are stored, as far as it has any."""
    published.require_paths(published.open_reader(output), "recordings")
    with views.connect(output) as db:
        [call] = calls.read(db, [calls.find(db, recording)])
        stored = db.execute("SELECT 1 FROM features WHERE uri = ? LIMIT 1", [call.uri]).fetchall()
    return call, bool(stored or not call.segments)


def _in_words(call: Call) -> str:
    """A line about a call: its URI, its headline, how much was found."""
    found = f"{call.status}, {len(call.segments)} segments, {call.speech_s or 0:.1f} s of speech"
    return f"{call.uri}: {call_story.headline(call)} ({found})"


def _write(call: Call, output: str, save: str, *, clips: bool, back: str | None) -> Playback:
    """Write the page of a call; returns how it plays."""
    waves, _, problem = _waves(call)
    playback = find_original(call, files.absolute(save))
    if clips and not problem:
        playback = _copied(call)
    page = call_page.render(call, waves, playback, output=output, back=back, without_waves=problem)
    if files.is_remote(save):
        with files.naming(f"--save {save}"):
            files.write_whole(save, page, files.HTML)
        return playback
    try:
        pages.write(save, page)
    except SerError as error:
        raise UsageError(f"--save {error}") from error
    return playback


def _copied(call: Call) -> Playback:
    try:
        return Playback(copy=read_copy(call))
    except NoSoundError as error:
        return Playback(problem=f"There is no copy of the recording: {error}.")


def _waves(call: Call) -> tuple[np.ndarray | None, int, str]:
    """Waves and their rate in Hz; None, and why, where the original cannot be read."""
    try:
        waves, rate_hz = read_waves(call)
    except NoSoundError as error:
        return None, 1, str(error)
    return waves, rate_hz, ""


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
