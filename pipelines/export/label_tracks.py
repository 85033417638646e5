"""Calls as annotations of one file each: Audacity's label tracks, and text that ELAN imports."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ser_core.report.call import Call, Segment

# In a name of a file: letters, digits, and these.
_OTHERS = re.compile(r"[^\w.-]+")
_LONGEST = 80


class Names:
    """Names of files for calls: safe on every file system, and each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, call: Call) -> str:
        """The call's name without its extension, and the start of its id."""
        stem, identity = call.name.rpartition(".")[0] or call.name, call.recording_id or ""
        parts = [_OTHERS.sub("_", text) for text in (stem[:_LONGEST], identity[:8])]
        name = "-".join(filter(None, parts)).lstrip("._-") or "call"
        unique, number = name, 1
        while unique.casefold() in self._given:
            number += 1
            unique = f"{name}-{number}"
        self._given.add(unique.casefold())
        return unique


def audacity(call: Call) -> Iterator[tuple[str, str]]:
    """A label track for each analysed channel: end of the file's name, and its text.

    Lines are start, end (seconds) and label, with tabs between
    (https://manual.audacityteam.org/man/importing_and_exporting_labels.html).
    """
    for channel in sorted({segment.channel for segment in call.segments}):
        own = [segment for segment in call.segments if segment.channel == channel]
        lines = [
            f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{_words(segment)}\n" for segment in own
        ]
        yield f"{channel}-{own[0].role}.txt", "".join(lines)


def elan(call: Call) -> Iterator[tuple[str, str]]:
    """Tab-delimited text: tier, begin, end, annotation
    (https://www.mpi.nl/corpus/html/elan/ch01s04s08.html, "Importing a CSV / Tab-delimited text").

    Each channel has three tiers: emotion, confidence and negativity, in percent.
    """
    lines = []
    for segment in call.segments:
        begin, end = _hours(segment.start_s), _hours(segment.end_s)
        for tier, value in (
            ("emotion", segment.label + ("?" if segment.unsure else "")),
            ("confidence", f"{100 * segment.confidence:.0f}"),
            ("negativity", f"{100 * segment.negativity(call.labels):.0f}"),
        ):
            lines.append(f"{segment.role} {segment.channel} {tier}\t{begin}\t{end}\t{value}\n")
    yield "elan.txt", "".join(lines)


def _words(segment: Segment) -> str:
    """A label as a person reads it, such as "angry 67 %" or "angry? 41 %"."""
    return f"{segment.label}{'?' if segment.unsure else ''} {100 * segment.confidence:.0f} %"


def _hours(seconds: float) -> str:
    """A time as hh:mm:ss.mmm.

    Examples
    --------
    >>> _hours(3675.5)
    '01:01:15.500'
    """
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
