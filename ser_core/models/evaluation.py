"""How good a model is: the figures that a card holds, and their intervals.

UAR, the unweighted average recall, is the figure to compare by: accuracy favours whatever
labels the corpus has most of. `matrix` tests one bundle, or two side by side, on a corpus under
several conditions; `evaluate` is one bundle under one of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser_core.emotions import GROUPINGS, group_names, group_probabilities
from ser_core.errors import CorpusError
from ser_core.models.calibration import Bin, calibration_error, coverage_and_risk, reliability
from ser_core.models.history import HISTORY

if TYPE_CHECKING:
    from ser_core.corpora import Corpus, Utterance
    from ser_core.corpora.vectors import Progress
    from ser_core.models.bundle import Bundle

_RESAMPLES = 2_000
_INTERVAL_PERCENT = (2.5, 97.5)
# With fewer speakers, resampling them says little of other ones.
FEW_SPEAKERS = 5
# What is known of a channel when a segment of it is labelled: nothing, or its other segments.
NOTHING, CHANNEL = "nothing", "channel"
# Points of a curve that are kept.
_POINTS = 100


@dataclass(frozen=True)
class Scores:
    """Figures of one test.

    Parameters
    ----------
    protocol : str
        What was tested on what, in words.
    labels : tuple of str
    utterances, speakers : int
        In the test.
    accuracy, uar : float in [0, 1]
        UAR is the mean recall of the labels that occur in the test.
    uar_low, uar_high : float in [0, 1] or None
        95 % interval of the UAR, by resampling the speakers; None where there is only one.
    recall, precision : mapping of label to float in [0, 1] or None
        None where the label never occurs, or is never predicted.
    confusion : tuple of rows of int
        True label by row, predicted label by column.
    left_out : int
        Utterances whose emotion the model has no label for, or on which annotators are divided.
    """

    protocol: str
    labels: tuple[str, ...]
    utterances: int
    speakers: int
    accuracy: float
    uar: float
    uar_low: float | None
    uar_high: float | None
    recall: Mapping[str, float | None]
    precision: Mapping[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    left_out: int = 0

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of the interval, where there is one."""
        if self.uar_low is None or self.uar_high is None:
            return None
        return self.uar_low, self.uar_high


def score(
    truth: np.ndarray,
    probabilities: np.ndarray,
    *,
    labels: Sequence[str],
    speakers: Sequence[str] | np.ndarray,
    protocol: str,
    left_out: int = 0,
) -> Scores:
    """Compare predictions with the truth.

    Parameters
    ----------
    truth : np.ndarray [shape=(n,)], int
        Index of the true label; n >= 1.
    probabilities : np.ndarray [shape=(n, len(labels))]
    labels : sequence of str
    speakers : sequence of n str
        Who speaks; the units of the interval.
    protocol : str
        In words.
    left_out : int
        Passed on.
    """
    from sklearn import metrics

    truth = np.asarray(truth)
    predicted = np.asarray(probabilities).argmax(axis=1)
    every = np.arange(len(labels))
    recall, precision = (
        measure(truth, predicted, labels=every, average=None, zero_division=np.nan)
        for measure in (metrics.recall_score, metrics.precision_score)
    )
    confusion = _confusions(truth, predicted, speakers, len(labels))
    low, high = _interval(_resampled_uar(confusion)) if len(confusion) > 1 else (None, None)
    return Scores(
        protocol=protocol,
        labels=tuple(labels),
        utterances=len(truth),
        speakers=len(confusion),
        accuracy=float(metrics.accuracy_score(truth, predicted)),
        uar=float(np.nanmean(recall)),
        uar_low=low,
        uar_high=high,
        recall=_by_label(labels, recall),
        precision=_by_label(labels, precision),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion.sum(axis=0)),
        left_out=left_out,
    )


@dataclass(frozen=True)
class Point:
    """Of the surest answers, how many these are and how many of them are wrong."""

    coverage: float
    risk: float
    confidence: float


