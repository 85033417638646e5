"""The list of a review as CSV, which `ser train` reads once it has labels, and its page."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UsageError
from pipelines.review import Progress, Say
from pipelines.review.clips import Heard, find_originals, write_clips
from pipelines.review.selection import Choice, Wanted, select
from pipelines.storage import files
from ser_core.report import pages, review_page

# What `ser train` reads, and what it leaves alone.
READ_BACK = ("uri", "channel", "start_s", "end_s", "label", "annotator", "speaker")
EXTRA = ("why", "weight", "confidence", "recording_id", "run_id")
GUESS = "guess"


def review(
    wanted: Wanted,
    *,
    save: str,
    page: str | None = None,
    clips: str | None = None,
    labels: Sequence[str] = (),
    annotator: str = "",
    show_guess: bool = False,
    say: Say,
    progress: Progress,
) -> None:
    """Pick segments and write the list, the page and, where asked for, the clips.

    Parameters
    ----------
    wanted : Wanted
    save, page : str
        The CSV and the page; this beside that unless given.
    clips : str, optional
        A folder for the segments' audio, copied there.
    labels : sequence of str
        The page's buttons; the bundle's labels unless given.
    annotator : str
        Who is going to listen, if that is known.
    show_guess : bool
        Whether list and page hold the model's label, too.
    say, progress : callable

    Raises
    ------
    NothingMatchedError
        No such night, or none with labelled segments.
    UsageError
        Files that would be written over others, a bundle for other features, and the like.
    StoreError
        Files that cannot be read or written.
    """
    save, page = _places(save, page)
    for label, count in Counter(labels).items():
        if count > 1:
            raise UsageError(f"--labels: {label!r} twice; a button each expected")
    chosen = select(wanted, say=say, progress=progress)
    columns = (*READ_BACK, *EXTRA, *([GUESS] if show_guess else []))
    rows = [_row(one, columns) for one in chosen.choices]
    sources = find_originals(chosen.choices)
    if clips is not None:
        sources = write_clips(chosen.choices, clips, page=page, progress=progress)
    _say_what_is_missing(sources, say)
    with files.naming(f"--save {save}"):
        files.write_whole(save, as_csv(columns, rows))
    pages.write(
        page,
        review_page.render(
            chosen.night,
            segments=chosen.segments,
            columns=columns,
            rows=rows,
            items=[
                _item(one, source, show_guess)
                for one, source in zip(chosen.choices, sources, strict=True)
            ],
            labels=labels or chosen.labels,
            annotator=annotator,
            clips=clips is not None,
        ),
    )
    if clips is not None:
        say(f"clips: {clips}: recordings of people; take them away when you are done")
    say(f"list: {save}")
    say(f"page: {page}; open it in a browser, and train on what it downloads")


def _places(save: str, page: str | None) -> tuple[str, str]:
    """Absolute paths of list and page; a list that somebody filled in is not written over."""
    for option, path in (("--save", save), ("--page", page)):
        if path is not None and files.is_remote(path):
            raise UsageError(f"{option} {path}: a file of this machine expected")
    save = files.absolute(save)
    page = files.absolute(page) if page else str(Path(save).with_suffix(".html"))
    if page == save:
        raise UsageError(f"--save {save}: the page would take its place; end it in .csv")
    if os.path.lexists(save) and (what := _worth_keeping(save)):
        raise UsageError(f"--save {save}: {what}; give another name")
    return save, page


def _worth_keeping(path: str) -> str | None:
    """What a file holds that a new list must not take the place of."""
    with (
        files.naming(f"--save {path}", "cannot be read"),
        open(path, newline="", encoding="utf-8") as file,
    ):
        try:
            lines = csv.DictReader(file)
            if not set(READ_BACK) <= {*(lines.fieldnames or READ_BACK)}:
                return "another file is there"
            return "it holds labels" if any(line["label"] for line in lines) else None
        except (csv.Error, UnicodeDecodeError):
            return "another file is there"


def _row(one: Choice, columns: Sequence[str]) -> list[str]:
    """A line of the list. Times are written so that the very same numbers are read back."""
    said = {
        "uri": one.uri,
        "channel": str(one.channel),
        "start_s": repr(one.start_s),
        "end_s": repr(one.end_s),
        "speaker": one.speaker or "",
        "why": one.why,
        "weight": "" if one.weight is None else repr(one.weight),
        "confidence": str(np.float32(one.confidence)),
        "recording_id": one.recording_id,
        "run_id": one.run_id,
        GUESS: one.label,
    }
    return [said.get(name, "") for name in columns]


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The list as text. Values stand as they are: a spreadsheet may take one for a formula."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue()


def _say_what_is_missing(sources: Sequence[Heard], say: Say) -> None:
    for problem, count in Counter(one.problem for one in sources if one.problem).items():
        say(f"warning: {count:,} of {len(sources):,} segments cannot be played: {problem}")


def _item(one: Choice, heard: Heard, show_guess: bool) -> Mapping[str, Any]:
    """What the page shows of a segment."""
    said = {
        "url": heard.url,
        "problem": heard.problem,
        "clip": heard.whole,
        "name": one.uri.rpartition("/")[2],
        "channel": one.channel,
        "channels": one.channels,
        "role": one.role,
        "start_s": one.start_s,
        "end_s": one.end_s,
        "why": one.why,
    }
    return {**said, "guess": one.label} if show_guess else said
