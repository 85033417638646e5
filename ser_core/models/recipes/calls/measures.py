"""The figures of recipe `calls`: from out-of-fold predictions to the card.

For the bundle, temperatures and thresholds are fitted to all out-of-fold predictions. For the
figures, they are fitted to all folds but the tested one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ser_core.conditions import CONDITIONS
from ser_core.corpora import Utterance
from ser_core.emotions import GROUPINGS, group_names, group_probabilities
from ser_core.models.calibration import (
    Bin,
    calibration_error,
    coverage_and_risk,
    fit_temperature,
    reliability,
    unsure_below,
)
from ser_core.models.recipes.calls.answers import (
    Answers,
    Clips,
    Temperatures,
    calibrate_by_fold,
    clip_answers,
    segment_answers,
    sure_by_fold,
)
from ser_core.models.recipes.calls.data import HEADLINE, KNOWN, LINES
from ser_core.models.recipes.calls.held_out import HeldOut
from ser_core.models.scores import Scores, score

_SEXES = {"male": "men", "female": "women"}


@dataclass(frozen=True)
class Measured:
    """All figures of a training.

    Parameters
    ----------
    temperatures : Temperatures
    unsure_segment_below, unsure_recording_below : float
    results : mapping of condition_known to Scores
    measures : mapping
        Figures of groups, calibration and thresholds; for the card.
    bins : mapping of words to the bins of a reliability picture
    curves : mapping of words to a risk-coverage curve, and its point at the threshold
    """

    temperatures: Temperatures
    unsure_segment_below: float
    unsure_recording_below: float
    results: dict[str, Scores]
    measures: dict[str, Any]
    bins: dict[str, tuple[Bin, ...]]
    curves: dict[str, tuple[np.ndarray, np.ndarray, tuple[float, float]]]

    @property
    def of_card(self) -> dict[str, Any]:
        """Fields of the card."""
        return {
            "temperature": self.temperatures.without,
            "temperature_with_history": self.temperatures.with_history,
            "unsure_segment_below": self.unsure_segment_below,
            "unsure_recording_below": self.unsure_recording_below,
            "results": {name: asdict(scores) for name, scores in self.results.items()},
            "measures": self.measures,
        }


def measure(held_out: HeldOut, utterances: Sequence[Utterance]) -> Measured:
    """All figures of out-of-fold predictions.

    Parameters
    ----------
    held_out : HeldOut
    utterances : sequence of n utterances
        Utterances of the first corpus.
    """
    labels = held_out.data.material.labels[0]
    raw_clips, raw_segments = clip_answers(held_out), segment_answers(held_out)
    by_fold = {
        fold: _fit(
            {key: asked.of(asked.fold != fold) for key, asked in raw_clips.items()},
            raw_segments.of(raw_segments.fold != fold),
        )
        for fold in np.unique(held_out.data.folds)
    }
    clips = {key: calibrate_by_fold(asked, by_fold) for key, asked in raw_clips.items()}
    segments = calibrate_by_fold(raw_segments, by_fold)
    recordings = _recordings(held_out, segments)
    kinds = {
        words: Answers.joined([clips[line, known] for line in LINES])
        for known, words in (("none", "clips, nothing known"), ("mixed", "clips, 16 others known"))
        if (HEADLINE, known) in clips
    } | {"segments of calls": segments}
    all_segments = Answers.joined(list(kinds.values()))
    bins = {words: reliability(asked.confidence, asked.right) for words, asked in kinds.items()}
    errors = {words: calibration_error(group) for words, group in bins.items()}
    # A recording's confidence is the share of its speech that has the label. It is not a
    # probability, so it has no calibration error, but the picture shows how it relates to accuracy.
    bins["recordings"] = reliability(recordings.confidence, recordings.right)
    thresholds, unsure, curves = {}, {}, {}
    for words, asked in (("segments", all_segments), ("recordings", recordings)):
        thresholds[words] = unsure_below(asked.confidence, asked.right)
        unsure[words] = sure_by_fold(asked)
        coverage, risk, _ = coverage_and_risk(asked.confidence, asked.right)
        place = unsure[words]["sure"], 1 - unsure[words]["right_if_sure"]
        curves[words] = coverage, risk, place
    measures = {
        "groups": _groups(clips, _agreed(held_out, utterances), labels),
        "calibration_error": {
            **errors,
            **{
                f"{CONDITIONS[condition].title}, {KNOWN[known]}": calibration_error(
                    reliability(asked.confidence, asked.right)
                )
                for (condition, known), asked in clips.items()
            },
        },
        "unsure": unsure,
    }
    return Measured(
        temperatures=_fit(raw_clips, raw_segments),
        unsure_segment_below=thresholds["segments"],
        unsure_recording_below=thresholds["recordings"],
        results=_results(clips, segments, held_out, utterances),
        measures=measures,
        bins=bins,
        curves=curves,
    )


def _recordings(held_out: HeldOut, segments: Answers) -> Answers:
    """Answers to calls: the mean over segments of equal weight; the truth is the main emotion."""
    data = held_out.data
    size = (data.called >= 0).sum(axis=1)
    starts = np.cumsum([0, *np.tile(size, len(LINES))[:-1]])
    sums = np.add.reduceat(segments.probabilities, starts, axis=0)
    mean = sums / np.tile(size, len(LINES))[:, None]
    return Answers(
        mean,
        np.tile(data.mood, len(LINES)),
        segments.fold[starts],
        segments.weight[starts],
    )


def _fit(clips: Clips, segments: Answers) -> Temperatures:
    alone = Answers.joined([asked for (_, known), asked in clips.items() if known == "none"])
    known = [asked for (_, known), asked in clips.items() if known == "mixed"]
    related = Answers.joined([*known, segments])
    without = fit_temperature(alone.probabilities, alone.truth)
    return Temperatures(
        without,
        fit_temperature(
            related.probabilities, related.truth, weight=related.weight, without=without
        ),
    )


def _results(
    clips: Clips, segments: Answers, held_out: HeldOut, utterances: Sequence[Utterance]
) -> dict[str, Scores]:
    labels = held_out.data.material.labels[0]
    speaker_of_clip = np.array([utterance.speaker for utterance in utterances])
    agreed = _agreed(held_out, utterances)
    speakers = np.array([utterance.speaker for utterance in agreed])

    def scored(condition: str, known: str, which: np.ndarray, prefix: str = "") -> Scores:
        asked = clips[condition, known].of(which)
        return score(
            asked.truth,
            asked.probabilities,
            labels=labels,
            speakers=speakers[which],
            protocol=f"{prefix}{CONDITIONS[condition].title}, {KNOWN[known]}",
        )

    everybody = np.arange(len(agreed))
    first = [(HEADLINE, "none"), (HEADLINE, "mixed"), ("clean", "none"), ("hard", "none")]
    rest = [
        (condition, known)
        for condition, known in clips
        if known in ("none", "mixed") or condition in ("clean", *LINES)
    ]
    results = {
        f"{condition}_{known}": scored(condition, known, everybody)
        for condition, known in dict.fromkeys([*first, *rest])
        if (condition, known) in clips
    }
    called = held_out.data.called
    results["segments"] = score(
        segments.truth,
        segments.probabilities,
        labels=labels,
        speakers=[*speaker_of_clip[called[called >= 0]]] * len(LINES),
        protocol="segments of calls put together from clips, mu-law and hard line, the call known",
    )
    for sex, people in _SEXES.items():
        which = np.flatnonzero([utterance.sex == sex for utterance in agreed])
        for known in ("none", "mixed"):
            if not len(which) or (HEADLINE, known) not in clips:
                continue
            results[f"{HEADLINE}_{known}_{people}"] = scored(HEADLINE, known, which, f"{people}: ")
    return results


def _agreed(held_out: HeldOut, utterances: Sequence[Utterance]) -> list[Utterance]:
    """The utterances that `clip_answers` has answers to."""
    return [
        utterance
        for utterance, agreed in zip(utterances, held_out.data.tested.agreed, strict=True)
        if agreed
    ]


def _groups(
    clips: Clips, utterances: Sequence[Utterance], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """UAR of each grouping by condition and what is known, and AUC for two groups."""
    from sklearn.metrics import roc_auc_score

    speakers = np.array([utterance.speaker for utterance in utterances])
    rows = []
    for grouping in GROUPINGS:
        names = group_names(labels, grouping)
        if len(names) < 2:
            continue
        for (condition, known), asked in clips.items():
            if condition not in ("clean", *LINES):
                continue
            place = np.array([_place(names, label, grouping) for label in labels])[asked.truth]
            grouped = asked.of(place >= 0)
            truth = place[place >= 0]
            probabilities = group_probabilities(grouped.probabilities, labels, grouping)
            row: dict[str, Any] = {"grouping": grouping, "condition": condition, "known": known}
            if len(names) == 2:
                # One of the groups may have no utterance that annotators agree on.
                if len(np.unique(truth)) == 2:
                    row["auc"] = float(roc_auc_score(truth == 0, probabilities[:, 0]))
                probabilities = _decided(probabilities, truth, grouped.fold)
            scores = score(
                truth, probabilities, labels=names, speakers=speakers[place >= 0], protocol=grouping
            )
            row |= {name: getattr(scores, name) for name in ("uar", "uar_low", "uar_high")}
            rows.append({**row, "groups": list(names)})
    return rows


def _place(names: Sequence[str], label: str, grouping: str) -> int:
    group = GROUPINGS[grouping](label)
    return names.index(group) if group else -1


def _decided(probabilities: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Decide between two groups: the first if its probability exceeds its share in other folds.

    For calibrated probabilities this threshold gives the highest UAR.
    """
    decided = np.zeros_like(probabilities)
    for fold in np.unique(folds):
        own = folds == fold
        first = probabilities[own, 0] >= (truth[~own] == 0).mean()
        decided[own] = np.stack([first, ~first], axis=1)
    return decided
