"""Page on which a person listens to segments and labels them; it sends nothing anywhere.

The page holds the review list with the same text as the CSV, so that the list that it downloads
differs in its labels only. Its script is `templates/review.js`; the data are JSON in the page, and
are only ever shown as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ser_core.report import pages

# Reasons why a segment is in the list, in words.
WHY = {
    "least_sure": "the model was least sure here",
    "disagreement": "two models disagree here",
    "random": "drawn at random",
}


def render(
    night: str,
    *,
    segments: int,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    items: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    annotator: str = "",
    clips: bool = False,
) -> str:
    """Render the page.

    Parameters
    ----------
    night : str
        Where the segments are from, in words.
    segments : int
        Number of segments from which the list was picked.
    columns, rows : sequences of str
        The list; `label` and `annotator` are among the columns.
    items : sequence of mappings
        One per row: `url` (empty where the audio is missing, and then a `problem`), `clip` (whether
        the audio is the segment alone), `name`, `channel`, `channels`, `role`, `start_s`, `end_s`,
        `why`, and `guess` where the model's label may be shown.
    labels : sequence of str
        One button each.
    annotator : str
        Name of the person who listens.
    clips : bool
        Whether clips were written.
    """
    list_id = hashlib.sha256(json.dumps([columns, rows]).encode()).hexdigest()[:16]
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    drawn = sum(item["why"] == "random" for item in items)
    return pages.render(
        "review",
        night=night,
        segments=segments,
        count=len(rows),
        drawn=drawn,
        stands_for=segments / drawn if drawn else None,
        clips=clips,
        shows_guess=any("guess" in item for item in items),
        script=script,
        script_hash=digest,
        data={
            "list": list_id,
            "columns": columns,
            "rows": rows,
            "items": items,
            "labels": labels,
            "annotator": annotator,
            "why": WHY,
        },
    )


def _script() -> str:
    folder = files("ser_core.report") / "templates"
    return (folder / "review.js").read_text(encoding="utf-8")
