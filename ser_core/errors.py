"""The package's own errors. Each message says what was found, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RejectionReason:
    """Why a recording is not analysed.

    Parameters
    ----------
    meaning : str
        When a recording is rejected for it.
    tried_again : bool
        Whether each run tries such a recording again, though nothing about the file changed.
    """

    meaning: str
    tried_again: bool = False


# The values of the column `recordings.reason`. A reason is added here and in docs/tables.md.
REJECTION_REASONS: Mapping[str, RejectionReason] = {
    "empty": RejectionReason("the file has no bytes, or no samples"),
    "unsupported_format": RejectionReason("no decoder knows this format"),
    "corrupt": RejectionReason("the format is known, but the content is damaged"),
    "too_long": RejectionReason("longer than --max-hours"),
    "too_large": RejectionReason("larger than --max-size-mb"),
    "too_many_channels": RejectionReason("more channels than a call can have"),
    "not_finite": RejectionReason("samples that are not numbers (NaN or infinity)"),
    "bad_sample_rate": RejectionReason("a sample rate outside 4,000 to 192,000 Hz"),
    "unreadable": RejectionReason("the bytes could not be read", tried_again=True),
    "timed_out": RejectionReason("decoding made no progress for --timeout-s"),
    "crashed": RejectionReason("the process that decoded it died or ran out of memory"),
    "channel_roles_unknown": RejectionReason(
        "several channels, and --channel-roles does not say whose they are"
    ),
}
TRIED_AGAIN = tuple(name for name, reason in REJECTION_REASONS.items() if reason.tried_again)


class SerError(Exception):
    """Base of everything that this package raises on purpose."""


class AudioError(SerError):
    """A recording that cannot be analysed.

    Parameters
    ----------
    reason : str
        Stable word for tables and programs, one of `REJECTION_REASONS`.
    detail : str
        What was found, for a person.
    uri : str
        The recording.
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
    """An unknown feature set, or samples that no vector can be made of."""


class BundleError(SerError):
    """A model bundle that is missing, damaged, or made for other features."""


class CorpusError(SerError):
    """A corpus that is not where it was said to be, or not what it should be."""


class TrainingError(SerError):
    """Settings or data that no model can be trained with."""
