"""What a command leaves for machines: its attempt in OUT, `--summary`, `--metrics`, log lines.

All are written at the end of a command, also of one that failed or was refused. Storage is imported
only for a command that writes, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines import config, errors, logs
from pipelines.secrets import has_secret
from pipelines.terminal import check_target

if TYPE_CHECKING:
    from pipelines.storage.attempts import Current

# Of an attempt, by exit status; any other has failed.
_STATUSES = {
    errors.DONE: "done",
    errors.TOO_MANY_REJECTIONS: "done",  # published all the same
    errors.USAGE: "refused",
    errors.HELD: "refused",
    errors.INTERRUPTED: "interrupted",
    errors.TERMINATED: "interrupted",
}


class Report:
    """The report of one command: begun when its options are known, ended with its exit status."""

    def __init__(self) -> None:
        self._current: Current | None = None
        self._options = argparse.Namespace()
        # Whether the options are known.
        self.begun = False
        logs.configure()

    def prepare(self, words: Sequence[str], *, records: bool) -> None:
        """Set how lines are written, and what is reported if the command line is refused.

        Parameters
        ----------
        words : sequence of str
            The command line, behind what the file of --config says of reports. It need not be one
            that can be parsed.
        records : bool
            The command writes into an output.
        """
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        for name in config.REPORTING:
            parser.add_argument(f"--{name.replace('_', '-')}", nargs="?")
        for name in config.REPORTING_FLAGS:
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true")
        try:
            options, _ = parser.parse_known_args(list(words))
        except argparse.ArgumentError:  # such as --dry-run=yes
            options = parser.parse_args([])
        for name in config.REPORTING:
            if has_secret(getattr(options, name) or ""):
                setattr(options, name, None)
        if options.log_format not in logs.FORMATS:
            options.log_format = None
        options.records = records
        self._options = options
        self._configure_logs()

    def begin(self, options: argparse.Namespace) -> None:
        """Begin the attempt, if the command writes into an output.

        Raises
        ------
        UsageError
            --summary or --metrics cannot be written.
        """
        self._options, self.begun = options, True
        self._begin_attempt(options.command_line)
        if self._records:
            for name in ("summary", "metrics"):
                path = getattr(options, name)
                if path is not None and "://" not in path:
                    check_target(f"--{name}", path)

    def refuse(self, command_line: str, message: str) -> None:
        """Report a command line that is refused before it has begun, as far as it tells where to.

        Parameters
        ----------
        command_line : str
            Without secrets.
        message : str
            Why.
        """
        self._begin_attempt(command_line)
        self.end(errors.USAGE, logs.cleaned(message))
        self._current = None

    @property
    def _records(self) -> bool:
        # A dry run writes nothing.
        options = self._options
        return getattr(options, "records", False) and not getattr(options, "dry_run", False)

    def _begin_attempt(self, command_line: str) -> None:
        if self._records:
            from pipelines.storage import attempts

            self._current = attempts.begin(self._options.output, command_line)
        self._configure_logs()

    def _configure_logs(self) -> None:
        logs.configure(
            getattr(self._options, "log_format", None),
            logs=self._records,
            private=getattr(self._options, "log_private", False),
            attempt=self._current.attempt.id if self._current else None,
        )

    def end(self, status: int, message: str | None, error: BaseException | None = None) -> int:
        """Complete the attempt and write the files; returns the exit status.

        Parameters
        ----------
        status : int
            Exit status of the command.
        message : str or None
            Why it failed; None if the command has told how it ended.
        error : BaseException, optional
            What ended it.
        """
        if self._current is None:
            return status
        # A store that has just failed is not asked again.
        reachable = not isinstance(error, errors.StoreError)
        self._current.end(_STATUSES.get(status, "failed"), status, message, reachable=reachable)
        try:
            return self._write_files(status)
        finally:
            self._current.close()

    def _write_files(self, status: int) -> int:
        from pipelines import metrics, summary

        assert self._current is not None
        for path, write in (
            (self._options.summary, summary.write),
            (self._options.metrics, metrics.write),
        ):
            if path is None:
                continue
            try:
                write(path, self._current)
            except errors.StoreError as error:
                logs.say(str(error), level=logs.ERROR, stream=sys.stderr)
                status = status or errors.FAILED
        return status
