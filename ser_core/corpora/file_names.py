"""Corpora whose file names say everything: read by name, with signs that a copy is not whole."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance
from ser_core.errors import CorpusError

# Clips of speech that was not cut last as long as it took to say them: hardly two of them alike.
_ALIKE = 0.5
_AUDIO = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"}
# Words of `Corpus.skipped`.
NOT_NAMED = "audio whose name is not the corpus's"
DOUBLE = "a name that was there before"
NO_AUDIO = "no audio file"


@dataclass(frozen=True)
class Original:
    """What a corpus is like as it was published, and how its files are named."""

    rate_hz: int
    example: str
    archive: str


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
