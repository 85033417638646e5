"""What is wrong with labelled speech before a model learns from it, and what to do about each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

from ser_core.corpora import NO_AUDIO, Corpus, Utterance
from ser_core.corpora.sounds import Sound

MOST_NAMED = 5
# More of the samples at full scale than this can be heard.
CLIPPED_SHARE = 0.001
NEARLY_SILENT_DB = -60.0
SHORT_S, LONG_S = 0.5, 15.0
OFFSET = 0.01
FEW_UTTERANCES, FEW_SPEAKERS = 20, 3
# How many times as many utterances the most frequent emotion has as the rarest.
UNEVEN = 2.5
# Of the lengths, in milliseconds: hardly two clips of speech are alike.
ALIKE, ALIKE_FROM = 0.5, 10


@dataclass(frozen=True)
class Problem:
    """Something to know before training.

    Parameters
    ----------
    title : str
        Two or three words.
    found : str
        What, and how many.
    advice : str
        What to do.
    examples : tuple of str
        A few of the files, or speakers, or emotions.
    count : int
        Utterances that it is about.
    serious : bool
        Whether it should be mended, or only be known.
    warned : bool
        Whether it is one of the corpus's own warnings, said when it was opened.
    """

    title: str
    found: str
    advice: str
    examples: tuple[str, ...] = ()
    count: int = 0
    serious: bool = True
    warned: bool = False


def find(corpus: Corpus, sounds: Sequence[Sound]) -> tuple[Problem, ...]:
    """All that is odd about a corpus, serious things first.

    Parameters
    ----------
    corpus : Corpus
    sounds : sequence of Sound
        Of its utterances, in their order.
    """
    pairs = list(zip(corpus.utterances, sounds, strict=True))
    checks = (_copies, _samples, _cut, _twice, _labels, _speakers, _annotators, _skipped)
    found = [problem for check in checks for problem in check(corpus, pairs)]
    return tuple(sorted(found, key=lambda problem: not problem.serious))


def named(one: Utterance) -> str:
    """A file's name, with the part that is meant."""
    if not one.is_part:
        return one.path.name
    end = "the end" if one.end_s is None else f"{one.end_s:g} s"
    return f"{one.path.name} {one.start_s:g} to {end}"


def identical(pairs: Iterable[tuple[Utterance, Sound]]) -> list[list[Utterance]]:
    """Groups of utterances with the same samples."""
    groups = defaultdict(list)
    for one, sound in pairs:
        if sound.digest:
            groups[sound.digest].append(one)
    return [some for some in groups.values() if len(some) > 1]


# Words of a corpus's warnings: title and advice.
_OF_COPIES = {
    "cut copy": (
        "Cut copy",
        "Words are missing from these files, and tempo and pauses are not the speaker's: get the "
        "corpus as it was published.",
    ),
    "resampled copy": (
        "Resampled copy",
        "Harmless for the telephone's band; get the corpus as it was published for figures that "
        "compare with others'.",
    ),
}
_OF_OTHERS = ("Said of this corpus", "Mend it, or know it when you read a figure.")
Pairs = Sequence[tuple[Utterance, Sound]]


