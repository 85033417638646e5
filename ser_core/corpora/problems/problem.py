"""A problem of labelled speech, and how the utterances that have it are named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from ser_core.corpora.corpus import Utterance
from ser_core.corpora.sounds import Sound

MOST_NAMED = 5

Pairs = Sequence[tuple[Utterance, Sound]]


@dataclass(frozen=True)
class Problem:
    """Something to know before training.

    Parameters
    ----------
    title : str
        Two or three words.
    found : str
        What, and how many.
    advice : str
        What to do.
    examples : tuple of str
        A few of the files, or speakers, or emotions.
    count : int
        Utterances that it is about.
    serious : bool
        Whether it should be mended, or only be known.
    warned : bool
        Whether it is one of the corpus's own warnings, said when it was opened.
    """

    title: str
    found: str
    advice: str
    examples: tuple[str, ...] = ()
    count: int = 0
    serious: bool = True
    warned: bool = False


def named(one: Utterance) -> str:
    """A file's name, with the part that is meant."""
    if not one.is_part:
        return one.path.name
    end = "the end" if one.end_s is None else f"{one.end_s:g} s"
    return f"{one.path.name} {one.start_s:g} to {end}"


def identical(pairs: Iterable[tuple[Utterance, Sound]]) -> list[list[Utterance]]:
    """Groups of utterances with the same samples."""
    groups = defaultdict(list)
    for one, sound in pairs:
        if sound.digest:
            groups[sound.digest].append(one)
    return [some for some in groups.values() if len(some) > 1]


def examples(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    return tuple(map(named, islice(utterances, MOST_NAMED)))
