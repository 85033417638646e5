"""Labelled speech in one form: utterances, and the corpus that they are from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ser_core.corpora.agreement import Agreement

# Called with a stage, how many are done, and of how many.
Progress = Callable[[str, int, int], None]

# A word of `Corpus.skipped`.
LEFT_OUT = "of labels that the table of labels leaves out"


@dataclass(frozen=True)
class Utterance:
    """One labelled clip: a file, or a part of one.

    Parameters
    ----------
    path : Path
        The audio file.
    emotion : str
        A word of the corpus's label set; of several annotators' what most of them say.
    speaker : str
        Unique over corpora, such as `ravdess-07`.
    corpus : str
        Name of the corpus.
    sex, intensity, statement, repetition : str, optional
        What the corpus says of the clip; empty where it says nothing.
    channel : int, optional
        Counted from 0; the mean of all channels unless given.
    start_s, end_s : float, optional
        From the start of the file; the whole of it unless given.
    shares : tuple of (emotion, share)
        Of the annotators who say so, where several said something: soft labels.
    """

    path: Path
    emotion: str
    speaker: str
    corpus: str
    sex: str = ""
    intensity: str = ""
    statement: str = ""
    repetition: str = ""
    channel: int | None = None
    start_s: float = 0.0
    end_s: float | None = None
    shares: tuple[tuple[str, float], ...] = ()

    @property
    def is_part(self) -> bool:
        """Whether it is a part of a recording, and no file of its own."""
        return self.channel is not None or self.start_s > 0 or self.end_s is not None

    @property
    def agreed(self) -> bool:
        """Whether one emotion has more of the annotators than any other: what a test may ask."""
        most = sorted((share for _, share in self.shares), reverse=True)
        return len(most) < 2 or most[0] > most[1]


@dataclass(frozen=True)
class Corpus:
    """A corpus as found in a folder.

    Parameters
    ----------
    name : str
        As people write it, such as `RAVDESS`.
    licence : str
        With what it forbids, such as "CC BY-NC-SA 4.0: not for commercial use".
    utterances : tuple of Utterance
        In the order of their file names.
    skipped : mapping of reason to count
        Files that were left out.
    note : str
        What kind of speech it is, for the cards of models trained on it.
    warnings : tuple of str
        How these files differ from the corpus as it was published, such as a cut copy.
    any_use : bool
        Whether the licence lets everybody do everything, so commercial use too.
    own : bool
        Whether it is one's own recordings: never split at random unless that is asked for.
    agreement : Agreement, optional
        How far its annotators agree, where there are several.
    """

    name: str
    licence: str
    utterances: tuple[Utterance, ...]
    skipped: Mapping[str, int]
    note: str = ""
    warnings: tuple[str, ...] = ()
    any_use: bool = False
    own: bool = False
    agreement: Agreement | None = None

    @property
    def speakers(self) -> tuple[str, ...]:
        """Everyone who speaks, sorted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of utterances of each emotion."""
        return Counter(utterance.emotion for utterance in self.utterances)


def relabelled(corpus: Corpus, table: Mapping[str, str]) -> Corpus:
    """A corpus whose emotions are called otherwise.

    Parameters
    ----------
    corpus : Corpus
    table : mapping of emotion to emotion
        An empty one leaves utterances out; emotions that it does not name stay.
    """
    kept = tuple(
        replace(one, emotion=said)
        for one in corpus.utterances
        if (said := table.get(one.emotion, one.emotion))
    )
    left = len(corpus.utterances) - len(kept)
    skipped = {**corpus.skipped, **({LEFT_OUT: left} if left else {})}
    return replace(corpus, utterances=kept, skipped=skipped)
