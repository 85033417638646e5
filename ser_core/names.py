r"""Names of files and columns: URIs, that is paths as text, also of names that are not UTF-8.

Linux takes any bytes for a name, and a table takes text only. A byte that is not UTF-8 is written
as `\xe9`, as Python writes it. Where a name holds these four characters itself, its backslash is
written as `\x5c`. So no two names share a URI, and each URI leads back to its name, whatever the
locale is.
"""

from __future__ import annotations

import os
import re

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def uri_of(path: str | os.PathLike[str]) -> str:
    r"""The URI of a local path, which is made absolute by the caller.

    Examples
    --------
    >>> print(uri_of("/calls/Müller.wav"))
    /calls/Müller.wav
    >>> print(uri_of(os.fsdecode(b"/calls/M\xfcller.wav")))
    /calls/M\xfcller.wav
    >>> print(uri_of(r"/calls/M\xfcller.wav"))
    /calls/M\x5cxfcller.wav
    """
    raw = _ESCAPE.sub(rb"\\x5cx\1", os.fsencode(path))
    return raw.decode("utf-8", "backslashreplace")


def path_of(uri: str) -> str:
    r"""The local path that has a URI: the inverse of `uri_of`.

    Examples
    --------
    >>> path_of(r"/calls/M\x5cxfcller.wav") == r"/calls/M\xfcller.wav"
    True
    """
    raw = uri.encode("utf-8", "surrogateescape")
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), raw))


def readable(text: str) -> str:
    r"""A text that came from the system, such as a word of the command line, as valid text.

    Examples
    --------
    >>> print(readable(os.fsdecode(b"--input /calls/M\xfcller")))
    --input /calls/M\xfcller
    """
    return os.fsencode(text).decode("utf-8", "backslashreplace") if _is_mixed(text) else text


def _is_mixed(text: str) -> bool:
    """Whether bytes that are not text stand in a text, as the system gave it."""
    return any("\udc80" <= letter <= "\udcff" for letter in text)


def folded(name: str) -> bytes:
    """The name of a column as SQL compares it: upper and lower case of ASCII are equal.

    Examples
    --------
    >>> folded("meta_Queue") == folded("meta_queue")
    True
    """
    return name.encode("utf-8", "surrogatepass").lower()
