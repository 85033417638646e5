"""`--config FILE.toml`: the options of a command from a file.

A key is the long name of an option, as `input` or `channel-roles` (or `channel_roles`). Keys at the
top level hold for every command that has the option; a table `[name]` overrides them with
`--section name`. The words made from the file are put behind those of the command line, without the
options that the command line has: so one parser checks both.

The file of `--config` is read, else the one that the environment variable `SER_CONFIG` names.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pipelines import arguments, beam_options
from pipelines.beam_options import nearest
from pipelines.errors import UsageError
from pipelines.secrets import is_secret

VARIABLE = "SER_CONFIG"
# Options whose relative paths are relative to the folder of the file; `model` has names, too.
PATHS = (
    "against", "input", "metrics", "model", "noise", "output", "page", "profile",
    "report", "require_signature", "save", "summary",
)  # fmt: skip
# Options of the command line only.
_NEVER = ("config", "section", "help", "version")
# Options for one night, and those for a backfill: the command line replaces one by the other.
_NIGHTS = ({"date", "days"}, {"first_date", "last_date"})
# Types whose values are a list with commas.
_JOINED = (arguments.names, arguments.channel_roles)
EXPECT = "expect"
# Where and how a command reports: they hold for a command line that is refused, too.
REPORTING = ("output", "summary", "metrics", "log_format")
REPORTING_FLAGS = ("log_private", "dry_run")

# Modules by the name of their command, each with `add_arguments`.
Commands = Mapping[str, Any]


def parser_of(commands: Commands, name: str) -> argparse.ArgumentParser:
    """A parser with the options of a command."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    arguments.add_common(parser)
    commands[name].add_arguments(parser)
    return parser


@dataclass(frozen=True)
class Setting:
    """A key of the file and its value.

    Parameters
    ----------
    key : str
        As it is written in the file.
    value : object
        As TOML gives it.
    place : str
        File and line, for messages.
    section : str or None
        None at the top level.
    """

    key: str
    value: Any
    place: str
    section: str | None

    @property
    def name(self) -> str:
        """The option's name, with underscores."""
        return self.key.replace("-", "_")


@dataclass(frozen=True)
class Config:
    """The settings in force for a section.

    Parameters
    ----------
    path : str or None
        The file; None is no file.
    settings : dict
        By the option's name with underscores.
    """

    path: str | None
    settings: Mapping[str, Setting]
    commands: Commands

    def words(self, command: str, given: Sequence[str] = ()) -> list[str]:
        """The settings as words of a command line, without those that it decides itself.

        Parameters
        ----------
        command : str
            The command that is called.
        given : sequence of str
            Its command line.

        Raises
        ------
        UsageError
            A value does not fit, or no command has such an option.
        """
        parser = parser_of(self.commands, command)
        on_line = {word.partition("=")[0] for word in given}
        actions = parser._option_string_actions
        chosen = {actions[option].dest for option in on_line if option in actions}
        decided = set(chosen)
        for nights, others in (_NIGHTS, _NIGHTS[::-1]):
            if chosen & nights:
                decided |= others
        for group in parser._mutually_exclusive_groups:
            members = {action.dest for action in group._group_actions}
            if chosen & members:
                decided |= members
        words: list[str] = []
        for setting in self.settings.values():
            action = _action(parser, setting.name)
            if action is None:
                words += self._foreign_words(setting, parser, command, on_line)
            elif action.dest not in decided:
                words += _words(setting, action, self.folder)
        return words

    def _foreign_words(
        self,
        setting: Setting,
        parser: argparse.ArgumentParser,
        command: str,
        on_line: Collection[str],
    ) -> list[str]:
        """The words of a setting that the command does not know: Beam's, or another command's."""
        others = [parser_of(self.commands, name) for name in self.commands if name != command]
        if any(_action(other, setting.name) for other in others):
            return []
        beam = beam_options.parser()
        option = f"--{setting.name}"
        if option not in beam_options.option_names(beam):
            _refuse_key(setting, beam_options.option_names(parser, *others, beam))
        if not parser.get_default("takes_beam_options") or option in on_line:
            return []
        if setting.value is True:
            return [option]
        values = setting.value if isinstance(setting.value, list) else [setting.value]
        return [f"{option}={_text(setting, value)}" for value in values if value is not False]

    @property
    def folder(self) -> str:
        """The folder of the file."""
        return os.path.dirname(os.path.abspath(self.path or "."))


