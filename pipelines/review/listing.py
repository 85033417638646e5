"""A review's list as CSV, which `ser train` reads once it has labels, and its page."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError
from pipelines.review import Progress, Say
from pipelines.review.clips import Playback, find_originals, lead_s, write_clips
from pipelines.review.labelled import lists_beside, read_labelled
from pipelines.review.selection import Choice, Request, select
from pipelines.storage import files
from pipelines.terminal import defuse
from ser_core.emotions import RAVDESS_EIGHT
from ser_core.report import pages, review_page

# Columns that `ser train` reads, and columns that it ignores. None tells a listener how sure the
# model was: confidence and label are in the table `segments`, under the same keys.
READ_BACK = ("uri", "channel", "start_s", "end_s", "label", "annotator", "speaker")
EXTRA = ("weight", "recording_id", "run_id")
GUESS = "guess"


def review(
    request: Request,
    *,
    save: str | None = None,
    page: str | None = None,
    clips: str | None = None,
    labels: Sequence[str] = (),
    annotator: str = "",
    labelled: Sequence[str] = (),
    show_guess: bool = False,
    say: Say,
    progress: Progress,
) -> None:
    """Pick segments; write the list, the page and, if requested, the clips.

    Parameters
    ----------
    request : Request
    save, page : str, optional
        The CSV and the page; by default the CSV is named after the night, by a name that is free,
        and the page lies beside the CSV.
    clips : str, optional
        A folder to copy the segments' audio to.
    labels : sequence of str
        The page's buttons; by default those of `button_labels`.
    annotator : str
        Name of the listener, if known.
    labelled : sequence of str
        Lists with labels: their segments are left out, as are those of the lists beside the CSV.
    show_guess : bool
        Whether the list and the page contain the model's label.
    say, progress : callable

    Raises
    ------
    NothingMatchedError
        There is no such night, or none with labelled segments.
    UsageError
        A file would be overwritten, or the options do not fit each other or the tables.
    StoreError
        A file cannot be read or written.
    """
    if save is not None:
        save, page = _resolve_paths(save, page)
    for label, times in Counter(labels).items():
        if times > 1:
            raise UsageError(f"--labels: {label!r} twice; each button needs its own label")
    lists = [*labelled, *lists_beside(Path(save).parent if save else Path.cwd())]
    request = replace(request, labelled=read_labelled(lists))
    selection = select(request, say=say, progress=progress)
    if save is None:
        save, page = _resolve_paths(_free_name(selection.night), page)
    assert page is not None
    columns = (*READ_BACK, *EXTRA, *([GUESS] if show_guess else []))
    rows = [_row(choice, columns) for choice in selection.choices]
    if clips is None:
        playbacks = find_originals(selection.choices, progress=progress)
    else:
        playbacks = write_clips(selection.choices, clips, page=page, progress=progress)
    _report_problems(playbacks, say)
    with files.naming(f"--save {save}"):
        files.write_whole(save, as_csv(columns, rows))
    pages.write(
        page,
        review_page.render(
            selection.night,
            segments=selection.segments,
            columns=columns,
            rows=rows,
            items=[
                _item(choice, playback, show_guess)
                for choice, playback in zip(selection.choices, playbacks, strict=True)
            ],
            labels=labels or button_labels(selection.labels),
            annotator=annotator,
            name=Path(save).stem,
            clips=clips is not None,
        ),
    )
    if clips is not None:
        say(f"clips: {clips}: they are recordings of people; delete them when you are done")
    say(f"list: {save}")
    say(f"page: {page}: open it in a browser, then train on the list that it downloads")


def button_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The buttons for the labels of a bundle, always in one order.

    Where the bundle knows only emotions of the usual eight, the buttons are all eight: a listener
    may hear what the model has no word for, and a button has its place and its key whichever
    bundle labelled the night.

    Examples
    --------
    >>> button_labels(("angry", "neutral"))[:5]
    ('neutral', 'calm', 'happy', 'sad', 'angry')
    >>> button_labels(("furious", "angry", "bored"))
    ('angry', 'bored', 'furious')
    """
    others = sorted(set(labels) - set(RAVDESS_EIGHT))
    if not others:
        return RAVDESS_EIGHT
    return (*(label for label in RAVDESS_EIGHT if label in labels), *others)


