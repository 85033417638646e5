"""What a recording was tried with, as far as a change of it may cure a rejection.

A rejected recording keeps this text in the column `tried_with`. A later run tries it again if the
text would be another one.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.role_rule import RoleRule
from pipelines.uri_fields import UriFields
from ser_core import __version__
from ser_core.audio import RawFormat
from ser_core.errors import REJECTION_REASONS
from ser_core.examine import Settings
from ser_core.guarded import Guard

# Optional packages that decode: what they refuse, a newer version may read.
_DECODERS = ("av",)


@dataclass(frozen=True)
class TriedWith:
    """The settings of an examination that may cure rejections.

    Parameters
    ----------
    settings : Settings
    guard : Guard
    roles : RoleRule
    fields : UriFields
    """

    settings: Settings
    guard: Guard = field(default_factory=Guard)
    roles: RoleRule = field(default_factory=RoleRule)
    fields: UriFields = field(default_factory=UriFields)

    def by_reason(self) -> dict[str, str]:
        """The text for each reason that something may cure; of this machine and this version.

        Examples
        --------
        >>> TriedWith(Settings("voice")).by_reason()["too_long"]
        'max_hours=4'
        """
        values = self._values()
        return {
            name: "; ".join(f"{cure}={values[cure]}" for cure in reason.cured_by)
            for name, reason in REJECTION_REASONS.items()
            if reason.cured_by
        }

    def described(self) -> dict[str, str]:
        """The settings as the column `settings` of `runs` holds them."""
        values = {
            **self._values(),
            "analyse": ",".join(self.settings.analyse),
            "uri_fields": self.fields.pattern,
        }
        kept = set(values) - {"version"}  # the column `versions` has it
        return {name: values[name] for name in sorted(kept) if values[name]}

    def _values(self) -> Mapping[str, str]:
        limits = self.settings.limits
        return {
            "channel_roles": self._roles(),
            "max_hours": f"{limits.max_duration_s / 3600:g}",
            "max_size_mb": f"{limits.max_bytes / (1 << 20):g}",
            "max_channels": str(limits.max_channels),
            "timeout_s": f"{self.guard.timeout_s:g}",
            "memory_mb": str(self.guard.memory_mb),
            "raw": ",".join(map(_raw, self.settings.raw)),
            "extras": ",".join(_extras()),
            "version": __version__,
        }

    def _roles(self) -> str:
        rule = self.roles
        if rule.table is not None:
            rows = sorted(rule.table.items())
            text = "|".join(f"{value}={','.join(roles)}" for value, roles in rows)
        else:
            text = ",".join(rule.channel_roles)
        return f"{text} by {self.fields.pattern}" if rule.reads_paths else text


def _raw(given: RawFormat) -> str:
    extensions = "+".join(sorted(given.extensions))
    return f"{given.codec} {given.rate_hz} {given.channels} {extensions}"


def _extras() -> list[str]:
    found = []
    for name in _DECODERS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
