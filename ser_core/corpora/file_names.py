"""Corpora whose file names hold the labels, and checks whether a copy is complete."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance
from ser_core.errors import CorpusError

# Natural utterances differ in length. If more than this share has the same length, they were cut.
_SAME_LENGTH_SHARE = 0.5
_FEWEST_FILES = 20
_AUDIO = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif"}
# Beginnings of soundfile's names of codings that keep every sample.
_LOSSLESS = ("PCM_", "FLOAT", "DOUBLE", "ALAC_")

# Reasons in `Corpus.skipped`.
NOT_NAMED = "audio whose name is not the corpus's"
DUPLICATE_NAME = "a name that was there before"
NO_AUDIO = "no audio file"


@dataclass(frozen=True)
class Original:
    """The corpus as it was published.

    Parameters
    ----------
    rate_hz : int
        Sample rate.
    example : str
        A file name.
    archive : str
        The archive that holds the files.
    lossless : bool
        Whether the files were published without lossy compression.
    """

    rate_hz: int
    example: str
    archive: str
    lossless: bool = True


def read_by_file_names(
    folder: Path,
    name: str,
    licence: str,
    note: str,
    decode: Callable[[Path], Utterance | str],
    original: Original,
    *,
    any_use: bool = False,
    attribution: str = "",
) -> Corpus:
    """Read a corpus whose file names hold all labels.

    Parameters
    ----------
    folder : Path
    name, licence, note, any_use, attribution
        As in `Corpus`.
    decode : callable
        From a path to the utterance that its name describes, or the reason to skip the file.
    original : Original

    Raises
    ------
    CorpusError
        The folder does not exist, cannot be listed, or holds no such file.
    """
    utterances: dict[str, Utterance] = {}
    skipped: Counter[str] = Counter()
    for path in list_files(folder, name):
        utterance = decode(path)
        if isinstance(utterance, str):
            skipped[utterance] += 1
        elif path.stem in utterances:
            # Well-known copies hold each file twice, in nested folders.
            skipped[DUPLICATE_NAME] += 1
        else:
            utterances[path.stem] = utterance
    if not utterances:
        found = "; ".join(f"{count} × {reason}" for reason, count in skipped.items())
        raise CorpusError(
            f"{name}: no utterance in {folder} (found: {found or 'no files'}); files named like "
            f"{original.example} expected: give the folder where {original.archive} was unpacked"
        )
    warnings = copy_warnings([utterance.path for utterance in utterances.values()], original)
    return Corpus(
        name, licence, tuple(utterances.values()), dict(skipped), note, warnings, any_use,
        attribution=attribution,
    )  # fmt: skip


def match_stem(path: Path, pattern: re.Pattern[str]) -> re.Match[str] | str:
    """Match the stem of an audio file's name; else give the reason to skip the file."""
    if path.suffix.lower() not in _AUDIO or path.name.startswith("."):
        return NO_AUDIO
    return pattern.fullmatch(path.stem) or NOT_NAMED


def copy_warnings(paths: Sequence[Path], original: Original) -> tuple[str, ...]:
    """Signs that files differ from the published ones: lengths, sample rate, lossy compression.

    Parameters
    ----------
    paths : sequence of Path
        Unreadable files are ignored here.
    original : Original
    """
    import soundfile

    lengths: Counter[float] = Counter()
    rates: Counter[int] = Counter()
    lossy: Counter[str] = Counter()
    for path in paths:
        try:
            info = soundfile.info(path)
        except (soundfile.LibsndfileError, OSError, RuntimeError):
            continue
        lengths[round(info.frames / info.samplerate, 3)] += 1
        rates[info.samplerate] += 1
        if original.lossless and not info.subtype.startswith(_LOSSLESS):
            lossy[info.subtype] += 1
    warnings = []
    count = lengths.total()
    if count >= _FEWEST_FILES:
        ((seconds, same),) = lengths.most_common(1)
        if same > _SAME_LENGTH_SHARE * count:
            warnings.append(
                f"{same:,} of {count:,} files last exactly {seconds:.3f} s: a cut copy; "
                "results on it cannot be compared with published ones"
            )
    other_rates = sorted(rate for rate in rates if rate != original.rate_hz)
    if other_rates:
        found = ", ".join(f"{rate:,}" for rate in other_rates)
        warnings.append(
            f"a resampled copy: {found} Hz found, the original has {original.rate_hz:,} Hz"
        )
    if lossy:
        warnings.append(
            f"a lossy copy: {lossy.total():,} of {count:,} files are coded as "
            f"{', '.join(sorted(lossy))}; the published files are lossless"
        )
    return tuple(warnings)


def list_files(folder: Path, corpus: str) -> list[Path]:
    """All files in a folder and its subfolders, sorted by path.

    Raises
    ------
    CorpusError
        The folder does not exist or cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise CorpusError(
            f"{corpus}: {error.filename} cannot be listed ({error.strerror}); "
            f"give the folder where {corpus} was unpacked, with permission to read it"
        ) from error

    walk = os.walk(folder, onerror=refuse)
    return sorted(Path(parent, name) for parent, _, names in walk for name in names)
