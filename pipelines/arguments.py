"""Types of arguments, and the arguments that several commands take."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pipelines import logs

if TYPE_CHECKING:
    from ser_core.audio import RawFormat
    from ser_core.models.signature import PublicKey


def date(text: str) -> dt.date:
    """A date, YYYY-MM-DD; or `today` or `yesterday`, of the local time."""
    days_ago = {"today": 0, "yesterday": 1}
    if text in days_ago:
        return dt.date.today() - dt.timedelta(days=days_ago[text])
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} found, a date such as 2026-03-01 expected, or today or yesterday"
        ) from None


def day(text: str) -> str | dt.date:
    """A date, YYYY-MM-DD; or `today` or `yesterday`, which depend on the zone."""
    return text if text in ("today", "yesterday") else date(text)


def redo(text: str) -> str:
    """What is to be done again: `rejected`, run=ID, date=…, or a pattern of URIs."""
    kind, equals, value = text.partition("=")
    if not text or (equals and kind in ("run", "date") and not value):
        raise argparse.ArgumentTypeError(
            f"{text!r} found; rejected, run=ID, date=YYYY-MM-DD or a pattern of URIs expected"
        )
    if equals and kind == "date":
        day(value)
    return text


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """The type of an argument that is a finite number above 0: `int` or `float`."""

    def convert(text: str) -> float:
        try:
            value: float = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            word = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} found, {word} above 0 expected")
        return value

    return convert


def not_negative(text: str) -> float:
    """A number, 0 or above."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} found, a number of 0 or more expected")
    return value


def not_negative_int(text: str) -> int:
    """A whole number, 0 or above."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} found, a whole number of 0 or more expected")
    return int(text)


def ratio(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} found, a number from 0 to 1 expected")
    return value


def raw_format(text: str) -> RawFormat:
    """Format of files without a header, such as "codec=mulaw,rate=8000,channels=2"."""
    from ser_core.audio import RawFormat
    from ser_core.errors import SerError

    try:
        return RawFormat.parse(text)
    except SerError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def names(text: str) -> tuple[str, ...]:
    """Comma-separated names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def lawful_basis(text: str) -> str:
    """The words of --lawful-basis, in one line."""
    words = " ".join(text.split())
    if not words or len(words) > 500 or not words.isprintable():
        raise argparse.ArgumentTypeError(
            f"{len(words):,} characters found, 1 to 500 printable ones expected, such as "
            "'GDPR 6(1)(a), consent of the caller; record 2026-014'"
        )
    return words


def channel_roles(text: str) -> tuple[str, ...] | dict[str, tuple[str, ...]]:
    """Roles of the channels in order, or a table of them.

    Examples
    --------
    >>> channel_roles("agent,customer")
    ('agent', 'customer')
    >>> channel_roles("inbound=agent,customer; outbound=customer,agent")["outbound"]
    ('customer', 'agent')
    """
    if "=" not in text and ";" not in text:
        return names(text)
    table: dict[str, tuple[str, ...]] = {}
    for row in filter(None, (row.strip() for row in text.split(";"))):
        value, equals, roles = (word.strip() for word in row.partition("="))
        if not (value and equals and names(roles)) or value in table:
            raise argparse.ArgumentTypeError(
                f"{row!r} found, a row such as inbound=agent,customer expected, one for each value"
            )
        table[value] = names(roles)
    return table


def add_output(parser: ArgumentParser) -> None:
    """Add --output, the folder of the tables."""
    parser.add_argument(
        "--output", required=True, metavar="OUT", help="folder of the tables; local, gs:// or s3://"
    )


def add_inputs(parser: ArgumentParser) -> None:
    """Add --input and --output."""
    parser.add_argument(
        "--input", required=True, nargs="+", metavar="PATTERN",
        help="glob (quote it; ** matches any number of folders), folder, or @list.txt; local, "
        "gs:// or s3://; {date:%%Y/%%m/%%d} stands for each date of --date, --days",
    )  # fmt: skip
    add_output(parser)


