"""Decoder by FFmpeg, through PyAV (the extra `av`)."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from ser_core.audio.decoders.base import RefusedError


class PyAVDecoder:
    """Whatever FFmpeg reads: the first audio stream of a file.

    Raises
    ------
    ImportError
        PyAV is not installed.
    RefusedError
    """

    def __init__(self, file: BinaryIO) -> None:
        import av

        try:
            self._open(av, file)
        except (av.error.FFmpegError, ValueError, IndexError) as error:
            raise RefusedError(getattr(error, "strerror", None) or str(error)) from error

    def _open(self, av: Any, file: BinaryIO) -> None:
        self._file = file
        self.remarks: list[str] = []
        self._container = av.open(file, mode="r")
        if not self._container.streams.audio:
            raise ValueError("no audio stream in it")
        stream = self._container.streams.audio[0]
        if stream.codec_context is None:
            raise ValueError("no decoder for the audio in it")
        self.rate_hz = stream.codec_context.sample_rate
        self.channels = stream.codec_context.channels
        self.codec = stream.codec_context.name.removesuffix("float").removesuffix("fixed")
        self.frames: int | None = None
        if stream.duration and stream.time_base:
            self.frames = int(stream.duration * stream.time_base * self.rate_hz)
        layout = stream.codec_context.layout.name
        self._resampler = av.AudioResampler(format="flt", layout=layout, rate=self.rate_hz)
        self._packets = self._container.decode(stream)
        self._rest = np.empty((0, self.channels), dtype=np.float32)

    def read(self, frames: int) -> np.ndarray:
        parts, count = [self._rest], len(self._rest)
        while count < frames:
            packet = next(self._packets, None)
            if packet is None:
                break
            for part in self._resampler.resample(packet):
                parts.append(part.to_ndarray().reshape(-1, self.channels))
                count += len(parts[-1])
        samples = np.concatenate(parts)
        self._rest = samples[frames:]
        return samples[:frames]

    def close(self) -> None:
        self._container.close()
        self._file.close()
