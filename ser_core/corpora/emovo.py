"""EMOVO, an Italian corpus of emotional speech.

G. Costantini, I. Iaderola, A. Paoloni and M. Todisco (2014), "EMOVO corpus: an Italian emotional
speech database", LREC, 3501-3504. Six actors say fourteen sentences in seven emotions: 588 clips
at 48 kHz.

A file's name is emotion, speaker (f: women, m: men) and sentence: rab-f1-b1.wav.
"""

from __future__ import annotations

import re
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance
from ser_core.corpora.file_names import NOT_NAMED, Original, match_stem, named_corpus

NAME = "EMOVO"
NOTE = "acted speech, fourteen sentences in Italian, recorded in a studio"
LICENCE = "for research only"
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
    """Read the file names below a folder, and how long the files are.

    Raises
    ------
    CorpusError
        A folder that is not there, cannot be listed, or has no file of EMOVO.
    """
    return named_corpus(folder, NAME, LICENCE, NOTE, decode, ORIGINAL)


def decode(path: Path) -> Utterance | str:
    """What a file's name says, or the reason why it is not EMOVO's."""
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