def add_model(parser: ArgumentParser, *, required: bool = False, default: str = "calls") -> None:
    """Add --model, a bundle; `default` is what the help says of it."""
    parser.add_argument(
        "--model", required=required, metavar="BUNDLE",
        help="name of a bundled model, or folder of a bundle; local, gs:// or s3://"
        + ("" if required else f" (default: {default})"),
    )  # fmt: skip
    add_signature(parser)


def add_lawful_basis(parser: Any) -> None:
    """Add --lawful-basis and --require-lawful-basis."""
    parser.add_argument(
        "--lawful-basis", type=lawful_basis, metavar="TEXT",
        help="on which lawful basis people are analysed, in your words; kept in `runs` "
        "(docs/compliance.md)",
    )  # fmt: skip
    parser.add_argument(
        "--require-lawful-basis", action="store_true",
        help="refuse to analyse others than the customer without --lawful-basis, rather than warn",
    )  # fmt: skip


def add_signature(parser: ArgumentParser) -> None:
    """Add --require-signature, a public key."""
    parser.add_argument(
        "--require-signature", metavar="PUBKEY",
        help="use a model only if this key has signed it (`ser model sign`): the PEM file of an "
        "Ed25519 public key",
    )  # fmt: skip


def required_signature(options: argparse.Namespace) -> PublicKey | None:
    """The key that --require-signature names.

    Raises
    ------
    BundleError
        It cannot be read.
    """
    path = getattr(options, "require_signature", None)
    if path is None:
        return None
    from ser_core.models.signature import PublicKey

    return PublicKey.read(path)


def current_name(model: str | None, option: str) -> str | None:
    """The model that an option names; an old name of a bundled model becomes the one of today.

    Prints a line then, on standard error.
    """
    from ser_core import models

    name = models.ALIASES.get(model or "", model)
    if name != model:
        logs.say(f"{option} {model} is now called {name}", stream=sys.stderr)
    return name


# What is used without --model, by commands with --output.
DEFAULT_FOR_OUTPUT = "calls, or the bundled model for the features that OUT holds"


def add_command(
    commands: Any,
    name: str,
    *,
    help: str,
    examples: Sequence[str],
    run: Callable[[argparse.Namespace], int],
) -> ArgumentParser:
    """Add a command to a group of commands; returns its parser.

    Parameters
    ----------
    commands
        The group, from `ArgumentParser.add_subparsers`.
    name, help : str
    examples : sequence of str
        Command lines, shown below the options.
    run : callable
        Does the work and returns the exit status.
    """
    parser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, parser=parser)
    add_common(parser)
    return parser


def add_common(parser: ArgumentParser) -> None:
    """Add the options that every command has."""
    group = parser.add_argument_group("every command")
    group.add_argument(
        "--config", metavar="F.toml",
        help="read options from a file (default: the one that SER_CONFIG names); the command line "
        "wins; `ser config` prints what is in force",
    )  # fmt: skip
    group.add_argument(
        "--section", metavar="NAME", help="let the table [NAME] of the file override its top level"
    )
    group.add_argument(
        "--log-format", choices=logs.FORMATS,
        help="log lines with time, level and run id, or the same as JSON (default: plain on a "
        "terminal; where there is none, commands that write into OUT log as text)",
    )  # fmt: skip
    group.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show full tracebacks"
    )


def add_records(parser: ArgumentParser) -> None:
    """Make a command that writes into --output an attempt; add --summary and --metrics.

    A command with --dry-run makes none then.
    """
    parser.set_defaults(records=True)
    group = parser.add_argument_group("for machines")
    group.add_argument(
        "--summary", metavar="F.json",
        help="write what became of this command, also if it fails; local, gs:// or s3://",
    )  # fmt: skip
    group.add_argument(
        "--metrics", metavar="F.prom",
        help="the same as metrics, for the textfile collector of Prometheus's node_exporter",
    )  # fmt: skip
    group.add_argument(
        "--log-private", action="store_true",
        help="name recordings by an id in lines and messages: the start of the SHA-256 of the URI",
    )  # fmt: skip
