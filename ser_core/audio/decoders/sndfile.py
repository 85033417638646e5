"""Decoder by libsndfile, through soundfile."""

from __future__ import annotations

import contextlib

import numpy as np

from ser_core.audio import formats
from ser_core.audio.decoders.base import RefusedError
from ser_core.audio.formats import RawFormat
from ser_core.audio.views import View

# Samples of a damaged FLAC file are read in such pieces: a call that fails loses all of its own.
_FLAC_STEP = 512


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
        # Of a FLAC file: frames that were read, and frames of silence that are due.
        self._at = self._silent_frames = 0
        self.missing_s = 0.0
        self._is_at_end = False
        self.remarks: list[str] = []
        self.rate_hz, self.channels = self._sound.samplerate, self._sound.channels
        self.codec = raw.codec if raw else formats.codec_name(self._sound.subtype)
        # For a cut Ogg file, libsndfile reports the samples that are left: no header has a length.
        self.frames = self._sound.frames if 0 < self._sound.frames < 2**62 else None

    def read(self, frames: int) -> np.ndarray:
        if self._sound.format != "FLAC":
            return self._read(frames)
        if self._silent_frames:
            count = min(frames, self._silent_frames)
            self._silent_frames -= count
            samples = np.zeros((count, self.channels), dtype=np.float32)
        else:
            try:
                samples = self._read(frames)
            except RuntimeError as error:
                samples = self._read_up_to_damage(frames)
                self._step_over_damage(self._at + len(samples), error)
                if not len(samples) and not self._is_at_end:
                    return self.read(frames)
        self._at += len(samples)
        return samples

    def _read(self, frames: int) -> np.ndarray:
        return self._sound.read(frames, dtype="float32", always_2d=True)

    def _go_to(self, frame: int) -> bool:
        """Open the file anew at a frame; whether samples can be read there."""
        import soundfile

        self._sound.close()
        self._file.seek(0)
        self._sound = soundfile.SoundFile(self._file)
        try:
            self._sound.seek(frame)
            is_readable = len(self._read(1)) > 0
            self._sound.seek(frame)
        except RuntimeError:
            return False
        return is_readable

    def _read_up_to_damage(self, frames: int) -> np.ndarray:
        """The samples before damage; the call that failed gave none of them."""
        pieces = [np.empty((0, self.channels), dtype=np.float32)]
        if self._go_to(self._at):
            with contextlib.suppress(RuntimeError):
                for _ in range(0, frames, _FLAC_STEP):
                    pieces.append(self._read(_FLAC_STEP))
        return np.concatenate(pieces)

    def _step_over_damage(self, damaged: int, error: RuntimeError) -> None:
        """Go to the first frame behind `damaged` that can be read, with silence up to there.

        Raises
        ------
        RuntimeError
            There is none.
        """
        step = _FLAC_STEP
        while damaged + step < self._sound.frames and not self._go_to(damaged + step):
            step *= 2
        if damaged + step >= self._sound.frames:
            if damaged > self._at:
                return  # the next call fails
            if self.frames is None and self._at:
                self._is_at_end = True  # written to a pipe: no header tells where the end is
                return
            raise error
        bad, good = step // 2, step
        while good - bad > _FLAC_STEP:
            between = (bad + good) // 2
            bad, good = (bad, between) if self._go_to(damaged + between) else (between, good)
        self._go_to(damaged + good)
        self._silent_frames = good
        self.missing_s += good / self.rate_hz
        self.remarks = [f"damaged: {self.missing_s:.1f} s could not be decoded and are silent"]

    def close(self) -> None:
        self._sound.close()
        self._file.close()