def _some(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    return tuple(map(named, islice(utterances, MOST_NAMED)))


def _copies(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    for warning in corpus.warnings:
        kind = next((one for one in _OF_COPIES if one in warning), "")
        title, advice = _OF_COPIES.get(kind, _OF_OTHERS)
        yield Problem(
            title, f"{warning[0].upper()}{warning[1:]}.", advice, count=len(pairs),
            serious=kind == "cut copy", warned=True,
        )  # fmt: skip
    lengths = Counter(round(sound.seconds, 3) for _, sound in pairs if not sound.fault)
    if lengths.total() >= ALIKE_FROM and not any("cut copy" in one for one in corpus.warnings):
        ((seconds, alike),) = lengths.most_common(1)
        if alike > ALIKE * lengths.total():
            yield Problem(
                "All of one length",
                f"{alike:,} of {lengths.total():,} utterances last exactly {seconds:.3f} s.",
                "They were probably cut or padded: take them as they were spoken.",
                _some(one for one, sound in pairs if round(sound.seconds, 3) == seconds),
                alike,
            )
    rates = Counter(sound.rate_hz for _, sound in pairs if sound.rate_hz)
    if len(rates) > 1:
        by_emotion = defaultdict(set)
        for one, sound in pairs:
            by_emotion[one.emotion].add(sound.rate_hz)
        tied = all(len(some) == 1 for some in by_emotion.values())
        rare = min(rates, key=lambda rate: rates[rate])
        yield Problem(
            "Mixed sample rates",
            "; ".join(f"{count:,} at {rate:,} Hz" for rate, count in rates.most_common()) + "."
            + (" Each emotion has a rate of its own." if tied else ""),
            "A model may learn the recording instead of the voice where an emotion goes with a "
            "rate: train on telephone copies (recipe calls), and see who has which.",
            _some(one for one, sound in pairs if sound.rate_hz == rare),
            rates[rare],
            serious=tied,
        )  # fmt: skip


def _samples(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    faulty = [(one, sound) for one, sound in pairs if sound.fault]
    if faulty:
        yield Problem(
            "Unreadable files",
            f"{len(faulty):,} of {len(pairs):,} give no samples; the pictures are without them.",
            "Mend or remove them: training stops at the first list of such files.",
            tuple(f"{named(one)}: {sound.fault}" for one, sound in faulty[:MOST_NAMED]),
            len(faulty),
        )
    fine = [(one, sound) for one, sound in pairs if not sound.fault]
    tests = (
        (
            "Clipped",
            lambda sound: sound.clipped > CLIPPED_SHARE,
            f"more than {CLIPPED_SHARE:.1%} of the samples at full scale",
            "Record with less gain; what is cut off cannot be had back. Remove the worst.",
        ),
        (
            "Silent or nearly",
            lambda sound: sound.level_db < NEARLY_SILENT_DB,
            f"even the loudest speech is {-NEARLY_SILENT_DB:.0f} dB and more below full scale",
            "Remove what has no speech in it.",
        ),
        (
            "Very short",
            lambda sound: sound.seconds < SHORT_S,
            f"less than {SHORT_S:g} s",
            "Nobody hears an emotion in a syllable: remove them, or label longer stretches.",
        ),
        (
            "Very long",
            lambda sound: sound.seconds > LONG_S,
            f"more than {LONG_S:g} s",
            "The nightly job labels stretches of 1 to 10 s: label parts of them instead.",
        ),
        (
            "DC offset",
            lambda sound: abs(sound.offset) > OFFSET,
            f"a mean of more than {OFFSET:.0%} of full scale",
            "Harmless for the features, but a sign of faulty hardware: look at where they are "
            "from.",
        ),
    )
    for title, wrong, said, advice in tests:
        some = [one for one, sound in fine if wrong(sound)]
        if some:
            yield Problem(
                title, f"{len(some):,} of {len(pairs):,} utterances: {said}.", advice, _some(some),
                len(some), serious=title not in ("DC offset", "Very long"),
            )  # fmt: skip


def _cut(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    ends = [one for one, sound in pairs if sound.ends_cut]
    begins = [one for one, sound in pairs if sound.begins_cut]
    some = [one for one, sound in pairs if sound.ends_cut or sound.begins_cut]
    if some:
        yield Problem(
            "Cut in mid-speech",
            f"Of {len(pairs):,} utterances, {len(ends):,} end and {len(begins):,} begin as loud as "
            "speech.",
            "Take whole utterances, with a little silence around them."
            if len(some) > len(pairs) / 50
            else "A few only: look at them, and at how they were cut.",
            _some(some),
            len(some),
            serious=len(some) > len(pairs) / 50,
        )


def _twice(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    groups = identical(pairs)
    differ = [some for some in groups if len({one.emotion for one in some}) > 1]
    others = [some for some in groups if len({one.emotion for one in some}) == 1]
    if differ:
        yield Problem(
            "One audio, two emotions",
            f"Recordings that are there several times with different labels: {len(differ):,}.",
            "Decide which label is right and remove the others.",
            tuple(
                " = ".join(f"{named(one)} ({one.emotion})" for one in some)
                for some in differ[:MOST_NAMED]
            ),
            sum(map(len, differ)),
        )
    if others:
        yield Problem(
            "Same audio twice",
            f"Utterances with the samples of another: {sum(len(some) - 1 for some in others):,}.",
            "Keep one of each: a copy in training and test flatters the figures.",
            tuple(" = ".join(map(named, some)) for some in others[:MOST_NAMED]),
            sum(map(len, others)),
        )


def _labels(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
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


def _speakers(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
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


def _annotators(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
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
            _some(tied or differ),
            len(differ),
            serious=2 * len(differ) > len(shared) or bool(tied),
        )


def _skipped(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
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
