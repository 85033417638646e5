"""RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song.

S. R. Livingstone and F. A. Russo (2018), PLoS ONE 13(5): e0196391. 24 actors speak two
sentences in eight emotions: 1,440 clips of speech.

A file name consists of seven numbers: modality (01 sound and picture, 02 picture, 03 sound),
channel (01 speech, 02 song), emotion, intensity, statement, repetition, actor (odd: men).

Songs and videos are skipped and counted. The original article uses the speech alone, and callers
do not sing. The sound track of a video equals the sound file with the same last six numbers: with
both, one clip could be in the training set and in the test set.
"""

from __future__ import annotations

import re
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance
from ser_core.corpora.file_names import NO_AUDIO, Original, read_by_file_names
from ser_core.emotions import RAVDESS_EIGHT

NAME = "RAVDESS"
NOTE = "acted speech, two sentences in North American English, recorded in a studio"
LICENCE = "CC BY-NC-SA 4.0: not for commercial use"
ATTRIBUTION = (
    "RAVDESS by S. R. Livingstone and F. A. Russo (2018), https://doi.org/10.1371/"
    "journal.pone.0196391, CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)"
)
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

# Reasons in `Corpus.skipped`.
VIDEO = "video: only the sound files are used"
SONG = "song: only speech is used"
UNNAMED = "audio whose name is not RAVDESS's"
OTHER = NO_AUDIO


def read(folder: Path) -> Corpus:
    """Read the labels from the file names below a folder, and the lengths from the headers.

    Raises
    ------
    CorpusError
        The folder does not exist, cannot be listed, or holds no speech of RAVDESS.
    """
    return read_by_file_names(
        folder, NAME, LICENCE, NOTE, decode, ORIGINAL, attribution=ATTRIBUTION
    )


def decode(path: Path) -> Utterance | str:
    """The utterance that a file name describes, or the reason to skip the file."""
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
