"""docs/tables.md describes the columns of the schemas, in their order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ser_core.tables import runs, schemas

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
LABELLING = schemas.Labelling("model", ("<emotion>",), "test_simple")
SCHEMAS = {
    "recordings": schemas.recordings_schema(LABELLING, ["<name>"]),
    "segments": schemas.segments_schema(LABELLING),
    "features": schemas.features_schema(LABELLING),
    "runs": runs.runs_schema(),
}


def documented_columns(table: str) -> list[str]:
    """The names in the first column of a table's section; `a_q1` … `a_q4` is a range."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {table}\n")[2]
    section = section.partition("\n## ")[0].partition("\n### ")[0]
    names = []
    for cell in re.findall(r"^\| (`[^|]+) \|", section, flags=re.MULTILINE):
        words = re.findall(r"`([^`]+)`", cell)
        if "…" in cell and len(words) == 2:
            stem, first, last = words[0][:-1], int(words[0][-1]), int(words[1][-1])
            words = [f"{stem}{number}" for number in range(first, last + 1)]
        names += words
    return names


@pytest.mark.parametrize("table", SCHEMAS)
def test_all_columns_are_described(table):
    assert sorted(documented_columns(table)) == sorted(SCHEMAS[table].names)
