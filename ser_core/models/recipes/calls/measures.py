"""The figures of recipe `calls`: from answers about unheard speakers to what a card says.

What is fitted to those answers (temperatures, thresholds) is fitted to all of them for the
bundle; for the figures, to every fold but the one that it is tested on.
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
    Asked,
    Clips,
    Temperatures,
    calibrated,
    clips_of,
    segments_of,
    sure_by_fold,
)
from ser_core.models.recipes.calls.data import HEADLINE, KNOWN, LINES
from ser_core.models.recipes.calls.held_out import HeldOut
from ser_core.models.scores import Scores, score

_SEXES = {"male": "men", "female": "women"}


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Parameters
    ----------
    temperatures : Temperatures
    unsure_segment_below, unsure_recording_below : float
    results : mapping of condition_known to Scores
    measures : mapping
        Groups, calibration, and what the thresholds do; for the card.
    bins : mapping of words to the bins of a reliability picture
    curves : mapping of words to coverage, risk, and both at the threshold
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
    """All figures of answers by networks that had not heard the speakers.

    Parameters
    ----------
    held_out : HeldOut
    utterances : sequence of n utterances
        Of the first corpus.
    """
    labels = held_out.data.material.labels[0]
    raw_clips, raw_segments = clips_of(held_out), segments_of(held_out)
    by_fold = {
        fold: _fit(
            {key: one.of(one.fold != fold) for key, one in raw_clips.items()},
            raw_segments.of(raw_segments.fold != fold),
        )
        for fold in np.unique(held_out.data.folds)
    }
    clips = {key: calibrated(one, by_fold) for key, one in raw_clips.items()}
    segments = calibrated(raw_segments, by_fold)
    recordings = _recordings(held_out, segments)
    kinds = {
        said: Asked.joined([clips[line, known] for line in LINES])
        for known, said in (("none", "clips, nothing known"), ("mixed", "clips, 16 others known"))
        if (HEADLINE, known) in clips
    } | {"segments of calls": segments}
    every_segment = Asked.joined(list(kinds.values()))
    bins = {said: reliability(one.confidence, one.right) for said, one in kinds.items()}
    errors = {said: calibration_error(some) for said, some in bins.items()}
    # A recording's confidence is the share of its speech that has the label: nothing to add to
    # the errors, but people should see how it relates to being right.
    bins["recordings"] = reliability(recordings.confidence, recordings.right)
    thresholds, unsure, curves = {}, {}, {}
    for said, one in (("segments", every_segment), ("recordings", recordings)):
        thresholds[said] = unsure_below(one.confidence, one.right)
        unsure[said] = sure_by_fold(one)
        coverage, risk, _ = coverage_and_risk(one.confidence, one.right)
        place = unsure[said]["sure"], 1 - unsure[said]["right_if_sure"]
        curves[said] = coverage, risk, place
    measures = {
        "groups": _groups(clips, _agreed(held_out, utterances), labels),
        "calibration_error": {
            **errors,
            **{
                f"{CONDITIONS[condition].title}, {KNOWN[known]}": calibration_error(
                    reliability(one.confidence, one.right)
                )
                for (condition, known), one in clips.items()
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


def _recordings(held_out: HeldOut, segments: Asked) -> Asked:
    """Calls: the mean over segments, which count alike, and the mood that most of them have."""
    data = held_out.data
    size = (data.called >= 0).sum(axis=1)
    starts = np.cumsum([0, *np.tile(size, len(LINES))[:-1]])
    sums = np.add.reduceat(segments.probabilities, starts, axis=0)
    mean = sums / np.tile(size, len(LINES))[:, None]
    return Asked(
        mean,
        np.tile(data.mood, len(LINES)),
        segments.fold[starts],
        segments.weight[starts],
    )


def _fit(clips: Clips, segments: Asked) -> Temperatures:
    alone = Asked.joined([one for (_, known), one in clips.items() if known == "none"])
    known = [one for (_, known), one in clips.items() if known == "mixed"]
    related = Asked.joined([*known, segments])
    without = fit_temperature(alone.probabilities, alone.truth)
    return Temperatures(
        without,
        fit_temperature(
            related.probabilities, related.truth, weight=related.weight, without=without
        ),
    )


def _results(
    clips: Clips, segments: Asked, held_out: HeldOut, utterances: Sequence[Utterance]
) -> dict[str, Scores]:
    labels = held_out.data.material.labels[0]
    every_speaker = np.array([one.speaker for one in utterances])
    agreed = _agreed(held_out, utterances)
    speakers = np.array([one.speaker for one in agreed])

    def scored(condition: str, known: str, which: np.ndarray, said: str = "") -> Scores:
        one = clips[condition, known].of(which)
        return score(
            one.truth,
            one.probabilities,
            labels=labels,
            speakers=speakers[which],
            protocol=f"{said}{CONDITIONS[condition].title}, {KNOWN[known]}",
        )

    every = np.arange(len(agreed))
    first = [(HEADLINE, "none"), (HEADLINE, "mixed"), ("clean", "none"), ("hard", "none")]
    rest = [
        (condition, known)
        for condition, known in clips
        if known in ("none", "mixed") or condition in ("clean", *LINES)
    ]
    results = {
        f"{condition}_{known}": scored(condition, known, every)
        for condition, known in dict.fromkeys([*first, *rest])
        if (condition, known) in clips
    }
    called = held_out.data.called
    results["segments"] = score(
        segments.truth,
        segments.probabilities,
        labels=labels,
        speakers=[*every_speaker[called[called >= 0]]] * len(LINES),
        protocol="segments of calls put together from clips, mu-law and hard line, the call known",
    )
    for sex, said in _SEXES.items():
        which = np.flatnonzero([one.sex == sex for one in agreed])
        for known in ("none", "mixed"):
            if not len(which) or (HEADLINE, known) not in clips:
                continue
            results[f"{HEADLINE}_{known}_{said}"] = scored(HEADLINE, known, which, f"{said}: ")
    return results


def _agreed(held_out: HeldOut, utterances: Sequence[Utterance]) -> list[Utterance]:
    """Those that `clips_of` has answers of."""
    return [
        one for one, asked in zip(utterances, held_out.data.tested.agreed, strict=True) if asked
    ]


def _groups(
    clips: Clips, utterances: Sequence[Utterance], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Of each grouping what a call centre asks: UAR, and AUC where there are two groups."""
    from sklearn.metrics import roc_auc_score

    speakers = np.array([one.speaker for one in utterances])
    told = []
    for grouping in GROUPINGS:
        names = group_names(labels, grouping)
        if len(names) < 2:
            continue
        for (condition, known), one in clips.items():
            if condition not in ("clean", *LINES):
                continue
            place = np.array([_place(names, label, grouping) for label in labels])[one.truth]
            some = one.of(place >= 0)
            truth = place[place >= 0]
            odds = group_probabilities(some.probabilities, labels, grouping)
            row: dict[str, Any] = {"grouping": grouping, "condition": condition, "known": known}
            if len(names) == 2:
                # Of one group alone there may be nothing that annotators agree on.
                if len(np.unique(truth)) == 2:
                    row["auc"] = float(roc_auc_score(truth == 0, odds[:, 0]))
                odds = _decided(odds, truth, some.fold)
            scores = score(
                truth, odds, labels=names, speakers=speakers[place >= 0], protocol=grouping
            )
            row |= {name: getattr(scores, name) for name in ("uar", "uar_low", "uar_high")}
            told.append({**row, "groups": list(names)})
    return told


def _place(names: Sequence[str], label: str, grouping: str) -> int:
    group = GROUPINGS[grouping](label)
    return names.index(group) if group else -1


def _decided(odds: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """One of two groups for each row: the first where it is likelier than it is common elsewhere.

    For calibrated probabilities that is the threshold of the highest UAR.
    """
    decided = np.zeros_like(odds)
    for fold in np.unique(folds):
        own = folds == fold
        first = odds[own, 0] >= (truth[~own] == 0).mean()
        decided[own] = np.stack([first, ~first], axis=1)
    return decided
