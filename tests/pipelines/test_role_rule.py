"""Whose voices a recording holds, by its path."""

from __future__ import annotations

import pytest

from pipelines.arguments import channel_roles
from pipelines.errors import UsageError
from pipelines.role_rule import RoleRule
from ser_core.roles import Roles

TABLE = channel_roles("inbound=agent,customer;outbound=customer,agent;internal=agent,agent")


def test_a_table_by_direction():
    rule = RoleRule(table=TABLE, groups=("direction", "queue"))
    assert rule.roles({"direction": "inbound"}) == Roles(("agent", "customer"))
    assert rule.roles({"direction": "Outbound"}) == Roles(("customer", "agent"))
    assert rule.roles({"direction": "internal"}).channels == ("agent", "agent")
    found = rule.roles({"direction": "transfer"})
    assert (found.channels, found.mono) == ((), "mixed")
    assert "direction 'transfer' found in its path, one of inbound, outbound" in found.problem
    assert "finds no direction in its path" in rule.roles({"direction": None}).problem


def test_the_group_roles_comes_before_direction():
    rule = RoleRule(table=TABLE, groups=("direction", "roles"))
    found = rule.roles({"direction": "inbound", "roles": "outbound"})
    assert found.channels == ("customer", "agent")
    assert rule.roles({"direction": "inbound", "roles": None}).channels == ("agent", "customer")


def test_direction_means_nothing_without_a_table():
    rule = RoleRule(("agent", "customer"), groups=("direction",))
    assert rule.roles({"direction": "inside"}) == Roles(("agent", "customer"))


@pytest.mark.parametrize(
    ("value", "role"),
    [("agent", "agent"), ("AGENT", "agent"), ("Customer", "customer"), ("mixed", "mixed"),
     (None, "mixed"), ("operator", None), ("unknown", None), ("", "mixed")],
)  # fmt: skip
def test_the_role_of_a_mono_recording(value, role):
    found = RoleRule(("agent", "customer"), groups=("role",)).roles({"role": value})
    assert (found.mono, found.channels) == (role, ("agent", "customer"))
    assert ("customer, agent, mixed expected" in found.mono_problem) == (role is None)


@pytest.mark.parametrize(
    ("table", "groups", "analyse", "message"),
    [
        ("in=agent,client", ("direction",), ("customer",), "role 'client' found"),
        ("in=customer", ("direction",), ("customer",), "two or more channels"),
        ("in=agent,agent", ("direction",), ("customer",), "no channel would be analysed"),
        ("in=agent,customer", ("queue",), ("customer",), r"no group \(\?P<direction>"),
    ],
)
def test_tables_that_cannot_be(table, groups, analyse, message):
    with pytest.raises(UsageError, match=message):
        RoleRule(table=channel_roles(table), groups=groups, analyse=analyse)
