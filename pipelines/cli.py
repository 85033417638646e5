"""The command `ser`: puts its commands together and turns errors into exit statuses.

Each command is a module of `pipelines.commands` with `HELP`, `EXAMPLES`, `add_arguments` and `run`.
Only the command that is called declares its arguments, and nothing heavy is imported before it
runs, so that `ser --help` answers at once.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from pipelines import beam_options, config, errors, logs
from pipelines.arguments import add_command
from pipelines.commands import (
    adapt,
    check,
    compact,
    doctor,
    evaluate,
    explore,
    export,
    extract,
    forget,
    label,
    model,
    plan,
    query,
    report,
    review,
    run,
    show,
    train,
)  # fmt: skip
from pipelines.commands import (
    config as config_command,
)
from pipelines.errors import CommandError, UsageError
from pipelines.reporting import Report
from pipelines.secrets import has_secret, redacted, without_secrets
from ser_core import __version__
from ser_core.errors import SerError

# In the order in which `ser --help` lists them.
COMMANDS = {
    "run": run,
    "extract": extract,
    "label": label,
    "plan": plan,
    "query": query,
    "report": report,
    "show": show,
    "check": check,
    "forget": forget,
    "compact": compact,
    "export": export,
    "review": review,
    "adapt": adapt,
    "train": train,
    "evaluate": evaluate,
    "explore": explore,
    "model": model,
    "config": config_command,
    "doctor": doctor,
}
EXIT_STATUSES = """exit status:
  0 done                 1 failed                2 usage error
  3 rejections, findings 4 nothing matched       5 another run holds the output
  6 most would be rejected (plan)                 130 Ctrl-C   143 SIGTERM"""


class _Terminated(BaseException):
    """SIGTERM was received."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    _escape_names()
    debug = "--debug" in argv
    report, options = Report(), None
    with _logging_disabled(not debug), _signals_raise() as met:
        try:
            report.prepare([*_reporting_words(argv), *argv], records=_records(argv))
            options, rest = _read(argv)
            _refuse_secrets(options)
            report.begin(options)
            options.beam_options = beam_options.checked(options, rest)
            _configure_stores(options)
            return report.end(options.run(options), None)
        except Refused as error:
            report.refuse(without_secrets(["ser", *error.words]), error.message)
            error.show()
            raise
        except (Exception, KeyboardInterrupt, _Terminated) as found:
            cause = met[-1] if met else found
            # A dry run writes nothing.
            records = getattr(options, "records", False) and not getattr(options, "dry_run", False)
            status, message = _exit_status(cause, records=records)
            message = message and logs.cleaned(message)
            if status == errors.USAGE and message and not report.begun:
                words = ["ser", *argv] if options is None else ["ser", *options.words]
                report.refuse(without_secrets(words), message)
            status = report.end(status, message, cause)
            if debug and status == errors.FAILED and not isinstance(cause, SerError):
                raise
            if message:
                with suppress(BrokenPipeError):
                    logs.say(message, level=logs.ERROR, stream=sys.stderr)
            return status


def _exit_status(error: BaseException, *, records: bool) -> tuple[int, str | None]:
    """The exit status of an error and the message about it, if there is any.

    Parameters
    ----------
    error : BaseException
    records : bool
        The command writes into an output, so that its work matters more than its lines.
    """
    match error:
        case CommandError():
            return error.status, str(error)
        case SerError():
            return errors.USAGE, str(error)
        case KeyboardInterrupt():
            return errors.INTERRUPTED, "interrupted" + (_STOPPED if records else _UNFINISHED)
        case _Terminated():
            return errors.TERMINATED, "ended by SIGTERM" + (_STOPPED if records else _UNFINISHED)
        case BrokenPipeError():
            # The reader of the output has closed it, as in `ser plan | head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return (errors.FAILED, _UNREAD) if records else (errors.DONE, None)
    text = f"failed: {type(error).__name__}: {error} (--debug shows the full traceback)"
    return errors.FAILED, text


_UNREAD = (
    "failed: standard output was closed before the end; what was published stays, and the next "
    "command does the rest"
)
_STOPPED = "; what was published stays, and the next command does the rest"
# Of a command that publishes no tables.
_UNFINISHED = " before it was done; run it again"


