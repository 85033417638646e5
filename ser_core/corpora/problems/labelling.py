"""Problems of the labels: too few, uneven, tied to speakers, disputed by annotators."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations

from ser_core.corpora.corpus import Corpus
from ser_core.corpora.file_names import NO_AUDIO
from ser_core.corpora.problems.problem import MOST_NAMED, Pairs, Problem, examples

FEW_UTTERANCES, FEW_SPEAKERS = 20, 3
# How many times as many utterances the most frequent emotion has as the rarest.
UNEVEN = 2.5


def labels(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    counts = corpus.counts
    who = defaultdict(set)
    for one in corpus.utterances:
        who[one.emotion].add(one.speaker)
    if len(counts) < 2:
        yield Problem(
            "One emotion only",
            f"All {len(pairs):,} utterances are {next(iter(counts), 'without label')}.",
            "A model needs two or more to tell apart.",
            count=len(pairs),
        )
        return
    several = len(corpus.speakers) > 1
    for title, some, said, advice in (
        (
            "Few utterances",
            {name: n for name, n in counts.items() if n < FEW_UTTERANCES},
            f"fewer than {FEW_UTTERANCES} utterances",
            "Label more of them, rename them to a related emotion, or leave them out.",
        ),
        (
            "Emotion of one speaker",
            {name: 1 for name in counts if several and len(who[name]) == 1},
            "spoken by one speaker only",
            "A model learns the voice instead: record others, or leave the emotion out.",
        ),
        (
            "Few speakers",
            {name: len(who[name]) for name in counts if 1 < len(who[name]) < FEW_SPEAKERS},
            f"fewer than {FEW_SPEAKERS} speakers",
            "Figures by unheard speaker will be rough: record more people.",
        ),
    ):
        if some:
            yield Problem(
                title,
                f"{len(some):,} of {len(counts):,} emotions: {said}.",
                advice,
                tuple(f"{name} ({n:,})" for name, n in sorted(some.items(), key=lambda x: x[1])),
                sum(counts[name] for name in some),
            )
    (most, many), *_, (least, few) = Counter(counts).most_common()
    if many > UNEVEN * few:
        yield Problem(
            "Imbalance",
            f"{most} has {many:,} utterances, {least} {few:,}: {many / few:.1f} times as many.",
            "Compare by UAR, not by accuracy; label more of what is rare.",
            count=few,
            serious=False,
        )


def speakers(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    emotions, sexes = defaultdict(set), defaultdict(set)
    for one in corpus.utterances:
        emotions[one.speaker].add(one.emotion)
        sexes[one.speaker].add(one.sex)
    if len(emotions) == 1:
        yield Problem(
            "One speaker only",
            f"All {len(pairs):,} utterances are by {next(iter(emotions))}.",
            "Nothing here tells how a model does on another voice: record more people.",
            count=len(pairs),
        )
    single = sorted(name for name, some in emotions.items() if len(some) == 1)
    if len(emotions) > 1 and single and len(corpus.counts) > 1:
        yield Problem(
            "Speakers of one emotion",
            f"{len(single):,} of {len(emotions):,} speakers are heard in one emotion only.",
            "What is the voice and what the emotion cannot be told from them: label other moods "
            "of the same people.",
            tuple(single[:MOST_NAMED]),
            sum(one.speaker in set(single) for one in corpus.utterances),
            serious=len(single) > len(emotions) / 2,
        )
    unknown = sorted(name for name, some in sexes.items() if some == {""})
    if unknown:
        yield Problem(
            "Sex not known",
            f"Of {len(unknown):,} of {len(sexes):,} speakers the sex is not known.",
            "Nothing needs it; whether men and women are told as well cannot be seen without.",
            tuple(unknown[:MOST_NAMED]),
            sum(not one.sex for one in corpus.utterances),
            serious=False,
        )
    said = Counter(next(iter(some)) for some in sexes.values() if len(some) == 1)
    there = {sex: n for sex, n in said.items() if sex}
    if len(there) == 1 and not unknown and len(emotions) > 1:
        yield Problem(
            "One sex only",
            f"All {len(emotions):,} speakers are {next(iter(there))}.",
            "Voices of the other sex will be told worse: record some.",
            count=len(pairs),
        )


def annotators(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    shared = [one for one in corpus.utterances if one.shares]
    differ = [one for one in shared if len(one.shares) > 1]
    tied = [one for one in differ if not one.agreed]
    if differ:
        yield Problem(
            "Annotators disagree",
            f"Of {len(shared):,} utterances that several annotators labelled, {len(differ):,} "
            f"have different labels, {len(tied):,} of them no winner.",
            "Let another annotator listen to those without a winner; agree on what the labels "
            "that are confused below mean.",
            examples(tied or differ),
            len(differ),
            serious=2 * len(differ) > len(shared) or bool(tied),
        )


def skipped(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    left = {reason: n for reason, n in corpus.skipped.items() if n and reason != NO_AUDIO}
    if left:
        yield Problem(
            "Left out",
            "; ".join(f"{n:,} × {reason}" for reason, n in left.items()) + ".",
            "See that nothing is among them that you want.",
            count=sum(left.values()),
            serious=False,
        )


def disagreements(corpus: Corpus) -> list[tuple[str, str, int]]:
    """Pairs of emotions that annotators gave to one utterance, and how often; most first."""
    pairs: Counter[tuple[str, str]] = Counter()
    for one in corpus.utterances:
        names = sorted({name for name, _ in one.shares})
        pairs.update(combinations(names, 2))
    return [(a, b, n) for (a, b), n in pairs.most_common()]
