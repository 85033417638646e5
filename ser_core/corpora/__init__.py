"""Corpora of labelled speech, read into one form.

`open_corpus("ravdess", folder)` gives the utterances that a model may be trained or tested on.
A corpus is added here: a line in `_BUILT_IN`, and a module with a function `read(folder)`.
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_core.errors import CorpusError

# Name of a corpus, and the module whose `read(folder)` gives it.
_BUILT_IN = {
    "ravdess": "ser_core.corpora.ravdess",
}


@dataclass(frozen=True)
class Utterance:
    """One labelled clip.

    Parameters
    ----------
    path : Path
        The audio file.
    emotion : str
        A word of the corpus's label set.
    speaker : str
        Unique over corpora, such as `ravdess-07`.
    corpus : str
        Name of the corpus.
    sex, intensity, statement, repetition : str, optional
        What the corpus says of the clip; empty where it says nothing.
    """

    path: Path
    emotion: str
    speaker: str
    corpus: str
    sex: str = ""
    intensity: str = ""
    statement: str = ""
    repetition: str = ""


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
    """

    name: str
    licence: str
    utterances: tuple[Utterance, ...]
    skipped: Mapping[str, int]
    note: str = ""

    @property
    def speakers(self) -> tuple[str, ...]:
        """Everyone who speaks, sorted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of utterances of each emotion."""
        return Counter(utterance.emotion for utterance in self.utterances)


def corpus_names() -> tuple[str, ...]:
    """Names that `open_corpus` knows."""
    return tuple(sorted(_BUILT_IN))


def open_corpus(name: str, folder: str | os.PathLike) -> Corpus:
    """Read the names and labels of a corpus; the audio is not opened.

    Parameters
    ----------
    name : str
        One of `corpus_names()`.
    folder : path
        Where it was unpacked.

    Raises
    ------
    CorpusError
        An unknown name, a folder that is not there or cannot be listed, or one without a
        single utterance.
    """
    if name not in _BUILT_IN:
        raise CorpusError(f"no corpus is called {name!r}; there are: {', '.join(corpus_names())}")
    return importlib.import_module(_BUILT_IN[name]).read(Path(folder))


def files_below(folder: Path, corpus: str) -> list[Path]:
    """Every file in a folder and its subfolders, sorted by path.

    Raises
    ------
    CorpusError
        No such folder, or one that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise CorpusError(
            f"{corpus}: {error.filename} cannot be listed ({error.strerror}); "
            f"give the folder where {corpus} was unpacked, with permission to read it"
        ) from error

    walk = os.walk(folder, onerror=refuse)
    return sorted(Path(parent, name) for parent, _, names in walk for name in names)
