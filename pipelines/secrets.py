"""Options whose values are secrets: they are stored and printed nowhere.

The command `ser forget` names whom it forgets: that is not stored either.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_SECRET = ("secret", "password", "passwd", "token", "access_key", "credential", "private_key")


def is_secret(name: str) -> bool:
    """Whether the value of an option is a secret, by its name."""
    name = name.lower().replace("-", "_")
    return any(part in name for part in _SECRET)


# Options of `ser forget`.
_PERSONAL = ("--uri", "--where", "--recording")


def without_secrets(words: Sequence[str]) -> str:
    """A command line as it may be stored, with secrets replaced by ***."""
    kept: list[str] = []
    personal, follows = _PERSONAL if "forget" in words else (), False
    for word in words:
        name, equals, _ = word.partition("=")
        if name.startswith("--"):
            follows = name in personal and not equals
        if name.startswith("--") and equals and (is_secret(name) or name in personal):
            word = f"{name}=***"
        elif follows and not name.startswith("--"):
            word = "***"
        elif kept and kept[-1].startswith("--") and is_secret(kept[-1]):
            word = "***" if "=" not in kept[-1] else word
        kept.append(word)
    return shlex.join(kept)
