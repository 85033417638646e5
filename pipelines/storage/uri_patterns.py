"""Patterns over the URIs of recordings in the tables, as `--input` reads them."""

from __future__ import annotations

import re

from pipelines.storage import files

_MAGIC = re.compile(r"[*?\[]")


def to_regex(pattern: str) -> str:
    """A regular expression for whole URIs, in the syntax that RE2 and Python share.

    `**` is zero or more folders, `*` and `?` stay within a name, and a pattern without them is a
    file, or a folder with all that lies below it.

    Examples
    --------
    >>> bool(re.fullmatch(to_regex("/calls/**/*.wav"), "/calls/2026/a.wav"))
    True
    >>> bool(re.fullmatch(to_regex("/calls/*.wav"), "/calls/2026/a.wav"))
    False
    >>> bool(re.fullmatch(to_regex("/calls/2026"), "/calls/2026/03/a.wav"))
    True
    """
    text = files.absolute(pattern)
    if not _MAGIC.search(text):
        return f"(?s){_escaped(text)}(/.*)?"
    if text.endswith("/**"):
        text += "/*"
    found = []
    for token in re.findall(r"\*\*/|\[[!^]?\]?[^\]/]*\]|.", text, re.DOTALL):
        if token == "**/":
            found.append("(?:.*/)?")
        elif token[0] == "*":
            found.append("[^/]*")
        elif token == "?":
            found.append("[^/]")
        elif len(token) > 1:
            inverted = token[1] in "!^"
            inside = token[2 if inverted else 1 : -1].replace("\\", r"\\").replace("[", r"\[")
            inside = inside.replace("]", r"\]")
            found.append(f"[{'^/' if inverted else ''}{inside}]")
        else:
            found.append(_escaped(token))
    return "(?s)" + "".join(found)


def _escaped(text: str) -> str:
    # RE2 knows no escapes of characters beyond ASCII, and needs none.
    return re.sub(r"[.^$*+?{}()|\[\]\\]", r"\\\g<0>", text)
