"""What of a test a bundle has seen in its training, by the hashes that it keeps.

A test on clips, recordings or speakers that a model was trained on says little about others.
"""

from __future__ import annotations

from dataclasses import dataclass

from ser_core.corpora import Corpus
from ser_core.corpora.clips import recording_id
from ser_core.models.provenance import Provenance


@dataclass(frozen=True)
class Overlap:
    """How many clips, recordings and speakers of a test a bundle was trained on.

    Parameters
    ----------
    clips, recordings, speakers : int
        Those that stood in the training.
    of_clips, of_recordings, of_speakers : int
        Those of the test.
    """

    clips: int
    of_clips: int
    recordings: int
    of_recordings: int
    speakers: int
    of_speakers: int

    @property
    def found(self) -> bool:
        """Whether there is any overlap."""
        return bool(self.clips or self.recordings or self.speakers)

    def sentence(self, where: str = "its training") -> str:
        """Such as "9 of 40 clips and 4 of 7 speakers stood in its training".

        Examples
        --------
        >>> Overlap(0, 40, 2, 5, 4, 7).sentence()
        '2 of 5 recordings and 4 of 7 speakers stood in its training'
        """
        counts = [("clips", self.clips, self.of_clips)]
        if self.of_recordings != self.of_clips:
            counts.append(("recordings", self.recordings, self.of_recordings))
        counts.append(("speakers", self.speakers, self.of_speakers))
        parts = [f"{shared:,} of {total:,} {kind}" for kind, shared, total in counts if shared]
        if not parts:
            return f"no clip and no speaker stood in {where}"
        listed = ", ".join(parts[:-1])
        return f"{listed} and {parts[-1]} stood in {where}".removeprefix(" and ")


def find_overlap(provenance: Provenance | None, corpus: Corpus) -> Overlap | None:
    """The overlap of a corpus with a bundle's training; None for bundles that keep no hashes.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    if provenance is None:
        return None
    utterances = corpus.utterances
    recordings = sorted({recording_id(utterance) for utterance in utterances})
    speakers = sorted({utterance.speaker for utterance in utterances})
    return Overlap(
        clips=int(provenance.trained_on_clips(utterances).sum()),
        of_clips=len(utterances),
        recordings=int(provenance.trained_on_recordings(recordings).sum()),
        of_recordings=len(recordings),
        speakers=int(provenance.trained_on_speakers(speakers).sum()),
        of_speakers=len(speakers),
    )
