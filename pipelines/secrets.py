"""Options whose values are secrets: they are stored and printed nowhere.

The command `ser forget` names whom it forgets: that is not stored either.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from ser_core.names import readable

_SECRET = (
    "secret", "password", "passwd", "passphrase", "token", "access_key", "account_key",
    "private_key", "connection_string", "credential",
)  # fmt: skip

# The part of a URI before an @, such as key:secret; and what follows a ? that names values, such
# as the signature of a presigned address. In a pattern, a ? may stand before a folder `name=…`.
_USER = re.compile(r"(?<=://)(?:[^/\s@]*|[^/\s@:]+:[^\s@]*)@")
_QUERY = re.compile(r"(\w://[^\s?'\"]*)\?[^\s'\"/=]+=[^\s'\"]*")
# Values of headers and options in the texts of libraries.
_NAMED = re.compile(
    r"(?i)((?:secret|password|passwd|passphrase|token|(?:access|account|private)_?key|credential|signature|authorization)[\w-]*"
    r"['\"]?\s*[=:]\s*['\"]?(?:bearer |basic )?)[^\s'\",;&)]+"
)


def redacted(text: str) -> str:
    """A text without the credentials and query strings of the URIs in it.

    Examples
    --------
    >>> redacted("s3://AKIA1:abc@bucket/a.wav?X-Amz-Signature=12 is not there")
    's3://***@bucket/a.wav?*** is not there'
    >>> redacted("/calls/what?.wav: no such file")
    '/calls/what?.wav: no such file'
    >>> redacted("s3://calls/date=2026-03-0?/queue=*/*.wav")
    's3://calls/date=2026-03-0?/queue=*/*.wav'
    """
    return _NAMED.sub(r"\1***", _QUERY.sub(r"\1?***", _USER.sub("***@", text)))


def has_secret(uri: str) -> bool:
    """Whether a URI holds credentials or a query string."""
    return bool(_USER.search(uri) or _QUERY.search(uri))


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
    return redacted(readable(shlex.join(kept)))
