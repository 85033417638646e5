"""EMOVO, an Italian corpus of emotional speech.

G. Costantini, I. Iaderola, A. Paoloni and M. Todisco (2014), "EMOVO corpus: an Italian emotional
speech database", LREC, 3501-3504. Six actors speak fourteen sentences in seven emotions: 588
clips at 48 kHz.

A file name consists of emotion, speaker (f: women, m: men) and sentence: rab-f1-b1.wav.
"""

from __future__ import annotations

import re
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance
from ser_core.corpora.file_names import NOT_NAMED, Original, match_stem, read_by_file_names

NAME = "EMOVO"
NOTE = "acted speech, fourteen sentences in Italian, recorded in a studio"
LICENCE = "for research only"
ATTRIBUTION = (
    "EMOVO by G. Costantini, I. Iaderola, A. Paoloni and M. Todisco (2014), for research only"
)
ORIGINAL = Original(rate_hz=48_000, example="rab-f1-b1.wav", archive="EMOVO.zip")

_EMOTIONS = {
    "dis": "disgust",
    "gio": "happy",
    "neu": "neutral",
    "pau": "fearful",
    "rab": "angry",
    "sor": "surprised",
    "tri": "sad",
}
_STEM = re.compile(r"([a-z]{3})-([fm][123])-([a-z]+\d?)")


def read(folder: Path) -> Corpus:
    """Read the labels from the file names below a folder, and the lengths from the headers.

    Raises
    ------
    CorpusError
        The folder does not exist, cannot be listed, or holds no file of EMOVO.
    """
    return read_by_file_names(
        folder, NAME, LICENCE, NOTE, decode, ORIGINAL, attribution=ATTRIBUTION
    )


def decode(path: Path) -> Utterance | str:
    """The utterance that a file name describes, or the reason to skip the file."""
    match = match_stem(path, _STEM)
    if isinstance(match, str):
        return match
    if match[1] not in _EMOTIONS:
        return NOT_NAMED
    emotion, speaker, sentence = match.groups()
    return Utterance(
        path=path,
        emotion=_EMOTIONS[emotion],
        speaker=f"emovo-{speaker}",
        corpus=NAME,
        sex="female" if speaker.startswith("f") else "male",
        statement=sentence,
    )
