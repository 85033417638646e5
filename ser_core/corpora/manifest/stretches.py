"""Stretches of a manifest as utterances: whose they are, how annotators share, how they are cut."""

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

# Before the names of speakers, so that they are not those of another corpus.
_OWN = "own"


def utterance(corpus: str, path: Path, lines: Sequence[Line]) -> Utterance:
    """A stretch with the shares of its emotions; of several with the same share, the first."""
    counts = Counter(line.label for line in lines)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    first = lines[0]
    # Without a speaker's name, whoever speaks in a recording is somebody of its own. A name means
    # the same in every CSV: who is in two of them must not stand in training and test.
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
    """Lines without a speaker's name have the only one that other lines of their channel have."""
    names: dict[tuple, set[str]] = defaultdict(set)
    for line in lines:
        names[line.uri, line.channel].add(line.speaker)
    only = {
        where: next(iter(some - {""})) for where, some in names.items() if len(some - {""}) == 1
    }
    return [
        line if line.speaker else replace(line, speaker=only.get((line.uri, line.channel), ""))
        for line in lines
    ]


def cut(
    stretches: Sequence[Utterance], jobs: int | None, progress: Progress | None
) -> list[list[Utterance]]:
    """Each stretch, cut into segments of speech where it is longer than one."""
    import joblib

    long = [
        i
        for i, one in enumerate(stretches)
        if one.end_s is None or one.end_s - one.start_s > speech.MAX_SEGMENT_S
    ]
    pieces = [[one] for one in stretches]
    if long:
        with joblib.parallel_config("loky", n_jobs=jobs or os.cpu_count(), inner_max_num_threads=1):
            work = joblib.Parallel(return_as="generator")(
                joblib.delayed(_segments)(stretches[i]) for i in long
            )
            for done, (i, found) in enumerate(zip(long, work, strict=True), 1):
                pieces[i] = [replace(stretches[i], start_s=a, end_s=b) for a, b in found]
                if progress:
                    progress("speech of long stretches", done, len(long))
    return pieces


def _segments(one: Utterance) -> list[tuple[float, float]]:
    """The speech of a stretch, as the nightly job cuts it."""
    samples, rate = read_part(one.path, one.channel, one.start_s, one.end_s)
    return [
        (round(one.start_s + some.start_s, 3), round(one.start_s + some.end_s, 3))
        for some in speech.find(samples, rate)
    ]


def warnings(lines: Sequence[Line]) -> tuple[str, ...]:
    recordings = {line.uri for line in lines}
    unnamed = len({line.uri for line in lines if not line.speaker})
    if not unnamed:
        return ()
    of = (
        "no line names a speaker"
        if unnamed == len(recordings)
        else (f"{unnamed:,} of {len(recordings):,} recordings have no speaker's name")
    )
    return (
        f"{of}: split by recording there; who called twice may stand in training and test, "
        "which flatters the figures",
    )
