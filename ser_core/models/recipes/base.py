"""What a recipe is: its options, declared as data, and a training that gives a bundle's parts.

A recipe is a frozen dataclass. A field made by `option` is an option of the command line, too; its
value is checked when the recipe is made. `Recipe.train` writes nothing and draws nothing: it gives
the network, the card, and what was measured (`Trained`), and the caller does the rest.
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
from ser_core.corpora.vectors import Progress
from ser_core.emotions import check_labels
from ser_core.errors import SerError, TrainingError
from ser_core.models.calibration import Bin
from ser_core.models.card import Card
from ser_core.models.scores import Scores

# For few labels.
SIMPLER = (
    "a simpler model learns more from few data: --from calls only teaches a model that is trained "
    "already, --architecture dnn is the smallest of its own"
)
Say = Callable[[str], None]
# Risk by coverage, and both at the threshold for `unsure`.
Curve = tuple[np.ndarray, np.ndarray, tuple[float, float]]


@dataclass(frozen=True)
class Option:
    """A recipe's field as an option of the command line.

    Parameters
    ----------
    help : str
        One line.
    parse : callable
        From the option's text to a value; a `ValueError` refuses it.
    metavar : str, optional
    choices : tuple of str, optional
    flag : str
        The option's name; empty where it follows from the name of the field.
    name : str
        The field's; filled in when options are listed.
    """

    help: str
    parse: Callable[[str], Any] = str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None
    flag: str = ""
    name: str = ""


def option(default: Any = MISSING, help: str = "", **about: Any) -> Any:
    """A field of a recipe that is an option, too; `about` are further fields of `Option`."""
    return field(default=default, metadata={"option": Option(help, **about)})


def common_options() -> list[Option]:
    """The options that every recipe has."""
    return _options(fields(Recipe))


def own_options(recipe: type[Recipe]) -> list[Option]:
    """The options that a recipe declares itself."""
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
    """Words with commas between them."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them.

    Raises
    ------
    argparse.ArgumentTypeError
        Something else.
    """
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} found, whole numbers such as 386,193,96 expected"
        ) from None


@dataclass(frozen=True)
class Work:
    """How a training works, whatever it trains.

    Parameters
    ----------
    jobs : int >= 1, optional
        Processes, of one thread each; one a core unless given.
    cache : Path, optional
        Where vectors and networks are kept; see `ser_core.corpora.vectors.cache_folder`.
    progress : callable, optional
        Called with a stage, how much of it is done, and of how much.
    say : callable, optional
        Called with a line for a person.
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
        """Pass progress on, where somebody listens."""
        if self.progress:
            self.progress(stage, done, total)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a training measured, for whoever draws it; see `ser_core.report.training_pictures`.

    Parameters
    ----------
    confusion : sequence of Scores
        Tests whose confusion matrices are shown.
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
    """What a training gives.

    Parameters
    ----------
    model : keras.Model
        Not compiled.
    card : Card
        Without a name, which is that of the bundle's folder.
    inputs : np.ndarray [shape=(m, d)]
        A few vectors whose answers the bundle keeps.
    figures : Figures
    """

    model: Any
    card: Card
    inputs: np.ndarray
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """A way to train a bundle; the options that every recipe has.

    Parameters
    ----------
    emotions : tuple of str, optional
        Use these only; all unless given.
    folds : int >= 2
        Folds of speakers.
    seed : int >= 0
        Seed of everything that is random.

    Raises
    ------
    TrainingError
        A value out of bounds.
    """

    name: ClassVar[str]
    # What a person with few labels had better try; empty where the recipe is that already.
    simpler: ClassVar[str] = ""

    emotions: tuple[str, ...] | None = option(
        None, "default: all there are", parse=words, metavar="A,B,…"
    )
    folds: int = option(6, "of speakers (default: 6, or as many as speak)", parse=int, metavar="N")
    seed: int = option(0, "default: 0", parse=int, metavar="N")

    def __post_init__(self) -> None:
        check_whole("folds", self.folds, 2)
        check_whole("seed", self.seed, 0)
        check_emotions(self.emotions)

    def tested(self, corpora: Sequence[Corpus]) -> Sequence[Corpus]:
        """Those of the corpora that give the labels and the test."""
        return corpora

    def warnings(self, corpora: Sequence[Corpus]) -> list[str]:
        """What a person should know before the training begins."""
        return []

    @abstractmethod
    def train(self, corpora: Sequence[Corpus], work: Work) -> Trained:
        """Train and measure.

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
    """Refuse what is no label set; None is all that there are."""
    if emotions is not None:
        try:
            check_labels(emotions)
        except SerError as error:
            raise TrainingError(f"emotions: {error}") from None


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise TrainingError(f"{name}={value!r}: one of {', '.join(choices)} expected")


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse a value that is no whole number, or less than `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TrainingError(f"{name}={value!r}: a whole number, {least} or more, expected")
