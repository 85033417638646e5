"""Labelled speech before a model is trained on it: a page of counts, sounds, features, confusions
and faults.

`look` examines one corpus and gives numbers, `page` makes a page of several. The scores of the
quick linear model describe the data: how well a linear model over these features separates the
emotions of speakers that it was not trained on. A trained bundle does better.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_core.corpora import Corpus, Utterance, clips, problems, sounds, vectors
from ser_core.corpora.problems import Problem
from ser_core.corpora.sounds import Sound
from ser_core.corpora.vectors import Progress
from ser_core.emotions import RAVDESS_EIGHT
from ser_core.errors import CorpusError
from ser_core.features import resample, telephone
from ser_core.report import embedded, explore_analysis, explore_pictures, pages, style
from ser_core.report.explore_analysis import Quick, Ranked
from ser_core.report.explore_measures import MEASURES

FEATURE_SET = "telephone"
# Limits of a page that is read on a phone; the rest is counted.
MOST_EMOTIONS, MOST_SPEAKERS, LONGEST_NAME = 12, 40, 30


@dataclass(frozen=True)
class Example:
    """An utterance to show: samples [n] at 16 kHz, and levels of mel bands [64, frames] in dB."""

    utterance: Utterance
    samples: np.ndarray
    mel_db: np.ndarray


@dataclass(frozen=True)
class Look:
    """Results of looking at one corpus.

    Parameters
    ----------
    corpus : Corpus
    sounds : tuple of Sound
        One per utterance.
    problems : tuple of Problem
    emotions : tuple of str
        All, in the order of the page.
    shown : tuple of str
        The most frequent ones, which the pictures show.
    measured : tuple of Utterance
        The utterances that have features: the rows of `raw` and `own`.
    raw, own : np.ndarray [shape=(n, measures)]
        Values of `MEASURES`, NaN where there is none. `own` is in standard deviations from the
        speaker's mean.
    ranking : tuple of Ranked
    quick : Quick or None
        None where there is too little data.
    points, point_emotions : np.ndarray [shape=(m, 2)], tuple of m str
        Utterances of speakers that the axes were not fitted on; m may be 0.
    examples : tuple of Example
    """

    corpus: Corpus
    sounds: tuple[Sound, ...]
    problems: tuple[Problem, ...]
    emotions: tuple[str, ...]
    shown: tuple[str, ...]
    measured: tuple[Utterance, ...]
    raw: np.ndarray
    own: np.ndarray
    ranking: tuple[Ranked, ...]
    quick: Quick | None
    points: np.ndarray
    point_emotions: tuple[str, ...]
    examples: tuple[Example, ...]

    @property
    def hours(self) -> float:
        """Duration of all utterances."""
        return sum(sound.seconds for sound in self.sounds) / 3600


# ---------------------------------------------------------------- the work


def explore(
    corpora: Sequence[Corpus],
    *,
    examples: int = 1,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> str:
    """Page of several corpora: `look` at each, then `page`.

    Raises
    ------
    CorpusError
        No corpus is given, or a corpus has no readable utterance.
    """
    return page(
        [
            look(corpus, examples=examples, jobs=jobs, cache=cache, progress=progress)
            for corpus in corpora
        ]
    )


def look(
    corpus: Corpus,
    *,
    examples: int = 1,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Look:
    """Examine one corpus.

    Parameters
    ----------
    corpus : Corpus
    examples : int >= 0
        Utterances of each emotion that are shown as wave and spectrogram.
    jobs, cache, progress
        As in `ser_core.corpora.vectors.extract`.

    Raises
    ------
    CorpusError
        No utterance can be read.
    """

    def report(stage: str, done: int, total: int) -> None:
        if progress:
            progress(f"{corpus.name}: {stage}", done, total)

    measured_sounds = sounds.measure(corpus.utterances, jobs=jobs, progress=report)
    found = problems.find(corpus, measured_sounds)
    pairs = _readable(corpus, measured_sounds)
    measured = tuple(utterance for utterance, _ in pairs)
    matrix = vectors.extract(measured, FEATURE_SET, jobs=jobs, cache=cache, progress=report)
    # The picture is two thirds of a vector and is not needed here.
    matrix = matrix[:, : telephone.PICTURE.start].copy()
    emotions = in_order(corpus.counts)
    most = {name for name, _ in Counter(corpus.counts).most_common(MOST_EMOTIONS)}
    shown = tuple(name for name in emotions if name in most)
    labels = [utterance.emotion for utterance in measured]
    speakers = [utterance.speaker for utterance in measured]
    readable = [sound for _, sound in pairs]
    raw = np.stack([measure.values(matrix, readable) for measure in MEASURES], axis=1)
    functionals = matrix[:, telephone.FUNCTIONALS].astype(float)
    own_functionals = explore_analysis.relative(functionals, speakers)
    points, point_emotions = explore_analysis.project(
        functionals, own_functionals, labels, speakers, shown
    )
    own = explore_analysis.relative(raw, speakers)
    return Look(
        corpus=corpus,
        sounds=tuple(measured_sounds),
        problems=found,
        emotions=emotions,
        shown=shown,
        measured=measured,
        raw=raw,
        own=own,
        ranking=explore_analysis.rank(functionals, own_functionals, labels, shown),
        quick=explore_analysis.quick_model(
            functionals, own_functionals, labels, speakers, shown, corpus.name
        ),
        points=points,
        point_emotions=point_emotions,
        examples=tuple(
            example(measured[i])
            for i in explore_analysis.typical(measured, own, raw, shown, examples)
        ),
    )  # fmt: skip


def _readable(corpus: Corpus, measured_sounds: Sequence[Sound]) -> list[tuple[Utterance, Sound]]:
    """Utterances that can be read, and their sounds.

    Raises
    ------
    CorpusError
        There are none.
    """
    pairs = [
        (utterance, sound)
        for utterance, sound in zip(corpus.utterances, measured_sounds, strict=True)
        if not sound.fault
    ]
    if not pairs:
        first = next((sound.fault for sound in measured_sounds), "it has none")
        raise CorpusError(
            f"{corpus.name}: none of {len(measured_sounds):,} utterances can be read ({first}); "
            "audio that libsndfile reads expected"
        )
    return pairs


def in_order(emotions: Collection[str]) -> tuple[str, ...]:
    """RAVDESS's eight emotions first, then the others in alphabetical order."""
    return (
        *(name for name in RAVDESS_EIGHT if name in emotions),
        *sorted(name for name in emotions if name not in RAVDESS_EIGHT),
    )