@dataclass(frozen=True)
class Result:
    """One bundle under one condition.

    Parameters
    ----------
    condition : str
        One of `ser_core.conditions.CONDITIONS`.
    known : str
        Of the rest of the channel: `NOTHING`, or `CHANNEL`, all of it.
    scores : Scores
    calibration_error : float in [0, 1]
        Expected, over the bins of `reliability`.
    reliability : tuple of Bin
    coverage : tuple of Point
        From the surest answers to all of them.
    sure : float in [0, 1]
        Share that the bundle itself calls sure: the confidence in its own label, whatever the
        grouping, is not under its threshold.
    right_if_sure : float in [0, 1] or None
        Of these; None where there are none.
    """

    condition: str
    known: str
    scores: Scores
    calibration_error: float
    reliability: tuple[Bin, ...]
    coverage: tuple[Point, ...]
    sure: float
    right_if_sure: float | None


@dataclass(frozen=True)
class Tested:
    """A bundle and what it was found to do.

    Parameters
    ----------
    id, licence, feature_set : str
    labels : tuple of str
        That are compared: the bundle's, or their groups.
    unsure_below : float in [0, 1]
        The bundle's threshold for segments.
    takes_history : bool
        Whether it makes use of a channel's other segments.
    trained_on_it : bool
        Whether it was trained on the corpus.
    absent : tuple of str
        Labels that no utterance has: the UAR does without them.
    no_label : mapping of emotion to count
        Utterances left out because no label is theirs.
    tied : int
        Utterances left out because their annotators are divided.
    results : tuple of Result
        By condition, `NOTHING` before `CHANNEL`.
    """

    id: str
    licence: str
    feature_set: str
    labels: tuple[str, ...]
    unsure_below: float
    takes_history: bool
    trained_on_it: bool
    absent: tuple[str, ...]
    no_label: Mapping[str, int]
    tied: int
    results: tuple[Result, ...]

    def of(self, condition: str, known: str = NOTHING) -> Result:
        """The result under a condition, one of those that there are."""
        pair = (condition, known)
        return next(one for one in self.results if (one.condition, one.known) == pair)

    @property
    def known(self) -> tuple[str, ...]:
        """What may be known of the rest of a channel, in order."""
        return tuple(dict.fromkeys(one.known for one in self.results))


@dataclass(frozen=True)
class Difference:
    """The first bundle's UAR less the second's, over what both can answer.

    Parameters
    ----------
    condition, known : str
        As in `Result`. A bundle that takes no history knows nothing in either.
    labels : tuple of str
        Those in common; others count for neither.
    utterances, speakers : int
    uar, uar_against : float in [0, 1]
        Of the first and of the second.
    difference : float in [-1, 1]
    low, high : float in [-1, 1] or None
        95 % interval, by resampling speakers, the same for both; None where there is only one.
    p : float in (0, 1] or None
        Twice the share of the resamples whose difference lies on the rarer side of 0.
    told_apart : bool or None
        Whether the interval leaves 0 out.
    """

    condition: str
    known: str
    labels: tuple[str, ...]
    utterances: int
    speakers: int
    uar: float
    uar_against: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    told_apart: bool | None


@dataclass(frozen=True)
class Evaluation:
    """One bundle, or two side by side, on a corpus; `dataclasses.asdict` makes JSON of it.

    Parameters
    ----------
    corpus, licence, note : str
        As in `Corpus`.
    unit : str
        What one answer is for: `whole clips`, or `segments` of recordings.
    utterances, speakers : int
        Of the corpus, before anything is left out.
    grouping : str or None
        One of `ser_core.emotions.GROUPINGS`.
    conditions : tuple of str
    bundles : tuple of one or two Tested
    differences : tuple of Difference
        By condition; empty for one bundle.
    warnings : tuple of str
        What a reader must know before believing a figure.
    """

    corpus: str
    licence: str
    note: str
    unit: str
    utterances: int
    speakers: int
    grouping: str | None
    conditions: tuple[str, ...]
    bundles: tuple[Tested, ...]
    differences: tuple[Difference, ...] = ()
    warnings: tuple[str, ...] = ()


