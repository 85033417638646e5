"""`--summary FILE.json`: what became of a command, for a program to read.

docs/summary.schema.json describes the file. Its model is dbt's `run_results.json`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, get_type_hints

from pipelines.storage import attempts, files
from ser_core import __version__
from ser_core.tables.runs import RunCounts

# Increases when a key goes or changes its meaning; new keys may come at any time.
SCHEMA_VERSION = 1
# Attempts that are listed at most.
MAX_ATTEMPTS = 20
_COUNTS = tuple(name for name, kind in get_type_hints(RunCounts).items() if kind is int)


def content(current: attempts.Current) -> dict[str, Any]:
    """The summary of an attempt that has ended."""
    attempt, rows = current.attempt, current.rows
    last = rows[-1] if rows else {}
    model_id = last.get("model_id")
    return {
        "schema_version": SCHEMA_VERSION,
        "ser_version": __version__,
        "attempt": attempt.id,
        "command": attempt.command,
        "output": current.output,
        "host": attempt.host,
        "pid": attempt.pid,
        "status": attempt.status,
        "exit_code": attempt.exit_code,
        "message": attempt.message,
        "started": attempt.started,
        "ended": attempt.ended,
        "seconds": attempt.seconds,
        "run_ids": [row["run_id"] for row in rows],
        "nights": sorted({row["night"].isoformat() for row in rows}),
        "books": books(rows) if rows else None,
        "reasons": reasons(rows),
        "audio_hours": sum(row["audio_hours"] or 0.0 for row in rows),
        "cpu_seconds": sum(row["cpu_seconds"] or 0.0 for row in rows),
        "peak_memory_mb": max((row["peak_memory_mb"] or 0.0 for row in rows), default=0.0),
        "model": {"id": model_id, "licence": last.get("model_licence")} if model_id else None,
        "feature_set": last.get("feature_set"),
        "versions": dict(last.get("versions") or {}),
        "warnings": list(dict.fromkeys(line for row in rows for line in row["warnings"] or ())),
        "expectations": current.expectations,
        "drift": current.drift,
        "left_over_runs": [row["run_id"] for row in current.left_over],
        "attempts": [item.as_dict() for item in _since_success(current)],
    }


def books(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Numbers of recordings by outcome, of several rows of `runs` together."""
    rows = list(rows)
    return {name: sum(row.get(name) or 0 for row in rows) for name in _COUNTS}


def reasons(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Rejected recordings by reason."""
    total: Counter[str] = Counter()
    for row in rows:
        total.update(dict(row["by_reason"] or {}))
    return dict(total.most_common())


def _since_success(current: attempts.Current) -> list[attempts.Attempt]:
    """The attempts before this one, newest first, back to the last that ended with 0."""
    if current.output is None:
        return []
    try:
        earlier = attempts.read(current.output, newest=MAX_ATTEMPTS + 1)
    except Exception:  # the store does not answer, which is why the command failed
        return []
    since = []
    for attempt in earlier:
        if attempt.id == current.attempt.id:
            continue
        if attempt.exit_code == 0:
            break
        since.append(attempt)
    return since[:MAX_ATTEMPTS]


def write(path: str, current: attempts.Current) -> None:
    """Write the summary whole or not at all.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    with files.naming(f"--summary {path}", advice=advice(current)):
        text = json.dumps(content(current), indent=1, ensure_ascii=False, default=_iso)
        files.write_whole(files.absolute(path), text + "\n")


def advice(current: attempts.Current) -> str:
    """What to tell of a summary, or metrics, that cannot be written."""
    done = current.attempt.status == attempts.DONE
    return "the work itself is done" if done else "give another path"


def _iso(value: dt.date | dt.datetime) -> str:
    return value.isoformat()