def example(utterance: Utterance) -> Example:
    """First seconds of an utterance, ready to be drawn."""
    samples, rate = clips.read_clip(utterance)
    samples = samples[: round(explore_pictures.LONGEST_S * rate)]
    if rate != explore_pictures.RATE_HZ:
        samples = resample(samples, rate, explore_pictures.RATE_HZ)
    return Example(utterance, samples, explore_pictures.log_mel(samples))


# ---------------------------------------------------------------- the page


def page(looks: Sequence[Look], *, with_clips: bool = True) -> str:
    """Complete page, without links to other files.

    Parameters
    ----------
    looks : sequence of Look
    with_clips : bool
        Whether the page holds the sound of its examples, as MP3, to be played.

    Raises
    ------
    CorpusError
        No corpus.
    """
    if not looks:
        raise CorpusError("no corpus was looked at; one or more expected")
    clips: dict[str, str] | None = {} if with_clips else None
    return pages.render(
        "explore",
        looks=[_section(look, f"corpus-{i}", clips) for i, look in enumerate(looks)],
        emotions=in_order({name for look in looks for name in look.emotions}),
        shared=shared_audio(looks),
        measures=MEASURES,
        own_from=explore_analysis.OWN_FROM,
        clips=clips,
        script=pages.script("explore"),
    )


def shared_audio(looks: Sequence[Look]) -> list[str]:
    """Files whose samples are in several corpora."""
    pairs = [
        pair for look in looks for pair in zip(look.corpus.utterances, look.sounds, strict=True)
    ]  # fmt: skip
    groups = [
        group
        for group in problems.group_identical(pairs)
        if len({utterance.corpus for utterance in group}) > 1
    ]
    return [
        " = ".join(f"{o.corpus}: {problems.describe_utterance(o)} ({o.emotion})" for o in group)
        for group in groups
    ]


@dataclass(frozen=True)
class _Row:
    """Counts by emotion of a speaker, of a sex, or of all others.

    Speakers with equal counts are one row: `members` are their names, and the counts are those of
    each.
    """

    name: str
    about: str
    counts: tuple[int, ...]
    total: int
    members: tuple[str, ...] = ()


def _section(look: Look, anchor: str, clips: dict[str, str] | None) -> dict[str, Any]:
    """Values that the template shows of a corpus; adds the sound of its examples to `clips`."""
    corpus, shown = look.corpus, look.shown
    labels = np.array([o.emotion for o in look.measured])
    seconds = np.array([each.seconds for each in look.sounds if not each.fault])
    where = {emotion: labels == emotion for emotion in shown}

    def by_emotion(values: np.ndarray) -> dict[str, np.ndarray]:
        return {emotion: values[mine] for emotion, mine in where.items()}

    own_known = bool(np.isfinite(look.own).any())
    boxes = []
    for i, measure in enumerate(MEASURES):
        panels = [(measure.unit, by_emotion(look.raw[:, i]))]
        if own_known:
            panels.append(("sd from own mean", by_emotion(look.own[:, i])))
        effects = [_effect(values[:, i], labels, shown) for values in (look.raw, look.own)]
        boxes.append((measure, effects, explore_pictures.boxes(panels, shown)))
    longest = max((len(e.samples) for e in look.examples), default=1) / explore_pictures.RATE_HZ
    speakers = _speaker_rows(corpus, shown)
    disagreements = problems.confused_labels(corpus)[: explore_analysis.MOST_CONFUSED]
    return {
        "look": look,
        "anchor": anchor,
        "contents": _contents(look, disagreements),
        "serious": sum(problem.serious for problem in look.problems),
        "counts": [(name, corpus.counts[name]) for name in look.emotions],
        "most": max(corpus.counts.values()),
        "rates": sorted({each.rate_hz for each in look.sounds if each.rate_hz}),
        "seconds": seconds,
        "longer": int((seconds > explore_pictures.longest_drawn(seconds)).sum()),
        "speakers": speakers,
        "most_cell": max(n for row in speakers if row.about != "others" for n in row.counts),
        "sexes": _sex_rows(corpus, shown),
        "others": len(look.emotions) - len(shown),
        "histogram": explore_pictures.histogram(seconds),
        "durations": explore_pictures.boxes([("seconds", by_emotion(seconds))], shown),
        "boxes": boxes,
        "own_known": own_known,
        "examples": [
            (
                e,
                problems.describe_utterance(e.utterance),
                explore_pictures.sound(
                    e.samples, explore_pictures.RATE_HZ, e.mel_db, seconds=longest
                ),
                _embed(e, f"{anchor}-{i}", clips),
            )
            for i, e in enumerate(look.examples)
        ],
        "scale": explore_pictures.scale() if look.examples else b"",
        "projection": explore_pictures.projection(look.points, look.point_emotions, shown)
        if len(look.points)
        else b"",
        "disagreements": disagreements,
    }  # fmt: skip


