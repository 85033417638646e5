"""Problems of the audio: cut or resampled copies, faults of samples, the same clip twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from ser_core.corpora.corpus import Corpus
from ser_core.corpora.problems.problem import MOST_NAMED, Pairs, Problem, examples, identical, named

# More of the samples at full scale than this can be heard.
CLIPPED_SHARE = 0.001
NEARLY_SILENT_DB = -60.0
SHORT_S, LONG_S = 0.5, 15.0
OFFSET = 0.01
# Of the lengths, in milliseconds: hardly two clips of speech are alike.
ALIKE, ALIKE_FROM = 0.5, 10

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


def copies(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
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
                examples(one for one, sound in pairs if round(sound.seconds, 3) == seconds),
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
            examples(one for one, sound in pairs if sound.rate_hz == rare),
            rates[rare],
            serious=tied,
        )  # fmt: skip


def samples(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
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
                title, f"{len(some):,} of {len(pairs):,} utterances: {said}.", advice,
                examples(some), len(some), serious=title not in ("DC offset", "Very long"),
            )  # fmt: skip


def cut(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
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
            examples(some),
            len(some),
            serious=len(some) > len(pairs) / 50,
        )


def twice(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
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
