"""How well bundles do on a corpus under several conditions.

`evaluate_conditions` tests one bundle, or two side by side, under several conditions; `evaluate`
tests one bundle under one of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_core.corpora import Corpus
from ser_core.corpora.corpus import Progress
from ser_core.models.bundle import Bundle
from ser_core.models.calibration import Bin, calibration_error, coverage_and_risk, reliability
from ser_core.models.comparison import Difference, common_labels, compare
from ser_core.models.evaluation_plan import (
    CHANNEL,
    NOTHING,
    Plan,
    extract_vectors,
    make_plan,
    true_label,
)
from ser_core.models.history import HISTORY
from ser_core.models.overlap import Overlap, find_overlap
from ser_core.models.scores import Scores, score
from ser_core.models.targets import channel_ids

# With fewer speakers, intervals by resampling say little about other speakers.
FEW_SPEAKERS, TOO_FEW_SPEAKERS = 10, 5
# Number of points that are kept of a curve.
_POINTS = 100


@dataclass(frozen=True)
class Point:
    """A point of the risk-coverage curve."""

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
        What is known of the rest of the channel: `NOTHING`, or `CHANNEL`, all of it.
    scores : Scores
    calibration_error : float in [0, 1]
        Expected calibration error over the bins of `reliability`.
    reliability : tuple of Bin
    coverage : tuple of Point
        The risk-coverage curve, from the surest predictions to all of them.
    sure : float in [0, 1]
        Share of predictions that are sure: the confidence in the bundle's own label, whatever the
        grouping, is not under the bundle's threshold.
    right_if_sure : float in [0, 1] or None
        Share of these that are right; None if there are none.
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
    """A bundle and its results.

    Parameters
    ----------
    id, licence, feature_set : str
    labels : tuple of str
        Labels that are compared: the bundle's, or their groups.
    unsure_below : float in [0, 1]
        The bundle's threshold for segments.
    takes_history : bool
        Whether it uses a channel's other segments.
    trained_on_it : bool
        Whether it was trained on a corpus of this name.
    overlap : Overlap or None
        What of the test it was trained on; None for bundles that keep no hashes.
    absent : tuple of str
        Labels that no utterance has; they don't count in the UAR.
    no_label : mapping of emotion to count
        Utterances left out since their emotion is not a label.
    tied : int
        Utterances left out since their annotators are divided.
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
    overlap: Overlap | None
    absent: tuple[str, ...]
    no_label: Mapping[str, int]
    tied: int
    results: tuple[Result, ...]

    def of(self, condition: str, known: str = NOTHING) -> Result:
        """The result under a condition that was tested."""
        pair = (condition, known)
        return next(result for result in self.results if (result.condition, result.known) == pair)

    @property
    def known(self) -> tuple[str, ...]:
        """What was known of the rest of a channel, in order."""
        return tuple(dict.fromkeys(result.known for result in self.results))


