"""The errors of this package. Messages say what was found, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RejectionReason:
    """Why a recording is not analysed.

    Parameters
    ----------
    meaning : str
        When a recording is rejected for this reason.
    tried_again : bool
        Whether each run tries such a recording again, even if the file has not changed.
    cured_by : tuple of str
        What may cure it: once one of these has changed, a run tries such a recording again.
        They are the settings of `pipelines.tried_with`.
    """

    meaning: str
    tried_again: bool = False
    cured_by: tuple[str, ...] = ()


# The values of the column `recordings.reason`. A reason is added here and in docs/tables.md.
REJECTION_REASONS: Mapping[str, RejectionReason] = {
    "empty": RejectionReason("the file has no bytes, or no samples"),
    "unsupported_format": RejectionReason(
        "no decoder knows this format", cured_by=("raw", "extras", "version")
    ),
    "corrupt": RejectionReason("known format, damaged content"),
    "too_long": RejectionReason("longer than --max-hours", cured_by=("max_hours",)),
    "too_large": RejectionReason("larger than --max-size-mb", cured_by=("max_size_mb",)),
    "too_many_channels": RejectionReason(
        "more channels than a call has", cured_by=("max_channels", "version")
    ),
    "not_finite": RejectionReason("samples that are not numbers (NaN or infinity)"),
    "out_of_range": RejectionReason(
        "floating-point samples far outside -1 to 1 that are no integers either"
    ),
    "bad_sample_rate": RejectionReason("a sample rate outside 4,000 to 192,000 Hz"),
    "unreadable": RejectionReason("the bytes could not be read", tried_again=True),
    "timed_out": RejectionReason(
        "decoding made no progress for --timeout-s, or took 900 CPU seconds for each of "
        "--max-hours",
        cured_by=("timeout_s", "max_hours", "version"),
    ),
    "crashed": RejectionReason(
        "the process that decoded it died or ran out of memory",
        cured_by=("memory_mb", "extras", "version"),
    ),
    "channel_roles_unknown": RejectionReason(
        "nothing says whose voices it holds: --channel-roles or its path",
        cured_by=("channel_roles",),
    ),
}
TRIED_AGAIN = tuple(name for name, reason in REJECTION_REASONS.items() if reason.tried_again)


class SerError(Exception):
    """Base class of all errors that this package raises on purpose."""


class TableError(SerError):
    """A file of a table that is damaged."""


class AudioError(SerError):
    """A recording that cannot be analysed.

    Parameters
    ----------
    reason : str
        Stable name for tables and programs; one of `REJECTION_REASONS`.
    detail : str
        What was found, for people.
    uri : str
        URI of the recording.
    """

    def __init__(self, reason: str, detail: str, uri: str = "") -> None:
        if reason not in REJECTION_REASONS:
            raise ValueError(f"reason={reason!r} is not one of {sorted(REJECTION_REASONS)}")
        self.reason = reason
        self.detail = detail
        self.uri = uri
        super().__init__(f"{uri or 'audio'}: {reason}: {detail}")

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str, str]]:
        return AudioError, (self.reason, self.detail, self.uri)


class FeatureError(SerError):
    """An unknown feature set, or samples that give no feature vector."""


class BundleError(SerError):
    """A model bundle that is missing, damaged, or made for another feature set."""


class CorpusError(SerError):
    """A corpus that is missing or not as expected."""


class TrainingError(SerError):
    """Settings or data that do not allow training."""
