"""Decoder by libsndfile, through soundfile."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from ser_core.audio import formats
from ser_core.audio.decoders.base import RefusedError


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
        self.remarks: list[str] = []
        self.rate_hz, self.channels = self._sound.samplerate, self._sound.channels
        self.codec = formats.codec_name(self._sound.subtype)
        # For a cut Ogg file, libsndfile reports the samples that are left: no header has a length.
        self.frames = self._sound.frames if 0 < self._sound.frames < 2**62 else None

    def read(self, frames: int) -> np.ndarray:
        return self._sound.read(frames, dtype="float32", always_2d=True)

    def close(self) -> None:
        self._sound.close()
        self._file.close()
