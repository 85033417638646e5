"""Writes the page of a night, the pages of its calls, and the index page over the nights."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines import showing
from pipelines.errors import UsageError
from pipelines.report import measuring, statements
from pipelines.storage import files, views
from ser_core.errors import SerError
from ser_core.models.card import Card
from ser_core.report import morning
from ser_core.report.morning import Heard, Morning

INDEX, CALLS = "index.html", "calls"
# Call pages that are written.
CALL_PAGES = 10
_NIGHT = re.compile(r"(\d{4}-\d{2}-\d{2})\.html")


@dataclass(frozen=True)
class Target:
    """Where pages go.

    Parameters
    ----------
    folder : str
        Absolute path or URL.
    name : str or None
        Of the night's page; None is `<night>.html`, and then there is an index page, too.
    option : str
        For messages.
    """

    folder: str
    name: str | None
    option: str

    @classmethod
    def of(cls, given: str, option: str = "--save") -> Target:
        """A file that ends in .html, or a folder.

        Raises
        ------
        UsageError
            It cannot be written.
        """
        path = files.absolute(given)
        if given.lower().endswith((".html", ".htm")) and not os.path.isdir(path):
            folder, _, name = path.rpartition("/")
            target = cls(folder, name, f"{option} {given}")
        elif os.path.isfile(path):
            raise UsageError(f"{option} {given}: a file found, a folder or F.html expected")
        else:
            target = cls(path, None, f"{option} {given}")
        if not files.is_remote(path):
            parents = (Path(target.folder), *Path(target.folder).parents)
            exists = next(parent for parent in parents if parent.exists())
            if not (exists.is_dir() and os.access(exists, os.W_OK)):
                raise UsageError(f"{target.option}: {exists} is not writable; give another path")
        return target

    def path(self, *names: str) -> str:
        """A path in the folder."""
        return files.join(self.folder, *names)

    def write(self, path: str, page: str) -> None:
        """Write a page whole or not at all.

        Raises
        ------
        StoreError
            It cannot be written.
        """
        with files.naming(self.option):
            files.write_whole(path, page, files.HTML)


def save(
    output: str,
    target: Target,
    night: dt.date | None = None,
    *,
    time_zone: str = "UTC",
    model: str | None = None,
    card: Card | None = None,
    calls: int = CALL_PAGES,
    say: Callable[[str], None],
) -> Morning:
    """Write the page of a night, and what belongs to it; returns what the page shows.

    Parameters
    ----------
    output : str
        Folder of the tables.
    target : Target
    night : datetime.date, optional
        The latest by default.
    time_zone : str
        Of the hours.
    model : str, optional
        The bundle that labelled the night.
    card : Card, optional
        One that may be that of the night's model.
    calls : int
        Pages of calls to write at most, the first ones to listen to.
    say : callable
        Prints a line.

    Raises
    ------
    NothingMatchedError
        There are no tables, or no such night.
    StoreError
        They cannot be read, or a page cannot be written.
    UsageError
        `model` is another than the night's, or cannot be read.
    """
    measured = measuring.measure(output, night, time_zone=time_zone, model=model, card=card)
    name = target.name or f"{measured.night}.html"
    measured = replace(
        measured,
        heard=_with_pages(output, target, name, measured, calls, say),
        index=None if target.name else INDEX,
    )
    target.write(target.path(name), morning.page(measured))
    if target.name is None:
        nights = measuring.index_of(output, _links(target))
        target.write(target.path(INDEX), morning.index(nights))
    return measured


def _links(target: Target) -> dict[dt.date, str]:
    """The pages of nights that lie in the folder."""
    with files.naming(target.option):
        if files.is_remote(target.folder):
            start = target.folder + "/"
            names = [item.path.removeprefix(start) for item in files.below(target.folder)]
        else:
            names = os.listdir(target.folder)
    found = filter(None, map(_NIGHT.fullmatch, names))
    return {dt.date.fromisoformat(match[1]): match[0] for match in found}


def _with_pages(
    output: str,
    target: Target,
    back: str,
    measured: Morning,
    count: int,
    say: Callable[[str], None],
) -> tuple[Heard, ...]:
    """The calls to listen to, the first ones with the page that is written of each."""
    rows = measured.listening.dicts()
    heard = list(measured.heard)
    if not (count and heard):
        return measured.heard
    problems = []
    with views.connect(output) as db:
        _keep(db, [rows[call.row]["uri"] for call in heard[:count]])
        for i, call in enumerate(heard[:count]):
            row = rows[call.row]
            name = f"{row['recording_id'] or i}.html"
            try:
                showing.write_call_page(
                    output, row["uri"], target.path(CALLS, name), back=f"../{back}", db=db
                )
            except (SerError, NotImplementedError) as error:
                problems.append(f"{row['uri']}: {error}")
            else:
                heard[i] = replace(call, link=f"{CALLS}/{name}")
    if problems:
        say(f"warning: no page of {len(problems):,} of the calls to listen to: {problems[0]}")
    return tuple(heard)


def _keep(db: Any, uris: Sequence[str]) -> None:
    """Read the rows of some calls once, under the names of the views."""
    dates = ""
    for view in ("calls", "segments"):
        wanted = ", ".join(map(views.text, uris))
        db.execute(
            f"CREATE TEMP TABLE {view} AS SELECT * FROM main.{view} WHERE uri IN ({wanted}){dates}"
        )
        found = db.execute("SELECT DISTINCT date FROM calls").fetchall()
        # The files of other dates are not read.
        dates = f" AND date IN ({statements.dates([day for (day,) in found])})"
