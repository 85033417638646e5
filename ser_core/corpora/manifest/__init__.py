"""Your own calls, labelled in a CSV file: `uri,channel,start_s,end_s,label,annotator[,speaker]`.

A line is one annotator's label for a whole recording (no times), a part of it, or an utterance.
Labels of several annotators for one stretch become soft labels. A stretch that is longer than a
segment is cut into segments as in the nightly job; each segment gets the label of the stretch.

All mistakes of a file are reported together, with their line numbers.
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
from ser_core.corpora.manifest.mistakes import find_misspelt, find_mistakes, list_mistakes
from ser_core.corpora.manifest.recordings import Locate, RecordingIndex
from ser_core.corpora.manifest.stretches import (
    cut_into_segments,
    fill_speakers,
    make_utterance,
    speaker_warnings,
)
from ser_core.errors import CorpusError

__all__ = ["COLUMNS", "LICENCE", "NOT_LABELLED", "NO_SPEECH", "read", "read_label_map"]

# Reasons in `Corpus.skipped`.
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
        CSV in UTF-8 with a header, separated by commas, semicolons or tabs. `uri` and `label` are
        required. Empty or missing fields mean: the only channel, from the start, to the end, the
        only annotator. Lines without a label and columns with other names are ignored.
    label_map : mapping of label to emotion, optional
        As returned by `read_label_map`.
    to_train : bool
        Whether a label that occurs only once is a mistake.
    locate : callable, optional
        From a URI to a file on this machine; an `OSError` that it raises is reported with its line.
        Default: paths, relative ones from the folder of the manifest.
    jobs : int >= 1, optional
        Number of processes that find speech in long stretches. Default: one per core.
    progress : callable, optional
        Called with the name of the stage, the number of stretches done and their total.

    Returns
    -------
    Corpus
        `own` is True. With several annotators it has an `agreement`.

    Raises
    ------
    CorpusError
        The file cannot be read, lacks columns, or has mistakes; the message lists all of them.
    """
    file = Path(file)
    lines, mistakes = parse(file)
    labelled = [line for line in lines if line.label]
    skipped = {NOT_LABELLED: len(lines) - len(labelled)}
    if label_map:
        mistakes += find_misspelt(label_map, labelled)
        renamed = [replace(line, label=label_map.get(line.label, line.label)) for line in labelled]
        labelled = [line for line in renamed if line.label]
        skipped[LEFT_OUT] = len(renamed) - len(labelled)
    recordings = RecordingIndex(locate or (lambda uri: file.parent / uri))
    labelled = [recordings.on_its_channel(line) for line in labelled]
    mistakes += [*find_mistakes(labelled, to_train=to_train), *recordings.mistakes(labelled)]
    if mistakes:
        raise CorpusError(list_mistakes(file, sorted(set(mistakes))))

    labelled = fill_speakers(labelled)
    by_stretch: dict[Stretch, list[Line]] = defaultdict(list)
    for line in labelled:
        by_stretch[line.stretch].append(line)
    whole = [
        make_utterance(file.stem, recordings.path(lines[0].uri), lines)
        for lines in by_stretch.values()
    ]
    pieces = cut_into_segments(whole, jobs, progress)
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
        warnings=speaker_warnings(labelled),
        any_use=True,
        own=True,
        agreement=agreement(
            [{line.annotator: line.label for line in lines} for lines in by_stretch.values()],
            list(by_stretch),
        ),
    )


def _why_nothing(skipped: Mapping[str, int]) -> str:
    """Why a manifest has no utterances, and what to do."""
    counts = "; ".join(f"{count} {reason}" for reason, count in skipped.items() if count)
    if skipped[NO_SPEECH]:
        advice = "give start_s and end_s of utterances, and check that they contain speech"
    elif skipped.get(LEFT_OUT):
        advice = "map at least one label to an emotion in the label map"
    else:
        advice = "fill in the column `label`, one emotion for each stretch of speech"
    return f"({counts or 'no lines'}); {advice}"


def read_label_map(file: str | os.PathLike) -> dict[str, str]:
    """Read a label map: a CSV file with the columns `label,emotion`.

    An empty emotion leaves the label out.

    Raises
    ------
    CorpusError
        The file cannot be read, lacks a column, or contains a label twice.
    """
    file = Path(file)
    label_map: dict[str, str] = {}
    for number, row in read_rows(file, ("label", "emotion")):
        if row["label"] in label_map:
            raise CorpusError(f"{file}, line {number}: label {row['label']!r} occurs twice")
        label_map[row["label"]] = row["emotion"]
    return label_map
