"""Corpora of labelled speech, read into one form.

`open_corpus("ravdess", folder)` gives the utterances that a model may be trained or tested on.
Built-in corpora are listed in `_BUILT_IN`. Other packages provide theirs as entry points of the
group `ser_core.corpora`; each names a function that takes a folder and returns a `Corpus`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance, relabel
from ser_core.errors import CorpusError

__all__ = ["Corpus", "Utterance", "corpus_names", "open_corpus", "relabel"]

# A corpus is added here: its name, and the module whose `read(folder)` gives it.
_BUILT_IN = {
    "ravdess": "ser_core.corpora.ravdess",
    "cremad": "ser_core.corpora.cremad",
    "emodb": "ser_core.corpora.emodb",
    "emovo": "ser_core.corpora.emovo",
}
_ENTRY_POINTS = "ser_core.corpora"


def corpus_names() -> tuple[str, ...]:
    """Names that `open_corpus` accepts, including those that other packages provide."""
    return tuple(sorted({*_BUILT_IN, *_plugins()}))


def open_corpus(name: str, folder: str | os.PathLike) -> Corpus:
    """Read the file names and labels of a corpus, and the headers of its audio files.

    `ser_core.corpora.manifest` reads the labels of your own calls from a CSV file.

    Parameters
    ----------
    name : str
        One of `corpus_names()`.
    folder : path
        Where the corpus was unpacked.

    Raises
    ------
    CorpusError
        The name is unknown, the folder does not exist, cannot be listed or holds no utterance,
        or the entry point does not return a `Corpus`.
    """
    if name in _BUILT_IN:
        return importlib.import_module(_BUILT_IN[name]).read(Path(folder))
    plugins = _plugins()
    if name not in plugins:
        raise CorpusError(
            f"unknown corpus {name!r}; known corpora: {', '.join(corpus_names())}, and csv for "
            "a file of labels for your own calls"
        )
    read: Callable[[Path], Corpus] = plugins[name].load()
    corpus = read(Path(folder))
    if not isinstance(corpus, Corpus):
        raise CorpusError(
            f"corpus {name!r}: the entry point {plugins[name].value} returns a "
            f"{type(corpus).__name__}, a ser_core.corpora.Corpus expected"
        )
    return corpus


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_ENTRY_POINTS)}
