"""The common form of labelled speech: utterances, and the corpus that holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ser_core.corpora.agreement import Agreement

# Called with the name of a stage, the number of items done and their total.
Progress = Callable[[str, int, int], None]

# A reason in `Corpus.skipped`.
LEFT_OUT = "of labels that the table of labels leaves out"


@dataclass(frozen=True)
class Utterance:
    """One labelled clip: a whole file, or a part of one.

    Parameters
    ----------
    path : Path
        The audio file.
    emotion : str
        A label of the corpus: what the speaker was asked to express or, where annotators decide,
        the label that most of them gave. This is the truth of a test.
    speaker : str
        Unique across corpora, such as `ravdess-07`.
    corpus : str
        Name of the corpus.
    sex, intensity, statement, repetition : str, optional
        Metadata of the corpus; empty where the corpus gives none.
    channel : int, optional
        Counted from 0. Default: the mean of all channels.
    start_s, end_s : float, optional
        Seconds from the start of the file. Default: the whole file.
    shares : tuple of (emotion, share)
        Soft labels: the share of annotators who chose each emotion, where there are several.
    intended : bool
        Whether `emotion` is what the speaker was asked to express, whatever `shares` say.
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
    intended: bool = False

    @property
    def is_part(self) -> bool:
        """Whether the utterance is a part of a recording rather than a whole file."""
        return self.channel is not None or self.start_s > 0 or self.end_s is not None

    @property
    def agreed(self) -> bool:
        """Whether the true emotion is known: intended, or with more votes than any other.

        A test uses such utterances only.
        """
        shares = sorted((share for _, share in self.shares), reverse=True)
        return self.intended or len(shares) < 2 or shares[0] > shares[1]


@dataclass(frozen=True)
class Corpus:
    """A corpus as it was found in a folder.

    Parameters
    ----------
    name : str
        The usual spelling, such as `RAVDESS`.
    licence : str
        The licence and its restrictions, such as "CC BY-NC-SA 4.0: not for commercial use".
    utterances : tuple of Utterance
        In the order of their file names.
    skipped : mapping of reason to count
        Files or lines that were left out.
    note : str
        The kind of speech, for the cards of models trained on it.
    warnings : tuple of str
        Differences between these files and the published corpus, such as a truncated copy.
    any_use : bool
        Whether the licence permits every use, including commercial use.
    attribution : str
        Authors, title, address and licence, for the cards of models trained on it.
    own : bool
        Whether these are your own recordings. They are split at random on request only.
    agreement : Agreement, optional
        Inter-annotator agreement, where there are several annotators.
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
    attribution: str = ""

    @property
    def speakers(self) -> tuple[str, ...]:
        """All speakers, sorted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of utterances of each emotion."""
        return Counter(utterance.emotion for utterance in self.utterances)


def relabel(corpus: Corpus, label_map: Mapping[str, str]) -> Corpus:
    """Rename the emotions of a corpus.

    Parameters
    ----------
    corpus : Corpus
    label_map : mapping of emotion to emotion
        An empty value leaves utterances out, and votes. Emotions without an entry stay.

    Examples
    --------
    >>> from pathlib import Path
    >>> utterances = [Utterance(Path("a.wav"), "calm", "ann", "Ours")]
    >>> corpus = Corpus("Ours", "CC0", tuple(utterances), {})
    >>> relabel(corpus, {"calm": "neutral"}).counts
    Counter({'neutral': 1})
    """
    kept = tuple(
        replace(utterance, emotion=emotion, shares=_relabel_shares(utterance.shares, label_map))
        for utterance in corpus.utterances
        if (emotion := label_map.get(utterance.emotion, utterance.emotion))
    )
    left_out = len(corpus.utterances) - len(kept)
    skipped = {**corpus.skipped, **({LEFT_OUT: left_out} if left_out else {})}
    return replace(corpus, utterances=kept, skipped=skipped)


def _relabel_shares(
    shares: tuple[tuple[str, float], ...], label_map: Mapping[str, str]
) -> tuple[tuple[str, float], ...]:
    """Shares by new label; they add up to 1 again."""
    renamed: dict[str, float] = {}
    for label, share in shares:
        if emotion := label_map.get(label, label):
            renamed[emotion] = renamed.get(emotion, 0.0) + share
    total = sum(renamed.values())
    return tuple((emotion, share / total) for emotion, share in renamed.items())
