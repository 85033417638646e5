"""Decoders: libsndfile (through soundfile) first, then FFmpeg (through PyAV, an extra).

`open_decoder` picks one. A decoder is a class with the attributes and methods of `Decoder`.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Protocol

import numpy as np

from ser_core.audio import formats
from ser_core.errors import AudioError


class Decoder(Protocol):
    """An open file that gives samples in order.

    `frames` is the length that the header declares, None where it declares none.
    """

    rate_hz: int
    channels: int
    codec: str
    frames: int | None

    def read(self, frames: int) -> np.ndarray:
        """Give the next samples: float32 [m, channels], m <= frames; m == 0 at the end."""
        ...

    def close(self) -> None: ...


class RefusedError(Exception):
    """A decoder does not read this file; the message is the library's own."""


def open_decoder(file: BinaryIO, header: bytes, uri: str) -> Decoder:
    """Open a file with the first decoder that reads it.

    Parameters
    ----------
    file : binary file object at its start
    header : bytes
        The file's first `headers.HEADER_BYTES` bytes.
    uri : str
        For messages, and for the extension of a headerless file.

    Raises
    ------
    AudioError
        `corrupt` where the format is known and libsndfile refuses it, else `unsupported_format`.
    """
    container = formats.container_of(header)
    try:
        return SoundFileDecoder(file, formats.headerless_codec(uri) if not container else None)
    except RefusedError as error:
        refusal = str(error)
    if container and container.for_libsndfile(header):
        raise AudioError("corrupt", f"{container.name}: {refusal}", uri)
    file.seek(0)
    try:
        return PyAVDecoder(file)
    except ImportError:
        raise AudioError(
            "unsupported_format",
            f"{formats.describe(header)}; M4A, AMR, WMA and others need the extra 'av': "
            "pip install 'ser-pipeline[av]'",
            uri,
        ) from None
    except RefusedError as error:
        raise AudioError(
            "unsupported_format",
            f"{formats.describe(header)}; neither libsndfile ({refusal}) nor FFmpeg ({error}) "
            "reads it",
            uri,
        ) from error


class SoundFileDecoder:
    """WAV, FLAC, Ogg, MP3, AIFF and headerless telephone files, by libsndfile.

    Parameters
    ----------
    file : binary file object
    headerless : formats.Codec, optional
        Codec of a file without a header.

    Raises
    ------
    RefusedError
    """

    def __init__(self, file: BinaryIO, headerless: formats.Codec | None = None) -> None:
        import soundfile

        try:
            if headerless:
                self._sound = soundfile.SoundFile(
                    file,
                    "r",
                    formats.HEADERLESS_RATE_HZ,
                    1,
                    headerless.libsndfile,
                    format="RAW",
                )
            else:
                self._sound = soundfile.SoundFile(file)
        except soundfile.LibsndfileError as error:
            raise RefusedError(str(error.error_string).strip().rstrip(".")) from error
        except (TypeError, ValueError) as error:
            raise RefusedError(str(error)) from error
        self._file = file
        self.rate_hz, self.channels = self._sound.samplerate, self._sound.channels
        self.codec = formats.codec_name(self._sound.subtype)
        # For a cut Ogg file, libsndfile reports the samples that are left: no header has a length.
        self.frames = self._sound.frames if 0 < self._sound.frames < 2**62 else None

    def read(self, frames: int) -> np.ndarray:
        return self._sound.read(frames, dtype="float32", always_2d=True)

    def close(self) -> None:
        self._sound.close()
        self._file.close()


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
