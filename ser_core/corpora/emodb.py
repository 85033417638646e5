"""EMO-DB, the Berlin database of emotional speech.

F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier and B. Weiss (2005), "A database of German
emotional speech", Interspeech, 1517-1520. Ten actors speak ten sentences in seven emotions: 535
clips of 1.2 to 9 s at 16 kHz.

A file name consists of speaker (two digits), sentence (a letter and two digits), emotion (the first
letter of the German word) and version (a letter): 03a01Fa.wav.
"""

from __future__ import annotations

import re
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance
from ser_core.corpora.file_names import NOT_NAMED, Original, match_stem, read_by_file_names

NAME = "EMO-DB"
NOTE = "acted speech, ten sentences in German, recorded in an anechoic room"
LICENCE = "CC0"
ORIGINAL = Original(rate_hz=16_000, example="03a01Fa.wav", archive="download.zip of EMO-DB")

_EMOTIONS = {
    "W": "angry",
    "L": "bored",
    "E": "disgust",
    "A": "fearful",
    "F": "happy",
    "T": "sad",
    "N": "neutral",
}
_MEN = {"03", "10", "11", "12", "15"}
_WOMEN = {"08", "09", "13", "14", "16"}
_STEM = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-h])")


def read(folder: Path) -> Corpus:
    """Read the labels from the file names below a folder, and the lengths from the headers.

    Raises
    ------
    CorpusError
        The folder does not exist, cannot be listed, or holds no file of EMO-DB.
    """
    return read_by_file_names(folder, NAME, LICENCE, NOTE, decode, ORIGINAL, any_use=True)


def decode(path: Path) -> Utterance | str:
    """The utterance that a file name describes, or the reason to skip the file."""
    match = match_stem(path, _STEM)
    if isinstance(match, str):
        return match
    if match[1] not in _MEN | _WOMEN:
        return NOT_NAMED
    speaker, sentence, emotion, version = match.groups()
    return Utterance(
        path=path,
        emotion=_EMOTIONS[emotion],
        speaker=f"emodb-{speaker}",
        corpus=NAME,
        sex="male" if speaker in _MEN else "female",
        statement=sentence,
        repetition=version,
    )
