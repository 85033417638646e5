"""The recordings that a manifest refers to: their files, channels and lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ser_core import sound
from ser_core.corpora.manifest.lines import SHORTEST_S, Line
from ser_core.corpora.manifest.mistakes import Mistakes
from ser_core.errors import AudioError

# Headers round the length of a file, and annotators round times.
_TOLERANCE_S = 0.05

Locate = Callable[[str], Path]


@dataclass(frozen=True)
class _Recording:
    path: Path
    channels: int
    duration_s: float | None


class RecordingIndex:
    """Recordings by URI. Each file is located and opened once.

    Parameters
    ----------
    locate : callable
        From a URI to a file on this machine.
    """

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        # A recording, or why it cannot be used.
        self._by_uri: dict[str, _Recording | str] = {}

    def path(self, uri: str) -> Path:
        """The file of a recording that has no mistake."""
        recording = self._get(uri)
        assert not isinstance(recording, str)
        return recording.path

    def on_its_channel(self, line: Line) -> Line:
        """Fill in the channel of a line whose recording has only one."""
        recording = self._get(line.uri)
        is_mono = not isinstance(recording, str) and recording.channels == 1
        return replace(line, channel=0) if line.channel is None and is_mono else line

    def mistakes(self, lines: Sequence[Line]) -> Mistakes:
        """Find unknown or unreadable files, and channels and times that do not exist."""
        for line in lines:
            recording = self._get(line.uri)
            if isinstance(recording, str):
                yield line.number, recording
                continue
            channels, duration_s = recording.channels, recording.duration_s
            if line.channel is None and channels > 1:
                yield line.number, f"{line.uri} has {channels} channels; give one, from 0"
            elif (line.channel or 0) >= channels:
                yield (
                    line.number,
                    f"channel {line.channel} found, but {line.uri} has {channels}, counted from 0",
                )
            end_s = max(line.start_s + SHORTEST_S, line.end_s or 0)
            if duration_s is not None and end_s > duration_s + _TOLERANCE_S:
                to_end = "" if line.end_s is None else f" to {line.end_s:g}"
                yield (
                    line.number,
                    f"{line.start_s:g}{to_end} s found, but {line.uri} lasts {duration_s:.2f} s",
                )

    def _get(self, uri: str) -> _Recording | str:
        if uri not in self._by_uri:
            self._by_uri[uri] = self._open(uri)
        return self._by_uri[uri]

    def _open(self, uri: str) -> _Recording | str:
        try:
            path = self._locate(uri)
            if not path.is_file():
                return f"{uri}: no such file"
            with sound.reader().open(str(path), uri) as stream:
                return _Recording(path, stream.channels, stream.declared_s)
        except AudioError as error:
            return str(error)
        except OSError as error:
            return f"{uri}: cannot be read ({error.strerror or error})"