def matrix(
    bundles: Sequence[Bundle],
    corpus: Corpus,
    conditions: Sequence[str] | None = None,
    *,
    grouping: str | None = None,
    histories: bool = True,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Test a bundle, or two side by side, on a corpus under conditions.

    Every utterance is one answer. Of a bundle that takes a channel's history there are two: with
    nothing known of the channel, and with all the rest of it, utterances without a label
    included, in the same condition; see `channels`.

    Parameters
    ----------
    bundles : sequence of one or two Bundle
    corpus : Corpus
        Emotions that a bundle has no label for are left out, and counted; so are utterances whose
        annotators are divided.
    conditions : sequence of str, optional
        Of `ser_core.conditions.CONDITIONS`; all of them unless given.
    grouping : str, optional
        One of `ser_core.emotions.GROUPINGS`: compare groups of labels. An emotion that the bundle
        has no label for counts where its group is one of the bundle's. Of several annotators,
        votes for one group add up.
    histories : bool
        Whether to ask with the rest of the channel known, too.
    jobs, cache, progress
        As in `ser_core.corpora.vectors.extract`.

    Raises
    ------
    CorpusError
        No utterance with a label of a bundle, fewer than two groups of a bundle's labels or
        labels that two bundles have in common, or files that cannot be read.
    """
    from ser_core.conditions import CONDITIONS

    if not 1 <= len(bundles) <= 2:
        raise ValueError(f"{len(bundles)} bundles found, one or two expected")
    conditions = tuple(dict.fromkeys(CONDITIONS if conditions is None else conditions))
    utterances = corpus.utterances
    truth = [_truth(one, grouping) for one in utterances]
    asked = [_asked(bundle, corpus, truth, grouping, histories) for bundle in bundles]
    in_common = _in_common(asked, corpus) if len(asked) == 2 else ()
    unit = "segments" if any(one.is_part for one in utterances) else "whole clips"
    speakers = np.array([one.speaker for one in utterances])
    channel = channels(utterances)
    results: list[list[Result]] = [[] for _ in asked]
    differences: list[Difference] = []
    if progress:
        progress("conditions", 0, len(conditions))
    for done, condition in enumerate(conditions, 1):
        vectors = _vectors(asked, corpus, condition, jobs, cache, progress)
        answers = [one.answers(vectors[one.bundle.feature_set], channel) for one in asked]
        for one, own, told in zip(asked, answers, results, strict=True):
            for known, odds in own.items():
                protocol = f"{corpus.name}, {unit}, {condition}"
                if known == CHANNEL:
                    protocol += ", the rest of the channel known"
                told.append(_result(one, odds, speakers, condition, known, protocol))
        for known in dict.fromkeys(known for own in answers for known in own) if in_common else ():
            both = [own.get(known, own[NOTHING]) for own in answers]
            differences.append(_difference(asked, both, in_common, speakers, condition, known))
        if progress:
            progress("conditions", done, len(conditions))
    tested = tuple(
        _tested(one, tuple(told), corpus, truth) for one, told in zip(asked, results, strict=True)
    )
    return Evaluation(
        corpus=corpus.name,
        licence=corpus.licence,
        note=corpus.note,
        unit=unit,
        utterances=len(utterances),
        speakers=len(corpus.speakers),
        grouping=grouping,
        conditions=conditions,
        bundles=tested,
        differences=tuple(differences),
        warnings=(*corpus.warnings, *_warnings(tested, differences, corpus.name)),
    )


def evaluate(
    bundle: Bundle,
    corpus: Corpus,
    condition: str = "clean",
    *,
    grouping: str | None = None,
    jobs: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Test a bundle on a corpus under one condition, with nothing known of the rest of a channel.

    On a corpus that the bundle was trained on this tells nothing about other voices: its
    card's figures by speaker do.

    Parameters
    ----------
    bundle, corpus, grouping, jobs, cache, progress
        As in `matrix`.
    condition : str
        One of `ser_core.conditions.CONDITIONS`, such as "mulaw" for a telephone line.

    Raises
    ------
    CorpusError
        No utterance with a label of the bundle, or files that cannot be read.
    """
    found = matrix(
        [bundle], corpus, [condition], grouping=grouping, histories=False, jobs=jobs, cache=cache,
        progress=progress,
    )  # fmt: skip
    return found.bundles[0].results[0].scores


def channels(utterances: Sequence[Utterance]) -> np.ndarray:
    """Whose history each utterance belongs to.

    Parts of a recording belong to its channel; of clips that stand alone, all of a speaker's are
    taken for one channel.

    Returns
    -------
    np.ndarray [shape=(n,)], int
        As `Bundle.predict` takes them.
    """
    keys = [
        (str(one.path), one.channel) if one.is_part else (one.corpus, one.speaker)
        for one in utterances
    ]
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=int)


