"""RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song.

S. R. Livingstone and F. A. Russo (2018), PLoS ONE 13(5): e0196391. 24 actors say two sentences
in eight emotions: 1,440 clips of speech.

A file's name is seven numbers: modality (01 sound and picture, 02 picture, 03 sound), channel
(01 speech, 02 song), emotion, intensity, statement, repetition, actor (odd: men).

Songs and video are skipped, and counted. The article that this project grew from uses the
speech alone, and a caller does not sing. The sound of a video file is that of the sound file
with the same last six numbers: taken as well, one clip would stand in training and test.
"""

from __future__ import annotations

import re
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance
from ser_core.corpora.file_names import NO_AUDIO, Original, named_corpus
from ser_core.emotions import RAVDESS_EIGHT

NAME = "RAVDESS"
NOTE = "acted speech, two sentences in North American English, recorded in a studio"
LICENCE = "CC BY-NC-SA 4.0: not for commercial use"
ORIGINAL = Original(
    rate_hz=48_000,
    example="03-01-05-01-02-01-12.wav",
    archive="Audio_Speech_Actors_01-24.zip",
)

_AUDIO, _VIDEO = {".wav", ".flac"}, {".mp4"}
_ACTORS = 24
_MODALITIES, _SOUND = {"01", "02", "03"}, "03"
_CHANNELS, _SPEECH = {"01", "02"}, "01"
_EMOTIONS = {f"{code:02d}": emotion for code, emotion in enumerate(RAVDESS_EIGHT, start=1)}
_INTENSITIES = {"01": "normal", "02": "strong"}
_STATEMENTS = {
    "01": "Kids are talking by the door",
    "02": "Dogs are sitting by the door",
}
_STEM = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")

# The words of `Corpus.skipped`.
VIDEO = "video: only the sound files are used"
SONG = "song: only speech is used"
UNNAMED = "audio whose name is not RAVDESS's"
OTHER = NO_AUDIO


def read(folder: Path) -> Corpus:
    """Read the file names below a folder, and how long the files are.

    Raises
    ------
    CorpusError
        A folder that is not there, cannot be listed, or has no speech of RAVDESS.
    """
    return named_corpus(folder, NAME, LICENCE, NOTE, decode, ORIGINAL)


def decode(path: Path) -> Utterance | str:
    """What a file's name says: an utterance, or the reason why it is none."""
    suffix = path.suffix.lower()
    if suffix not in _AUDIO | _VIDEO or path.name.startswith("."):
        return OTHER
    match = _STEM.fullmatch(path.stem)
    if not match:
        return UNNAMED
    modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
    valid = (
        modality in _MODALITIES
        and channel in _CHANNELS
        and emotion in _EMOTIONS
        and intensity in _INTENSITIES
        and statement in _STATEMENTS
        and 1 <= int(actor) <= _ACTORS
    )
    if not valid:
        return UNNAMED
    if suffix in _VIDEO or modality != _SOUND:
        return VIDEO
    if channel != _SPEECH:
        return SONG
    return Utterance(
        path=path,
        emotion=_EMOTIONS[emotion],
        speaker=f"ravdess-{actor}",
        corpus=NAME,
        sex="male" if int(actor) % 2 else "female",
        intensity=_INTENSITIES[intensity],
        statement=_STATEMENTS[statement],
        repetition=repetition,
    )
