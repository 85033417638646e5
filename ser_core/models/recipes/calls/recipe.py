"""Recipe `calls`: its options, and the training from corpora to a measured bundle.

The classifier of the bundle is trained on all clips. The figures in its card come from others of
the same settings: for each corpus, one that has heard nothing of it (`unheard`), and for folds of
speakers of the first corpus, one that has not heard these speakers.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ser_core import features
from ser_core.conditions import CONDITIONS
from ser_core.corpora import Corpus, open_corpus
from ser_core.errors import TrainingError
from ser_core.models.archive import MIN_ROWS, TRAINING
from ser_core.models.card import Card
from ser_core.models.provenance import describe_training
from ser_core.models.recipes.base import SIMPLER, Figures, Recipe, Trained, Work, option
from ser_core.models.recipes.calls.data import (
    CHOSEN_ON,
    COPIES,
    HEADLINE,
    INTENDED,
    NEUTRAL_ARCHIVE,
    SPREAD_TRUST,
    TESTED,
    WHOLE,
    Classifier,
    Clips,
    gather,
    to_label_space,
    train,
    trained_conditions,
    without_speakers,
)
from ser_core.models.recipes.calls.measures import (
    ADAPTED,
    ALONE,
    Measured,
    Predictions,
    key_of,
    measure,
)
from ser_core.models.recipes.preparation import (
    LabelledClips,
    count_title,
    describe_corpus,
    first_look,
    library_versions,
    licence_line,
)

_REFERENCE_ROWS = 12
# Probabilities of a corpus's own labels are at least this before they are divided by their sum.
_SMALLEST = 1e-30
# A corpus is left out for a test only if the others keep this share of all speakers. With less,
# another model is tested than the one that is made.
_SHARE_LEFT = 0.5


def named_folders(text: str) -> tuple[tuple[str, Path], ...]:
    """`NAME=DIR` pairs separated by commas.

    Raises
    ------
    argparse.ArgumentTypeError
        The text is something else.
    """
    pairs = tuple(tuple(word.partition("=")[::2]) for word in text.split(","))
    if not all(name and folder for name, folder in pairs):
        raise ArgumentTypeError(f"{text!r} found, NAME=DIR expected, such as emovo=EMOVO")
    return tuple((name, Path(folder)) for name, folder in pairs)


@dataclass(frozen=True, kw_only=True)
class CallsRecipe(Recipe):
    """A linear classifier over one segment's features; see the package's docstring.

    Parameters
    ----------
    emotions, folds, seed
        As in `Recipe`, for the first corpus. The seed is that of the folds.
    feature_set : str
        Name of a registered feature set.
    unheard : tuple of (name, folder)
        Corpora that are never trained on, to measure on and to set temperature and thresholds by.
    decay : float > 0
        Strength of the penalty; see `head.fit`.
    copies : float >= 0
        How much each copy of a clip with noise counts beside the clip. One over a bad line counts
        three times as much.
    spread_trust : float > 0
        How much the standard deviation of a feature over a clip counts beside its mean.
    neutral_archive : float >= 0
        How much clips count that are seen as those of a mostly neutral archive.
    noise : Path, optional
        Folder of recorded noises to train with. By default noise is synthesised.

    Raises
    ------
    TrainingError
        A value out of bounds.
    FeatureError
        No feature set of that name.
    """

    name: ClassVar[str] = "calls"
    simpler: ClassVar[str] = SIMPLER

    feature_set: str = option(
        "voice",
        "feature set, such as voice or telephone; also of recipe seed (default: voice, of recipe "
        "seed seed193)",
        metavar="NAME",
    )
    unheard: tuple[tuple[str, Path], ...] = option(
        (),
        "corpora to measure and calibrate on, which are never trained on",
        parse=named_folders,
        metavar="NAME=DIR,…",
    )
    decay: float = option(
        0.02, "strength of the L2 penalty on the weights (default: 0.02)", parse=float, metavar="X"
    )
    copies: float = option(
        COPIES,
        "how much each copy with noise counts beside the clip over mu-law, and a third of what one "
        f"over a bad line does: more for bad lines, less for good ones (default: {COPIES})",
        parse=float,
        metavar="X",
    )
    spread_trust: float = option(
        SPREAD_TRUST,
        "how much standard deviations over a clip count beside means: less for voices and rooms "
        f"never heard, 1 for those of the training (default: {SPREAD_TRUST})",
        parse=float,
        metavar="X",
    )
    neutral_archive: float = option(
        NEUTRAL_ARCHIVE,
        "how much clips count, beside those of a balanced archive, that are seen as those of a "
        f"mostly neutral one; 0 where emotions are balanced (default: {NEUTRAL_ARCHIVE})",
        parse=float,
        metavar="X",
    )
    noise: Path | None = option(  # noqa: RUF009
        None, "recorded noises to train with (default: synthetic noise)", parse=Path, metavar="DIR"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("decay", "spread_trust"):
            if not 0 < (value := getattr(self, name)) < float("inf"):
                raise TrainingError(f"{name}={value!r}: a number above 0 expected")
        for name in ("copies", "neutral_archive"):
            if not 0 <= (value := getattr(self, name)) < float("inf"):
                raise TrainingError(f"{name}={value!r}: 0 or a number above it expected")
        features.get(self.feature_set)

    def tested(self, corpora: Sequence[Corpus]) -> Sequence[Corpus]:
        """The first corpus, whose labels and folds these are."""
        return corpora[:1]

    def train(self, corpora: Sequence[Corpus], work: Work) -> Trained:
        """See `Recipe.train`; the first corpus gives the labels."""
        first = LabelledClips.of(self.tested(corpora), self)
        held = [open_corpus(name, folder) for name, folder in self.unheard]
        _check_names([*corpora, *held])
        # The first corpus has just the emotions that were asked for.
        corpora = [corpora[0], *(to_label_space(corpus, first.labels) for corpus in corpora[1:])]
        left_out = _left_out(corpora)
        parts = [
            self._gather(
                corpus,
                first.labels,
                self._conditions(is_tested=place in left_out or not left_out),
                work,
            )
            for place, corpus in enumerate(corpora)
        ]
        others = [
            self._gather(to_label_space(corpus, first.labels), first.labels, TESTED, work)
            for corpus in held
        ]
        classifier = self._fit(parts)
        tests = [
            *(test for clips in others for test in run_tests(classifier, clips, unheard=True)),
            *self._test_left_out(parts, left_out, work),
            *self._test_folds(parts, first, work),
        ]
        measured = measure(tests, first.labels)
        normal = classifier.normal
        heard = [utterance for part in parts for utterance in part.utterances]
        trained_on = np.concatenate(
            [part.vectors[name] for part in parts for name in self._trained]
        )
        provenance = describe_training(heard, trained_on, measured.outputs)
        card = Card(
            name="",
            labels=first.labels,
            feature_set=self.feature_set,
            fingerprint=features.get(self.feature_set).fingerprint,
            licence=licence_line(corpora),
            corpora=[describe_corpus(corpus, first.labels) for corpus in corpora],
            settings=self._settings(),
            versions=library_versions(),
            **measured.of_card,
        )
        kept = np.random.default_rng(self.seed).choice(len(parts[0].truth), _REFERENCE_ROWS)
        return Trained(
            classifier.head.as_network(normal.mean, normal.std),
            card,
            parts[0].vectors[HEADLINE][kept],
            figures_of(measured, first, corpora[0]),
            dict(zip(TRAINING, (normal.mean, normal.std), strict=True)) | provenance.arrays(),
        )

    def _gather(
        self, corpus: Corpus, labels: Sequence[str], conditions: Sequence[str], work: Work
    ) -> Clips:
        return gather(corpus, labels, self.feature_set, conditions, work, self.noise)

    @property
    def _trained(self) -> dict[str, float]:
        return trained_conditions(self.copies)

    def _conditions(self, *, is_tested: bool) -> tuple[str, ...]:
        """The conditions that a corpus is needed under."""
        return tuple(dict.fromkeys((*self._trained, *(TESTED if is_tested else ()))))

    def _fit(self, parts: Sequence[Clips]) -> Classifier:
        return train(
            parts,
            decay=self.decay,
            conditions=self._trained,
            spread_trust=self.spread_trust,
            neutral_archive=self.neutral_archive,
        )

    def _test_left_out(
        self, parts: Sequence[Clips], left_out: Sequence[int], work: Work
    ) -> list[Predictions]:
        """Tests on corpora that are left out of the training one by one."""
        tests: list[Predictions] = []
        for number, place in enumerate(left_out):
            others = [part for other, part in enumerate(parts) if other != place]
            rest = without_speakers(others, set(parts[place].speakers))
            if rest:
                classifier = self._fit(rest)
                tests += run_tests(classifier, parts[place], unheard=True)
            work.report("corpora left out", number + 1, len(left_out))
        return tests

    def _test_folds(
        self, parts: Sequence[Clips], first: LabelledClips, work: Work
    ) -> list[Predictions]:
        """Tests on speakers of the first corpus that are held out, fold by fold."""
        tests: list[list[Predictions]] = []
        for fold in range(self.folds):
            out = first.folds == fold
            rest = without_speakers(parts, set(parts[0].speakers[out]))
            classifier = self._fit(rest)
            tests.append(run_tests(classifier, parts[0].of(out), unheard=False))
            if fold == 0 and work.say:
                headline = next(test for test in tests[0] if test.condition == HEADLINE)
                work.say(first_look(headline.clips.truth, headline.probabilities, self.folds))
            work.report("folds", fold + 1, self.folds)
        return [
            replace(
                same[0],
                clips=_joined([test.clips for test in same]),
                probabilities=np.concatenate([test.probabilities for test in same]),
            )
            for same in zip(*tests, strict=True)
        ]

    def _settings(self) -> dict[str, Any]:
        """The settings for the card."""
        return {
            "recipe": self.name,
            "folds": self.folds,
            "seed": self.seed,
            "decay": self.decay,
            "noise": self.noise.name if self.noise else None,
            "trained on": list(self._trained),
            "copies": self.copies,
            "whole clips": WHOLE,
            "trust in standard deviations": self.spread_trust,
            "weight in a neutral archive": self.neutral_archive,
            "share of the intended emotion": INTENDED,
            "measured on": [name for name, _ in self.unheard],
            "settings chosen on": CHOSEN_ON,
        }


def _check_names(corpora: Sequence[Corpus]) -> None:
    """Refuse corpora whose results would have one key, or that are trained on and unheard."""
    names: dict[str, str] = {}
    for corpus in corpora:
        key = key_of(corpus.name)
        if key in names:
            raise TrainingError(
                f"two corpora are called {names[key]}, among those to train on and those of "
                "--unheard; give each once, and rename the file of one if two have one name"
            )
        names[key] = corpus.name


def _left_out(corpora: Sequence[Corpus]) -> list[int]:
    """Places of the corpora that are left out one by one for a test."""
    speakers = [len({utterance.speaker for utterance in c.utterances}) for c in corpora]
    most = (1 - _SHARE_LEFT) * sum(speakers)
    return [place for place, count in enumerate(speakers) if count <= most]


def run_tests(classifier: Classifier, clips: Clips, *, unheard: bool) -> list[Predictions]:
    """Tests of a classifier on clips under `TESTED`: alone, and adapted to a corpus unheard."""
    agreed = clips.of(clips.agreed)
    tests: list[Predictions] = []
    if not len(agreed.truth):
        return tests
    for condition in (name for name in TESTED if name in clips.vectors):
        vectors = agreed.vectors[condition]
        answers = {ALONE: classifier.alone(vectors)}
        if unheard and len(vectors) >= MIN_ROWS:
            answers[ADAPTED] = classifier.adapted(vectors)
        for known, probabilities in answers.items():
            possible = np.maximum(probabilities, _SMALLEST) * clips.allowed
            possible /= possible.sum(axis=1, keepdims=True)
            tests.append(Predictions(clips.name, condition, known, agreed, possible, unheard))
    return tests


def _joined(parts: Sequence[Clips]) -> Clips:
    """Parts of one corpus as a whole."""
    return Clips(
        parts[0].name,
        parts[0].names,
        tuple(utterance for part in parts for utterance in part.utterances),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.targets for part in parts]),
        parts[0].allowed,
        {},
    )


def figures_of(measured: Measured, first: LabelledClips, corpus: Corpus) -> Figures:
    """The figures to draw."""
    by_known: dict[str, dict[str, Any]] = {}
    for key, scores in measured.results.items():
        _, condition, known = key.rsplit("_", 2)
        corpus_name, _, _ = scores.protocol.partition(" (")
        by_known.setdefault(f"{corpus_name}, {known}", {})[CONDITIONS[condition].title] = scores
    by_known = {name: found for name, found in by_known.items() if len(found) == len(TESTED)}
    errors = measured.measures["calibration_error"]
    return Figures(
        confusion=list(measured.results.values())[:2],
        counts=first.counts,
        counts_title=count_title(first, [corpus]),
        conditions=by_known or None,
        reliability={
            f"{words}\nexpected calibration error {errors[words]:.3f}": bins
            for words, bins in measured.bins.items()
        },
        coverage=measured.curves,
    )