def _contents(look: Look, disagreements: Sequence[Any]) -> list[tuple[str, str]]:
    """Headings of a corpus: the end of the anchor, and words."""
    parts = {
        "problems": "problems",
        "emotions": "emotions",
        "speakers": "speakers",
        "durations": "durations",
        "sound": "how they sound" if look.examples else "",
        "features": "features",
        "ranking": "what separates them" if look.ranking else "",
        "confusions": "confusions",
        "annotators": "annotators" if look.corpus.agreement or disagreements else "",
    }
    return [(part, words) for part, words in parts.items() if words]


def _embed(shown: Example, key: str, clips: dict[str, str] | None) -> str:
    """Add the sound of an example to `clips`, as MP3 in base64; gives its key, or nothing."""
    if clips is None or not len(shown.samples):
        return ""
    clips[key] = base64.b64encode(embedded.mp3(shown.samples, explore_pictures.RATE_HZ)).decode()
    return key


def _effect(values: np.ndarray, labels: np.ndarray, shown: Sequence[str]) -> float | None:
    """Eta squared of one measure, over the utterances that have a value."""
    known = np.isfinite(values) & np.isin(labels, shown)
    if len(set(labels[known])) < 2:
        return None
    return float(explore_analysis.eta_squared(values[known, None], labels[known])[0])


def _speaker_rows(corpus: Corpus, shown: Sequence[str]) -> list[_Row]:
    """Counts by speaker: those with most utterances, and all others in one row."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    sexes: dict[str, str] = {}
    for utterance in corpus.utterances:
        counts[utterance.speaker][utterance.emotion] += 1
        sexes[utterance.speaker] = utterance.sex
    equal: dict[tuple[str, tuple[int, ...], int], list[str]] = defaultdict(list)
    for name in sorted(counts):
        about = (sexes[name], tuple(counts[name][e] for e in shown), counts[name].total())
        equal[about].append(name)
    groups = sorted(equal.items(), key=lambda group: (-group[0][2], group[1]))
    kept = sorted(groups[:MOST_SPEAKERS], key=lambda group: group[1])
    short = _short_names([name for _, names in kept for name in names])
    rows = []
    for (sex, values, total_of_each), names in kept:
        members = tuple(short[name] for name in names)
        words = members[0] if len(members) == 1 else f"{len(members):,} speakers, each"
        rows.append(_Row(words, sex, values, total_of_each, members if len(members) > 1 else ()))
    rest = [name for _, names in groups[MOST_SPEAKERS:] for name in names]
    if rest:
        total: Counter[str] = sum((counts[name] for name in rest), Counter())
        name = f"{len(rest):,} others"
        rows.append(_Row(name, "others", tuple(total[e] for e in shown), total.total()))
    return rows


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Names of speakers without a common prefix such as `ravdess-`."""
    heads = {name.partition("-")[0] + "-" for name in names}
    head = heads.pop() if len(heads) == 1 and len(names) > 1 else ""
    short = {name: name.removeprefix(head) or name for name in names}
    # A speaker may be named by the path of a recording, whose end says most.
    backwards = style.distinct_labels((text[::-1] for text in short.values()), LONGEST_NAME)
    return {name: backwards[text[::-1]][::-1] for name, text in short.items()}


def _sex_rows(corpus: Corpus, shown: Sequence[str]) -> list[_Row]:
    """Counts by sex; empty where no sex is known."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    people: dict[str, set[str]] = defaultdict(set)
    for utterance in corpus.utterances:
        counts[utterance.sex][utterance.emotion] += 1
        people[utterance.sex].add(utterance.speaker)
    if set(counts) == {""}:
        return []
    return [
        _Row(
            sex or "not known", f"{len(people[sex]):,}", tuple(counts[sex][e] for e in shown),
            counts[sex].total(),
        )
        for sex in sorted(counts, key=lambda sex: (not sex, sex))
    ]  # fmt: skip
