"""The lines of a manifest: CSV parsing, and the mistakes that one line shows by itself."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ser_core.corpora.agreement import Stretch
from ser_core.errors import CorpusError

NEEDED = ("uri", "label")
COLUMNS = ("uri", "channel", "start_s", "end_s", "label", "annotator", "speaker")
# The shortest stretch. A shorter one cannot be marked by ear.
SHORTEST_S = 0.1

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Line:
    """One annotator's label. Times are in seconds from the start of the recording."""

    number: int
    uri: str
    channel: int | None
    start_s: float
    end_s: float | None
    label: str
    annotator: str
    speaker: str

    @property
    def stretch(self) -> Stretch:
        """The part of a recording that the label is for."""
        return self.uri, self.channel, self.start_s, self.end_s


def read_rows(file: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and stripped fields of a CSV file with a header; empty lines are ignored.

    Raises
    ------
    CorpusError
        The file cannot be read, is not UTF-8 or not CSV, or lacks a column.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read ({error.strerror}); a CSV expected") from error
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{file}: not UTF-8 (byte {error.start:,}); save it as CSV in UTF-8"
        ) from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        missing = [name or "(unnamed)" for name in needed if name not in names]
        if missing:
            raise CorpusError(
                f"{file}: no column {' and no '.join(missing)} (found: {', '.join(names) or 'none'}"
                f"); the first line must name the columns {', '.join(filter(None, needed))}"
            )
        for fields in reader:
            # Files of several annotators are often concatenated, headers included.
            is_header = [field.strip().lower() for field in fields] == names
            if any(field.strip() for field in fields) and not is_header:
                padded = fields + [""] * (len(names) - len(fields))
                row = {name: field.strip() for name, field in zip(names, padded, strict=False)}
                yield reader.line_num, row
    except csv.Error as error:
        raise CorpusError(
            f"{file}, line {reader.line_num}: not a valid CSV file ({error})"
        ) from error


def parse(file: Path) -> tuple[list[Line], list[tuple[int, str]]]:
    """Parse a manifest: the lines without mistakes, and the mistakes of the others.

    Raises
    ------
    CorpusError
        The file cannot be read, or lacks a column.
    """
    lines, mistakes = [], []
    for number, row in read_rows(file, NEEDED):
        line = _parse_row(number, row)
        if isinstance(line, Line):
            lines.append(line)
        else:
            mistakes += [(number, mistake) for mistake in line]
    return lines, mistakes


def _parse_row(number: int, row: Mapping[str, str]) -> Line | list[str]:
    """A line, or all of its mistakes."""
    mistakes: list[str] = []
    channel = _number(row, "channel", int, "a channel, counted from 0,", mistakes)
    start_s = _number(row, "start_s", float, "seconds", mistakes) or 0.0
    end_s = _number(row, "end_s", float, "seconds", mistakes)
    if not row["uri"]:
        mistakes.append("no uri")
    if end_s is not None and not end_s - start_s >= SHORTEST_S:
        mistakes.append(
            f"start_s {start_s:g} and end_s {end_s:g} found, an end {SHORTEST_S} s or more "
            "after the start expected"
        )
    if mistakes:
        return mistakes
    label, annotator, speaker = (row.get(name, "") for name in ("label", "annotator", "speaker"))
    return Line(number, row["uri"], channel, start_s, end_s, label, annotator, speaker)


def _number(
    row: Mapping[str, str], name: str, kind: type[Number], expected: str, mistakes: list[str]
) -> Number | None:
    """A number >= 0, or None for an empty field; anything else is added to `mistakes`."""
    text = row.get(name, "")
    if not text:
        return None
    try:
        value = kind(text.replace(",", ".") if kind is float else text)
        if value >= 0 and math.isfinite(value):
            return value
    except ValueError:
        pass
    mistakes.append(f"{name} {text!r} found, {expected} expected")
    return None
