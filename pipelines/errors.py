"""What ends a command, with its exit status."""

from ser_core.errors import SerError

DONE, FAILED, USAGE, TOO_MANY_REJECTIONS, NOTHING_MATCHED, HELD = range(6)
# As shells have it: 128 and the signal's number.
INTERRUPTED, TERMINATED = 130, 143


class CommandError(SerError):
    """A command that ends here; `status` is its exit status."""

    status = FAILED


class UsageError(CommandError):
    """The command line asks for something that cannot be."""

    status = USAGE


class NothingMatchedError(CommandError):
    """No input matches."""

    status = NOTHING_MATCHED


class HeldError(CommandError):
    """Another run holds the output."""

    status = HELD


class RecordingError(CommandError):
    """An unexpected error that names the recording on which it happened."""


class StoreError(CommandError):
    """Files that cannot be listed, read or written."""
