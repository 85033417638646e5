"""Problems of the audio: altered copies, faulty samples, cut speech, duplicates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ser_core.corpora.corpus import Corpus
from ser_core.corpora.problems.problem import (
    MOST_NAMED,
    Pairs,
    Problem,
    describe_utterance,
    first_names,
    group_identical,
)
from ser_core.corpora.sounds import Sound

# A larger share of clipped samples is audible.
CLIPPED_SHARE = 0.001
NEARLY_SILENT_DB = -60.0
SHORT_S, LONG_S = 0.5, 15.0
OFFSET = 0.01
# Natural utterances differ in length, to the millisecond: above this share they were cut or padded.
SAME_LENGTH_SHARE, FEWEST_FILES = 0.5, 10
# With more utterances than this share cut, the way of cutting is the problem.
CUT_SHARE = 0.02

# By a phrase in the warnings of a corpus: title and advice.
_COPY_WARNINGS = {
    "cut copy": (
        "Cut copy",
        "Words are missing from these files, and their tempo and pauses are not the speaker's: "
        "get the corpus as it was published.",
    ),
    "resampled copy": (
        "Resampled copy",
        "Harmless at telephone bandwidth. For results that compare with published ones, get the "
        "corpus as it was published.",
    ),
    "lossy copy": (
        "Lossy copy",
        "Harmless at telephone bandwidth if the bit rate is not very low. For results that compare "
        "with published ones, get the corpus as it was published.",
    ),
    "no votes": (
        "No votes",
        "Training then takes the intended emotion as certain: get the table of votes.",
    ),
}
_OTHER_WARNING = ("Warning about this corpus", "Fix it, or bear it in mind when you read results.")


@dataclass(frozen=True)
class _SampleCheck:
    """A property of samples that makes an utterance a problem."""

    title: str
    applies: Callable[[Sound], bool]
    condition: str
    advice: str
    serious: bool = True


# A check of each utterance's samples is added here.
_SAMPLE_CHECKS = (
    _SampleCheck(
        "Clipped",
        lambda sound: sound.clipped > CLIPPED_SHARE,
        f"more than {CLIPPED_SHARE:.1%} of the samples at full scale",
        "Record with less gain; clipped peaks cannot be restored. Remove the worst.",
    ),
    _SampleCheck(
        "Silent or nearly silent",
        lambda sound: sound.level_db < NEARLY_SILENT_DB,
        f"even loud speech is {-NEARLY_SILENT_DB:.0f} dB or more below full scale",
        "Remove files without speech.",
    ),
    _SampleCheck(
        "Very short",
        lambda sound: sound.seconds < SHORT_S,
        f"less than {SHORT_S:g} s",
        "A syllable carries no audible emotion: remove them, or label longer stretches.",
    ),
    _SampleCheck(
        "Very long",
        lambda sound: sound.seconds > LONG_S,
        f"more than {LONG_S:g} s",
        "The nightly job labels segments of 1 to 10 s: label parts of these files instead.",
        serious=False,
    ),
    _SampleCheck(
        "DC offset",
        lambda sound: abs(sound.offset) > OFFSET,
        f"a mean of more than {OFFSET:.0%} of full scale",
        "Harmless for the features, but a sign of faulty hardware: check where they come from.",
        serious=False,
    ),
)


def check_copy(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """The warnings that were shown when the corpus was opened."""
    for warning in corpus.warnings:
        kind = next((phrase for phrase in _COPY_WARNINGS if phrase in warning), "")
        title, advice = _COPY_WARNINGS.get(kind, _OTHER_WARNING)
        yield Problem(
            title,
            f"{warning[0].upper()}{warning[1:]}.",
            advice,
            count=len(pairs),
            serious=kind == "cut copy",
            warned=True,
        )


def check_lengths(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Utterances that all have the same length, unless a warning of the corpus says so."""
    lengths = Counter(round(sound.seconds, 3) for _, sound in pairs if not sound.fault)
    count = lengths.total()
    if count < FEWEST_FILES or any("cut copy" in warning for warning in corpus.warnings):
        return
    ((seconds, same),) = lengths.most_common(1)
    if same > SAME_LENGTH_SHARE * count:
        yield Problem(
            "All of one length",
            f"{same:,} of {count:,} utterances last exactly {seconds:.3f} s.",
            "They were probably cut or padded: use them as they were spoken.",
            first_names(
                utterance for utterance, sound in pairs if round(sound.seconds, 3) == seconds
            ),
            same,
        )


