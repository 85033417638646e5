"""Page on which a person listens to segments and labels them; it sends nothing anywhere.

The page holds the review list with the same text as the CSV, so that the list that it downloads
differs in its labels only. Its script is `templates/review.js`; the data are JSON in the page, and
are only ever shown as text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
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
    name: str = "review",
) -> str:
    """Render the page.

    Parameters
    ----------
    night : str
        Where the segments are from, in words.
    segments : int
        Number of segments from which the list was picked.
    columns, rows : sequences of str
        The list; `label`, `annotator` and `weight` are among the columns. Only segments that were
        drawn at random have a weight.
    items : sequence of mappings
        One per row: `url` (empty where the audio is missing, and then a `problem`), `clip` (whether
        the audio is the segment alone), `name`, `channel`, `channels`, `role`, `start_s`, `end_s`,
        `lead_s` (seconds that can be heard before it), `wave` (outline of the lead and the
        segment, 0 to 99; may be empty), and `guess` where the model's label may be shown.
    labels : sequence of str
        One button each.
    annotator : str
        Name of the person who listens.
    clips : bool
        Whether clips were written.
    name : str
        How the names of downloaded lists begin.
    """
    list_id = hashlib.sha256(json.dumps([columns, rows]).encode()).hexdigest()[:16]
    weight = columns.index("weight")
    drawn = sum(bool(row[weight]) for row in rows)
    return pages.render(
        "review",
        night=night,
        segments=segments,
        count=len(rows),
        drawn=drawn,
        stands_for=segments / drawn if drawn else None,
        clips=clips,
        shows_guess=any("guess" in item for item in items),
        script=pages.script("review"),
        data={
            "list": list_id,
            "columns": columns,
            "rows": rows,
            "items": items,
            "labels": labels,
            "annotator": annotator,
            "name": name,
        },
    )
