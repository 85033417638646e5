"""One's own calls, labelled in a CSV: `uri,channel,start_s,end_s,label,annotator[,speaker]`.

A line is what one annotator says of a recording (no times), of a part of it, or of an utterance.
Lines of several annotators about one stretch become shares of its emotions. A stretch that is
longer than a segment is cut as the nightly job cuts speech; each piece has the stretch's label.

Everything that is wrong with a file is told at once, by line.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ser_core.corpora.agreement import Stretch, agreement
from ser_core.corpora.corpus import LEFT_OUT, Corpus, Progress
from ser_core.corpora.manifest.lines import COLUMNS, Line, parse, read_rows
from ser_core.corpora.manifest.mistakes import compare, listed, misspelt
from ser_core.corpora.manifest.recordings import Locate, Recordings
from ser_core.corpora.manifest.stretches import cut, fill_speakers, utterance, warnings
from ser_core.errors import CorpusError

__all__ = ["COLUMNS", "LICENCE", "NOT_LABELLED", "NO_SPEECH", "read", "read_label_map"]

# Words of `Corpus.skipped`.
NOT_LABELLED = "lines without a label"
NO_SPEECH = "stretches without speech"
LICENCE = "own data"
NOTE = "labelled in a CSV"


def read(
    file: str | os.PathLike,
    *,
    label_map: Mapping[str, str] | None = None,
    to_train: bool = True,
    locate: Locate | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Read a manifest.

    Parameters
    ----------
    file : path
        CSV in UTF-8 with a header; commas, semicolons or tabs. `uri` and `label` are needed; of
        the others an empty field says: the only channel, from the start, to the end, the only
        annotator. Lines without a label are passed over, and so are columns of other names.
    label_map : mapping of label to emotion, optional
        As `read_label_map` gives it.
    to_train : bool
        Whether a label that occurs once only is a mistake.
    locate : callable, optional
        From a URI to a file on this machine; what it raises as `OSError` is a mistake of the
        line. Unless given, paths, those that are not absolute from the manifest's folder.
    jobs : int >= 1, optional
        Processes that look for speech in long stretches; one a core unless given.
    progress : callable, optional
        Called with a stage, how many are done, and of how many.

    Returns
    -------
    Corpus
        Its `own` is True; where several annotators spoke, it has an `agreement`.

    Raises
    ------
    CorpusError
        A file that cannot be read or has no such columns, or mistakes in its lines: all of them.
    """
    file = Path(file)
    lines, mistakes = parse(file)
    labelled = [line for line in lines if line.label]
    skipped = {NOT_LABELLED: len(lines) - len(labelled)}
    if label_map:
        mistakes += misspelt(label_map, labelled)
        renamed = [replace(line, label=label_map.get(line.label, line.label)) for line in labelled]
        labelled = [line for line in renamed if line.label]
        skipped[LEFT_OUT] = len(renamed) - len(labelled)
    recordings = Recordings(locate or (lambda uri: file.parent / uri))
    labelled = [recordings.on_its_channel(line) for line in labelled]
    mistakes += [*compare(labelled, to_train=to_train), *recordings.mistakes(labelled)]
    if mistakes:
        raise CorpusError(listed(file, sorted(set(mistakes))))

    labelled = fill_speakers(labelled)
    by_stretch: dict[Stretch, list[Line]] = defaultdict(list)
    for line in labelled:
        by_stretch[line.stretch].append(line)
    whole = [
        utterance(file.stem, recordings.path(lines[0].uri), lines) for lines in by_stretch.values()
    ]
    pieces = cut(whole, jobs, progress)
    skipped[NO_SPEECH] = sum(not utterances for utterances in pieces)
    utterances = tuple(chain.from_iterable(pieces))
    if not utterances:
        raise CorpusError(f"{file}: nothing to learn from {_why_nothing(skipped)}")
    return Corpus(
        name=file.stem,
        licence=LICENCE,
        utterances=utterances,
        skipped=skipped,
        note=NOTE,
        warnings=warnings(labelled),
        any_use=True,
        own=True,
        agreement=agreement(
            [{line.annotator: line.label for line in lines} for lines in by_stretch.values()],
            list(by_stretch),
        ),
    )


def _why_nothing(skipped: Mapping[str, int]) -> str:
    """Why a manifest gives no utterance, and what to do."""
    counts = "; ".join(f"{count} {reason}" for reason, count in skipped.items() if count)
    if skipped[NO_SPEECH]:
        advice = "give start_s and end_s of utterances, and listen whether somebody speaks"
    elif skipped.get(LEFT_OUT):
        advice = "give some label an emotion in the table of labels"
    else:
        advice = "fill in the column `label`, one emotion a stretch of speech"
    return f"({counts or 'no line at all'}); {advice}"


def read_label_map(file: str | os.PathLike) -> dict[str, str]:
    """A table of two columns, `label,emotion`: what labels are called; nothing leaves one out.

    Raises
    ------
    CorpusError
        A file that cannot be read, has no such columns, or has a label twice.
    """
    file = Path(file)
    table: dict[str, str] = {}
    for number, row in read_rows(file, ("label", "emotion")):
        if row["label"] in table:
            raise CorpusError(f"{file}, line {number}: label {row['label']!r} is there twice")
        table[row["label"]] = row["emotion"]
    return table
