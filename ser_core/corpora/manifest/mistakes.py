"""Mistakes in a manifest that show when its lines are compared, and how all of them are told."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ser_core.corpora.manifest.lines import Line

# The number of a line, or 0, and what is wrong.
Mistakes = Iterator[tuple[int, str]]

_MOST_NAMED = 50


def listed(file: Path, mistakes: Sequence[tuple[int, str]]) -> str:
    more = len(mistakes) - _MOST_NAMED
    return (
        f"{file}: {len(mistakes)} mistake{'s' * (len(mistakes) > 1)}; nothing was used, mend them "
        "all:\n"
        + "\n".join(
            f"  line {number}: {said}" if number else f"  {said}"
            for number, said in mistakes[:_MOST_NAMED]
        )
        + (f"\n  and {more} more" if more > 0 else "")
    )


def compare(lines: Sequence[Line], *, to_train: bool) -> Mistakes:
    """What is wrong with lines that have a label, one compared with the others.

    Parameters
    ----------
    lines : sequence of Line
    to_train : bool
        Whether a label that occurs once only is a mistake.
    """
    yield from _label_mistakes(lines)
    yield from _double(lines)
    yield from _speaker_mistakes(lines)
    if to_train:
        yield from _rare_mistakes(lines)


def misspelt(label_map: Mapping[str, str], lines: Sequence[Line]) -> Mistakes:
    """A table may name more than a file has: it serves held-back lines and other corpora, too."""
    there = {line.label for line in lines}
    for label in sorted(set(label_map) - there):
        if near := _near(label, there - set(label_map)):
            yield 0, f"the table of labels names {label!r}, which no line has{near}"


def _label_mistakes(lines: Sequence[Line]) -> Mistakes:
    first: dict[str, int] = {}
    by_lower: dict[str, str] = {}
    for line in lines:
        first.setdefault(line.label, line.number)
    for label, number in first.items():
        if not label.isidentifier():
            yield (
                number,
                f"label {label!r}: letters, digits and _ expected, not starting with a digit; "
                "rename it, here or in a table of labels",
            )
        other = by_lower.setdefault(label.lower(), label)
        if other != label:
            yield number, f"label {label!r}, which line {first[other]} writes {other!r}"


def _rare_mistakes(lines: Sequence[Line]) -> Mistakes:
    stretches: dict[str, dict[tuple, int]] = defaultdict(dict)
    for line in lines:
        stretches[line.label].setdefault(line.stretch, line.number)
    for label, where in stretches.items():
        if len(where) == 1:
            near = _near(label, set(stretches) - {label})
            (number,) = where.values()
            yield number, f"label {label!r} occurs once only: too little to learn or to test{near}"


def _near(word: str, others: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(others), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _double(lines: Sequence[Line]) -> Mistakes:
    first: dict[tuple, Line] = {}
    for line in lines:
        other = first.setdefault((line.stretch, line.annotator), line)
        if other is not line:
            who = f"annotator {line.annotator!r}" if line.annotator else "no annotator's name"
            yield (
                line.number,
                f"the stretch of line {other.number} again, with {who}: one label of each "
                f"annotator expected ({other.label!r} and {line.label!r} found)",
            )


def _speaker_mistakes(lines: Sequence[Line]) -> Mistakes:
    first: dict[tuple, Line] = {}
    for line in lines:
        if line.speaker:
            other = first.setdefault(line.stretch, line)
            if other.speaker != line.speaker:
                yield (
                    line.number,
                    f"speaker {line.speaker!r}, for which line {other.number} says "
                    f"{other.speaker!r}",
                )
