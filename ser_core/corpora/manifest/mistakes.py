"""Mistakes of a manifest that show when its lines are compared, and the message that lists them."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ser_core.corpora.agreement import Stretch
from ser_core.corpora.manifest.lines import Line

# Line number and message; 0 stands for the whole file.
Mistakes = Iterator[tuple[int, str]]

_MOST_NAMED = 50


def list_mistakes(file: Path, mistakes: Sequence[tuple[int, str]]) -> str:
    """The message that lists the mistakes of a file."""
    more = len(mistakes) - _MOST_NAMED
    return (
        f"{file}: {len(mistakes)} mistake{'s' * (len(mistakes) > 1)}; nothing was used, fix all "
        "of them:\n"
        + "\n".join(
            f"  line {number}: {message}" if number else f"  {message}"
            for number, message in mistakes[:_MOST_NAMED]
        )
        + (f"\n  and {more} more" if more > 0 else "")
    )


def find_mistakes(lines: Sequence[Line], *, to_train: bool) -> Mistakes:
    """Compare labelled lines with each other.

    Parameters
    ----------
    lines : sequence of Line
    to_train : bool
        Whether a label that occurs only once is a mistake.
    """
    yield from _bad_labels(lines)
    yield from _duplicates(lines)
    yield from _contradicting_speakers(lines)
    if to_train:
        yield from _rare_labels(lines)


def find_misspelt(label_map: Mapping[str, str], lines: Sequence[Line]) -> Mistakes:
    """Entries of a label map that no line has, but that look like a label of a line.

    Other entries are fine: one map may serve several files and corpora.
    """
    labels = {line.label for line in lines}
    for label in sorted(set(label_map) - labels):
        if hint := _hint(label, labels - set(label_map)):
            yield 0, f"the label map contains {label!r}, which no line has{hint}"


def _bad_labels(lines: Sequence[Line]) -> Mistakes:
    first: dict[str, int] = {}
    by_lower: dict[str, str] = {}
    for line in lines:
        first.setdefault(line.label, line.number)
    for label, number in first.items():
        if not label.isidentifier():
            yield (
                number,
                f"label {label!r}: letters, digits and _ expected, not starting with a digit; "
                "rename it, here or in a label map",
            )
        other = by_lower.setdefault(label.lower(), label)
        if other != label:
            yield number, f"label {label!r} is written {other!r} in line {first[other]}"


def _rare_labels(lines: Sequence[Line]) -> Mistakes:
    stretches: dict[str, dict[Stretch, int]] = defaultdict(dict)
    for line in lines:
        stretches[line.label].setdefault(line.stretch, line.number)
    for label, numbers in stretches.items():
        if len(numbers) == 1:
            hint = _hint(label, set(stretches) - {label})
            (number,) = numbers.values()
            yield number, f"label {label!r} occurs only once: too rare to train or test on{hint}"


def _hint(word: str, others: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(others), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _duplicates(lines: Sequence[Line]) -> Mistakes:
    first: dict[tuple[Stretch, str], Line] = {}
    for line in lines:
        other = first.setdefault((line.stretch, line.annotator), line)
        if other is not line:
            annotator = f"annotator {line.annotator!r}" if line.annotator else "no annotator"
            yield (
                line.number,
                f"same stretch as line {other.number}, with {annotator}: one label per annotator "
                f"expected ({other.label!r} and {line.label!r} found)",
            )


def _contradicting_speakers(lines: Sequence[Line]) -> Mistakes:
    first: dict[Stretch, Line] = {}
    for line in lines:
        if line.speaker:
            other = first.setdefault(line.stretch, line)
            if other.speaker != line.speaker:
                yield (
                    line.number,
                    f"speaker {line.speaker!r}, but line {other.number} has {other.speaker!r} for "
                    "the same stretch",
                )
