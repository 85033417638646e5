"""Labelled speech, looked at before a model learns from it: one page of counts, sounds, features,
confusions and faults.

`look` does the work on one corpus and gives numbers, `page` makes a page of several. What is told
of a quick model is about the data: which emotions can be told from these features by a straight
line, in voices that were not learnt from. It is not what a trained bundle would do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_core.corpora import Corpus, Utterance, clips, problems, sounds, vectors
from ser_core.corpora.problems import Problem
from ser_core.corpora.sounds import Sound
from ser_core.corpora.vectors import Progress
from ser_core.emotions import RAVDESS_EIGHT
from ser_core.errors import CorpusError
from ser_core.features import resample, telephone
from ser_core.report import explore_analysis, explore_pictures, pages
from ser_core.report.explore_analysis import Quick, Ranked
from ser_core.report.explore_measures import MEASURES

FEATURE_SET = "telephone"
# What fits a page that is read on a phone; the rest is counted.
MOST_EMOTIONS, MOST_SPEAKERS, LONGEST_NAME = 12, 40, 30


@dataclass(frozen=True)
class Example:
    """An utterance to show: samples [n] at 16 kHz, and levels of mel bands [64, frames] in dB."""

    utterance: Utterance
    samples: np.ndarray
    mel_db: np.ndarray


@dataclass(frozen=True)
class Look:
    """What was found in one corpus.

    Parameters
    ----------
    corpus : Corpus
    sounds : tuple of Sound
        Of all its utterances.
    problems : tuple of Problem
    emotions : tuple of str
        All, in the order to show.
    shown : tuple of str
        Those of them that pictures show: the most frequent.
    measured : tuple of Utterance
        Those that features could be made of; the rows of `raw` and `own`.
    raw, own : np.ndarray [shape=(n, measures)]
        Of `MEASURES`; NaN where there is none. Own ones are in standard deviations from the
        speaker's mean.
    ranking : tuple of Ranked
    quick : Quick or None
        None where there is too little to learn from.
    points, point_emotions : np.ndarray [shape=(m, 2)], tuple of m str
        Utterances of speakers that the axes were not learnt from; m may be 0.
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
        """Of all utterances."""
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
    """The page of several corpora: `look` at each, then `page`.

    Raises
    ------
    CorpusError
        No corpus, or one of which no utterance can be read.
    """
    about = {"examples": examples, "jobs": jobs, "cache": cache, "progress": progress}
    return page([look(corpus, **about) for corpus in corpora])  # type: ignore[arg-type]


