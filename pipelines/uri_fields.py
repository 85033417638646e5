"""Fields of a recording's URI, such as call time, queue and call id, by a regular expression."""

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
        A regular expression to search for in the URI. The group `time` becomes `call_time`, and
        each other named group `<name>` becomes the column `meta_<name>`. If empty, nothing is read.
    time_format : str, optional
        Format of the time, as for `datetime.strptime`; ISO 8601 by default. A time without a zone
        is taken to be UTC.

    Raises
    ------
    UsageError
        The pattern is not a regular expression, or it has no named group.
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
        """Names of the columns `meta_<name>`, in the order of the groups."""
        return tuple(name for name in re.compile(self.pattern).groupindex if name != TIME)

    def read(self, uri: str) -> tuple[dt.datetime | None, dict[str, str | None]]:
        """The call's time and the values by name. What the URI does not contain is None."""
        match = re.search(self.pattern, uri) if self.pattern else None
        groups = match.groupdict() if match else {}
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
