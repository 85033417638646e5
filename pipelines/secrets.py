"""Options whose values are secrets: they are stored and printed nowhere."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_SECRET = ("secret", "password", "passwd", "token", "access_key", "credential", "private_key")


def is_secret(name: str) -> bool:
    """Whether the value of an option is a secret, by its name."""
    name = name.lower().replace("-", "_")
    return any(part in name for part in _SECRET)


def without_secrets(words: Sequence[str]) -> str:
    """A command line as it may be stored, with secrets replaced by ***."""
    kept: list[str] = []
    for word in words:
        name, equals, _ = word.partition("=")
        if name.startswith("--") and equals and is_secret(name):
            word = f"{name}=***"
        elif kept and kept[-1].startswith("--") and is_secret(kept[-1]):
            word = "***" if "=" not in kept[-1] else word
        kept.append(word)
    return shlex.join(kept)
