"""Who may be analysed, by whose word: the policy of roles.

An agent's emotion is inferred only where somebody asked for it by name. The customer is analysed by
default. A single channel with both sides, or with an unknown one, is `mixed` and is analysed, too,
since nothing tells its voices apart; a recording of several channels without roles is not analysed
at all. Regulation (EU) 2024/1689, Article 5(1)(f), forbids inferring emotions of people at work,
except for medical or safety reasons. So who asks for others than the customer is told so, unless
the lawful basis is named, and `runs` keeps who was analysed, by which option and on which basis.
"""

from __future__ import annotations

from collections.abc import Sequence

from ser_core.roles import MIXED

DEFAULT = ("customer",)
ARTICLE = "Regulation (EU) 2024/1689, Article 5(1)(f)"


def is_analysed(role: str, analyse: Sequence[str]) -> bool:
    """Whether the speech of a channel with this role is labelled.

    Parameters
    ----------
    role : str
        `customer`, `agent`, `unknown` or `mixed`.
    analyse : sequence of str
        The roles of --analyse.

    Examples
    --------
    >>> [is_analysed(role, DEFAULT) for role in ("customer", "mixed", "agent", "unknown")]
    [True, True, False, False]
    """
    return role == MIXED or role in analyse


def beyond_default(analyse: Sequence[str]) -> tuple[str, ...]:
    """The roles whose analysis somebody must have asked for."""
    return tuple(role for role in analyse if role not in DEFAULT)


def describe(analyse: Sequence[str]) -> tuple[str, ...]:
    """What is analysed and by whose word: the column `analysed` of `runs`.

    Examples
    --------
    >>> describe(("customer",))
    ('customer (default)', 'mixed (always)')
    >>> describe(("customer", "agent"))
    ('customer (default)', 'agent (--analyse)', 'mixed (always)')
    """
    named = [f"{role} ({'default' if role in DEFAULT else '--analyse'})" for role in analyse]
    return (*named, f"{MIXED} (always)")


def warning(analysed: Sequence[str], lawful_basis: str | None) -> str | None:
    """What a run must be warned of; None if of nothing.

    Parameters
    ----------
    analysed : sequence of str
        As `describe` gives them.
    lawful_basis : str or None
        The text of --lawful-basis.
    """
    asked = [line for line in analysed if line.endswith("(--analyse)")]
    if not asked or lawful_basis:
        return None
    return (
        f"analysed: {', '.join(asked)}, and no --lawful-basis is given. The EU forbids inferring "
        f"emotions of people at work, except for medical or safety reasons ({ARTICLE}); "
        "docs/compliance.md"
    )
