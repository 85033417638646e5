"""Errors that end a command, each with its exit status."""

from ser_core.errors import SerError

DONE, FAILED, USAGE, TOO_MANY_REJECTIONS, NOTHING_MATCHED, HELD, WOULD_REJECT = range(7)
# As in shells: 128 plus the number of the signal.
INTERRUPTED, TERMINATED = 130, 143


class CommandError(SerError):
    """Ends the command; `status` is its exit status."""

    status = FAILED


class UsageError(CommandError):
    """A usage error: the command line cannot be carried out as given."""

    status = USAGE


class NothingMatchedError(CommandError):
    """No input matches, or there is nothing to read."""

    status = NOTHING_MATCHED


class HeldError(CommandError):
    """Another run holds the output folder."""

    status = HELD


class RecordingError(CommandError):
    """An unexpected error that names the recording on which it happened."""


class StoreError(CommandError):
    """Files cannot be listed, read or written."""
