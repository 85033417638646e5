"""What a recording's URI tells: call time, queue, call id, by a regular expression."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from pipelines.errors import UsageError

TIME = "time"


@dataclass(frozen=True)
class UriFields:
    """Named groups over a URI.

    Parameters
    ----------
    pattern : str
        A regular expression, searched in the URI; the group `time` becomes `call_time`,
        every other named group `<name>` the column `meta_<name>`. Empty: nothing is read.
    time_format : str, optional
        As `datetime.strptime` takes it; ISO 8601 where left out. A time without a zone is
        taken as UTC, that is, kept as it is written.

    Raises
    ------
    UsageError
        No regular expression, or one without a named group.
    """

    pattern: str = ""
    time_format: str | None = None

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groupindex
        except re.error as error:
            raise UsageError(
                f"--uri-fields {self.pattern!r}: not a regular expression: {error}"
            ) from error
        if self.pattern and not groups:
            raise UsageError(
                f"--uri-fields {self.pattern!r}: no named group found, at least one expected, "
                r"such as (?P<queue>[^/]+)/(?P<call_id>[^/]+)\.wav$"
            )
        if self.time_format is not None and TIME not in groups:
            raise UsageError(
                f"--time-format {self.time_format!r}: --uri-fields has no group (?P<{TIME}>...)"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The columns `meta_<name>`, in the order of the expression."""
        return tuple(name for name in re.compile(self.pattern).groupindex if name != TIME)

    def read(self, uri: str) -> tuple[dt.datetime | None, dict[str, str | None]]:
        """The call's time and the values by name; None where the URI does not tell."""
        said = re.search(self.pattern, uri) if self.pattern else None
        groups = said.groupdict() if said else {}
        return self._time(groups.get(TIME)), {name: groups.get(name) for name in self.names}

    def _time(self, text: str | None) -> dt.datetime | None:
        if text is None:
            return None
        try:
            if self.time_format is None:
                time = dt.datetime.fromisoformat(text)
            else:
                time = dt.datetime.strptime(text, self.time_format)
        except ValueError:
            return None
        return time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)
