"""`ser config`: print the options in force, and where each value came from."""

from __future__ import annotations

import argparse
import shlex
from argparse import ArgumentParser, Namespace

from pipelines import errors
from pipelines.beam_options import nearest
from pipelines.errors import UsageError
from pipelines.terminal import say

HELP = "print the options in force, and where each came from"
EXAMPLES = (
    "ser config --config nightly.toml",
    "ser config --command label --config nightly.toml --section billing",
    "SER_CONFIG=/etc/ser/nightly.toml ser config",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what `ser config` takes."""
    parser.add_argument(
        "--command", default="run", metavar="NAME",
        help="the command whose options are printed (default: run)",
    )  # fmt: skip


def run(options: Namespace) -> int:
    """Print the options; returns the exit status."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from pipelines import config

    commands = options.commands
    if options.command not in commands:
        near = nearest(options.command, commands)
        hint = f"did you mean {near}?" if near else f"one of: {', '.join(commands)}"
        raise UsageError(f"--command {options.command}: no such command; {hint}")
    found = config.read(options.words, commands)
    words = found.words(options.command)
    parser = config.parser_of(commands, options.command)
    columns = (Column("option"), Column("value", overflow="fold"), Column("from", overflow="fold"))
    table = Table(*columns, title=f"ser {options.command}", title_justify="left")
    for action in parser._actions:
        name = action.option_strings[-1] if action.option_strings else ""
        key = name[2:].replace("-", "_")
        if not name.startswith("--") or key in ("help", "debug", "config", "section"):
            continue
        setting = found.settings.get(key)
        if setting is not None:
            source = setting.place + (f" [{setting.section}]" if setting.section else "")
            table.add_row(name, escape(_in_force(name, words)), escape(source))
        elif action.default is None and action.required:
            table.add_row(name, "", "missing")
        elif (default := _default(action)) not in (None, argparse.SUPPRESS):
            table.add_row(name, _shown(default), "default")
    beam = [word for word in words if word.partition("=")[0] not in parser._option_string_actions]
    for word in beam:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            place = found.settings[name[2:].replace("-", "_")].place
            table.add_row(name, escape(value or "true"), escape(place))
    Console(soft_wrap=True).print(table)
    say(shlex.join(["ser", options.command, *words]))
    return errors.DONE


def _in_force(name: str, words: list[str]) -> str:
    """The value of an option in the words of a command line."""
    values: list[str] = []
    taking = False
    for word in words:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            taking = option == name
            if taking:
                values.append(value if equals else "")
        elif taking:
            values.append(word)
    return " ".join(shlex.quote(value) for value in values if value) or (
        "true" if name in words else "false"
    )


def _default(action: argparse.Action) -> object:
    """The default of an option; of a flag, whether it is set.

    The default itself may be that of several flags for one value, as --no-fence, --require-fence.
    """
    if isinstance(action, argparse._StoreConstAction):
        return bool(action.default == action.const)
    return action.default


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
