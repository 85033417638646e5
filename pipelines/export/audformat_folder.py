"""Calls as a folder that the library audformat loads: db.yaml, and a CSV for each table.

The format: https://audeering.github.io/audformat/. The header is written as JSON, which every
reader of YAML 1.2 takes, so the library is not needed here.
"""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipelines.storage import files
from ser_core.report.call import Call, Segment

_SHARE = {"dtype": "float", "minimum": 0, "maximum": 1}
_HEADER = "db.yaml"


def write(calls: Iterable[Call], folder: str, *, source: str) -> None:
    """Write the folder.

    The table `calls` has a row a recording; a table for each role has its segments. Paths of
    recordings are relative to the folder that all of them are in, which the header names `root`.

    Parameters
    ----------
    calls : iterable of Call
        With labels.
    folder : str
    source : str
        The output folder, for the header.

    Raises
    ------
    StoreError
        A file cannot be written.
    """
    calls = list(calls)
    labels = list(dict.fromkeys(label for call in calls for label in call.labels))
    root = _root([call.uri for call in calls])
    by_role: dict[str, list[tuple[Call, Segment]]] = defaultdict(list)
    for call in calls:
        for segment in call.segments:
            by_role[_table_id(call, segment)].append((call, segment))
    columns = _columns(labels)
    tables = {"calls": _table(["file"], [_call_row(call, root, labels) for call in calls], columns)}
    for role, pairs in by_role.items():
        rows = [_segment_row(call, segment, root, labels) for call, segment in pairs]
        tables[role] = _table(["file", "start", "end"], rows, columns)
    header = _header(calls, labels, list(by_role), columns, root, source)
    with files.naming(f"--save {folder}"):
        os.makedirs(folder, exist_ok=True)
        for table_id, text in tables.items():
            files.write_whole(os.path.join(folder, f"db.{table_id}.csv"), text)
        # Last, so that a folder with a header is whole.
        files.write_whole(
            os.path.join(folder, _HEADER), json.dumps(header, indent=2, ensure_ascii=True) + "\n"
        )


def _root(uris: Sequence[str]) -> str:
    """The folder that all recordings are in; empty where they have none in common."""
    folders = [posixpath.dirname(uri).split("/") for uri in uris]
    common = []
    for names in zip(*folders, strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    return "/".join(common) or ("/" if all(uri.startswith("/") for uri in uris) else "")


def _relative(uri: str, root: str) -> str:
    return uri[len(root) :].lstrip("/")


def _table_id(call: Call, segment: Segment) -> str:
    """The role, with the channel where several have the role."""
    same = [channel for channel in call.by_channel if channel.role == segment.role]
    return f"{segment.role}-{segment.channel}" if len(same) > 1 else segment.role


def _columns(labels: Sequence[str]) -> dict[str, str]:
    """Columns of all tables, and their schemes."""
    shares = ["confidence", "negativity", *(f"p_{label}" for label in labels)]
    return {"emotion": "emotion", "unsure": "unsure"} | dict.fromkeys(shares, "share")


def _header(
    calls: Sequence[Call],
    labels: Sequence[str],
    roles: Sequence[str],
    columns: dict[str, str],
    root: str,
    source: str,
) -> dict[str, Any]:
    models = sorted({call.model_id for call in calls if call.model_id})
    described = {
        name: {"scheme_id": scheme, "rater_id": "model"} for name, scheme in columns.items()
    }
    return {
        "name": "ser-calls",
        "description": "Emotions of call recordings, labelled by a model; recordings are of people",
        "source": source,
        "usage": "restricted",
        "languages": [],
        "root": root,
        "raters": {"model": {"type": "machine", "description": ", ".join(models)}},
        "schemes": {
            "emotion": {"dtype": "str", "labels": list(labels)},
            "unsure": {"dtype": "bool"},
            "share": _SHARE,
        },
        "tables": {
            "calls": {"type": "filewise", "columns": described},
            **{role: {"type": "segmented", "columns": described} for role in roles},
        },
    }


def _table(index: Sequence[str], rows: Sequence[Sequence[str]], columns: dict[str, str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([[*index, *columns], *rows])
    return text.getvalue()


def _call_row(call: Call, root: str, labels: Sequence[str]) -> list[str]:
    seconds = np.array([segment.end_s - segment.start_s for segment in call.segments])
    each = np.array([segment.probabilities for segment in call.segments], dtype=np.float64)
    mean = seconds @ each / seconds.sum() if len(seconds) else [None] * len(call.labels)
    values = dict(zip(call.labels, mean, strict=True))
    return [
        _relative(call.uri, root), call.label or "", str(bool(call.unsure)),
        _number(call.confidence), _number(call.negativity),
        *(_number(values.get(label)) for label in labels),
    ]  # fmt: skip


def _segment_row(call: Call, segment: Segment, root: str, labels: Sequence[str]) -> list[str]:
    values = dict(zip(call.labels, segment.probabilities, strict=True))
    return [
        _relative(call.uri, root), _timedelta(segment.start_s), _timedelta(segment.end_s),
        segment.label, str(bool(segment.unsure)), _number(segment.confidence),
        _number(segment.negativity(call.labels)),
        *(_number(values.get(label)) for label in labels),
    ]  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else str(np.float32(value))


def _timedelta(seconds: float) -> str:
    """A time as pandas writes it.

    Examples
    --------
    >>> _timedelta(90.25)
    '0 days 00:01:30.250000'
    """
    micro = round(seconds * 1_000_000)
    minutes, rest = divmod(micro, 60_000_000)
    days, minutes = divmod(minutes, 1440)
    return (
        f"{days} days {minutes // 60:02d}:{minutes % 60:02d}:"
        f"{rest // 1_000_000:02d}.{rest % 1_000_000:06d}"
    )
