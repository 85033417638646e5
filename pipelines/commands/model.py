"""`ser model show`: print a model's card."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.arguments import add_command
from pipelines.terminal import print_results

HELP = "inspect a model"
EXAMPLES = ("ser model show calls",)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser model` takes."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show = add_command(
        commands,
        "show",
        help="print a model's card: data, licence, results, use",
        examples=EXAMPLES,
        run=run,
    )
    show.add_argument(
        "model",
        metavar="BUNDLE",
        nargs="?",
        help="name or folder of a bundle (default: the default model)",
    )


def run(options: Namespace) -> int:
    """Print a bundle's card; returns the exit status."""
    from rich.console import Console
    from rich.markdown import Markdown

    from ser_core import models
    from ser_core.models.card import find

    folder = find(options.model or models.default_name())
    card = models.read_card(folder)
    print(f"{card.id}, {card.terms}: {card.licence}")
    text = folder / "CARD.md"
    if text.exists():
        Console().print(Markdown(text.read_text(encoding="utf-8")))
    else:
        print_results(card)
        for due in card.attribution:
            print(f"attribution: {due}")
    return errors.DONE
