"""Whose voices a recording holds, by --channel-roles and named groups of --uri-fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.errors import UsageError
from ser_core import policy
from ser_core.roles import MIXED, ROLES, Roles

# Groups of --uri-fields that choose a row of the table, the first that matches; and the group
# that names the role of a single channel.
CHOOSING, MONO = ("roles", "direction"), "role"
MONO_ROLES = ("customer", "agent", MIXED)


@dataclass(frozen=True)
class RoleRule:
    """The roles of a recording's channels, by its path.

    Parameters
    ----------
    channel_roles : tuple of str
        Roles of the channels of every recording, in order; empty with a table.
    table : mapping of str to tuple of str, optional
        Roles by the value of the group `roles` or `direction`; upper and lower case are equal.
    groups : tuple of str
        Names of the groups of --uri-fields.
    analyse : tuple of str
        Roles whose speech is labelled.

    Raises
    ------
    UsageError
        The table names a role that does not exist, or one channel, or nobody to analyse; or no
        group chooses its row.
    """

    channel_roles: tuple[str, ...] = ()
    table: Mapping[str, tuple[str, ...]] | None = None
    groups: tuple[str, ...] = ()
    analyse: tuple[str, ...] = policy.DEFAULT

    def __post_init__(self) -> None:
        if self.table is None:
            return
        for value, roles in self.table.items():
            where = f"--channel-roles {value}={','.join(roles)}"
            for role in roles:
                if role not in ROLES:
                    raise UsageError(
                        f"{where}: role {role!r} found, one of {', '.join(ROLES)} expected"
                    )
            if len(roles) < 2:
                raise UsageError(f"{where}: one role for each of two or more channels expected")
        if not any(set(roles) & set(self.analyse) for roles in self.table.values()):
            raise UsageError(
                f"--channel-roles: none of its roles is one of --analyse {','.join(self.analyse)}"
                ": no channel would be analysed"
            )
        if not self._choosing:
            raise UsageError(
                "--channel-roles: a table by path found, and no group (?P<direction>...) in "
                "--uri-fields that chooses its row; add one, or give the roles alone, such as "
                "agent,customer"
            )

    @property
    def _choosing(self) -> tuple[str, ...]:
        return tuple(name for name in CHOOSING if name in self.groups)

    @property
    def reads_paths(self) -> bool:
        """Whether the path of a recording decides on a role."""
        return self.table is not None or MONO in self.groups

    def roles(self, values: Mapping[str, str | None]) -> Roles:
        """The roles of one recording.

        Parameters
        ----------
        values : mapping
            Values of the named groups of --uri-fields, None where the path has none.
        """
        channels, problem = self.channel_roles, ""
        if self.table is not None:
            channels, problem = self._row(values)
        value = values.get(MONO)
        if not value:
            return Roles(channels, MIXED, problem)
        if value.casefold() in MONO_ROLES:
            return Roles(channels, value.casefold(), problem)
        return Roles(channels, None, problem, _unknown(MONO, value, MONO_ROLES))

    def _row(self, values: Mapping[str, str | None]) -> tuple[tuple[str, ...], str]:
        """The roles that the table gives, or why it gives none."""
        assert self.table is not None
        rows = {name.casefold(): roles for name, roles in self.table.items()}
        for name in self._choosing:
            value = values.get(name)
            if value is not None:
                roles = rows.get(value.casefold())
                return (roles, "") if roles else ((), _unknown(name, value, tuple(self.table)))
        return (), f"--uri-fields finds no {' or '.join(self._choosing)} in its path"


def _unknown(group: str, value: str, expected: tuple[str, ...]) -> str:
    return f"{group} {value!r} found in its path, one of {', '.join(expected)} expected"