def read(words: Sequence[str], commands: Commands) -> Config:
    """Read the file that a command line, or else the environment, names.

    Parameters
    ----------
    words : sequence of str
        The command line.
    commands : dict
        All commands.

    Raises
    ------
    UsageError
        It cannot be read, is no TOML, has no such section, or holds a secret.
    """
    path, source, section = _named(words)
    if path is None:
        if section is not None:
            raise UsageError(
                f"--section {section}: no file to look it up in; "
                f"--config FILE.toml or the environment variable {VARIABLE} names it"
            )
        return Config(None, {}, commands)
    import tomllib

    text = _read_text(path, source)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: no valid TOML: {error}; strings need quotes") from None
    return Config(path, _in_force(path, text, content, section, commands), commands)


def reporting_words(words: Sequence[str]) -> list[str]:
    """Where and how the file reports, as words, also of a file that is refused.

    Without what cannot be read: a file that is no TOML has no such words.
    """
    import tomllib

    try:
        path, source, section = _named(words)
        content = tomllib.loads(_read_text(path, source)) if path is not None else {}
    except (UsageError, tomllib.TOMLDecodeError):
        return []
    table = content.get(section) if section is not None else None
    found: dict[str, str] = {}
    for key, value in [*content.items(), *(table.items() if isinstance(table, dict) else ())]:
        setting = Setting(key, value, path or "", section)
        option = f"--{setting.name.replace('_', '-')}"
        if setting.name in REPORTING and isinstance(value, str):
            folder = os.path.dirname(os.path.abspath(path or "."))
            found[option] = f"{option}={_path(setting, value, folder)}"
        elif setting.name in REPORTING_FLAGS and value is True:
            found[option] = option
    return list(found.values())


def _named(words: Sequence[str]) -> tuple[str | None, str, str | None]:
    """The file that a command line or the environment names, which of them, and the section."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config")
    parser.add_argument("--section")
    try:
        options, _ = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise UsageError(str(error)) from None
    if options.config is not None:
        return options.config, "--config", options.section
    return os.environ.get(VARIABLE) or None, VARIABLE, options.section


def _read_text(path: str, source: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise UsageError(f"{source} {path}: cannot be read: {why}; a TOML file expected") from error


def _in_force(
    path: str, text: str, content: dict[str, Any], section: str | None, commands: Commands
) -> dict[str, Setting]:
    """The settings of the top level, and of a section over them; all sections are checked."""
    sections = {
        name: value for name, value in content.items() if isinstance(value, dict) and name != EXPECT
    }
    if section is not None and section not in sections:
        near = nearest(section, sections)
        known = ", ".join(sections) or "none"
        raise UsageError(
            f"--section {section}: {path} has no such section; "
            + (f"did you mean {near}?" if near else f"it has: {known}")
        )
    settings: dict[str, Setting] = {}
    top = {name: value for name, value in content.items() if name not in sections}
    for name, table in ((None, top), *sections.items()):
        if name is not None:
            _check_section_name(path, text, name, commands)
        found: dict[str, Setting] = {}
        for key, value in table.items():
            setting = Setting(key, value, f"{path} line {_line_of(text, key, name)}", name)
            _check_key(setting)
            if setting.name in found:
                raise UsageError(
                    f"{setting.place}: {key} stands there twice, also as "
                    f"{found[setting.name].key}; remove one of them"
                )
            found[setting.name] = setting
        if name in (None, section):
            settings |= found
    return settings


def _check_section_name(path: str, text: str, name: str, commands: Commands) -> None:
    """Refuse a table that would be ignored although it is named like an option or a command."""
    if name in commands:
        raise UsageError(
            f"{path} line {_line_of(text, None, name)}: [{name}] is the name of a command; put its "
            "options at the top, where each command takes those that it has, or give the section "
            "another name, for --section"
        )
    if any(_action(parser_of(commands, command), name.replace("_", "-")) for command in commands):
        raise UsageError(
            f"{path} line {_line_of(text, name, None)}: {name}: a table found, a value as on the "
            "command line expected; a section for --section needs another name"
        )


def _check_key(setting: Setting) -> None:
    if is_secret(setting.name):
        raise UsageError(
            # Not "password: …": what follows would be taken for the secret and redacted.
            f"{setting.place}: {setting.key} found, but secrets are not read from this file; put "
            "them into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "GOOGLE_APPLICATION_CREDENTIALS), which systemd reads from an EnvironmentFile and "
            "Kubernetes from a Secret, or into ~/.aws/credentials"
        )
    if setting.name in _NEVER:
        raise UsageError(f"{setting.place}: {setting.key}: only the command line takes this option")


def _line_of(text: str, key: str | None, section: str | None) -> int:
    """The line of a key, or of the head of a section if the key is None; 1 if it is not found."""
    here: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            here = head[1].strip("\"'").partition(".")[0]
            if here == (section or key) and (key is None or (section is None and here == key)):
                return number
        elif here == section and key is not None:
            found = re.match(r"""\s*(["']?)([\w-]+)\1\s*(=|\.)""", line)
            if found and found[2] == key:
                return number
    return 1


# ---------------------------------------------------------------- values


def _action(parser: argparse.ArgumentParser, name: str) -> argparse.Action | None:
    """The action of an option, by its name with underscores."""
    for option in (f"--{name.replace('_', '-')}", f"--{name}"):
        if option in parser._option_string_actions:
            return parser._option_string_actions[option]
    return None


def _words(setting: Setting, action: argparse.Action, folder: str) -> list[str]:
    """A setting as words of a command line, each value checked by the option's own type."""
    option, value = action.option_strings[-1], setting.value
    if action.nargs == 0:
        if not isinstance(value, bool):
            _refuse_value(setting, value, "true or false expected")
        return [option] if value else []
    if isinstance(value, dict):
        if setting.name != EXPECT:
            _refuse_value(setting, "a table", "a value expected")
        value = _expectations(setting)
    if not isinstance(value, list):
        value = [value]
    elif action.type in _JOINED:
        value = [",".join(_text(setting, item) for item in value)]
    elif not _takes_many(action):
        _refuse_value(setting, "a list", "one value expected")
    texts = [_path(setting, _text(setting, item), folder) for item in value]
    for text in texts:
        if not text and setting.name in PATHS:
            _refuse_value(setting, "an empty text", "a path expected")
        _check_value(setting, action, text)
    if action.nargs in ("+", "*"):
        return [option, *texts] if texts else []
    return [f"{option}={text}" for text in texts]


def _takes_many(action: argparse.Action) -> bool:
    return action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction)


