"""Recipe `calls`: its options, and the training from corpora to a measured network.

The networks of a bundle are trained on all speakers. The figures in its card, its temperatures and
its thresholds come from out-of-fold predictions: for each fold of speakers, networks of the same
settings are trained on the other folds. Temperatures and thresholds, which are fitted to these
predictions, are in turn measured on folds that they were not fitted to.

The first corpus gives the labels and the test. Other corpora add speakers to train on. They have a
softmax of their own, since corpora use the same words for different emotions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ser_core import features
from ser_core.conditions import CONDITIONS, COPIES
from ser_core.corpora import Corpus
from ser_core.errors import TrainingError
from ser_core.models.card import Card
from ser_core.models.history import HISTORY
from ser_core.models.recipes.base import (
    SIMPLER,
    Figures,
    Recipe,
    Trained,
    Work,
    check_choice,
    option,
)
from ser_core.models.recipes.calls.data import FEATURE_SET, HEADLINE, KNOWN, Data, gather
from ser_core.models.recipes.calls.ensemble import Networks
from ser_core.models.recipes.calls.measures import Measured, measure
from ser_core.models.recipes.calls.members import ARCHITECTURES, ENSEMBLE, Member
from ser_core.models.recipes.preparation import (
    LabelledClips,
    count_title,
    describe_corpus,
    library_versions,
    licence_line,
)

_REFERENCE_ROWS = 12
# Chosen on folds 0 to 2: docs/accuracy.md, "When a history is used".
DOUBTED = (0.4, 0.5)
HISTORY_SHARE = 0.75


@dataclass(frozen=True, kw_only=True)
class CallsRecipe(Recipe):
    """Several small networks over `telephone` features; see the package's docstring.

    Parameters
    ----------
    emotions, folds, seed
        As in `Recipe`, for the first corpus. The seed is that of folds, histories, first weights
        and order.
    architecture : str, optional
        One of `ARCHITECTURES`, to train only the members of that kind. All by default.
    noise : Path, optional
        Folder of recorded noises to train with. By default noise is synthesised.
    effort : float > 0
        Factor of the steps of each network, such as 0.1 for a quick trial.
    members : tuple of Member
        The networks that are averaged.
    doubted : two floats
        `Card.history_doubted`.
    history_share : float in (0, 1]
        `Card.history_share`.

    Raises
    ------
    TrainingError
        A value out of bounds.
    """

    name: ClassVar[str] = "calls"
    simpler: ClassVar[str] = SIMPLER

    architecture: str | None = option(
        None,
        "one kind of network: dense over the functionals, convolutional or recurrent over "
        "the picture (default: all, averaged)",
        choices=tuple(ARCHITECTURES),
    )
    noise: Path | None = option(  # noqa: RUF009
        None, "recorded noises to train with", parse=Path, metavar="DIR"
    )
    effort: float = option(
        1.0, "factor of the training steps, such as 0.1 for a quick trial", parse=float, metavar="X"
    )
    members: tuple[Member, ...] = ENSEMBLE
    doubted: tuple[float, float] = DOUBTED
    history_share: float = HISTORY_SHARE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture is not None:
            check_choice("architecture", self.architecture, tuple(ARCHITECTURES))
        if not 0 < self.effort < float("inf"):
            raise TrainingError(f"effort={self.effort!r}: a number above 0 expected")

    @property
    def networks(self) -> tuple[Member, ...]:
        """Members with this recipe's seed and effort."""
        return tuple(
            replace(
                member,
                seed=member.seed + 1_000 * self.seed,
                steps=max(round(member.steps * self.effort), 1),
            )
            for member in self.members
            if self.architecture is None or member.kind == ARCHITECTURES[self.architecture]
        )

    def tested(self, corpora: Sequence[Corpus]) -> Sequence[Corpus]:
        """The first corpus."""
        return corpora[:1]

    def restricted(self, corpora: Sequence[Corpus]) -> tuple[LabelledClips, list[Corpus]]:
        """The tested clips, and the corpora, of which the first has only these clips.

        Raises
        ------
        TrainingError
            Emotions that the first corpus does not have, fewer speakers than folds, or another
            corpus with fewer than two emotions.
        """
        for corpus in corpora[1:]:
            if len(corpus.counts) < 2:
                raise TrainingError(
                    f"{corpus.name}: it has {', '.join(corpus.counts) or 'no utterance'}, and a "
                    "further corpus needs two emotions or more; leave it out, or join it with the "
                    "first one"
                )
        clips = LabelledClips.of(self.tested(corpora), self)
        return clips, [replace(corpora[0], utterances=clips.utterances), *corpora[1:]]

    def gather(self, corpora: Sequence[Corpus], work: Work) -> Data:
        """All data for training and testing, from corpora as `train` takes them."""
        clips, corpora = self.restricted(corpora)
        return gather(clips, corpora, seed=self.seed, noise=self.noise, work=work)

    def train(self, corpora: Sequence[Corpus], work: Work) -> Trained:
        """See `Recipe.train`; the first corpus gives labels and tests."""
        clips, corpora = self.restricted(corpora)
        data = gather(clips, corpora, seed=self.seed, noise=self.noise, work=work)
        networks = Networks(data, self.networks, work)
        measured = measure(networks.held_out(self.doubted, self.history_share), clips.utterances)
        card = Card(
            name="",
            labels=clips.labels,
            feature_set=FEATURE_SET,
            fingerprint=features.get(FEATURE_SET).fingerprint,
            channel_normalisation=HISTORY,
            history_doubted=self.doubted,
            history_share=self.history_share,
            licence=licence_line(corpora),
            corpora=[
                describe_corpus(corpus, labels)
                for corpus, labels in zip(corpora, data.material.labels, strict=True)
            ],
            settings=self._settings(),
            protocol=f"{HEADLINE}_none",
            versions=library_versions(),
            **measured.of_card,
        )
        kept = np.random.default_rng(self.seed).choice(len(clips.utterances), _REFERENCE_ROWS)
        headline = data.tests[list(CONDITIONS).index(HEADLINE)]
        figures = figures_of(measured, clips, corpora[0])
        return Trained(networks.network(None), card, headline[kept], figures)

    def _settings(self) -> dict[str, Any]:
        """The settings for the card."""
        return {
            "recipe": self.name,
            "folds": self.folds,
            "seed": self.seed,
            "effort": self.effort,
            **({"architecture": self.architecture} if self.architecture else {}),
            "noise": self.noise.name if self.noise else None,
            "copies": list(COPIES),
            "history doubted": list(self.doubted),
            "history share": self.history_share,
            "networks": [member.settings for member in self.networks],
        }


def figures_of(measured: Measured, clips: LabelledClips, corpus: Corpus) -> Figures:
    """The figures to draw."""
    results = measured.results
    # If all speakers have a single clip, there are no results with other clips known.
    found = [known for known in ("none", "mixed") if f"{HEADLINE}_{known}" in results]
    errors = measured.measures["calibration_error"]
    return Figures(
        confusion=[results[f"{HEADLINE}_{known}"] for known in found],
        counts=clips.counts,
        counts_title=count_title(clips, [corpus]),
        conditions={
            KNOWN[known]: {
                condition.title: results[f"{name}_{known}"]
                for name, condition in CONDITIONS.items()
            }
            for known in found
        },
        reliability={
            f"{words}\nexpected calibration error {errors[words]:.3f}"
            if words in errors
            else f"{words}\n(a share of the speech)": bins
            for words, bins in measured.bins.items()
        },
        coverage=measured.curves,
    )
