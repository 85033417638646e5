"""The lines of a manifest: columns and fields of a CSV, and what is wrong with one line alone."""

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
# People cannot mark less.
LEAST_S = 0.1

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Line:
    """What one annotator says; times in seconds from the start of the recording."""

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
        """What it speaks of."""
        return self.uri, self.channel, self.start_s, self.end_s


def read_rows(file: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and fields, stripped; none of empty lines."""
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
        missing = [name for name in needed if name not in names]
        if missing:
            raise CorpusError(
                f"{file}: no column {' and no '.join(missing)} (found: {', '.join(names) or 'none'}"
                f"); the first line names the columns, such as {','.join(COLUMNS)}"
            )
        for fields in reader:
            # Files of several annotators are often joined with their headers.
            again = [field.strip().lower() for field in fields] == names
            if any(field.strip() for field in fields) and not again:
                padded = fields + [""] * (len(names) - len(fields))
                row = {name: field.strip() for name, field in zip(names, padded, strict=False)}
                yield reader.line_num, row
    except csv.Error as error:
        raise CorpusError(f"{file}, line {reader.line_num}: no CSV ({error})") from error


def parse(file: Path) -> tuple[list[Line], list[tuple[int, str]]]:
    """The lines of a manifest without a mistake, and what is wrong with the others.

    Raises
    ------
    CorpusError
        A file that cannot be read, or has no such columns.
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
    """A line, or all that is wrong with it."""
    wrong: list[str] = []
    channel = _number(row, "channel", int, "a channel, counted from 0,", wrong)
    start_s = _number(row, "start_s", float, "seconds", wrong) or 0.0
    end_s = _number(row, "end_s", float, "seconds", wrong)
    if not row["uri"]:
        wrong.append("no uri")
    if end_s is not None and not end_s - start_s >= LEAST_S:
        wrong.append(
            f"start_s {start_s:g} and end_s {end_s:g} found, an end {LEAST_S} s or more "
            "after the start expected"
        )
    if wrong:
        return wrong
    label, annotator, speaker = (row.get(name, "") for name in ("label", "annotator", "speaker"))
    return Line(number, row["uri"], channel, start_s, end_s, label, annotator, speaker)


def _number(
    row: Mapping[str, str], name: str, kind: type[Number], expected: str, wrong: list[str]
) -> Number | None:
    """A field that holds a number of 0 or more, None where it is empty; adds to `wrong`."""
    text = row.get(name, "")
    if not text:
        return None
    try:
        value = kind(text.replace(",", ".") if kind is float else text)
        if value >= 0 and math.isfinite(value):
            return value
    except ValueError:
        pass
    wrong.append(f"{name} {text!r} found, {expected} expected")
    return None