def _free_name(night: str) -> str:
    """A name for the list of a night or run that no file in this folder has yet."""
    stem = "review-" + re.sub(r"[^\w.-]+", "_", night.removeprefix("night ").removeprefix("run "))
    names = (f"{stem}{'' if number == 1 else f'-{number}'}" for number in count(1))
    return next(
        f"{name}.csv"
        for name in names
        if not os.path.lexists(f"{name}.csv") and not os.path.lexists(f"{name}.html")
    )


def _resolve_paths(save: str, page: str | None) -> tuple[str, str]:
    """Absolute paths of the list and the page; a list with labels is not overwritten."""
    for option, path in (("--save", save), ("--page", page)):
        if path is not None and files.is_remote(path):
            raise UsageError(f"{option} {path}: a local file expected")
    save = files.absolute(save)
    page = files.absolute(page) if page else str(Path(save).with_suffix(".html"))
    if page == save:
        raise UsageError(
            f"--save {save}: the page would have the same name; give a name that ends in .csv"
        )
    if os.path.lexists(save) and (reason := _reason_to_keep(save)):
        raise UsageError(f"--save {save}: {reason}; give another name")
    return save, page


def _reason_to_keep(path: str) -> str | None:
    """Why a file must not be overwritten by a new list; None if it may be."""
    with (
        files.naming(f"--save {path}", "cannot be read"),
        open(path, newline="", encoding="utf-8") as file,
    ):
        try:
            lines = csv.DictReader(file)
            if not set(READ_BACK) <= {*(lines.fieldnames or READ_BACK)}:
                return "another file has this name"
            return "it holds labels" if any(line["label"] for line in lines) else None
        except (csv.Error, UnicodeDecodeError):
            return "another file has this name"


def _row(choice: Choice, columns: Sequence[str]) -> list[str]:
    """A line of the list; times are written in full precision."""
    values = {
        "uri": choice.uri,
        "channel": str(choice.channel),
        "start_s": repr(choice.start_s),
        "end_s": repr(choice.end_s),
        "speaker": choice.speaker or "",
        "weight": "" if choice.weight is None else repr(choice.weight),
        "recording_id": choice.recording_id,
        "run_id": choice.run_id,
        GUESS: choice.label,
    }
    return [values.get(name, "") for name in columns]


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The list as CSV, of which a spreadsheet reads no value as a formula."""
    text = io.StringIO(newline="")
    defused = [[defuse(value) for value in row] for row in rows]
    csv.writer(text).writerows([columns, *defused])
    return text.getvalue()


def _report_problems(playbacks: Sequence[Playback], say: Say) -> None:
    problems = Counter(playback.problem for playback in playbacks if playback.problem)
    for problem, times in problems.items():
        say(f"warning: {times:,} of {len(playbacks):,} segments cannot be played: {problem}")


def _item(choice: Choice, playback: Playback, show_guess: bool) -> Mapping[str, Any]:
    """A segment as the page shows it; it does not say why it was picked, nor how sure the model
    was: who listens should not know.
    """
    item = {
        "url": playback.url,
        "problem": playback.problem,
        "clip": playback.is_clip,
        "wave": playback.wave,
        "lead_s": lead_s(choice),
        "name": choice.uri.rpartition("/")[2],
        "channel": choice.channel,
        "channels": choice.channels,
        "role": choice.role,
        "start_s": choice.start_s,
        "end_s": choice.end_s,
    }
    return {**item, "guess": choice.label} if show_guess else item