def truths(utterances: Sequence[Utterance], labels: Sequence[str]) -> np.ndarray:
    """Index of each utterance's emotion in `labels`."""
    index = {label: i for i, label in enumerate(labels)}
    return np.array([index[utterance.emotion] for utterance in utterances])


def shares(utterances: Sequence[Utterance], labels: Sequence[str]) -> np.ndarray:
    """Shares of the annotators by label, float32 [n, len(labels)]; rows add up to 1.

    An utterance without annotators' shares is all of its emotion. What annotators say beside
    `labels` does not count.
    """
    targets = np.zeros((len(utterances), len(labels)), dtype=np.float32)
    index = {label: i for i, label in enumerate(labels)}
    for row, one in zip(targets, utterances, strict=True):
        for label, share in one.shares or ((one.emotion, 1.0),):
            if label in index:
                row[index[label]] = share
    return targets / targets.sum(axis=1, keepdims=True)


def _by_label(labels: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {
        label: None if math.isnan(value) else float(value)
        for label, value in zip(labels, values, strict=True)
    }


# ---------------------------------------------------------------- what is asked


def _truth(utterance: Utterance, grouping: str | None) -> str | None:
    """What an utterance is to be taken for: a label or a group; None where annotators tie."""
    if not grouping:
        return utterance.emotion if utterance.agreed else None
    group = GROUPINGS[grouping]
    votes: Counter[str] = Counter()
    for emotion, share in utterance.shares or ((utterance.emotion, 1.0),):
        # An emotion that has no group stands for itself, which no bundle will have.
        votes[group(emotion) or emotion] += share  # type: ignore[assignment]
    (first, most), *others = votes.most_common(2)
    return None if others and math.isclose(most, others[0][1], abs_tol=1e-9) else first


@dataclass(frozen=True)
class _Asked:
    """What one bundle is asked.

    Parameters
    ----------
    bundle : Bundle
    grouping : str or None
    labels : tuple of str
        That are compared.
    truth : np.ndarray [shape=(utterances,)], int
        Index into labels; -1 where the utterance is left out.
    rows : np.ndarray of int
        Utterances that are predicted: all where a channel's history is asked for.
    known : tuple of str
    """

    bundle: Bundle
    grouping: str | None
    labels: tuple[str, ...]
    truth: np.ndarray
    rows: np.ndarray
    known: tuple[str, ...]

    def answers(self, vectors: np.ndarray, channel: np.ndarray) -> dict[str, np.ndarray]:
        """What is known -> probabilities of the bundle's own labels; NaN for other rows."""
        found = {}
        for known in self.known:
            ids = channel[self.rows] if known == CHANNEL else None
            found[known] = np.full((len(vectors), len(self.bundle.labels)), np.nan, np.float32)
            found[known][self.rows] = self.bundle.predict(vectors[self.rows], ids)
        return found

    def grouped(self, odds: np.ndarray) -> np.ndarray:
        """Probabilities of the labels that are compared."""
        if not self.grouping:
            return odds
        return group_probabilities(odds, self.bundle.labels, self.grouping)


def _asked(
    bundle: Bundle,
    corpus: Corpus,
    truth: Sequence[str | None],
    grouping: str | None,
    histories: bool,
) -> _Asked:
    labels = bundle.labels if grouping is None else group_names(bundle.labels, grouping)
    places = {label: i for i, label in enumerate(labels)}
    place = np.array([-1 if word is None else places.get(word, -1) for word in truth], dtype=int)
    if len(labels) < 2:
        raise CorpusError(
            f"the model {bundle.id} labels {', '.join(bundle.labels)}: of the groups {grouping} "
            f"that is {', '.join(labels) or 'none'}, nothing to tell apart; take other groups"
        )
    if all(word is None for word in truth):
        raise CorpusError(
            f"{corpus.name}: the annotators are divided on every utterance: nothing to compare "
            "with; take another corpus"
        )
    if not (place >= 0).any():
        raise CorpusError(
            f"{corpus.name} has {', '.join(sorted(corpus.counts))}, and the model {bundle.id} "
            f"labels {', '.join(bundle.labels)}: nothing to compare; take another corpus"
        )
    history = histories and bundle.card.channel_normalisation == HISTORY
    rows = np.arange(len(place)) if history else np.flatnonzero(place >= 0)
    known = (NOTHING, CHANNEL) if history else (NOTHING,)
    return _Asked(bundle, grouping, labels, place, rows, known)


def _in_common(asked: Sequence[_Asked], corpus: Corpus) -> tuple[str, ...]:
    """The labels that two bundles can be compared by."""
    first, second = asked
    labels = tuple(label for label in first.labels if label in second.labels)
    advice = "take other groups" if first.grouping else "take --groups angry, negative or four"
    if len(labels) < 2:
        raise CorpusError(
            f"{first.bundle.id} labels {', '.join(first.labels)}, and {second.bundle.id} "
            f"{', '.join(second.labels)}: {len(labels)} in common, two or more expected to "
            f"compare them; {advice}"
        )
    if not any(first.labels[i] in labels for i in first.truth[first.truth >= 0]):
        raise CorpusError(
            f"{corpus.name}: no utterance of {', '.join(labels)}, which is what both "
            f"{first.bundle.id} and {second.bundle.id} label: nothing to compare them by; "
            f"{advice}, or another corpus"
        )
    return labels


def _vectors(
    asked: Sequence[_Asked],
    corpus: Corpus,
    condition: str,
    jobs: int | None,
    cache: Path | None,
    progress: Progress | None,
) -> dict[str, np.ndarray]:
    """Feature set -> a vector for each utterance, NaN where nobody asks; each extracted once."""
    from ser_core.corpora import vectors

    found = {}
    for name in dict.fromkeys(one.bundle.feature_set for one in asked):
        rows = np.unique(
            np.concatenate([one.rows for one in asked if one.bundle.feature_set == name])
        )

        def report(stage: str, done: int, total: int, name: str = name) -> None:
            if progress:
                progress(f"{name}, {condition}", done, total)

        some = vectors.extract(
            [corpus.utterances[i] for i in rows], name, condition=condition, jobs=jobs, cache=cache,
            progress=report,
        )  # fmt: skip
        found[name] = np.full((len(corpus.utterances), some.shape[1]), np.nan, dtype=np.float32)
        found[name][rows] = some
    return found


# ---------------------------------------------------------------- what is found


def _result(
    asked: _Asked,
    odds: np.ndarray,
    speakers: np.ndarray,
    condition: str,
    known: str,
    protocol: str,
) -> Result:
    some = asked.truth >= 0
    truth, compared = asked.truth[some], asked.grouped(odds[some])
    confidence = compared.max(axis=1).astype(np.float64)
    right = compared.argmax(axis=1) == truth
    bins = reliability(confidence, right)
    # As the column `unsure` of the table `segments` has it.
    sure = odds[some].max(axis=1) >= asked.bundle.unsure_segment_below
    return Result(
        condition=condition,
        known=known,
        scores=score(
            truth, compared, labels=asked.labels, speakers=speakers[some], protocol=protocol,
            left_out=int((~some).sum()),
        ),
        calibration_error=float(calibration_error(bins)),
        reliability=bins,
        coverage=_curve(confidence, right),
        sure=float(sure.mean()),
        right_if_sure=float(right[sure].mean()) if sure.any() else None,
    )  # fmt: skip


def _curve(confidence: np.ndarray, right: np.ndarray) -> tuple[Point, ...]:
    coverage, risk, threshold = coverage_and_risk(confidence, right)
    kept = np.unique(np.linspace(0, len(coverage) - 1, _POINTS).round().astype(int))
    return tuple(Point(float(coverage[i]), float(risk[i]), float(threshold[i])) for i in kept)


def _tested(
    asked: _Asked, results: tuple[Result, ...], corpus: Corpus, truth: Sequence[str | None]
) -> Tested:
    bundle, seen = asked.bundle, set(asked.truth.tolist())
    left_out = np.flatnonzero(asked.truth < 0).tolist()
    no_label = Counter(corpus.utterances[i].emotion for i in left_out if truth[i] is not None)
    return Tested(
        id=bundle.id,
        licence=bundle.licence,
        feature_set=bundle.feature_set,
        labels=asked.labels,
        unsure_below=bundle.unsure_segment_below,
        takes_history=bundle.card.channel_normalisation == HISTORY,
        trained_on_it=corpus.name in {said.get("name") for said in bundle.card.corpora},
        absent=tuple(label for i, label in enumerate(asked.labels) if i not in seen),
        no_label=dict(sorted(no_label.items())),
        tied=sum(truth[i] is None for i in left_out),
        results=results,
    )


def _difference(
    asked: Sequence[_Asked],
    both: Sequence[np.ndarray],
    labels: tuple[str, ...],
    speakers: np.ndarray,
    condition: str,
    known: str,
) -> Difference:
    """Compare two bundles' answers on the labels that they have in common."""
    # The truth is the same for both, so the first's serves.
    places = {asked[0].labels.index(label): i for i, label in enumerate(labels)}
    truth = np.array([places.get(place, -1) for place in asked[0].truth.tolist()])
    some = truth >= 0
    confusions = []
    for one, odds in zip(asked, both, strict=True):
        columns = [one.labels.index(label) for label in labels]
        # Made to add up to 1 again, the likeliest of these labels would be the same.
        predicted = one.grouped(odds[some])[:, columns].argmax(axis=1)
        confusions.append(_confusions(truth[some], predicted, speakers[some], len(labels)))
    uar, against = (_uar(one.sum(axis=0)) for one in confusions)
    found = Difference(
        condition=condition,
        known=known,
        labels=labels,
        utterances=int(some.sum()),
        speakers=len(confusions[0]),
        uar=uar,
        uar_against=against,
        difference=uar - against,
        low=None,
        high=None,
        p=None,
        told_apart=None,
    )
    if found.speakers < 2:
        return found
    drawn = _resampled_uar(confusions[0]) - _resampled_uar(confusions[1])
    low, high = _interval(drawn)
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))
    return replace(found, low=low, high=high, p=p, told_apart=low > 0 or high < 0)


