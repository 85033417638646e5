"""Decoder by libsndfile, through soundfile."""

from __future__ import annotations

import contextlib

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

    filled_s, missing_s, tracks, is_mixed = 0.0, 0.0, 1, False
    start_s: float | None = None

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
        self.codec = raw.codec if raw else formats.codec_name(self._sound.subtype)
        # For a cut Ogg file, libsndfile reports the samples that are left: no header has a length.
        self.frames = self._sound.frames if 0 < self._sound.frames < 2**62 else None

    def read(self, frames: int) -> np.ndarray:
        if self._failure is not None:
            raise self._failure
        start = self._sound.tell() if self._sound.format == "FLAC" else 0
        try:
            return self._sound.read(frames, dtype="float32", always_2d=True)
        except RuntimeError as error:
            if self._sound.format != "FLAC":
                raise
            self._failure = error
        samples = self._read_again(start, frames)
        if not len(samples):
            raise self._failure
        return samples

    def _read_again(self, start: int, frames: int) -> np.ndarray:
        """The samples before damage to a FLAC file, of which the call that failed gave none."""
        import soundfile

        self._file.seek(0)
        pieces = [np.empty((0, self.channels), dtype=np.float32)]
        with contextlib.suppress(RuntimeError), soundfile.SoundFile(self._file) as sound:
            sound.seek(start)
            for _ in range(0, frames, _FLAC_STEP):
                pieces.append(sound.read(_FLAC_STEP, dtype="float32", always_2d=True))
        return np.concatenate(pieces)

    def close(self) -> None:
        self._sound.close()
        self._file.close()