def check_rates(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Several sample rates. Serious if each emotion has its own."""
    rates = Counter(sound.rate_hz for _, sound in pairs if sound.rate_hz)
    if len(rates) < 2:
        return
    by_emotion = defaultdict(set)
    for utterance, sound in pairs:
        by_emotion[utterance.emotion].add(sound.rate_hz)
    tied = all(len(rates_of_one) == 1 for rates_of_one in by_emotion.values())
    rarest = min(rates, key=lambda rate: rates[rate])
    counts = "; ".join(f"{count:,} at {rate:,} Hz" for rate, count in rates.most_common())
    yield Problem(
        "Mixed sample rates",
        f"{counts}." + (" Each emotion has its own rate." if tied else ""),
        "Where an emotion goes with a rate, a model may learn the recording instead of the voice: "
        "train on telephone copies (recipe calls), and check which speakers have which rate.",
        first_names(utterance for utterance, sound in pairs if sound.rate_hz == rarest),
        rates[rarest],
        serious=tied,
    )


def check_readable(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Files that cannot be read."""
    faulty = [(utterance, sound) for utterance, sound in pairs if sound.fault]
    if faulty:
        yield Problem(
            "Unreadable files",
            f"{len(faulty):,} of {len(pairs):,} give no samples; the pictures leave them out.",
            "Fix or remove them: training stops with a list of such files.",
            tuple(
                f"{describe_utterance(utterance)}: {sound.fault}"
                for utterance, sound in faulty[:MOST_NAMED]
            ),
            len(faulty),
        )


def check_samples(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Faults that the samples of single utterances show."""
    readable = [(utterance, sound) for utterance, sound in pairs if not sound.fault]
    for check in _SAMPLE_CHECKS:
        affected = [utterance for utterance, sound in readable if check.applies(sound)]
        if affected:
            yield Problem(
                check.title,
                f"{len(affected):,} of {len(pairs):,} utterances: {check.condition}.",
                check.advice,
                first_names(affected),
                len(affected),
                serious=check.serious,
            )


def check_cuts(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Utterances that begin or end in the middle of speech."""
    ends = sum(sound.ends_cut for _, sound in pairs)
    begins = sum(sound.begins_cut for _, sound in pairs)
    cut = [utterance for utterance, sound in pairs if sound.ends_cut or sound.begins_cut]
    if cut:
        many = len(cut) > CUT_SHARE * len(pairs)
        yield Problem(
            "Cut in mid-speech",
            f"Of {len(pairs):,} utterances, {ends:,} end and {begins:,} begin as loud as speech.",
            "Use whole utterances, with a little silence around them."
            if many
            else "Only a few: look at them, and at how they were cut.",
            first_names(cut),
            len(cut),
            serious=many,
        )


def check_duplicates(corpus: Corpus, pairs: Pairs) -> Iterable[Problem]:
    """Utterances with the same samples, with the same label or with different ones."""
    groups = group_identical(pairs)
    emotions = [{utterance.emotion for utterance in group} for group in groups]
    conflicting = [group for group, labels in zip(groups, emotions, strict=True) if len(labels) > 1]
    equal = [group for group, labels in zip(groups, emotions, strict=True) if len(labels) == 1]
    if conflicting:
        yield Problem(
            "One audio, two emotions",
            f"Recordings that occur several times with different labels: {len(conflicting):,}.",
            "Decide which label is right and remove the others.",
            tuple(
                " = ".join(
                    f"{describe_utterance(utterance)} ({utterance.emotion})" for utterance in group
                )
                for group in conflicting[:MOST_NAMED]
            ),
            sum(map(len, conflicting)),
        )
    if equal:
        copies = sum(len(group) - 1 for group in equal)
        yield Problem(
            "Same audio twice",
            f"Utterances with the same samples as another: {copies:,}.",
            "Keep one of each: copies in both training and test set make results look better "
            "than they are.",
            tuple(" = ".join(map(describe_utterance, group)) for group in equal[:MOST_NAMED]),
            sum(map(len, equal)),
        )
