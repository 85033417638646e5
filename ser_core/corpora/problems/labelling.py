"""Problems of the labels: rare or unbalanced emotions, few speakers, disputed labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations

from ser_core.corpora.corpus import Corpus
from ser_core.corpora.file_names import NO_AUDIO
from ser_core.corpora.problems.problem import MOST_NAMED, Pairs, Problem, first_names

FEW_UTTERANCES, FEW_SPEAKERS = 20, 3
# Ratio of the most frequent emotion to the rarest.
IMBALANCE_RATIO = 2.5


def check_emotions(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Emotions with few utterances or few speakers."""
    counts = corpus.counts
    if len(counts) < 2:
        yield Problem(
            "One emotion only",
            f"All {len(pairs):,} utterances are {next(iter(counts), 'without a label')}.",
            "A model needs two or more emotions.",
            count=len(pairs),
        )
        return
    speakers_by_emotion = defaultdict(set)
    for utterance in corpus.utterances:
        speakers_by_emotion[utterance.emotion].add(utterance.speaker)
    speakers = {emotion: len(names) for emotion, names in speakers_by_emotion.items()}
    yield from _emotion_problem(
        corpus,
        "Few utterances",
        {emotion: count for emotion, count in counts.items() if count < FEW_UTTERANCES},
        f"fewer than {FEW_UTTERANCES} utterances",
        "Label more of them, rename them to a related emotion, or leave them out.",
    )
    if len(corpus.speakers) > 1:
        yield from _emotion_problem(
            corpus,
            "Emotion of one speaker",
            {emotion: 1 for emotion in counts if speakers[emotion] == 1},
            "spoken by only one speaker",
            "A model would learn the voice instead: record others, or leave the emotion out.",
        )
    yield from _emotion_problem(
        corpus,
        "Few speakers",
        {emotion: speakers[emotion] for emotion in counts if 1 < speakers[emotion] < FEW_SPEAKERS},
        f"fewer than {FEW_SPEAKERS} speakers",
        "Speaker-independent results will be imprecise: record more people.",
    )


def _emotion_problem(
    corpus: Corpus, title: str, emotions: dict[str, int], condition: str, advice: str
) -> Iterable[Problem]:
    """A problem of some emotions, each with a number; nothing where there are none."""
    if emotions:
        ranked = sorted(emotions.items(), key=lambda item: item[1])
        yield Problem(
            title,
            f"{len(emotions):,} of {len(corpus.counts):,} emotions: {condition}.",
            advice,
            tuple(f"{emotion} ({number:,})" for emotion, number in ranked),
            sum(corpus.counts[emotion] for emotion in emotions),
        )


def check_balance(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Emotions of very different frequencies."""
    if len(corpus.counts) < 2:
        return
    (frequent, many), *_, (rare, few) = Counter(corpus.counts).most_common()
    if many > IMBALANCE_RATIO * few:
        yield Problem(
            "Imbalance",
            f"{frequent} has {many:,} utterances, {rare} {few:,}: a ratio of {many / few:.1f}.",
            "Compare by UAR, not by accuracy; label more of the rare emotions.",
            count=few,
            serious=False,
        )


def check_speakers(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """A single speaker, or speakers with one emotion each."""
    emotions = defaultdict(set)
    for utterance in corpus.utterances:
        emotions[utterance.speaker].add(utterance.emotion)
    if len(emotions) == 1:
        yield Problem(
            "One speaker only",
            f"All {len(pairs):,} utterances are by {next(iter(emotions))}.",
            "Results on these files say nothing about other voices: record more people.",
            count=len(pairs),
        )
        return
    single = sorted(speaker for speaker, labels in emotions.items() if len(labels) == 1)
    if single and len(corpus.counts) > 1:
        yield Problem(
            "Speakers of one emotion",
            f"{len(single):,} of {len(emotions):,} speakers have one emotion only.",
            "A model cannot separate voice and emotion for them: label other moods of the same "
            "people.",
            tuple(single[:MOST_NAMED]),
            sum(utterance.speaker in set(single) for utterance in corpus.utterances),
            serious=len(single) > len(emotions) / 2,
        )


def check_sexes(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Speakers whose sex is not known, or who all have the same."""
    sexes = defaultdict(set)
    for utterance in corpus.utterances:
        sexes[utterance.speaker].add(utterance.sex)
    unknown = sorted(speaker for speaker, values in sexes.items() if values == {""})
    if unknown:
        yield Problem(
            "Sex not known",
            f"The sex of {len(unknown):,} of {len(sexes):,} speakers is not known.",
            "It is optional. Without it, results cannot be compared between women and men.",
            tuple(unknown[:MOST_NAMED]),
            sum(not utterance.sex for utterance in corpus.utterances),
            serious=False,
        )
        return
    known = {next(iter(values)) for values in sexes.values() if len(values) == 1}
    if len(known) == 1 and len(sexes) > 1:
        yield Problem(
            "One sex only",
            f"All {len(sexes):,} speakers are {next(iter(known))}.",
            "Expect worse results for voices of the other sex: record some.",
            count=len(pairs),
        )


def check_annotators(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Utterances whose annotators disagree, or hear another emotion than intended."""
    voted = [utterance for utterance in corpus.utterances if utterance.shares]
    intended = [utterance for utterance in voted if utterance.intended]
    misheard = [
        utterance
        for utterance in intended
        if dict(utterance.shares).get(utterance.emotion, 0.0)
        < max(share for _, share in utterance.shares)
    ]
    if misheard:
        yield Problem(
            "Heard as another emotion",
            f"Of {len(intended):,} utterances with an intended emotion and votes, "
            f"{len(misheard):,} have more votes for another emotion.",
            "Training uses the votes, tests the intended emotion: expect moderate results.",
            first_names(misheard),
            len(misheard),
            serious=False,
        )
    shared = [utterance for utterance in voted if not utterance.intended]
    differ = [utterance for utterance in shared if len(utterance.shares) > 1]
    tied = [utterance for utterance in differ if not utterance.agreed]
    if differ:
        yield Problem(
            "Annotators disagree",
            f"Of {len(shared):,} utterances with several annotators, {len(differ):,} have "
            f"different labels, {len(tied):,} of them without a majority.",
            "Have another annotator label those without a majority, and agree on the meaning of "
            "the labels that are confused below.",
            first_names(tied or differ),
            len(differ),
            serious=2 * len(differ) > len(shared) or bool(tied),
        )


def check_skipped(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Files or lines that were left out, other than files without audio."""
    skipped = {reason: count for reason, count in corpus.skipped.items() if count}
    skipped.pop(NO_AUDIO, None)
    if skipped:
        yield Problem(
            "Left out",
            "; ".join(f"{count:,} × {reason}" for reason, count in skipped.items()) + ".",
            "Check that nothing you need is among them.",
            count=sum(skipped.values()),
            serious=False,
        )


def confused_labels(corpus: Corpus) -> list[tuple[str, str, int]]:
    """Pairs of emotions that annotators gave to the same utterance, with counts, highest first."""
    pairs: Counter[tuple[str, str]] = Counter()
    for utterance in corpus.utterances:
        emotions = sorted({emotion for emotion, _ in utterance.shares})
        pairs.update(combinations(emotions, 2))
    return [(first, second, count) for (first, second), count in pairs.most_common()]
