"""Which calls are exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines import calls
from pipelines.errors import NothingMatchedError
from pipelines.forgetting import matching
from pipelines.storage.lists import read_list


@dataclass(frozen=True)
class Request:
    """What is exported.

    Parameters
    ----------
    output : str
    uris : tuple of str
        URIs, patterns, folders, or @list.txt.
    recording : str or None
        As `ser show --recording` takes it.
    date : str or None
        A night, YYYY-MM-DD. Without any of the three: the latest night with labels.
    """

    output: str
    uris: tuple[str, ...] = ()
    recording: str | None = None
    date: str | None = None


def choose(db: Any, request: Request) -> tuple[str, list[str]]:
    """The chosen calls that have labels.

    Parameters
    ----------
    db : DuckDB connection
        Of `views.connect`.
    request : Request

    Returns
    -------
    str
        The choice, in words.
    list of str
        URIs, sorted.

    Raises
    ------
    NothingMatchedError
        There is none.
    UsageError
        --recording names several.
    """
    if request.recording is not None:
        uri = calls.find(db, request.recording)
        words, wanted = f"--recording {request.recording}", _labelled(db, "uri = ?", [uri])
    elif request.uris:
        words, wanted = f"--uri {' '.join(request.uris)}", _matching(db, request.uris)
    else:
        night = request.date
        if night is None:
            [(night,)] = db.execute(
                "SELECT max(night)::VARCHAR FROM calls WHERE status = 'labelled'"
            ).fetchall()
        words, wanted = f"night {night}", _labelled(db, "night = try_cast(? AS DATE)", [night])
    if not wanted:
        raise NothingMatchedError(
            f'{words}: no labelled call found; `ser query "FROM nights" --output {request.output}` '
            "lists the nights"
        )
    return words, wanted


def _labelled(db: Any, condition: str, values: list) -> list[str]:
    rows = db.execute(
        f"SELECT uri FROM calls WHERE status = 'labelled' AND {condition} ORDER BY uri", values
    )
    return [uri for (uri,) in rows.fetchall()]


def _matching(db: Any, patterns: tuple[str, ...]) -> list[str]:
    known = set(_labelled(db, "true", []))
    texts = [
        line
        for text in patterns
        for line in (read_list(text[1:]) if text.startswith("@") else [text])
    ]
    return sorted(set().union(*(matching(text, known) for text in texts)))
