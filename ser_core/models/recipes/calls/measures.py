"""The figures of recipe `calls`, from predictions for speakers and corpora that were held out.

Temperature and thresholds come from whole corpora that were left out of the training, since folds
of one corpus flatter: they share its room, its language and its actors' school. Only where no
corpus can be left out do they come from folds of speakers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ser_core.conditions import CONDITIONS
from ser_core.emotions import GROUPINGS, group_names, group_probabilities
from ser_core.models.calibration import (
    Bin,
    calibrate,
    calibration_error,
    coverage_and_risk,
    fit_temperature,
    reliability,
    unsure_below,
)
from ser_core.models.recipes.base import Curve
from ser_core.models.recipes.calls.data import HEADLINE, Clips
from ser_core.models.scores import Scores, score

ALONE, ADAPTED = "alone", "adapted"
# The last part of the keys of tests on speakers that were held out, fold by fold.
FOLDS = "folds"
# The share of false alarms at which the calls that are found are counted.
FALSE_ALARMS = 0.05
# A made-up recording has at most this many clips of one speaker in one mood.
_CLIPS_OF_RECORDING = 4
# Each test counts alike in the fit of the temperature, by at most so many clips.
_CLIPS_OF_TEST = 1_000


@dataclass(frozen=True)
class Predictions:
    """Predictions for clips that a classifier had not heard, not calibrated.

    Parameters
    ----------
    corpus : str
    condition : str
        One of `conditions.CONDITIONS`.
    known : str
        `ALONE`, or `ADAPTED` to the tested clips of the corpus.
    clips : Clips
    probabilities : np.ndarray [shape=(n, k)], float32
        Over the labels of the corpus only: zero for others.
    unheard : bool
        Whether nothing of the corpus was trained on. Otherwise its other speakers were.
    """

    corpus: str
    condition: str
    known: str
    clips: Clips
    probabilities: np.ndarray
    unheard: bool

    @property
    def key(self) -> str:
        """Key of the result in the card, such as `emodb_mulaw_adapted` or `cremad_clean_folds`."""
        last = self.known if self.unheard else FOLDS
        return f"{key_of(self.corpus)}_{self.condition}_{last}"

    @property
    def title(self) -> str:
        """What is tested, in words."""
        who = "never heard" if self.unheard else "new speakers"
        adapted = ", adapted" if self.known == ADAPTED else ""
        return f"{self.corpus} ({who}), {CONDITIONS[self.condition].title}{adapted}"

    def calibrated(self, temperature: float) -> Predictions:
        """The same with calibrated probabilities."""
        return replace(self, probabilities=calibrate(self.probabilities, temperature))

    def score(self, labels: Sequence[str]) -> Scores:
        """Scores of the test."""
        return score(
            self.clips.truth,
            self.probabilities,
            labels=labels,
            speakers=self.clips.speakers,
            protocol=self.title,
        )


def key_of(corpus: str) -> str:
    """A corpus's name in the keys of results."""
    return "".join(letter for letter in corpus.lower() if letter.isalnum())


@dataclass(frozen=True)
class Measured:
    """All figures of a training.

    Parameters
    ----------
    temperature, unsure_segment_below, unsure_recording_below : float
    results : mapping of key to Scores
        The headline first.
    measures : mapping
        Figures of questions, calibration and thresholds; for the card.
    bins : mapping of words to the bins of a reliability picture
    curves : mapping of words to a risk-coverage curve, and its point at the threshold
    outputs : np.ndarray [shape=(n, k)]
        Calibrated probabilities of all tests under `HEADLINE`.
    """

    temperature: float
    unsure_segment_below: float
    unsure_recording_below: float
    results: Mapping[str, Scores]
    measures: Mapping[str, Any]
    bins: Mapping[str, tuple[Bin, ...]]
    curves: Mapping[str, Curve]
    outputs: np.ndarray

    @property
    def of_card(self) -> dict[str, Any]:
        """Fields of the card."""
        return {
            "temperature": self.temperature,
            "unsure_segment_below": self.unsure_segment_below,
            "unsure_recording_below": self.unsure_recording_below,
            "protocol": next(iter(self.results)),
            "results": {name: asdict(scores) for name, scores in self.results.items()},
            "measures": self.measures,
        }