def look(
    corpus: Corpus,
    *,
    examples: int = 1,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Look:
    """Look at one corpus.

    Parameters
    ----------
    corpus : Corpus
    examples : int >= 0
        Utterances of each emotion to show as wave and spectrogram.
    jobs, cache, progress
        As in `ser_core.corpora.vectors.extract`.

    Raises
    ------
    CorpusError
        No utterance can be read.
    """

    def told(stage: str, done: int, total: int) -> None:
        if progress:
            progress(f"{corpus.name}: {stage}", done, total)

    heard = sounds.measure(corpus.utterances, jobs=jobs, progress=told)
    found = problems.find(corpus, heard)
    pairs = [
        (one, sound) for one, sound in zip(corpus.utterances, heard, strict=True) if not sound.fault
    ]
    if not pairs:
        first = next((f"{s.fault}" for s in heard), "it has none")
        raise CorpusError(
            f"{corpus.name}: none of {len(heard):,} utterances can be read ({first}); "
            "audio that libsndfile reads expected"
        )
    measured = tuple(one for one, _ in pairs)
    matrix = vectors.extract(measured, FEATURE_SET, jobs=jobs, cache=cache, progress=told)
    # The picture is two thirds of a vector, and nothing here looks at it.
    matrix = matrix[:, : telephone.PICTURE.start].copy()
    emotions = in_order(corpus.counts)
    most = {name for name, _ in Counter(corpus.counts).most_common(MOST_EMOTIONS)}
    shown = tuple(name for name in emotions if name in most)
    labels = [one.emotion for one in measured]
    speakers = [one.speaker for one in measured]
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
        sounds=tuple(heard),
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


def in_order(emotions) -> tuple[str, ...]:
    """RAVDESS's eight first, others by the alphabet."""
    return (
        *(name for name in RAVDESS_EIGHT if name in emotions),
        *sorted(name for name in emotions if name not in RAVDESS_EIGHT),
    )


def example(utterance: Utterance) -> Example:
    """An utterance's first seconds, to be drawn."""
    samples, rate = clips.read_clip(utterance)
    samples = samples[: round(explore_pictures.LONGEST_S * rate)]
    if rate != explore_pictures.RATE_HZ:
        samples = resample(samples, rate, explore_pictures.RATE_HZ)
    return Example(utterance, samples, explore_pictures.log_mel(samples))


# ---------------------------------------------------------------- the page


def page(looks: Sequence[Look]) -> str:
    """The page, whole: it needs nothing but itself.

    Raises
    ------
    CorpusError
        No corpus.
    """
    if not looks:
        raise CorpusError("no corpus was looked at; one or more expected")
    return pages.render(
        "explore",
        looks=[_section(one, f"corpus-{i}") for i, one in enumerate(looks)],
        emotions=in_order({name for one in looks for name in one.emotions}),
        shared=shared_audio(looks),
        measures=MEASURES,
        own_from=explore_analysis.OWN_FROM,
    )


def shared_audio(looks: Sequence[Look]) -> list[str]:
    """Files whose samples stand in several corpora."""
    pairs = [
        pair for one in looks for pair in zip(one.corpus.utterances, one.sounds, strict=True)
    ]  # fmt: skip
    groups = [some for some in problems.group_identical(pairs) if len({o.corpus for o in some}) > 1]
    return [
        " = ".join(f"{o.corpus}: {problems.describe_utterance(o)} ({o.emotion})" for o in some)
        for some in groups
    ]


@dataclass(frozen=True)
class _Row:
    """A speaker, a sex, or all others: counts by emotion."""

    name: str
    about: str
    counts: tuple[int, ...]
    total: int


def _section(one: Look, anchor: str) -> dict:
    """What the template shows of one corpus."""
    corpus, shown = one.corpus, one.shown
    labels = np.array([o.emotion for o in one.measured])
    seconds = np.array([sound.seconds for sound in one.sounds if not sound.fault])
    where = {emotion: labels == emotion for emotion in shown}

    def by_emotion(values: np.ndarray) -> dict[str, np.ndarray]:
        return {emotion: values[mine] for emotion, mine in where.items()}

    own_known = bool(np.isfinite(one.own).any())
    boxes = []
    for i, measure in enumerate(MEASURES):
        panels = [(measure.unit, by_emotion(one.raw[:, i]))]
        if own_known:
            panels.append(("sd from own mean", by_emotion(one.own[:, i])))
        effects = [_effect(values[:, i], labels, shown) for values in (one.raw, one.own)]
        boxes.append((measure, effects, explore_pictures.boxes(panels, shown)))
    longest = max((len(e.samples) for e in one.examples), default=1) / explore_pictures.RATE_HZ
    speakers = _speaker_rows(corpus, shown)
    return {
        "look": one,
        "anchor": anchor,
        "counts": [(name, corpus.counts[name]) for name in one.emotions],
        "most": max(corpus.counts.values()),
        "rates": sorted({sound.rate_hz for sound in one.sounds if sound.rate_hz}),
        "seconds": seconds,
        "longer": int((seconds > explore_pictures.longest_drawn(seconds)).sum()),
        "speakers": speakers,
        "most_cell": max(n for row in speakers if row.about != "others" for n in row.counts),
        "sexes": _sex_rows(corpus, shown),
        "others": len(one.emotions) - len(shown),
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
            )
            for e in one.examples
        ],
        "scale": explore_pictures.scale() if one.examples else b"",
        "projection": explore_pictures.projection(one.points, one.point_emotions, shown)
        if len(one.points)
        else b"",
        "disagreements": problems.confused_labels(corpus)[:explore_analysis.MOST_CONFUSED],
    }  # fmt: skip


def _effect(values: np.ndarray, labels: np.ndarray, shown: Sequence[str]) -> float | None:
    """Eta squared of one measure, over those that have it."""
    there = np.isfinite(values) & np.isin(labels, shown)
    if len(set(labels[there])) < 2:
        return None
    return float(explore_analysis.eta_squared(values[there, None], labels[there])[0])


def _speaker_rows(corpus: Corpus, shown: Sequence[str]) -> list[_Row]:
    """Counts by speaker; of many, those with most utterances, and all others in one row."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    sexes: dict[str, str] = {}
    for one in corpus.utterances:
        counts[one.speaker][one.emotion] += 1
        sexes[one.speaker] = one.sex
    kept = sorted(counts, key=lambda name: (-counts[name].total(), name))[:MOST_SPEAKERS]
    short = _short_names(sorted(kept))
    rows = [
        _Row(short[name], sexes[name], tuple(counts[name][e] for e in shown), counts[name].total())
        for name in sorted(kept)
    ]
    rest = [name for name in counts if name not in set(kept)]
    if rest:
        total: Counter[str] = sum((counts[name] for name in rest), Counter())
        said = f"{len(rest):,} others"
        rows.append(_Row(said, "others", tuple(total[e] for e in shown), total.total()))
    return rows


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Speakers without the corpus that all of them begin with, such as `ravdess-`."""
    heads = {name.partition("-")[0] + "-" for name in names}
    head = heads.pop() if len(heads) == 1 and len(names) > 1 else ""
    short = {name: name.removeprefix(head) or name for name in names}
    # Where recordings stand for speakers, the end tells more than the folders.
    return {
        name: said if len(said) <= LONGEST_NAME else f"…{said[1 - LONGEST_NAME :]}"
        for name, said in short.items()
    }


def _sex_rows(corpus: Corpus, shown: Sequence[str]) -> list[_Row]:
    """Counts by sex; none where it is not known of anybody."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    people: dict[str, set[str]] = defaultdict(set)
    for one in corpus.utterances:
        counts[one.sex][one.emotion] += 1
        people[one.sex].add(one.speaker)
    if set(counts) == {""}:
        return []
    return [
        _Row(
            sex or "not known", f"{len(people[sex]):,}", tuple(counts[sex][e] for e in shown),
            counts[sex].total(),
        )
        for sex in sorted(counts, key=lambda sex: (not sex, sex))
    ]  # fmt: skip