def _warnings(
    tested: Sequence[Tested], differences: Sequence[Difference], corpus: str
) -> list[str]:
    said = []
    for one in tested:
        if one.trained_on_it:
            said.append(
                f"{one.id} was trained on {corpus}: this tells nothing about other voices; "
                "`ser model show` has the figures by speaker"
            )
    counts = {result.scores.speakers for one in tested for result in one.results[:1]}
    fewest = min(counts | {one.speakers for one in differences})
    if fewest == 1:
        said.append(
            "one speaker: there is no interval, and nothing is said about other voices; "
            "take a corpus of several speakers"
        )
    elif fewest < FEW_SPEAKERS:
        said.append(
            f"{fewest} speakers: the intervals are not to be trusted, resampling so few says "
            "little about other voices"
        )
    return said


# ---------------------------------------------------------------- resampling


def _confusions(
    truth: np.ndarray, predicted: np.ndarray, speakers: Sequence[str] | np.ndarray, labels: int
) -> np.ndarray:
    """Counts by [speaker, true, predicted]."""
    names, who = np.unique(np.asarray(speakers), return_inverse=True)
    confusion = np.zeros((len(names), labels, labels), dtype=int)
    np.add.at(confusion, (who, truth, predicted), 1)
    return confusion


@cache
def _draws(count: int) -> np.ndarray:
    """How often each speaker is in each resample: always the same, so that tests can be paired."""
    random = np.random.default_rng(0)
    return random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)


def _uar(confusion: np.ndarray) -> float:
    """Mean recall of the labels that occur; confusion is [true, predicted]."""
    seen = confusion.sum(axis=1)
    return float((confusion.diagonal()[seen > 0] / seen[seen > 0]).mean())


def _resampled_uar(confusion: np.ndarray) -> np.ndarray:
    """UAR of each resample of the speakers; confusion is [speaker, true, predicted]."""
    weights = _draws(len(confusion))
    hits = weights @ np.diagonal(confusion, axis1=1, axis2=2)
    seen = weights @ confusion.sum(axis=2)
    recall = np.divide(hits, seen, out=np.full(hits.shape, np.nan), where=seen > 0)
    return np.nanmean(recall, axis=1)


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap."""
    low, high = np.percentile(drawn, _INTERVAL_PERCENT)
    return float(low), float(high)