def measure(tests: Sequence[Predictions], labels: Sequence[str]) -> Measured:
    """All figures of tests; at least one of them under `HEADLINE`.

    Parameters
    ----------
    tests : sequence of Predictions
    labels : sequence of k str
    """
    any_unheard = any(test.unheard for test in tests)
    unheard = [test for test in tests if test.unheard] or list(tests)
    temperature = fit_temperature(*_joined(unheard))
    tests = [test.calibrated(temperature) for test in tests]
    unheard = [test for test in tests if test.unheard] or tests
    # The figure to look at first: a corpus that was never heard, on a telephone line.
    tests = sorted(tests, key=lambda test: (not test.unheard, test.condition != HEADLINE))
    confidence, right = _confidence(unheard)
    segments_below = unsure_below(confidence, right)
    whole = [_recordings(test) for test in unheard]
    recordings_below = unsure_below(*_confidence(whole))
    kinds = {
        f"{known}, corpora never heard": [t for t in tests if t.unheard and t.known == known]
        for known in (ALONE, ADAPTED)
    } | {"new speakers of corpora it knows": [t for t in tests if not t.unheard]}
    kinds = {words: found for words, found in kinds.items() if found}
    bins = {words: reliability(*_confidence(found)) for words, found in kinds.items()}
    errors = {words: calibration_error(found) for words, found in bins.items()}
    unsure, curves = {}, {}
    for words, asked, below in (
        ("segments", unheard, segments_below),
        ("recordings", whole, recordings_below),
    ):
        unsure[words] = _sure(*_confidence(asked), below)
        coverage, risk, _ = coverage_and_risk(*_confidence(asked))
        curves[words] = coverage, risk, (unsure[words]["sure"], 1 - unsure[words]["right_if_sure"])
    return Measured(
        temperature=temperature,
        unsure_segment_below=segments_below,
        unsure_recording_below=recordings_below,
        results={test.key: test.score(labels) for test in tests},
        measures={
            "questions": _questions(tests, labels),
            "calibration_error": errors
            | {test.title: calibration_error(reliability(*_confidence([test]))) for test in tests},
            "unsure": unsure,
            "fitted_to": "corpora that were left out of the training"
            if any_unheard
            else "speakers that were held out",
        },
        bins=bins,
        curves=curves,
        outputs=np.concatenate([t.probabilities for t in tests if t.condition == HEADLINE]),
    )


def _joined(tests: Iterable[Predictions]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and truth of tests, of each the same number of clips at most."""
    probabilities, truth = [], []
    for test in tests:
        step = -(-len(test.clips.truth) // _CLIPS_OF_TEST)
        probabilities.append(test.probabilities[::step])
        truth.append(test.clips.truth[::step])
    return np.concatenate(probabilities), np.concatenate(truth)


def _confidence(tests: Iterable[Predictions]) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of the predictions, and whether they are right."""
    probabilities, truth = _joined(tests)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == truth


def _recordings(test: Predictions) -> Predictions:
    """Recordings put together from clips of one speaker in one mood: mean probabilities."""
    count: dict[tuple[str, int], int] = {}
    places: dict[tuple[str, int, int], list[int]] = {}
    for row, key in enumerate(zip(test.clips.speakers, test.clips.truth, strict=True)):
        number = count[key] = count.get(key, -1) + 1
        places.setdefault((*key, number // _CLIPS_OF_RECORDING), []).append(row)
    first = np.array([rows[0] for rows in places.values()])
    mean = np.stack([test.probabilities[rows].mean(axis=0) for rows in places.values()])
    return replace(test, clips=test.clips.of(first), probabilities=mean)


def _sure(confidence: np.ndarray, right: np.ndarray, below: float) -> dict[str, float]:
    sure = confidence >= below
    return {
        "sure": float(sure.mean()),
        "right_if_sure": float(right[sure].mean()) if sure.any() else 1.0,
        "right": float(right.mean()),
    }


def _questions(tests: Sequence[Predictions], labels: Sequence[str]) -> list[dict[str, Any]]:
    """What call centres ask, for each test: AUC, and what is found at few false alarms.

    The threshold is that of the test itself, so `found` is a point of its ROC curve.
    """
    from sklearn.metrics import roc_auc_score

    rows = []
    for grouping in GROUPINGS:
        names = group_names(labels, grouping)
        if len(names) != 2 or names[1] != "other":
            continue
        place = np.array([names.index(GROUPINGS[grouping](label) or "other") for label in labels])
        for test in tests:
            truth = place[test.clips.truth] == 0
            if not 0 < truth.sum() < len(truth):
                continue
            asked = group_probabilities(test.probabilities, labels, grouping)[:, 0]
            threshold = float(np.quantile(asked[~truth], 1 - FALSE_ALARMS))
            rows.append(
                {
                    "grouping": grouping,
                    "test": test.title,
                    "auc": float(roc_auc_score(truth, asked)),
                    "threshold": threshold,
                    "found": float((asked[truth] > threshold).mean()),
                    "false_alarms": FALSE_ALARMS,
                }
            )
    return rows
