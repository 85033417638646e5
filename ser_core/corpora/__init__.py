"""Corpora of labelled speech, read into one form.

`open_corpus("ravdess", folder)` gives the utterances that a model may be trained or tested on.
A corpus is added here: a line in `_BUILT_IN`, and a module with a function `read(folder)`.
"""

from __future__ import annotations

import importlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ser_core.errors import CorpusError

if TYPE_CHECKING:
    from ser_core.corpora.agreement import Agreement

# Name of a corpus, and the module whose `read(folder)` gives it.
_BUILT_IN = {
    "ravdess": "ser_core.corpora.ravdess",
    "emodb": "ser_core.corpora.emodb",
    "emovo": "ser_core.corpora.emovo",
}


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


def corpus_names() -> tuple[str, ...]:
    """Names that `open_corpus` knows."""
    return tuple(sorted(_BUILT_IN))


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
        An unknown name, a folder that is not there or cannot be listed, or one without a
        single utterance.
    """
    if name not in _BUILT_IN:
        raise CorpusError(
            f"no corpus is called {name!r}; there are: {', '.join(corpus_names())}, and csv for "
            "a file of labels of your own calls"
        )
    return importlib.import_module(_BUILT_IN[name]).read(Path(folder))


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


@dataclass(frozen=True)
class Original:
    """What a corpus is like as it was published, and how its files are named."""

    rate_hz: int
    example: str
    archive: str


# Clips of speech that was not cut last as long as it took to say them: hardly two of them alike.
_ALIKE = 0.5
_AUDIO = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"}
# Words of `Corpus.skipped`.
NOT_NAMED = "audio whose name is not the corpus's"
DOUBLE = "a name that was there before"
NO_AUDIO = "no audio file"
LEFT_OUT = "of labels that the table of labels leaves out"


def named_corpus(
    folder: Path,
    name: str,
    licence: str,
    note: str,
    decode: Callable[[Path], Utterance | str],
    original: Original,
    *,
    any_use: bool = False,
) -> Corpus:
    """A corpus whose file names say everything.

    Parameters
    ----------
    folder : Path
    name, licence, note, any_use
        As in `Corpus`.
    decode : callable
        From a path to what its name says, or the reason why it is no utterance.
    original : Original

    Raises
    ------
    CorpusError
        A folder that is not there, cannot be listed, or has no such file.
    """
    utterances: dict[str, Utterance] = {}
    skipped: Counter[str] = Counter()
    for path in files_below(folder, name):
        found = decode(path)
        if isinstance(found, str):
            skipped[found] += 1
        elif path.stem in utterances:
            # Well-known copies hold every file twice, in nested folders.
            skipped[DOUBLE] += 1
        else:
            utterances[path.stem] = found
    if not utterances:
        seen = "; ".join(f"{count} × {reason}" for reason, count in skipped.items())
        raise CorpusError(
            f"{name}: no utterance in {folder} (found: {seen or 'no file at all'}); files named "
            f"like {original.example} expected: give the folder where {original.archive} was "
            "unpacked"
        )
    warnings = copy_warnings([one.path for one in utterances.values()], original.rate_hz)
    return Corpus(name, licence, tuple(utterances.values()), dict(skipped), note, warnings, any_use)


def match_stem(path: Path, pattern: re.Pattern[str]) -> re.Match[str] | str:
    """An audio file's name taken apart, or the reason why it is none of the corpus."""
    if path.suffix.lower() not in _AUDIO or path.name.startswith("."):
        return NO_AUDIO
    return pattern.fullmatch(path.stem) or NOT_NAMED


def copy_warnings(paths: Sequence[Path], rate_hz: int | None) -> tuple[str, ...]:
    """Signs that files are not as they were recorded: all of one length, or resampled.

    Parameters
    ----------
    paths : sequence of Path
        Files that cannot be read are passed over here.
    rate_hz : int or None
        Sample rate of the original; None where it is not known.
    """
    import soundfile

    lengths: Counter[float] = Counter()
    rates: Counter[int] = Counter()
    for path in paths:
        try:
            about = soundfile.info(path)
        except (soundfile.LibsndfileError, OSError, RuntimeError):
            continue
        lengths[round(about.frames / about.samplerate, 3)] += 1
        rates[about.samplerate] += 1
    found = []
    count = lengths.total()
    if count >= 20:
        ((seconds, alike),) = lengths.most_common(1)
        if alike > _ALIKE * count:
            found.append(
                f"{alike:,} of {count:,} files last exactly {seconds:.3f} s: a cut copy; "
                "figures on it do not compare with published ones"
            )
    others = sorted(rate for rate in rates if rate != rate_hz)
    if rate_hz and others:
        said = ", ".join(f"{rate:,}" for rate in others)
        found.append(f"a resampled copy: {said} Hz found, the original has {rate_hz:,} Hz")
    return tuple(found)


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
