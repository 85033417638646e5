"""Who may be analysed, by whose word: the whole policy as tables."""

from __future__ import annotations

import pytest

from pipelines.arguments import channel_roles
from pipelines.role_rule import RoleRule
from ser_core import policy
from ser_core.errors import AudioError
from ser_core.roles import Roles, role_of_equal, roles_of

CUSTOMER, BOTH, AGENT = ("customer",), ("customer", "agent"), ("agent",)


@pytest.mark.parametrize(
    ("role", "by_default", "with_both", "with_agent"),
    [
        ("customer", True, True, False),
        ("agent", False, True, True),
        ("unknown", False, False, False),
        ("mixed", True, True, True),
    ],
)
def test_a_role(role, by_default, with_both, with_agent):
    found = [policy.is_analysed(role, analyse) for analyse in (CUSTOMER, BOTH, AGENT)]
    assert found == [by_default, with_both, with_agent]


# Channels of a recording, what the options say, what its path says, and who is analysed by
# default and with --analyse customer,agent. None: the recording is rejected.
TABLE = channel_roles("inbound=agent,customer;outbound=customer,agent;internal=agent,agent")
ONE_ORDER = {"channel_roles": ("agent", "customer")}
BY_PATH = {"table": TABLE, "groups": ("direction",)}
WITH_ROLE = {"groups": ("role",)}
RECORDINGS = [
    (1, {}, {}, ["mixed"], ["mixed"]),
    (1, ONE_ORDER, {}, ["mixed"], ["mixed"]),
    (1, WITH_ROLE, {"role": "customer"}, ["customer"], ["customer"]),
    (1, WITH_ROLE, {"role": "agent"}, [], ["agent"]),
    (1, WITH_ROLE, {"role": "AGENT"}, [], ["agent"]),
    (1, WITH_ROLE, {"role": "mixed"}, ["mixed"], ["mixed"]),
    (1, WITH_ROLE, {"role": None}, ["mixed"], ["mixed"]),
    (1, WITH_ROLE, {"role": "supervisor"}, None, None),
    (2, {}, {}, None, None),
    (2, ONE_ORDER, {}, ["customer"], ["agent", "customer"]),
    (2, {"channel_roles": ("unknown", "customer")}, {}, ["customer"], ["customer"]),
    (2, BY_PATH, {"direction": "inbound"}, ["customer"], ["agent", "customer"]),
    (2, BY_PATH, {"direction": "outbound"}, ["customer"], ["customer", "agent"]),
    (2, BY_PATH, {"direction": "internal"}, [], ["agent", "agent"]),
    (2, BY_PATH, {"direction": "transfer"}, None, None),
    (2, BY_PATH, {"direction": None}, None, None),
    (2, WITH_ROLE, {"role": "customer"}, None, None),
    (3, ONE_ORDER, {}, None, None),
    (6, {}, {}, None, None),
]


@pytest.mark.parametrize(("channels", "options", "path", "by_default", "with_both"), RECORDINGS)
def test_a_recording(channels, options, path, by_default, with_both):
    def analysed(analyse):
        try:
            roles = roles_of(channels, RoleRule(**options, analyse=analyse).roles(path))
        except AudioError as error:
            return None if error.reason == "channel_roles_unknown" else error.reason
        return [role for role in roles if policy.is_analysed(role, analyse)]

    assert (analysed(CUSTOMER), analysed(BOTH)) == (by_default, with_both)


@pytest.mark.parametrize(
    ("given", "role"),
    [
        (Roles(), "mixed"),
        (Roles(("agent", "customer")), "mixed"),
        (Roles(("agent", "agent")), "agent"),
        (Roles(("customer", "customer")), "customer"),
        (Roles(("agent", "agent"), mono="customer"), "customer"),
    ],
)
def test_channels_with_the_same_sound(given, role):
    assert role_of_equal(2, given) == role


@pytest.mark.parametrize(
    ("analyse", "described", "asked"),
    [
        (CUSTOMER, ("customer (default)", "mixed (always)"), ()),
        (BOTH, ("customer (default)", "agent (--analyse)", "mixed (always)"), ("agent",)),
        (AGENT, ("agent (--analyse)", "mixed (always)"), ("agent",)),
        (("unknown",), ("unknown (--analyse)", "mixed (always)"), ("unknown",)),
    ],
)
def test_who_is_analysed_and_by_whose_word(analyse, described, asked):
    assert policy.describe(analyse) == described
    assert policy.beyond_default(analyse) == asked
    warning = policy.warning(described, None)
    assert (warning is not None) == bool(asked)
    assert policy.warning(described, "consent, record 7") is None
    if warning:
        assert "Article 5(1)(f)" in warning
        assert f"{asked[0]} (--analyse)" in warning


def test_runs_of_older_versions_are_not_accused():
    assert policy.warning((), None) is None