@dataclass(frozen=True)
class Evaluation:
    """One bundle, or two side by side, on a corpus; `dataclasses.asdict` makes JSON of it.

    Parameters
    ----------
    corpus, licence, note : str
        As in `Corpus`.
    unit : str
        What one prediction is for: `whole clips`, or `segments` of recordings.
    utterances, speakers : int
        Of the corpus, before anything is left out.
    grouping : str or None
        One of `ser_core.emotions.GROUPINGS`.
    conditions : tuple of str
    bundles : tuple of one or two Tested
    differences : tuple of Difference
        By condition; empty for one bundle.
    warnings : tuple of str
        What a reader must know before relying on a figure, serious warnings first.
    serious : tuple of str
        The serious ones among them: with these, the figures say little about other voices.
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
    serious: tuple[str, ...] = ()


def evaluate_conditions(
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

    Each utterance gives one prediction. A bundle that takes histories gives two: one without a
    history, and one with the rest of the channel under the same condition as history, including
    utterances without a label; see `channel_ids`.

    Parameters
    ----------
    bundles : sequence of one or two Bundle
    corpus : Corpus
        Utterances whose emotion is not a label of a bundle, or whose annotators are divided, are
        left out and counted.
    conditions : sequence of str, optional
        Names in `ser_core.conditions.CONDITIONS`; all of them by default.
    grouping : str, optional
        One of `ser_core.emotions.GROUPINGS`, to compare groups of labels. An emotion that is not a
        label of the bundle counts if its group is one of the bundle's. Votes of several annotators
        for one group add up.
    histories : bool
        Whether to test with the rest of the channel known, too.
    jobs, cache, progress
        As in `ser_core.corpora.vectors.extract`.

    Raises
    ------
    CorpusError
        No utterance with a label of a bundle, fewer than two groups of a bundle's labels, fewer
        than two labels in common, or files that cannot be read.
    """
    from ser_core.conditions import CONDITIONS

    if not 1 <= len(bundles) <= 2:
        raise ValueError(f"{len(bundles)} bundles found, one or two expected")
    conditions = tuple(dict.fromkeys(CONDITIONS if conditions is None else conditions))
    utterances = corpus.utterances
    truth = [true_label(utterance, grouping) for utterance in utterances]
    plans = [make_plan(bundle, corpus, truth, grouping, histories) for bundle in bundles]
    in_common = common_labels(plans, corpus) if len(plans) == 2 else ()
    unit = "segments" if any(utterance.is_part for utterance in utterances) else "whole clips"
    speakers = np.array([utterance.speaker for utterance in utterances])
    channel = channel_ids(utterances)
    results: list[list[Result]] = [[] for _ in plans]
    differences: list[Difference] = []
    if progress:
        progress("conditions", 0, len(conditions))
    for done, condition in enumerate(conditions, 1):
        vectors = extract_vectors(plans, corpus, condition, jobs, cache, progress)
        answers = [plan.answers(vectors[plan.bundle.feature_set], channel) for plan in plans]
        for plan, own, found in zip(plans, answers, results, strict=True):
            for known, probabilities in own.items():
                protocol = f"{corpus.name}, {unit}, {condition}"
                if known == CHANNEL:
                    protocol += ", the rest of the channel known"
                found.append(_result(plan, probabilities, speakers, condition, known, protocol))
        for known in dict.fromkeys(known for own in answers for known in own) if in_common else ():
            both = [own.get(known, own[NOTHING]) for own in answers]
            differences.append(compare(plans, both, in_common, speakers, condition, known))
        if progress:
            progress("conditions", done, len(conditions))
    tested = tuple(
        _tested(plan, tuple(found), corpus, truth)
        for plan, found in zip(plans, results, strict=True)
    )
    serious, cautions = _warnings(tested, differences, corpus.name)
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
        warnings=(*serious, *cautions, *corpus.warnings),
        serious=tuple(serious),
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

    On a corpus that the bundle was trained on, the scores say nothing about other voices. The
    figures by speaker in its card do.

    Parameters
    ----------
    bundle, corpus, grouping, jobs, cache, progress
        As in `evaluate_conditions`.
    condition : str
        One of `ser_core.conditions.CONDITIONS`, such as "mulaw" for a telephone line.

    Raises
    ------
    CorpusError
        No utterance with a label of the bundle, or files that cannot be read.
    """
    found = evaluate_conditions(
        [bundle], corpus, [condition], grouping=grouping, histories=False, jobs=jobs, cache=cache,
        progress=progress,
    )  # fmt: skip
    return found.bundles[0].results[0].scores


def _result(
    plan: Plan,
    probabilities: np.ndarray,
    speakers: np.ndarray,
    condition: str,
    known: str,
    protocol: str,
) -> Result:
    rows = plan.truth >= 0
    truth, compared = plan.truth[rows], plan.grouped(probabilities[rows])
    confidence = compared.max(axis=1).astype(np.float64)
    right = compared.argmax(axis=1) == truth
    bins = reliability(confidence, right)
    # As the column `unsure` of the table `segments` has it.
    sure = probabilities[rows].max(axis=1) >= plan.bundle.unsure_segment_below
    return Result(
        condition=condition,
        known=known,
        scores=score(
            truth, compared, labels=plan.labels, speakers=speakers[rows], protocol=protocol,
            left_out=int((~rows).sum()),
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
    plan: Plan, results: tuple[Result, ...], corpus: Corpus, truth: Sequence[str | None]
) -> Tested:
    bundle, seen = plan.bundle, set(plan.truth.tolist())
    left_out = np.flatnonzero(plan.truth < 0).tolist()
    no_label = Counter(corpus.utterances[i].emotion for i in left_out if truth[i] is not None)
    return Tested(
        id=bundle.id,
        licence=bundle.licence,
        feature_set=bundle.feature_set,
        labels=plan.labels,
        unsure_below=bundle.unsure_segment_below,
        takes_history=bundle.card.channel_normalisation == HISTORY,
        trained_on_it=corpus.name in {trained.get("name") for trained in bundle.card.corpora},
        overlap=find_overlap(bundle.provenance, corpus),
        absent=tuple(label for i, label in enumerate(plan.labels) if i not in seen),
        no_label=dict(sorted(no_label.items())),
        tied=sum(truth[i] is None for i in left_out),
        results=results,
    )


def _warnings(
    tested: Sequence[Tested], differences: Sequence[Difference], corpus: str
) -> tuple[list[str], list[str]]:
    """Warnings that void the figures, and others."""
    warnings: list[str] = []
    cautions: list[str] = []
    for bundle in tested:
        if bundle.overlap is not None:
            if bundle.overlap.found:
                warnings.append(
                    f"{bundle.id}: {bundle.overlap.sentence()}: these figures say nothing about "
                    "other voices"
                )
        elif bundle.trained_on_it:
            warnings.append(
                f"{bundle.id} was trained on {corpus}: these figures say nothing about other "
                "voices; see the figures by speaker in `ser model show`"
            )
    counts = {result.scores.speakers for bundle in tested for result in bundle.results[:1]}
    fewest = min(counts | {difference.speakers for difference in differences})
    if fewest == 1:
        warnings.append(
            "one speaker: there is no interval, and the figures say nothing about other voices; "
            "take a corpus of several speakers"
        )
    elif fewest < FEW_SPEAKERS:
        (warnings if fewest < TOO_FEW_SPEAKERS else cautions).append(
            f"{fewest} speakers: each is a {share_of(fewest)} of the test, and intervals that "
            f"should hold the truth in 95 of 100 tests hold it in about "
            f"{100 * interval_coverage(fewest):.0f}; test ten or more speakers to speak of other "
            "voices"
        )
    return warnings, cautions


def share_of(count: int) -> str:
    """The share of one of a few, such as "third"."""
    names = ("half", "third", "quarter", "fifth", "sixth", "seventh", "eighth", "ninth")
    return names[count - 2]


def interval_coverage(speakers: int) -> float:
    """How often a 95 % interval by resampling a few speakers holds the truth.

    The resampled mean of n values has a spread that is smaller than that of the mean by the factor
    sqrt((n - 1) / n), and is compared with a normal distribution instead of Student's t.

    Examples
    --------
    >>> round(interval_coverage(5), 2)
    0.85
    """
    from scipy.stats import norm, t

    reach = norm.ppf(0.975) * np.sqrt((speakers - 1) / speakers)
    return float(1 - 2 * t.sf(reach, speakers - 1))
