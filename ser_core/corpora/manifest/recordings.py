"""The recordings that a manifest's lines speak of: where they lie, their channels and lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ser_core import audio
from ser_core.corpora.manifest.lines import LEAST_S, Line
from ser_core.corpora.manifest.mistakes import Mistakes
from ser_core.errors import AudioError

# Headers round what a file lasts, and people what they hear.
_SLACK_S = 0.05

Locate = Callable[[str], Path]


class Recordings:
    """The files that lines speak of: each is found and opened once."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._known: dict[str, tuple[Path, int, float | None] | str] = {}

    def path(self, uri: str) -> Path:
        """Of a recording without a mistake."""
        found = self._open(uri)
        assert not isinstance(found, str)
        return found[0]

    def on_its_channel(self, line: Line) -> Line:
        """With the number of its channel, where there is only one."""
        found = self._open(line.uri)
        if line.channel is None and not isinstance(found, str) and found[1] == 1:
            return replace(line, channel=0)
        return line

    def mistakes(self, lines: Sequence[Line]) -> Mistakes:
        """Unknown or unreadable files, channels and times that are not in them."""
        for line in lines:
            found = self._open(line.uri)
            if isinstance(found, str):
                yield line.number, found
                continue
            _, channels, seconds = found
            if line.channel is None and channels > 1:
                yield line.number, f"{line.uri} has {channels} channels; say which, from 0"
            elif (line.channel or 0) >= channels:
                yield (
                    line.number,
                    f"channel {line.channel} found, but {line.uri} has {channels}, counted from 0",
                )
            if seconds is not None and max(line.start_s + LEAST_S, line.end_s or 0) > (
                seconds + _SLACK_S
            ):
                upto = "" if line.end_s is None else f" to {line.end_s:g}"
                yield (
                    line.number,
                    f"{line.start_s:g}{upto} s found, but {line.uri} lasts {seconds:.2f} s",
                )

    def _open(self, uri: str) -> tuple[Path, int, float | None] | str:
        if uri not in self._known:
            self._known[uri] = self._opened(uri)
        return self._known[uri]

    def _opened(self, uri: str) -> tuple[Path, int, float | None] | str:
        try:
            path = self._locate(uri)
            if not path.is_file():
                return f"{uri}: no such file"
            with audio.open(path, uri) as stream:
                return path, stream.channels, stream.declared_s
        except AudioError as error:
            return str(error)
        except OSError as error:
            return f"{uri}: cannot be read ({error.strerror or error})"
