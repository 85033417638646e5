"""A reader that looks at the views again and again while commands write, and notes what is wrong.

    python -m benchmarks.nights.reader OUTPUT FOLDER

FOLDER holds what it is told (`groups.json`: lists of URIs that are forgotten together, and so must
be seen all or none) and what it found (`looks`, a count; `wrong`, one line each). It ends when
FOLDER/stop is there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TWICE = "SELECT count(*) - count(DISTINCT uri) FROM calls"
NO_RUN = "SELECT count(*) FROM calls ANTI JOIN runs USING (run_id)"
# Rows of a run that are to be seen, and those that it counted. Fewer are seen of a run of which
# recordings were forgotten; with `forgetting` they are no fault.
HALF_RUN = """
SELECT count(*) FROM (
    SELECT run_id, labelled + extracted + no_speech + rejected AS counted FROM runs
) AS run LEFT JOIN (
    SELECT run_id, count(*) AS seen FROM history GROUP BY run_id
) AS rows USING (run_id)
WHERE coalesce(seen, 0) > counted OR (coalesce(seen, 0) < counted AND NOT ?)
"""
NO_SEGMENTS = "SELECT count(*) FROM calls ANTI JOIN segments USING (uri) WHERE status = 'labelled'"
_TRIES = 3
NO_FEATURES = "SELECT count(*) FROM calls ANTI JOIN features USING (uri) WHERE status = 'labelled'"


def main() -> None:
    output, folder = sys.argv[1], Path(sys.argv[2])
    looks = 0
    with open(folder / "wrong", "a", encoding="utf-8", buffering=1) as wrong:
        while not (folder / "stop").exists():
            try:
                for line in look_until_read(output, folder):
                    wrong.write(f"{line}\n")
            except Exception as error:
                wrong.write(f"{type(error).__name__}: {error}\n".replace("\n", " ")[:500] + "\n")
            looks += 1
            (folder / "looks").write_text(str(looks))
            time.sleep(0.5)


def look_until_read(output: str, folder: Path) -> list[str]:
    """Look; as `ser query` does, again where a file of an object store is gone meanwhile.

    There a file cannot be read on once it is deleted, as it can on a disk.
    """
    import duckdb

    from pipelines.storage import views

    for attempt in range(1, _TRIES + 1):
        try:
            return list(look(output, folder))
        except duckdb.Error as error:
            if attempt == _TRIES or "://" not in output or views.unread(error) is None:
                raise
    raise AssertionError("unreachable")


def look(output: str, folder: Path) -> Iterator[str]:
    """What is wrong with the views at one moment."""
    groups = json.loads((folder / "groups.json").read_text())
    with connect(output) as db:
        if db is None:
            return
        for name, query, values in (
            ("a call twice", TWICE, []),
            ("a call whose run is not there", NO_RUN, []),
            ("half a run", HALF_RUN, [bool(groups)]),
            ("a labelled call without segments", NO_SEGMENTS, []),
            ("a labelled call without features", NO_FEATURES, []),
        ):
            count = db.execute(query, values).fetchall()[0][0]
            if count:
                yield f"{name}: {count}"
        for group in groups:
            seen = db.execute(
                "SELECT count(*) FROM calls WHERE list_contains(?, uri)", [group]
            ).fetchall()[0][0]
            if seen not in (0, len(group)):
                yield f"half of what is forgotten together: {seen} of {len(group)}"


@contextmanager
def connect(output: str) -> Iterator[Any]:
    """The views of an output: as any reader opens them on a disk, else in memory."""
    import duckdb

    if "://" in output:
        from apache_beam.options.pipeline_options import PipelineOptions

        from pipelines.storage import files, views

        files.set_beam_options(PipelineOptions([]))
        with views.connect(output) as db:
            yield db
        return
    path = Path(output) / "ser.duckdb"
    if not path.exists():
        yield None
        return
    with duckdb.connect(str(path), read_only=True) as db:
        yield db


if __name__ == "__main__":
    main()
