"""Fields of a recording's URI, such as call time, queue and call id, by a regular expression."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

import regex

from pipelines.call_times import read_time, zone_named
from pipelines.errors import UsageError
from ser_core.names import folded

TIME = "time"
# A search takes some 20 us. One that goes on for so much longer has met a repetition of a
# repetition, or the like, which Python's own `re` would search for ever.
SEARCH_LIMIT_CPU_S = 0.25
# To `regex`, {e<=1} is a search that allows an error; to `re` it is these five characters.
_COUNTED_ERRORS = re.compile(r"(?<!\\)\{[^0-9,}]")


@dataclass(frozen=True)
class UriFields:
    """Named groups over a URI.

    Parameters
    ----------
    pattern : str
        A regular expression to search for in the URI. The group `time` becomes `call_time`, and
        each other named group `<name>` becomes the column `meta_<name>`. If empty, nothing is read.
    time_format : str, optional
        Format of the time, as for `datetime.strptime`; by default ISO 8601 or an epoch.
    time_zone : str, optional
        Zone of a time without one; UTC by default.

    Raises
    ------
    UsageError
        The pattern is not a regular expression, or has no named group, or the time's format has
        nothing to apply to, or there is no such zone.
    """

    pattern: str = ""
    time_format: str | None = None
    time_zone: str | None = None

    def __post_init__(self) -> None:
        try:
            # What `regex` alone knows is refused.
            groups = re.compile(self.pattern).groupindex
            regex.compile(self.pattern)
        except (re.error, regex.error) as error:
            raise UsageError(
                f"--uri-fields {self.pattern!r}: not a regular expression: {error}"
            ) from error
        if _COUNTED_ERRORS.search(self.pattern):
            raise UsageError(
                f"--uri-fields {self.pattern!r}: a brace before a letter found, "
                r"numbers expected, as in \d{8}; write \{ for the brace itself"
            )
        if self.pattern and not groups:
            raise UsageError(
                f"--uri-fields {self.pattern!r}: no named group found, at least one expected, "
                r"such as (?P<queue>[^/]+)/(?P<call_id>[^/]+)\.wav$"
            )
        columns: dict[bytes, str] = {}
        for name in self.names:
            other = columns.setdefault(folded(name), name)
            if other != name:
                raise UsageError(
                    f"--uri-fields {self.pattern!r}: the groups {other} and {name} would be one "
                    "column to SQL, which does not tell upper from lower case; rename one"
                )
        if self.time_format is not None and TIME not in groups:
            raise UsageError(
                f"--time-format {self.time_format!r}: --uri-fields has no group (?P<{TIME}>...)"
            )
        if self.time_zone is not None:
            zone_named(self.time_zone)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns `meta_<name>`, in the order of the groups."""
        return tuple(name for name in regex.compile(self.pattern).groupindex if name != TIME)

    @property
    def has_time(self) -> bool:
        """Whether the pattern has the group `time`."""
        return TIME in regex.compile(self.pattern).groupindex

    def read(self, uri: str) -> tuple[dt.datetime | None, dict[str, str | None]]:
        """The call's time and the values by name.

        What the URI does not contain is None, and everything if the search is not done after
        `SEARCH_LIMIT_CPU_S`.
        """
        match = self._search(uri) if self.pattern else None
        groups = match.groupdict() if match else {}
        text = groups.get(TIME)
        time = None
        if text is not None:
            time = read_time(text, time_format=self.time_format, zone=self.time_zone)
        return time, {name: groups.get(name) for name in self.names}

    def _search(self, uri: str) -> regex.Match | None:
        try:
            return regex.search(self.pattern, uri, timeout=SEARCH_LIMIT_CPU_S)
        except TimeoutError:
            return None
