"""The command `ser`: puts its commands together and turns errors into exit statuses.

Each command is a module of `pipelines.commands` with `HELP`, `EXAMPLES`, `add_arguments` and `run`.
Only the command that is called declares its arguments, and nothing heavy is imported before it
runs, so that `ser --help` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from pipelines import errors
from pipelines.arguments import add_command
from pipelines.commands import (
    adapt,
    evaluate,
    explore,
    extract,
    label,
    model,
    plan,
    review,
    run,
    show,
    train,
)  # fmt: skip
from pipelines.errors import CommandError, UsageError
from ser_core import __version__
from ser_core.errors import SerError

# In the order in which `ser --help` lists them.
COMMANDS = {
    "run": run,
    "extract": extract,
    "label": label,
    "plan": plan,
    "show": show,
    "review": review,
    "adapt": adapt,
    "train": train,
    "evaluate": evaluate,
    "explore": explore,
    "model": model,
}
EXIT_STATUSES = """exit status:
  0 done                 1 failed                2 usage error
  3 too many rejections  4 nothing matched       5 another run holds the output
  130 Ctrl-C             143 ended by SIGTERM"""


class _Terminated(BaseException):
    """SIGTERM was received."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    options, rest = _parser(argv).parse_known_args(argv)
    options.command_line = _without_secrets(["ser", *argv])
    with _logging_disabled(not options.debug), _sigterm_raises():
        try:
            options.beam_options = _beam_options(options, rest)
            _configure_stores(options)
            return options.run(options)
        except (Exception, KeyboardInterrupt, _Terminated) as error:
            return _exit_status(error, options.debug)


def _exit_status(error: BaseException, debug: bool) -> int:
    """Print an error and return its exit status; `debug` raises an unexpected one again."""
    match error:
        case CommandError():
            return _fail(str(error), error.status)
        case SerError():
            return _fail(str(error), errors.USAGE)
        case KeyboardInterrupt():
            return _fail(_STOPPED.format("interrupted"), errors.INTERRUPTED)
        case _Terminated():
            return _fail(_STOPPED.format("ended by SIGTERM"), errors.TERMINATED)
        case BrokenPipeError():
            # The reader of the output has closed it, as in `ser plan | head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return errors.DONE
    if debug:
        raise error
    return _fail(
        f"failed: {type(error).__name__}: {error} (--debug shows the full traceback)",
        errors.FAILED,
    )


_STOPPED = "{}; what was published stays, and the next command does the rest"


def _fail(message: str, status: int) -> int:
    print(f"ser: {message}", file=sys.stderr)
    return status


@contextmanager
def _logging_disabled(disabled: bool) -> Iterator[None]:
    """Silence logging, since Beam logs in many lines what `ser` reports in one."""
    before = logging.root.manager.disable
    if disabled:
        logging.disable(logging.CRITICAL)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Raise `_Terminated` on SIGTERM; only the main thread may handle signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------- the command line


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; options for Beam become the list `beam_options`.

    Raises
    ------
    UsageError
        An option that neither `ser` nor Beam knows.
    SystemExit
        Any other usage error; argparse has printed it.
    """
    options, rest = _parser(argv).parse_known_args(argv)
    options.beam_options = _beam_options(options, rest)
    return options


def option_names(command: str) -> frozenset[str]:
    """The options of a command as they are written, such as `--input`."""
    parser = argparse.ArgumentParser()
    COMMANDS[command].add_arguments(parser)
    return frozenset(parser._option_string_actions)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser, with the arguments of the command that is called."""
    parser = argparse.ArgumentParser(
        prog="ser",
        description="Learn from call recordings how callers felt: one emotion label per "
        "recording and one per stretch of speech, as Parquet tables.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(debug=False)
    parser.add_argument("--version", action="version", version=f"ser {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    called = next((word for word in argv if not word.startswith("-")), None)
    for name, module in COMMANDS.items():
        command = add_command(
            commands, name, help=module.HELP, examples=module.EXAMPLES, run=module.run
        )
        if name == called:
            module.add_arguments(command)
    return parser


_SECRET = ("secret", "password", "token", "access_key", "credential")


def _without_secrets(words: Sequence[str]) -> str:
    """The command line as the table `runs` stores it, with secrets replaced by ***."""
    kept: list[str] = []
    for word in words:
        name, equals, _ = word.partition("=")
        if name.startswith("--") and equals and any(part in name for part in _SECRET):
            word = f"{name}=***"
        elif kept and kept[-1].startswith("--") and any(part in kept[-1] for part in _SECRET):
            word = "***" if "=" not in kept[-1] else word
        kept.append(word)
    return shlex.join(kept)


def _beam_options(options: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    """Options that `ser` does not know go to Beam; an option that Beam does not know is refused."""
    if not rest:
        return []
    if not getattr(options, "takes_beam_options", False):
        _refuse(rest[0], options.parser)
    from apache_beam.options.pipeline_options import PipelineOptions

    beam = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for kind in _all_subclasses(PipelineOptions):
        kind._add_argparse_args(_Lenient(beam))  # type: ignore[attr-defined]
    _, unknown = beam.parse_known_args(list(rest))
    if unknown:
        _refuse(unknown[0], options.parser, beam)
    return list(rest)


def _configure_stores(options: argparse.Namespace) -> None:
    """Pass endpoints, keys and the like to Beam's file systems if a path needs them."""
    values = [getattr(options, name, None) for name in ("input", "output", "model", "against")]
    # A list may name files of a store; only then are Beam's options of use with it.
    lists = bool(options.beam_options)
    if any(
        "://" in path or (lists and path.startswith("@"))
        for value in values
        for path in ([value] if isinstance(value, str) else value or [])
    ):
        from apache_beam.options.pipeline_options import PipelineOptions

        from pipelines.storage import files

        files.set_beam_options(PipelineOptions(list(options.beam_options)))


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
    known = [option for parser in parsers for option in parser._option_string_actions]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "--help lists the options"
    raise UsageError(f"{name}: no such option; {hint}")


if __name__ == "__main__":
    sys.exit(main())
