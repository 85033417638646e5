"""The tables: their schemas, the rows that go into them, and the one reader of published files."""

from ser_core.tables.reader import Reader, beside
from ser_core.tables.rows import (
    features_table,
    modified_at,
    recording_row,
    segment_rows,
    status,
)  # fmt: skip
from ser_core.tables.runs import RunCost, RunCounts, RunStart, run_row, runs_schema
from ser_core.tables.schemas import (
    EXTRACTED,
    LABELLED,
    NO_SPEECH,
    REJECTED,
    SCHEMA_VERSION,
    TABLES,
    Labelling,
    features_schema,
    recordings_schema,
    segments_schema,
    writer,
)  # fmt: skip

__all__ = [
    "EXTRACTED",
    "LABELLED",
    "NO_SPEECH",
    "REJECTED",
    "SCHEMA_VERSION",
    "TABLES",
    "Labelling",
    "Reader",
    "RunCost",
    "RunCounts",
    "RunStart",
    "beside",
    "features_schema",
    "features_table",
    "modified_at",
    "recording_row",
    "recordings_schema",
    "run_row",
    "runs_schema",
    "segment_rows",
    "segments_schema",
    "status",
    "writer",
]
