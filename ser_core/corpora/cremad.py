"""CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset.

H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma (2014), IEEE Transactions
on Affective Computing 5(4), 377-390. 91 actors say twelve sentences in six emotions: 7,442 clips at
16 kHz. About ten listeners judged each clip by its sound alone. Less than half of the clips are
heard as the actor intended, so the votes are kept as soft labels. The truth of a test is the
intended emotion, as in the literature.

A file name consists of actor (four digits), sentence, emotion and intensity (three, three and two
letters): 1001_DFA_ANG_XX.wav. The release has the votes in processedResults/tabulatedVotes.csv and
the actors' sex in VideoDemographics.csv, beside the folder AudioWAV. A copy may have both in a
file clips.csv among its audio files. Without votes, file names give the labels, with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ser_core.corpora.corpus import Corpus, Utterance
from ser_core.corpora.file_names import NOT_NAMED, Original, match_stem, read_by_file_names
from ser_core.corpora.manifest.lines import read_rows
from ser_core.errors import CorpusError

NAME = "CREMA-D"
NOTE = "acted speech, twelve sentences in American English"
WITH_VOTES = ", with the votes of listeners"
LICENCE = "ODbL 1.0 and DbCL 1.0: any use, with attribution"
ATTRIBUTION = (
    "CREMA-D by H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova and R. Verma (2014), "
    "https://github.com/CheyneyComputerScience/CREMA-D, made available under the Open Database "
    "License 1.0 (https://opendatacommons.org/licenses/odbl/1-0/), its contents under the Database "
    "Contents License 1.0 (https://opendatacommons.org/licenses/dbcl/1-0/)"
)
ORIGINAL = Original(rate_hz=16_000, example="1001_DFA_ANG_XX.wav", archive="AudioWAV of CREMA-D")

AUDIO, RESULTS = "AudioWAV", "processedResults"
VOTES, ACTORS, CLIPS = "tabulatedVotes.csv", "VideoDemographics.csv", "clips.csv"

# A reason in `Corpus.skipped`. Three recordings were published under two names each, with
# contradicting labels; the last clip is silent.
UNUSABLE = "clips that are silent or have two contradicting labels"
_UNUSABLE = {
    "1006_TIE_HAP_XX", "1006_TIE_NEU_XX",
    "1013_WSI_DIS_XX", "1013_WSI_SAD_XX",
    "1017_IWW_ANG_XX", "1017_IWW_FEA_XX",
    "1076_MTI_SAD_XX",
}  # fmt: skip

_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": ""}
_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
_STEM = re.compile(
    rf"(1\d\d\d)_({'|'.join(_SENTENCES)})_({'|'.join(_EMOTIONS)})_({'|'.join(_INTENSITIES)})"
)
# Columns of votes: initials in tabulatedVotes.csv, words in clips.csv.
_INITIALS = {emotion[0].upper(): emotion for emotion in _EMOTIONS.values()}
_WORDS = {f"votes_{emotion}": emotion for emotion in _EMOTIONS.values()}
# The unnamed first column of tabulatedVotes.csv is 100,000 times what was judged (1 is the voice
# alone, 2 the face, 3 both), plus the number of the clip.
_JUDGED, _VOICE = 100_000, 1

Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Tables:
    """What the tables say: shares of votes by clip, sex by actor."""

    shares: Mapping[str, Shares]
    sexes: Mapping[str, str]


def read(folder: Path) -> Corpus:
    """Read the labels from the file names below a folder, and the votes from its tables.

    Parameters
    ----------
    folder : Path
        The release, its folder AudioWAV, or a copy with the table clips.csv.

    Raises
    ------
    CorpusError
        The folder does not exist, cannot be listed, or holds no file of CREMA-D. Or a table cannot
        be read.
    """
    folder = Path(folder)
    # The release holds each clip as MP3 and as a video too.
    audio = folder / AUDIO if (folder / AUDIO).is_dir() else folder
    named = read_by_file_names(
        audio, NAME, LICENCE, NOTE, decode, ORIGINAL, any_use=True, attribution=ATTRIBUTION
    )
    tables = _read_tables(audio)
    utterances = tuple(
        replace(
            utterance,
            sex=tables.sexes.get(utterance.speaker.removeprefix("cremad-"), ""),
            shares=tables.shares.get(utterance.path.stem, ()),
        )
        for utterance in named.utterances
    )
    without = sum(not utterance.shares for utterance in utterances)
    warning = (
        f"{without:,} of {len(utterances):,} clips have no votes: they are labelled by file name "
        f"only; {RESULTS}/{VOTES} of the release is expected beside the folder {AUDIO}"
    )
    return replace(
        named,
        utterances=utterances,
        note=NOTE if without == len(utterances) else NOTE + WITH_VOTES,
        warnings=(*named.warnings, warning) if without else named.warnings,
    )


def decode(path: Path) -> Utterance | str:
    """The utterance that a file name describes, or the reason to skip the file."""
    match = match_stem(path, _STEM)
    if isinstance(match, str):
        return match
    speaker, sentence, emotion, intensity = match.groups()
    if not 1001 <= int(speaker) <= 1091:
        return NOT_NAMED
    if path.stem in _UNUSABLE:
        return UNUSABLE
    return Utterance(
        path=path,
        emotion=_EMOTIONS[emotion],
        speaker=f"cremad-{speaker}",
        corpus=NAME,
        intensity=_INTENSITIES[intensity],
        statement=_SENTENCES[sentence],
        intended=True,
    )


def _read_tables(audio: Path) -> _Tables:
    """The table of a copy, or the tables of the release, in the places that it has for them."""
    if (audio / CLIPS).is_file():
        rows = _rows(audio / CLIPS, ("file", "speaker", "sex", *_WORDS))
        return _Tables(
            {Path(row["file"]).stem: _shares(row, _WORDS, audio / CLIPS) for row in rows},
            {row["speaker"]: row["sex"] for row in rows},
        )
    shares: dict[str, Shares] = {}
    sexes: dict[str, str] = {}
    if votes := _find(audio, VOTES):
        for row in _rows(votes, ("", "filename", *map(str.lower, _INITIALS))):
            if _count(row[""], votes) // _JUDGED == _VOICE:
                shares[row["filename"]] = _shares(row, _INITIALS, votes)
    if actors := _find(audio, ACTORS):
        rows = _rows(actors, ("actorid", "sex"))
        sexes = {row["actorid"]: row["sex"].lower() for row in rows}
    return _Tables(shares, sexes)


def _find(audio: Path, name: str) -> Path | None:
    """A table of the release, in or beside the folder of the audio files."""
    places = (folder / name for top in (audio, audio.parent) for folder in (top, top / RESULTS))
    return next((place for place in places if place.is_file()), None)


def _rows(table: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a table, with column names in lower case."""
    return [row for _, row in read_rows(table, tuple(columns))]


def _shares(row: Mapping[str, str], columns: Mapping[str, str], table: Path) -> Shares:
    """Shares of the votes of a row by emotion, without zeros."""
    votes = {emotion: _count(row[name.lower()], table) for name, emotion in columns.items()}
    total = sum(votes.values())
    return tuple((emotion, count / total) for emotion, count in votes.items() if count)


def _count(text: str, table: Path) -> int:
    try:
        return int(text)
    except ValueError:
        raise CorpusError(
            f"{table}: {text!r} found, a whole number expected; download the table again"
        ) from None
