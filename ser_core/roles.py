"""Whose voices a recording holds: the role of each of its channels."""

from __future__ import annotations

from dataclasses import dataclass

from ser_core.errors import AudioError

ROLES = ("customer", "agent", "unknown")
# The role of a single channel with both sides of a call.
MIXED = "mixed"


@dataclass(frozen=True)
class Roles:
    """Whose voices one recording holds, as far as the options and its path tell.

    Parameters
    ----------
    channels : tuple of str
        Roles of several channels, in order; empty where unknown.
    mono : str or None
        Role of a single channel; None where it is unknown.
    problem, mono_problem : str
        Why the roles of several channels, or of a single one, are unknown: the detail of the
        rejection.
    """

    channels: tuple[str, ...] = ()
    mono: str | None = MIXED
    problem: str = ""
    mono_problem: str = ""


def roles_of(channels: int, roles: Roles, uri: str = "", *, tracks: int = 1) -> tuple[str, ...]:
    """The role of each channel of a recording.

    Parameters
    ----------
    channels : int
    roles : Roles
    uri : str
        For messages.
    tracks : int
        Audio tracks; of several, each is a channel.

    Raises
    ------
    AudioError
        `channel_roles_unknown`.
    """
    if channels == 1:
        if roles.mono is not None:
            return (roles.mono,)
        raise AudioError("channel_roles_unknown", roles.mono_problem, uri)
    if len(roles.channels) == channels:
        return roles.channels
    problem = roles.problem
    if roles.channels:
        given = ",".join(roles.channels)
        problem = f"--channel-roles names {len(roles.channels)} ({given})"
    found = f"{channels} {'audio tracks' if tracks > 1 else 'channels'}"
    raise AudioError(
        "channel_roles_unknown",
        f"{found}, and {problem or '--channel-roles was not given'}",
        uri,
    )


def role_of_equal(channels: int, roles: Roles, uri: str = "") -> str:
    """The role of channels that hold the same sound: that of a single one, or what all are named.

    Raises
    ------
    AudioError
        `channel_roles_unknown`.
    """
    named = set(roles.channels) if len(roles.channels) == channels else set()
    if roles.mono == MIXED and len(named) == 1:
        return named.pop()
    return roles_of(1, roles, uri)[0]
