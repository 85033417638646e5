"""A problem of labelled speech, and the names of the utterances that have it."""

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
        What was found, and how often.
    advice : str
        What to do.
    examples : tuple of str
        A few of the files, speakers or emotions.
    count : int
        Number of utterances affected.
    serious : bool
        Whether it should be fixed, or only be known.
    warned : bool
        Whether it repeats a warning that was shown when the corpus was opened.
    """

    title: str
    found: str
    advice: str
    examples: tuple[str, ...] = ()
    count: int = 0
    serious: bool = True
    warned: bool = False


def describe_utterance(utterance: Utterance) -> str:
    """The name of the file, and the part of it that the utterance covers."""
    if not utterance.is_part:
        return utterance.path.name
    end = "the end" if utterance.end_s is None else f"{utterance.end_s:g} s"
    return f"{utterance.path.name} {utterance.start_s:g} to {end}"


def group_identical(pairs: Iterable[tuple[Utterance, Sound]]) -> list[list[Utterance]]:
    """Groups of two or more utterances with the same samples."""
    groups = defaultdict(list)
    for utterance, sound in pairs:
        if sound.digest:
            groups[sound.digest].append(utterance)
    return [group for group in groups.values() if len(group) > 1]


def first_names(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    """The names of the first few utterances."""
    return tuple(map(describe_utterance, islice(utterances, MOST_NAMED)))
