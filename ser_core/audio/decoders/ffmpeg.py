"""Decoder by FFmpeg, through PyAV (the extra `av`): all audio tracks of a file.

FFmpeg gets the file's bytes and nothing else. Formats that name other files or addresses
(playlists, `concat`, image sequences) are not among `CONTAINERS`, and no protocol is allowed, so
that nothing but the recording is read, no address is called and no socket listens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from ser_core.audio.decoders.base import DamagedError, RefusedError
from ser_core.audio.decoders.track import Track
from ser_core.audio.views import View
from ser_core.errors import AudioError

# FFmpeg's names of the containers that are read. Those of `TIMED` store presentation times, so that
# gaps are seen; in the others a packet follows the one before.
TIMED = frozenset({"asf", "flv", "matroska", "mov", "mpeg", "mpegts", "nut", "ogg", "rm"})
UNTIMED = frozenset(
    {"aac", "ac3", "ac4", "act", "aiff", "amr", "amrnb", "amrwb", "ape", "au", "avi", "bit", "caf"}
    | {"dsf", "dss", "dts", "dtshd", "eac3", "flac", "g722", "g723_1", "g726", "g729", "gsm"}
    | {"iff", "ilbc", "ircam", "lc3", "loas", "mlp", "mmf", "mp3", "mpc", "mpc8", "nistsphere"}
    | {"oma", "paf", "qcp", "sbc", "shn", "sln", "sox", "spdif", "tak", "truehd", "tta", "voc"}
    | {"vqf", "w64", "wav", "wsd", "wv", "wve", "xwma"}
)
CONTAINERS = TIMED | UNTIMED
# More tracks are no call.
MAX_TRACKS = 32
_EXTENSIONS = frozenset({".722", ".g722", ".g723", ".g723_1", ".g729", ".rco", ".tco"})
_LAYOUTS = {0: "empty", 1: "mono", 2: "stereo"}


class PyAVDecoder:
    """Whatever FFmpeg reads. Mono tracks are channels, in the order of the tracks.

    Parameters
    ----------
    file : binary file object
    uri : str
        For messages, and for the extension of a headerless file.

    Raises
    ------
    ImportError
        PyAV is not installed.
    RefusedError
    AudioError
        `channel_roles_unknown` where mono and other tracks are mixed, `too_many_channels`.
    """

    def __init__(self, file: BinaryIO | View, uri: str = "") -> None:
        import av

        self._av, self._file, self._uri = av, file, uri
        self._tracks: list[Track] = []
        self.remarks: list[str] = []
        try:
            self._open()
        except (av.error.FFmpegError, ValueError) as error:
            self._close_tracks()
            if isinstance(error, av.error.ArgumentError):
                raise RefusedError("not a container that is read") from error
            kind = DamagedError if isinstance(error, av.error.FFmpegError) else RefusedError
            raise kind(getattr(error, "strerror", None) or str(error)) from error
        except BaseException:
            self._close_tracks()
            raise

    def _open(self) -> None:
        container = self._open_container()
        count = len(container.streams.audio)
        timed = not TIMED.isdisjoint(container.format.name.split(","))
        if count == 0:
            raise ValueError("no audio track in it")
        if count > MAX_TRACKS:
            raise AudioError(
                "too_many_channels",
                f"{count} audio tracks, at most {MAX_TRACKS} expected",
                self._uri,
            )
        for index in range(count):
            container = self._open_container() if index else container
            self._tracks.append(Track(container, index, timed=timed, may_mix=count == 1))
        layouts = [track.channels for track in self._tracks]
        if count > 1 and set(layouts) != {1}:
            names = ", ".join(_LAYOUTS.get(n, f"{n} channels") for n in layouts)
            raise AudioError(
                "channel_roles_unknown",
                f"{count} audio tracks: {names}; one track, or mono ones expected",
                self._uri,
            )
        self.tracks, self.channels = count, sum(layouts)
        self.start_s = (container.start_time or 0) / 1e6 if timed else None
        self.rate_hz = max(track.rate_hz for track in self._tracks)
        self.codec = "+".join(dict.fromkeys(track.codec for track in self._tracks))
        declared_s = [track.declared_s() for track in self._tracks]
        known_s = [seconds for seconds in declared_s if seconds]
        self.frames = int(max(known_s) * self.rate_hz) if len(known_s) == count else None
        self._ahead = [_Ahead(t.samples(self.rate_hz), t.channels) for t in self._tracks]

    def _open_container(self) -> Any:
        # Each container has a position of its own in the file. Of the name, FFmpeg sees the
        # extension of headerless telephone codecs only.
        extension = os.path.splitext(self._uri.lower())[1]
        return self._av.open(
            _NamedView(self._file, extension if extension in _EXTENSIONS else ""),
            mode="r",
            container_options={
                "format_whitelist": ",".join(sorted(CONTAINERS)),
                "protocol_whitelist": "",
            },
        )

    @property
    def filled_s(self) -> float:
        """Seconds of silence in gaps, so far; of the track with least of it."""
        return min(track.timeline.filled_s for track in self._tracks)

    @property
    def missing_s(self) -> float:
        """Seconds in gaps, damaged or left out, so far; of the track with least of it."""
        return min(track.missing_s for track in self._tracks)

    @property
    def is_mixed(self) -> bool:
        return any(track.is_mixed for track in self._tracks)

    def read(self, frames: int) -> np.ndarray:
        parts = [ahead.take(frames) for ahead in self._ahead]
        longest = max(map(len, parts))
        if not longest:
            self._finish()
        if len(parts) == 1:
            return parts[0]
        samples = np.zeros((longest, self.channels), dtype=np.float32)
        for column, part in enumerate(parts):
            samples[: len(part), column] = part[:, 0]
        return samples

    def _finish(self) -> None:
        nothing = [track.nothing_decoded for track in self._tracks]
        if all(nothing):
            raise AudioError("corrupt", str(nothing[0]), self._uri)
        several = len(self._tracks) > 1
        # A track that starts later than the others is no gap.
        gaps_s = sum(
            t.timeline.filled_s - (t.timeline.late_s if several else 0) for t in self._tracks
        )
        remarks = []
        if gaps_s > 0:
            remarks.append(f"gaps: {gaps_s:.1f} s without data were filled with silence")
        for number, track in enumerate(self._tracks, start=1):
            prefix = f"track {number}: " if several else ""
            remarks += [prefix + remark for remark in track.remarks()]
        self.remarks = remarks

    def _close_tracks(self) -> None:
        for track in self._tracks:
            track.close()

    def close(self) -> None:
        self._close_tracks()
        self._file.close()


class _Ahead:
    """Gives samples of a track in pieces of any length."""

    def __init__(self, samples: Iterator[np.ndarray], channels: int) -> None:
        self._samples = samples
        self._rest = np.empty((0, channels), dtype=np.float32)

    def take(self, frames: int) -> np.ndarray:
        """The next samples, float32 [m, channels]; m < frames only at the end."""
        parts, count = [self._rest], len(self._rest)
        while count < frames and (part := next(self._samples, None)) is not None:
            parts.append(part)
            count += len(part)
        samples = np.concatenate(parts)
        self._rest = samples[frames:]
        return samples[:frames]


class _NamedView(View):
    """A file with a position and a name of its own."""

    def __init__(self, file: BinaryIO | View, extension: str) -> None:
        super().__init__(file, [(0, file.seek(0, os.SEEK_END))])
        self.name = f"recording{extension}"
