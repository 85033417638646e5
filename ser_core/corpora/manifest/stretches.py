"""Stretches of a manifest become utterances: speakers, soft labels, cuts into segments."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ser_core import speech
from ser_core.corpora.clips import read_part
from ser_core.corpora.corpus import Progress, Utterance
from ser_core.corpora.manifest.lines import Line

# A prefix that keeps these speakers apart from those of public corpora.
_OWN = "own"


def make_utterance(corpus: str, path: Path, lines: Sequence[Line]) -> Utterance:
    """The utterance of one stretch, from the lines of all its annotators.

    Its emotion is the one with the most votes; among equals, the first in alphabetical order.
    """
    counts = Counter(line.label for line in lines)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    first = lines[0]
    # Without a name, each recording counts as one speaker. A name means the same speaker in all
    # CSV files, so that no speaker is in both the training set and the test set.
    speaker = next((line.speaker for line in lines if line.speaker), "") or (
        first.uri if "://" in first.uri else os.path.realpath(path)
    )
    return Utterance(
        path=path,
        emotion=ranked[0],
        speaker=f"{_OWN}-{speaker}",
        corpus=corpus,
        channel=first.channel or 0,
        start_s=first.start_s,
        end_s=first.end_s,
        shares=tuple((label, counts[label] / len(lines)) for label in ranked)
        if len(lines) > 1
        else (),
    )


def fill_speakers(lines: Sequence[Line]) -> list[Line]:
    """Fill in missing speakers where the other lines of the channel name exactly one."""
    speakers: dict[tuple[str, int | None], set[str]] = defaultdict(set)
    for line in lines:
        if line.speaker:
            speakers[line.uri, line.channel].add(line.speaker)

    def fill(line: Line) -> Line:
        named = speakers[line.uri, line.channel]
        return replace(line, speaker=next(iter(named))) if len(named) == 1 else line

    return [line if line.speaker else fill(line) for line in lines]


def cut_into_segments(
    stretches: Sequence[Utterance], jobs: int | None, progress: Progress | None
) -> list[list[Utterance]]:
    """Cut each stretch that is longer than a segment into segments of speech."""
    import joblib

    long = [
        i
        for i, stretch in enumerate(stretches)
        if stretch.end_s is None or stretch.end_s - stretch.start_s > speech.MAX_SEGMENT_S
    ]
    pieces = [[stretch] for stretch in stretches]
    if long:
        with joblib.parallel_config("loky", n_jobs=jobs or os.cpu_count(), inner_max_num_threads=1):
            results = joblib.Parallel(return_as="generator")(
                joblib.delayed(_find_speech)(stretches[i]) for i in long
            )
            for done, (i, spans) in enumerate(zip(long, results, strict=True), 1):
                pieces[i] = [
                    replace(stretches[i], start_s=start_s, end_s=end_s) for start_s, end_s in spans
                ]
                if progress:
                    progress("speech of long stretches", done, len(long))
    return pieces


def _find_speech(stretch: Utterance) -> list[tuple[float, float]]:
    """Start and end in seconds of the segments in a stretch, cut as in the nightly job."""
    samples, rate = read_part(stretch.path, stretch.channel, stretch.start_s, stretch.end_s)
    return [
        (round(stretch.start_s + segment.start_s, 3), round(stretch.start_s + segment.end_s, 3))
        for segment in speech.find(samples, rate)
    ]


def speaker_warnings(lines: Sequence[Line]) -> tuple[str, ...]:
    """A warning about recordings without a speaker's name."""
    recordings = {line.uri for line in lines}
    unnamed = len({line.uri for line in lines if not line.speaker})
    if not unnamed:
        return ()
    found = (
        "no line names a speaker"
        if unnamed == len(recordings)
        else f"{unnamed:,} of {len(recordings):,} recordings have no speaker's name"
    )
    return (
        f"{found}: these are split by recording; somebody who called twice may be in the training "
        "set and in the test set, which makes results look better than they are",
    )
