"""`ser model show` prints a model's card, `ser model sign` signs a bundle."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pipelines import errors
from pipelines.arguments import add_command, current_name
from pipelines.terminal import check_target, print_results, say

HELP = "inspect or sign a model"
EXAMPLES = (
    "ser model show calls",
    "ser model show my-bundle --html --save card.html",
    "ser model sign --new-key company.pem",
    "ser model sign my-bundle --key company.pem",
)


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
    show.add_argument(
        "--html", action="store_true", help="write the card as a page instead of printing it"
    )
    show.add_argument(
        "--save", metavar="F.html", help="page to write, with --html (default: model-ID.html)"
    )
    sign = add_command(
        commands,
        "sign",
        help="sign a bundle's files, for --require-signature of `ser run`",
        examples=(
            "ser model sign --new-key company.pem            (once; keep it off the servers)",
            "ser model sign my-bundle --key company.pem",
            "ser model sign calls --key company.pem --save signed/calls    (a bundled model)",
            "ser run --model my-bundle --require-signature company.pem.pub …",
        ),
        run=run_sign,
    )
    sign.add_argument("model", metavar="BUNDLE", nargs="?", help="name or folder of a bundle")
    sign.add_argument(
        "--key", metavar="KEY", help="PEM file of the private key (Ed25519); SER_KEY_PASSPHRASE in "
        "the environment is its passphrase",
    )  # fmt: skip
    sign.add_argument(
        "--new-key",
        metavar="KEY",
        help="make a key: the private one in KEY, the public one in KEY.pub",
    )
    sign.add_argument(
        "--save", metavar="FOLDER", help="sign a copy in this folder, such as of a bundled model"
    )


def run_sign(options: Namespace) -> int:
    """Make a key, sign a bundle, or both; returns the exit status."""
    from ser_core import models
    from ser_core.models import signature
    from ser_core.models.card import find

    if not (options.new_key or (options.model and options.key)) or (
        options.new_key and options.key
    ):
        raise errors.UsageError(
            "ser model sign: BUNDLE and --key KEY expected, or --new-key KEY to make a key"
        )
    if options.new_key:
        key = signature.new_key(options.new_key)
        say(f"key {key.id}: {options.new_key} signs, keep it secret; {options.new_key}.pub checks")
    if model := current_name(options.model, "ser model sign"):
        # A damaged bundle is not signed.
        models.check(model)
        folder = _copied(find(model), options.save)
        key = signature.sign(folder, options.key or options.new_key)
        models.check(folder, signed_by=key)
        say(f"{folder / signature.SIGNATURE}: signed by the key {key.id}")
    return errors.DONE


def _copied(folder: Path, target: str | None) -> Path:
    """The folder, or its copy where a target is given."""
    import shutil

    from ser_core.models.folder import replaced
    from ser_core.models.signature import SIGNATURE

    if target is None:
        return folder
    with replaced(target) as work:
        for path in folder.iterdir():
            if path.name != SIGNATURE:
                shutil.copyfile(path, work / path.name)
    return Path(target)


def _page_name(model_id: str) -> str:
    """File name of a card, whatever its name holds."""
    return "model-" + "".join(c if c.isalnum() or c in "-_." else "_" for c in model_id) + ".html"


def run(options: Namespace) -> int:
    """Print a bundle's card, or write it as a page; returns the exit status."""
    from rich.console import Console
    from rich.markdown import Markdown

    from ser_core import models
    from ser_core.models.card import find

    if options.save and not options.html:
        raise errors.UsageError(f"--save {options.save}: --html is missing")
    check_target("--save", options.save)
    folder = find(current_name(options.model, "ser model show") or models.default_name())
    card = models.read_card(folder)
    if options.html:
        from ser_core.report import model_page, pages

        text = model_page.page(card, model_page.read_pictures(folder))
        say(f"page: {pages.write(options.save or _page_name(card.id), text)}")
        return errors.DONE
    print(f"{card.id}, {card.terms}: {card.licence}")
    page = folder / "CARD.md"
    if page.exists():
        Console().print(Markdown(page.read_text(encoding="utf-8")))
    else:
        print_results(card)
        for due in card.attribution:
            print(f"attribution: {due}")
    return errors.DONE
