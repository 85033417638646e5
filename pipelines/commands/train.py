"""`ser train`: train a model on labelled speech.

The options of each recipe stand beside the recipe; see `ser_core.models.recipes`.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines import errors
from pipelines.arguments import add_signature, current_name, positive, required_signature
from pipelines.corpus_options import add_corpora, open_corpora
from pipelines.errors import UsageError
from pipelines.terminal import check_folder, print_results, progress_bars, say

if TYPE_CHECKING:
    from argparse import _ArgumentGroup

    from ser_core.corpora import Corpus
    from ser_core.models import Card
    from ser_core.models.recipes.base import Option, Recipe

HELP = "train a model on labelled speech"
EXAMPLES = (
    "ser train --corpus cremad=CREMAD emodb=EMODB --noise NOISE --save my-bundle",
    "ser train --corpus ravdess=RAVDESS --emotions angry,happy,sad,neutral --save four",
    "ser train --corpus csv=labels.csv --from calls --save ours",
    "ser train --corpus csv=labels.csv cremad=CREMAD --unheard emovo=EMOVO --save ours",
    "ser train --corpus ravdess=RAVDESS --recipe seed --scale zscore --save the-article",
    "ser train --corpus ravdess=RAVDESS --feature-set telephone --save another",
)
# Options that select a recipe if --recipe is not given.
_IMPLIES = {"start": "transfer"}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments: those of every recipe, then those of each."""
    from ser_core.models import recipes
    from ser_core.models.recipes.base import common_options, own_options

    add_corpora(parser, "; of several, the first gives the labels")
    parser.add_argument("--save", required=True, metavar="BUNDLE", help="folder to write")
    parser.add_argument(
        "--recipe", choices=recipes.recipe_names(),
        help="calls: a classifier for telephone speech and voices it has not heard; transfer: fits "
        "a trained bundle to few labels, needs --from; seed: the article's network (default: "
        "calls, or transfer with --from)",
    )  # fmt: skip
    add_signature(parser)
    for option in common_options():
        _add_option(parser, option)
    parser.add_argument(
        "--jobs", type=positive(int), metavar="N", help="parallel processes (default: one per core)"
    )
    declared: set[str] = set()
    for name in recipes.recipe_names():
        group = parser.add_argument_group(f"recipe {name}")
        for option in own_options(recipes.get(name)):
            if option.name not in declared:  # some options belong to several recipes
                _add_option(group, option)
            declared.add(option.name)


def _add_option(parser: ArgumentParser | _ArgumentGroup, option: Option) -> None:
    parser.add_argument(
        option.flag, dest=option.name, type=option.parse, choices=option.choices,
        metavar=option.metavar, help=option.help,
    )  # fmt: skip


def run(options: Namespace) -> int:
    """Train a bundle and print its results; returns the exit status."""
    from ser_core import models, training
    from ser_core.models.recipes import preparation

    options.start = current_name(options.start, "--from")
    recipe_class = _recipe_class(options)
    cache = check_folder("--cache", options.cache)
    check_folder("--noise", options.noise, must_exist=True)
    # Wrong settings are reported before any audio is read.
    recipe = _recipe(recipe_class, options)
    if options.start is not None:
        models.check(options.start, signed_by=required_signature(options))
    with open_corpora(options, to_train=True) as opened:
        for corpus in opened:
            print(f"ser: {corpus.name}: {len(corpus.utterances):,} utterances{_skipped(corpus)}")
        utterances, labels = preparation.select_utterances(recipe.tested(opened), recipe.emotions)
        for line in _warnings(recipe, opened, preparation.advice(utterances, labels)):
            print(f"ser: warning: {line}")
        if options.folds is None:
            speakers = len(preparation.testable_speakers(utterances))
            if speakers < recipe.folds:
                recipe = _recipe(recipe_class, options, folds=max(speakers, 2))
                if speakers >= 2:
                    print(f"ser: {speakers} folds, as many as there are speakers")
        with progress_bars() as progress:
            folder = training.train(
                opened, recipe, options.save, jobs=options.jobs, cache=cache, progress=progress,
                say=say,
            )  # fmt: skip
    card = models.read_card(folder)
    print_results(card)
    print(f"ser: {card.id}, {card.terms}: {card.licence}")
    print(f"ser: bundle: {folder}; its CARD.md has all results")
    if "from" in card.settings:
        say(_verdict(card))
    return errors.DONE


def _verdict(card: Card) -> str:
    """Whether a bundle is better than that which its training started from, in one sentence."""
    start, found = card.settings["from"], card.measures.get("against_start")
    if found is None:
        return f"{card.id} cannot be compared with {start}, which has other labels"
    low, high = found["low"], found["high"]
    figures = f"UAR {100 * found['difference']:+.1f} points"
    if low is None or high is None:
        return f"{card.id} is not told apart from {start}: {figures}, of one speaker"
    figures += f" (95 %: {100 * low:+.1f} to {100 * high:+.1f}, by speakers that were held out)"
    if low > 0:
        return f"{card.id} is better than {start}: {figures}"
    if high < 0:
        return f"{card.id} is worse than {start}: {figures}; stay with {start}"
    return f"{card.id} is not told apart from {start}: {figures}; label more, of more speakers"


def _recipe_class(options: Namespace) -> type[Recipe]:
    """The recipe that the options ask for.

    Raises
    ------
    UsageError
        An option that does not apply to it.
    """
    from ser_core.models import recipes
    from ser_core.models.recipes.base import own_options

    implied = [recipe for name, recipe in _IMPLIES.items() if getattr(options, name) is not None]
    chosen = options.recipe or next(iter(implied), recipes.DEFAULT)
    if chosen == recipes.DEFAULT and options.start is not None:
        chosen = "transfer"  # --recipe calls --from BUNDLE
    allowed = {option.name for option in own_options(recipes.get(chosen))}
    for name in recipes.recipe_names():
        for option in own_options(recipes.get(name)):
            if option.name not in allowed and getattr(options, option.name) is not None:
                raise UsageError(_does_not_apply(option, name, chosen, options))
    return recipes.get(chosen)


def _does_not_apply(option: Option, owner: str, chosen: str, options: Namespace) -> str:
    if option.name == "split" and options.split == "random":
        return (
            f"--split random does not apply to recipe {chosen}, which always splits by speaker: "
            "one voice in training and test flatters the figures; --recipe seed has it"
        )
    if chosen == "transfer" and owner == "calls":
        return f"{option.flag} does not apply with --from; leave out one of the two"
    return f"{option.flag} does not apply to recipe {chosen}; leave it out or use --recipe {owner}"


def _recipe(recipe_class: type[Recipe], options: Namespace, **more: Any) -> Recipe:
    """The recipe with the options that were given; `more` come on top."""
    from ser_core.models.recipes.base import common_options, own_options

    names = [option.name for option in (*common_options(), *own_options(recipe_class))]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.start is not None:
        more["signed_by"] = required_signature(options)
    return recipe_class(**(given | more))


def _warnings(recipe: Recipe, corpora: Sequence[Corpus], advice: list[str]) -> list[str]:
    if advice and recipe.simpler:
        advice = [*advice, recipe.simpler]
    return [*advice, *recipe.warnings(corpora)]


def _skipped(corpus: Corpus) -> str:
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in corpus.skipped.items() if count)
    return f"; left out: {skipped}" if skipped else ""
