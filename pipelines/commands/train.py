"""`ser train`: train a model on labelled speech."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from pipelines import errors
from pipelines.arguments import names, numbers, positive
from pipelines.corpus_options import add_corpora, open_corpora
from pipelines.errors import UsageError
from pipelines.terminal import check_folder, print_results, progress_bars, say

if TYPE_CHECKING:
    from ser_core.corpora import Corpus

HELP = "train a model on labelled speech"
EXAMPLES = (
    "ser train --corpus ravdess=RAVDESS emodb=EMODB --noise NOISE --save my-bundle",
    "ser train --corpus ravdess=RAVDESS --emotions angry,happy,sad,neutral --save four",
    "ser train --corpus csv=labels.csv --from calls --save ours",
    "ser train --corpus csv=labels.csv ravdess=RAVDESS --architecture dnn --save ours",
    "ser train --corpus ravdess=RAVDESS --recipe seed --scale zscore --save the-article",
)
FOLDS = 6
_AT_RANDOM = (
    "split at random, as --split asks: one voice stands in training and test, so that figure tells "
    "how well voices are remembered; quote the one by speaker"
)
_SIMPLER = (
    "a simpler model learns more from few data: --from calls only teaches a model that is trained "
    "already, --architecture dnn is the smallest of its own"
)
_OF_BOTH = ("emotions", "folds", "seed")
_OF_CALLS = ("noise", "effort", "architecture", "start")
_OF_SEED = ("split", "scale", "layers", "dropout", "optimizer", "epochs", "batch_size")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser train` takes."""
    add_corpora(parser, "; of several, the first gives the labels and the test")
    parser.add_argument("--save", required=True, metavar="BUNDLE", help="folder to write")
    parser.add_argument(
        "--recipe", choices=["calls", "seed"], default="calls",
        help="calls: several networks for the telephone, an hour of two cores for RAVDESS; "
        "seed: the article's, minutes (default: calls)",
    )  # fmt: skip
    parser.add_argument("--emotions", type=names, metavar="A,B,…", help="default: all there are")
    parser.add_argument(
        "--folds", type=int, metavar="N", help="of speakers (default: 6, or as many as speak)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="default: 0")
    parser.add_argument("--jobs", type=positive(int), metavar="N", help="default: one a core")
    group = parser.add_argument_group("recipe calls")
    group.add_argument(
        "--from", dest="start", metavar="BUNDLE",
        help="start from a bundle of this recipe and fit its last layers only: for few labels",
    )  # fmt: skip
    group.add_argument(
        "--architecture", choices=["dnn", "cnn", "rnn"],
        help="one kind of network: dense over the functionals, convolutional or recurrent over "
        "the picture (default: all, averaged)",
    )  # fmt: skip
    group.add_argument("--noise", metavar="DIR", help="recorded noises to train with")
    group.add_argument(
        "--effort", type=float, metavar="X", help="times the steps: 0.1 for a first look"
    )
    group = parser.add_argument_group("recipe seed")
    group.add_argument(
        "--split", choices=["random", "speaker"],
        help="how the headline figures are held out (default: random, and both are reported; "
        "for your own recordings speaker, since one voice in training and test flatters)",
    )  # fmt: skip
    group.add_argument("--scale", choices=["none", "zscore"], help="default: none, as the article")
    group.add_argument(
        "--layers", type=numbers, metavar="N,N,…", help="default: 2x, 1x and half the features"
    )
    group.add_argument("--dropout", type=float, metavar="P", help="after each layer (default: 0.2)")
    group.add_argument("--optimizer", metavar="NAME", help="of Keras (default: adam)")
    group.add_argument("--epochs", type=int, metavar="N", help="default: 200")
    group.add_argument("--batch-size", type=int, metavar="N", help="default: 4")


def run(options: Namespace) -> int:
    """Train a bundle, with progress, and print what it is worth; gives the exit status."""
    from ser_core import models
    from ser_core.models import calls_training, training, transfer

    _check_fit(options)
    about: dict[str, Any] = {"jobs": options.jobs, "cache": check_folder("--cache", options.cache)}
    noise = check_folder("--noise", options.noise, there=True)
    # Everything that can be wrong with settings is told before any audio is read.
    if options.start:
        models.read_card(options.start)
    recipe = _recipe(options, 2 if options.folds is None else options.folds)
    with open_corpora(options, to_train=True) as opened:
        for corpus in opened:
            print(f"ser: {corpus.name}: {len(corpus.utterances):,} utterances{_skipped(corpus)}")
        tested = opened if options.start else opened[:1] if options.recipe == "calls" else opened
        utterances, labels = training.select(tested, recipe.emotions)
        few = training.advice(utterances, labels)
        if few and not options.start:
            few.append(_SIMPLER)
        for line in few:
            print(f"ser: warning: {line}")
        if options.split == "random" and any(corpus.own for corpus in opened):
            print(f"ser: warning: {_AT_RANDOM}")
        if options.folds is None:
            speakers = len(training.testable(utterances))
            recipe = _recipe(options, min(FOLDS, max(speakers, 2)))
            if 2 <= speakers < FOLDS:
                print(f"ser: {recipe.folds} folds, as many as there are speakers")
        with progress_bars() as progress:
            about |= {"progress": progress, "say": say}
            if isinstance(recipe, training.SeedRecipe):
                folder = training.train(opened, recipe, options.save, **about)
            elif isinstance(recipe, transfer.TransferRecipe):
                folder = transfer.train(opened, recipe, options.save, **about)
            else:
                folder = calls_training.train(opened, recipe, options.save, noise=noise, **about)
    card = models.read_card(folder)
    print_results(card)
    print(f"ser: {card.id}: {card.licence}")
    print(f"ser: bundle: {folder}; its CARD.md tells the rest")
    return errors.DONE


def _check_fit(options) -> None:
    """Refuse what the recipe has no use for."""
    by_calls = options.recipe == "calls"
    for name in _OF_SEED if by_calls else _OF_CALLS:
        if getattr(options, name) is None:
            continue
        if name == "split" and options.split == "random":
            raise UsageError(
                "--split random is none of recipe calls, which is always split by speaker: one "
                "voice in training and test flatters the figures; --recipe seed has it"
            )
        raise UsageError(
            f"{_option(name)} is none of recipe {options.recipe}; "
            f"leave it out or take --recipe {'seed' if by_calls else 'calls'}"
        )
    for name in ("noise", "effort", "architecture") if options.start else ():
        if getattr(options, name) is not None:
            raise UsageError(
                f"{_option(name)} is of a training from the beginning; leave it or --from out"
            )


def _option(name: str) -> str:
    return "--from" if name == "start" else f"--{name.replace('_', '-')}"


def _recipe(options, folds: int):
    from ser_core.models import calls_training, training, transfer

    def given(*names: str) -> dict[str, Any]:
        said = {name: getattr(options, name) for name in (*_OF_BOTH, *names)}
        return {name: value for name, value in said.items() if value is not None} | {"folds": folds}

    if options.recipe == "seed":
        return training.SeedRecipe(**given(*_OF_SEED))
    if options.start:
        return transfer.TransferRecipe(**given("start"))
    return calls_training.CallsRecipe(**given("effort", "architecture"))


def _skipped(corpus: Corpus) -> str:
    said = ", ".join(f"{count:,} {reason}" for reason, count in corpus.skipped.items() if count)
    return f"; left out: {said}" if said else ""
