"""Options that `ser` does not know: they go to Beam, or are refused if Beam does not know them."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from pipelines.errors import UsageError


def checked(options: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    """The words for Beam.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command; its `takes_beam_options` says whether it passes any on.
    rest : sequence of str
        The words that `ser` does not know.

    Raises
    ------
    UsageError
        Beam does not know them either, or not such values, or the command takes none.
    """
    if not rest:
        return []
    if not getattr(options, "takes_beam_options", False):
        _refuse(rest[0], options.parser)
    beam = parser()
    _, unknown = beam.parse_known_args(list(rest))
    if unknown:
        _refuse(unknown[0], options.parser, beam)
    return list(rest)


def parser() -> argparse.ArgumentParser:
    """A parser of Beam's own options."""
    from apache_beam.options.pipeline_options import PipelineOptions

    beam = _Parser(add_help=False, allow_abbrev=False)
    for kind in _all_subclasses(PipelineOptions):
        kind._add_argparse_args(_Lenient(beam))  # type: ignore[attr-defined]
    return beam


def option_names(*parsers: argparse.ArgumentParser) -> list[str]:
    """The options of parsers as they are written, such as `--input`."""
    return [name for known in parsers for name in known._option_string_actions]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like another; None if none is."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return near[0] if near else None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


class _Lenient:
    """A parser that ignores an option declared twice, as Beam's classes declare some."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action | None:
        try:
            return self._parser.add_argument(*names, **settings)
        except argparse.ArgumentError:
            return None

    add_value_provider_argument = add_argument

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


def _all_subclasses(kind: type) -> list[type]:
    children: list[type] = kind.__subclasses__()
    return [
        subclass
        for child in children
        for subclass in (child, *_all_subclasses(child))
        if subclass.__module__.startswith("apache_beam.options")
    ]


def _refuse(word: str, *parsers: argparse.ArgumentParser) -> NoReturn:
    """Raise an error for an argument that no parser knows, with the nearest option as a hint."""
    if not word.startswith("-"):
        raise UsageError(
            f"{word!r}: unexpected argument; options begin with --, and patterns with * need quotes"
        )
    name = word.partition("=")[0]
    near = nearest(name, option_names(*parsers))
    hint = f"did you mean {near}?" if near else "--help lists the options"
    # Not "--password: …": what follows would be taken for the secret and redacted.
    raise UsageError(f"{name} is no option; {hint}")