def _escape_names() -> None:
    """Let a name that the terminal's encoding has no letters for be printed with escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
def _signals_raise() -> Iterator[list[BaseException]]:
    """Raise `_Terminated` on SIGTERM; gives what signals have raised, as they come.

    A library may raise an error of its own instead, as DuckDB does in a query. Where Python may not
    raise an error, such as in a callback of the garbage collector, it prints and forgets it. A
    signal that is met there is sent again a moment later. Only the main thread may handle signals.
    """
    met: list[BaseException] = []
    if threading.current_thread() is not threading.main_thread():
        yield met
        return
    again: list[threading.Timer] = []

    def raise_it(number: int, frame: FrameType | None) -> None:
        met.append(_Terminated() if number == signal.SIGTERM else KeyboardInterrupt())
        raise met[-1]

    def forgotten(error: sys.UnraisableHookArgs) -> None:
        if isinstance(error.exc_value, (_Terminated, KeyboardInterrupt)):
            met = signal.SIGTERM if isinstance(error.exc_value, _Terminated) else signal.SIGINT
            again.append(threading.Timer(0.05, os.kill, (os.getpid(), met)))
            again[-1].daemon = True
            again[-1].start()
        else:
            hook(error)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, raise_it)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it may be ignored
        before[signal.SIGINT] = signal.signal(signal.SIGINT, raise_it)
    hook, sys.unraisablehook = sys.unraisablehook, forgotten
    try:
        yield met
    finally:
        for timer in again:
            timer.cancel()
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------- the command line


class Refused(SystemExit):
    """A command line that argparse refused.

    Parameters
    ----------
    message : str
        Why, without secrets.
    usage : str
        Of the command, in lines.
    command : str
        As `ser run`.
    words : list of str
        The command line, with the words of the file of --config.
    """

    def __init__(self, message: str, usage: str, command: str) -> None:
        super().__init__(errors.USAGE)
        self.message, self.usage, self.command = message, usage, command
        self.words: list[str] = []

    def show(self) -> None:
        """Print why; for a person also the usage."""
        if logs.style(sys.stderr) is None:
            print(f"{self.usage}{self.command}: error: {self.message}", file=sys.stderr)
        else:
            logs.say(self.message, level=logs.ERROR, stream=sys.stderr)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(redacted(message), self.format_usage(), self.prog)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; options for Beam become the list `beam_options`.

    Raises
    ------
    UsageError
        An option that neither `ser` nor Beam knows, or an error in the file of --config.
    SystemExit
        Any other usage error, which is printed.
    """
    try:
        options, rest = _read(argv)
    except Refused as error:
        error.show()
        raise
    options.beam_options = beam_options.checked(options, rest)
    return options


def _read(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse a command line and the file of --config; also returns the words for Beam."""
    words = list(argv)
    if _takes_file(argv):
        words += config.read(argv, COMMANDS).words(str(_called(argv)), argv)
    parser = _parser(argv)
    try:
        options, rest = parser.parse_known_args(words)
    except Refused as error:
        error.words = words
        raise
    _refuse_empty(options)
    options.command_line = without_secrets(["ser", *words])
    options.words, options.commands = words, COMMANDS
    return options, rest


def _takes_file(argv: Sequence[str]) -> bool:
    """Whether the options of the file of --config are for this command line."""
    called = _called(argv)
    return called in COMMANDS and called != "config" and not {"-h", "--help"} & set(argv)


def _reporting_words(argv: Sequence[str]) -> list[str]:
    return config.reporting_words(argv) if _takes_file(argv) else []


def _records(argv: Sequence[str]) -> bool:
    """Whether the command that is called keeps a record of its attempts."""
    called = _called(argv)
    return called in COMMANDS and bool(config.parser_of(COMMANDS, called).get_default("records"))


def _called(argv: Sequence[str]) -> str | None:
    """The command that is called: the first word that is no option."""
    return next((word for word in argv if not word.startswith("-")), None)


def option_names(command: str) -> frozenset[str]:
    """The options of a command as they are written, such as `--input`."""
    return frozenset(beam_options.option_names(config.parser_of(COMMANDS, command)))


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser, with the arguments of the command that is called."""
    parser = _Parser(
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
    called = _called(argv)
    for name, module in COMMANDS.items():
        command = add_command(
            commands, name, help=module.HELP, examples=module.EXAMPLES, run=module.run
        )
        if name == called:
            module.add_arguments(command)
    return parser


def _refuse_secrets(options: argparse.Namespace) -> None:
    """Refuse credentials in addresses: an address is stored with the results."""
    for name in (
        "input", "output", "model", "against", "save", "report", "summary", "metrics", "redo",
    ):  # fmt: skip
        value = getattr(options, name, None)
        for path in [value] if isinstance(value, str) else value or []:
            if has_secret(str(path)):
                raise UsageError(
                    f"--{name}: an address with credentials or a query string found, which would "
                    "be stored with the results; give the plain address, and credentials in the "
                    "environment or by the options of the store"
                )


def _refuse_empty(options: argparse.Namespace) -> None:
    """Refuse an empty path, which would be the folder that the command runs in."""
    for name in config.PATHS:
        value = getattr(options, name, None)
        if "" in (value if isinstance(value, list) else [value]):
            raise UsageError(
                f"--{name.replace('_', '-')}: an empty text found, a path expected: is a variable "
                "of the shell not set?"
            )


def _configure_stores(options: argparse.Namespace) -> None:
    """Pass endpoints, keys and the like to Beam's file systems if a path needs them."""
    names = ("input", "output", "model", "against", "save", "report", "summary", "metrics")
    values = [getattr(options, name, None) for name in names]
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


if __name__ == "__main__":
    sys.exit(main())
