"""Corpora of labelled speech, read into one form.

`open_corpus("ravdess", folder)` gives the utterances that a model may be trained or tested on.
Built-in corpora are listed in `_BUILT_IN`; other packages bring theirs as entry points of the
group `ser_core.corpora`: a name, and a function from a folder to a `Corpus`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance, relabelled
from ser_core.errors import CorpusError

__all__ = ["Corpus", "Utterance", "corpus_names", "open_corpus", "relabelled"]

# A corpus is added here: its name, and the module whose `read(folder)` gives it.
_BUILT_IN = {
    "ravdess": "ser_core.corpora.ravdess",
    "emodb": "ser_core.corpora.emodb",
    "emovo": "ser_core.corpora.emovo",
}
_ENTRY_POINTS = "ser_core.corpora"


def corpus_names() -> tuple[str, ...]:
    """Names that `open_corpus` knows, those of other packages among them."""
    return tuple(sorted({*_BUILT_IN, *_plugins()}))


def open_corpus(name: str, folder: str | os.PathLike) -> Corpus:
    """Read the names and labels of a corpus; of the audio only the headers.

    One's own calls, labelled in a CSV, are read by `ser_core.corpora.manifest`.

    Parameters
    ----------
    name : str
        One of `corpus_names()`.
    folder : path
        Where it was unpacked.

    Raises
    ------
    CorpusError
        An unknown name, a folder that is not there or cannot be listed, one without a single
        utterance, or an entry point that gives no corpus.
    """
    if name in _BUILT_IN:
        return importlib.import_module(_BUILT_IN[name]).read(Path(folder))
    plugins = _plugins()
    if name not in plugins:
        raise CorpusError(
            f"no corpus is called {name!r}; there are: {', '.join(corpus_names())}, and csv for "
            "a file of labels of your own calls"
        )
    read: Callable[[Path], Corpus] = plugins[name].load()
    corpus = read(Path(folder))
    if not isinstance(corpus, Corpus):
        raise CorpusError(
            f"corpus {name!r}: the entry point {plugins[name].value} gives a "
            f"{type(corpus).__name__}, a ser_core.corpora.Corpus expected"
        )
    return corpus


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_ENTRY_POINTS)}
