"""Decoders: libsndfile (through soundfile) first, then FFmpeg (through PyAV, an extra).

`open_decoder` picks one. A decoder is a class with the attributes and methods of `Decoder`.
"""

from __future__ import annotations

import contextlib

from ser_core.audio import formats
from ser_core.audio.decoders.base import DamagedError, Decoder, RefusedError
from ser_core.audio.decoders.ffmpeg import PyAVDecoder
from ser_core.audio.decoders.sndfile import SoundFileDecoder
from ser_core.audio.formats import RawFormat
from ser_core.audio.parts import Part
from ser_core.errors import AudioError

__all__ = ["Decoder", "RefusedError", "open_decoder"]


def open_decoder(part: Part, uri: str, raw: RawFormat | None = None) -> Decoder:
    """Open a file, or a part of one, with the first decoder that reads it.

    Parameters
    ----------
    part : Part
    uri : str
        For messages.
    raw : RawFormat, optional
        The format of a file without a header.

    Raises
    ------
    AudioError
        `corrupt` where the format is known and no decoder reads it, else `unsupported_format`.
    """
    part.file.seek(0)
    if part.container is formats.OGG and part.damaged:
        # FFmpeg fills the gaps, so that what follows stays where it was said.
        with contextlib.suppress(ImportError, RefusedError):
            return PyAVDecoder(part.file, uri)
        part.file.seek(0)
    try:
        decoder = SoundFileDecoder(part.file, None if part.container else raw)
    except RefusedError as error:
        refusal = str(error)
    else:
        if decoder.codec in formats.MPEG_CODECS and not part.has_xing_header:
            decoder.frames = None  # a guess from the bit rate
        return decoder
    described = formats.describe(part.container, part.header, part.declared)
    is_known = formats.for_libsndfile(part.container, part.header, part.declared)
    if formats.is_text(part.header):  # a playlist, perhaps, that names other files
        raise AudioError("unsupported_format", described, uri)
    part.file.seek(0)
    try:
        return PyAVDecoder(part.file, uri)
    except ImportError:
        if is_known:
            raise AudioError("corrupt", f"{described}: {refusal}", uri) from None
        raise AudioError(
            "unsupported_format",
            f"{described}; M4A, AMR, WMA, G.726 in WAV and others need the extra 'av': "
            f"pip install 'ser-pipeline[av]'{formats.advice(uri)}",
            uri,
        ) from None
    except RefusedError as error:
        is_damaged = part.container is not None and isinstance(error, DamagedError)
        raise AudioError(
            "corrupt" if is_known or is_damaged else "unsupported_format",
            f"{described}; neither libsndfile ({refusal}) nor FFmpeg ({error}) reads it"
            + ("" if is_known or is_damaged else formats.advice(uri)),
            uri,
        ) from error