def _text(setting: Setting, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(
        value, str | int | float | dt.date | dt.datetime | dt.time
    ):
        _refuse_value(setting, repr(value).lower(), "a text or a number expected")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)


def _path(setting: Setting, text: str, folder: str) -> str:
    """A relative path, made one of the file's folder. An empty one is none, and is refused."""
    if setting.name not in PATHS or "://" in text or not text:
        return text
    if setting.name == "model" and "/" not in text:
        return text
    at = "@" if text.startswith("@") and setting.name == "input" else ""
    rest = os.path.expanduser(text[len(at) :])
    return at + (rest if os.path.isabs(rest) else os.path.normpath(os.path.join(folder, rest)))


def _check_value(setting: Setting, action: argparse.Action, text: str) -> None:
    if action.nargs in ("+", "*") and text.startswith("-"):
        _refuse_value(setting, repr(text), "a value that does not begin with - expected")
    convert: Any = action.type or str
    try:
        value = convert(text)
    except (argparse.ArgumentTypeError, TypeError, ValueError) as error:
        _refuse_value(setting, None, str(error))
    if action.choices is not None and value not in action.choices:
        near = nearest(text, map(str, action.choices))
        choices = ", ".join(map(str, action.choices))
        _refuse_value(
            setting, repr(text), f"did you mean {near}?" if near else f"one of: {choices}"
        )


def _expectations(setting: Setting) -> list[str]:
    """The table `[expect]` as texts of --expect.

    `all` is for the whole night; a table is a column `meta_<name>`, its keys are values of it.
    """
    texts: list[str] = []
    for key, value in setting.value.items():
        if key == "all":
            texts += _list_of_texts(setting, key, value)
        elif isinstance(value, dict):
            for item, conditions in value.items():
                texts += [
                    f"{key}={item}: {text}"
                    for text in _list_of_texts(setting, f"{key}.{item}", conditions)
                ]
        else:
            _refuse_value(
                setting, key, "`all = [...]`, or a table by a column, as [expect.queue], expected"
            )
    return texts


def _list_of_texts(setting: Setting, key: str, value: Any) -> list[str]:
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        _refuse_value(setting, key, "SQL conditions as texts expected")
    return texts


def _refuse_value(setting: Setting, found: str | None, expected: str) -> NoReturn:
    found_text = "" if found is None else f"{found} found, "
    raise UsageError(f"{setting.place}: {setting.key}: {found_text}{expected}")


def _refuse_key(setting: Setting, known: Sequence[str]) -> NoReturn:
    names = {name[2:]: None for name in known if name.startswith("--")}
    near = nearest(setting.key, names)
    raise UsageError(
        f"{setting.place}: {setting.key}: no command has such an option; "
        + (f"did you mean {near}?" if near else "`ser COMMAND --help` lists the options")
    )
