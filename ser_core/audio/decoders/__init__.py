"""Decoders: libsndfile (through soundfile) first, then FFmpeg (through PyAV, an extra).

`open_decoder` picks one. A decoder is a class with the attributes and methods of `Decoder`.
"""

from __future__ import annotations

from typing import BinaryIO

from ser_core.audio import formats
from ser_core.audio.decoders.base import Decoder, RefusedError
from ser_core.audio.decoders.ffmpeg import PyAVDecoder
from ser_core.audio.decoders.sndfile import SoundFileDecoder
from ser_core.errors import AudioError

__all__ = ["Decoder", "RefusedError", "open_decoder"]


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
        return PyAVDecoder(file, uri)
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
