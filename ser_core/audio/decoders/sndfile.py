"""Decoder by libsndfile, through soundfile."""

from __future__ import annotations

import numpy as np

from ser_core.audio import formats
from ser_core.audio.decoders.base import RefusedError
from ser_core.audio.formats import RawFormat
from ser_core.audio.views import View

# Of a damaged FLAC file libsndfile loses everything that the failing call was to read.
_FLAC_STEP = 4096


class SoundFileDecoder:
    """WAV, FLAC, Ogg, MP3, AIFF and headerless telephone files, by libsndfile.

    Parameters
    ----------
    file : View
    raw : RawFormat, optional
        Format of a file without a header.

    Raises
    ------
    RefusedError
    """

    filled_s, tracks, is_mixed = 0.0, 1, False

    def __init__(self, file: View, raw: RawFormat | None = None) -> None:
        import soundfile

        try:
            if raw:
                self._sound = soundfile.SoundFile(
                    file, "r", raw.rate_hz, raw.channels, raw.libsndfile, raw.endian, "RAW"
                )
            else:
                self._sound = soundfile.SoundFile(file)
        except soundfile.LibsndfileError as error:
            raise RefusedError(str(error.error_string).strip().rstrip(".")) from error
        except (TypeError, ValueError) as error:
            raise RefusedError(str(error)) from error
        self._file = file
        self._failure: RuntimeError | None = None
        self.remarks: list[str] = []
        self.rate_hz, self.channels = self._sound.samplerate, self._sound.channels
        self.codec = formats.codec_name(self._sound.subtype)
        # For a cut Ogg file, libsndfile reports the samples that are left: no header has a length.
        self.frames = self._sound.frames if 0 < self._sound.frames < 2**62 else None

    def read(self, frames: int) -> np.ndarray:
        if self._sound.format != "FLAC":
            return self._sound.read(frames, dtype="float32", always_2d=True)
        if self._failure is not None:
            raise self._failure
        samples = np.empty((frames, self.channels), dtype=np.float32)
        count = 0
        try:
            while count < frames:
                step = samples[count : count + _FLAC_STEP]
                length = len(self._sound.read(len(step), always_2d=True, out=step))
                count += length
                if length < len(step):
                    break
        except RuntimeError as error:
            if not count:
                raise
            self._failure = error
        return samples[:count]

    def close(self) -> None:
        self._sound.close()
        self._file.close()
