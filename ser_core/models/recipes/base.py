"""The protocol of recipes: options declared as data, and a training that returns a bundle's parts.

A recipe is a frozen dataclass derived from `Recipe`. A field made by `option` is also an option of
`ser train`. Values are checked when a recipe is made. `Recipe.train` writes and draws nothing: it
returns the network, the card and the figures (`Trained`), and `ser_core.training` does the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ser_core.corpora import Corpus, Utterance, vectors
from ser_core.corpora.corpus import Progress
from ser_core.emotions import check_labels
from ser_core.errors import SerError, TrainingError
from ser_core.models.calibration import Bin
from ser_core.models.card import Card
from ser_core.models.scores import Scores

# Advice for few labels.
SIMPLER = (
    "few labels teach little from scratch: --from calls starts from a trained model and stays near "
    "it where the labels do not help"
)
Say = Callable[[str], None]
# Coverage, risk, and the point of both at the threshold for `unsure`.
Curve = tuple[np.ndarray, np.ndarray, tuple[float, float]]


@dataclass(frozen=True)
class Option:
    """The option of `ser train` for a field of a recipe.

    Parameters
    ----------
    help : str
        Help text.
    parse : callable
        From text to a value; raises `ValueError` or `argparse.ArgumentTypeError`.
    metavar : str, optional
    choices : tuple of str, optional
    flag : str, optional
        Such as `--from`; by default the field's name.
    name : str
        Name of the field; filled in by `own_options` and `common_options`.
    """

    help: str
    parse: Callable[[str], Any] = str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    flag: str = ""
    name: str = ""


def option(default: Any = MISSING, help: str = "", **about: Any) -> Any:
    """A field of a recipe that is also an option; `about` are further fields of `Option`."""
    return field(default=default, metadata={"option": Option(help, **about)})


def common_options() -> list[Option]:
    """The options that every recipe has."""
    return _options(fields(Recipe))


def own_options(recipe: type[Recipe]) -> list[Option]:
    """The options of one recipe, without those that every recipe has."""
    common = {item.name for item in fields(Recipe)}
    return _options(item for item in fields(recipe) if item.name not in common)


def _options(items: Iterable[Field]) -> list[Option]:
    return [
        replace(
            item.metadata["option"],
            name=item.name,
            flag=item.metadata["option"].flag or f"--{item.name.replace('_', '-')}",
        )
        for item in items
        if "option" in item.metadata
    ]


def words(text: str) -> tuple[str, ...]:
    """Words separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas.

    Raises
    ------
    argparse.ArgumentTypeError
        The text is something else.
    """
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} found, whole numbers such as 386,193,96 expected"
        ) from None


@dataclass(frozen=True)
class Work:
    """Processes, cache and progress of a training.

    Parameters
    ----------
    jobs : int >= 1, optional
        Processes of one thread each; one per core by default.
    cache : Path, optional
        Where vectors are kept; see `ser_core.corpora.vectors.cache_folder`.
    progress : callable, optional
        Called with a stage, the work done in it, and its total.
    say : callable, optional
        Called with lines for the user.
    """

    jobs: int | None = None
    cache: Path | None = None
    progress: Progress | None = None
    say: Say | None = None

    def extract(
        self,
        utterances: Sequence[Utterance],
        feature_set: str,
        condition: str = "clean",
        noise: Path | None = None,
    ) -> np.ndarray:
        """Vectors of utterances under a condition; see `ser_core.corpora.vectors.extract`."""
        return vectors.extract(
            utterances, feature_set, condition=condition, noise=noise, jobs=self.jobs,
            cache=self.cache, progress=self.progress,
        )  # fmt: skip

    def report(self, stage: str, done: int, total: int) -> None:
        """Report progress, if there is a callback."""
        if self.progress:
            self.progress(stage, done, total)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of a training to draw; see `ser_core.report.training_pictures.draw`.

    Parameters
    ----------
    confusion : sequence of Scores
        Tests whose confusion matrices are drawn.
    counts : mapping of label to int
        Utterances of each label.
    counts_title : str
    learning_curves : tuple of a title and the curves by name, optional
    conditions : mapping of what is known to a mapping of condition to Scores, optional
    reliability : mapping of words to bins, optional
    coverage : mapping of words to a risk-coverage curve, optional
    """

    confusion: Sequence[Scores]
    counts: Mapping[str, int]
    counts_title: str
    learning_curves: tuple[str, Mapping[str, Sequence[float]]] | None = None
    conditions: Mapping[str, Mapping[str, Scores]] | None = None
    reliability: Mapping[str, Sequence[Bin]] | None = None
    coverage: Mapping[str, Curve] | None = None


@dataclass(frozen=True)
class Trained:
    """The parts of a bundle that a training returns.

    Parameters
    ----------
    model : keras.Model
        Not compiled.
    card : Card
        Its name is still empty: a bundle is named after its folder.
    inputs : np.ndarray [shape=(m, d)]
        A few vectors for the bundle's reference answers.
    figures : Figures
    reference : mapping of str to np.ndarray
        Further arrays for `reference.npz`: `feature_mean` and `feature_std` [d] let the bundle be
        adapted to an archive.
    """

    model: Any
    card: Card
    inputs: np.ndarray
    figures: Figures
    reference: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """A way to train a bundle, with the options that every recipe has.

    Parameters
    ----------
    emotions : tuple of str, optional
        Train on these only; on all by default.
    folds : int >= 2
        Number of folds of speakers.
    seed : int >= 0
        Seed of all random numbers.

    Raises
    ------
    TrainingError
        A value out of bounds.
    """

    name: ClassVar[str]
    # Advice for few labels; empty if the recipe is meant for them.
    simpler: ClassVar[str] = ""

    emotions: tuple[str, ...] | None = option(
        None, "emotions to train on (default: all)", parse=words, metavar="A,B,…"
    )
    folds: int = option(
        6, "folds of speakers (default: 6, or one per speaker if there are fewer)", parse=int,
        metavar="N",
    )  # fmt: skip
    seed: int = option(0, "random seed (default: 0)", parse=int, metavar="N")

    def __post_init__(self) -> None:
        check_whole("folds", self.folds, 2)
        check_whole("seed", self.seed, 0)
        check_emotions(self.emotions)

    def tested(self, corpora: Sequence[Corpus]) -> Sequence[Corpus]:
        """The corpora that give the labels and the test."""
        return corpora

    def warnings(self, corpora: Sequence[Corpus]) -> list[str]:
        """Warnings about options and corpora before the training."""
        return []

    @abstractmethod
    def train(self, corpora: Sequence[Corpus], work: Work) -> Trained:
        """Train and measure a network.

        Parameters
        ----------
        corpora : sequence of Corpus
            At least one.
        work : Work

        Raises
        ------
        TrainingError
            Emotions that the corpora don't have, fewer speakers than folds, or a training that
            diverged.
        CorpusError
            Files that cannot be read: all of them.
        BundleError
            A bundle to start from that cannot be loaded.
        """


def check_emotions(emotions: Sequence[str] | None) -> None:
    """Refuse emotions that are not a label set; None stands for all."""
    if emotions is not None:
        try:
            check_labels(emotions)
        except SerError as error:
            raise TrainingError(f"emotions: {error}") from None


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a value that is not among the choices."""
    if value not in choices:
        raise TrainingError(f"{name}={value!r}: one of {', '.join(choices)} expected")


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse a value that is not a whole number, or less than `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TrainingError(f"{name}={value!r}: a whole number, {least} or more, expected")
