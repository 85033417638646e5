"""The parts of a file, read as one recording."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ser_core.audio.decoders import Decoder
from ser_core.audio.decoders.timeline import MAX_DELAY_S, MAX_FILLED_S, MAX_GAP_S
from ser_core.audio.parts import Layout, Part, is_negligible
from ser_core.errors import AudioError

# A stream that was written in pieces may have a remark for each.
_MAX_REMARKS = 5
# A FLAC file of silence has 400 samples a byte; no other format has as many.
MAX_SAMPLES_PER_BYTE = 5_000


class Chain:
    """Decodes the parts of a file one after the other, block by block.

    The first part decides the rate and the number of channels. Parts that differ, or that no
    decoder reads, are left out, and `remarks` says so.

    Parameters
    ----------
    layout : Layout
    open_part : callable
        Opens the decoder of a part.

    Attributes
    ----------
    tracks : int
        Audio tracks; of several, each is a channel.
    is_mixed : bool
        Whether the only channel was mixed of several, so far.
    declared_s : float or None
        Exact duration in seconds by the headers; None if they declare none.
    available_s : float
        Seconds that are there, as far as the decoders know it before they decode.
    filled_s : float
        Seconds of silence in what was read that stand for gaps.
    missing_s : float
        These, and the seconds of it that were damaged or left out.
    missing_bytes : int
        Bytes that the headers promise and that are not there, if they promise no duration.
    unread_bytes : int
        Bytes of the file that were left out, behind the start of the first part.

    Raises
    ------
    AudioError
        The first part cannot be opened.
    """

    def __init__(self, layout: Layout, open_part: Callable[[Part], Decoder]) -> None:
        self._open_part = open_part
        self._parts = list(layout.parts)
        self._part = first = self._parts.pop(0)
        self._decoder: Decoder | None = open_part(first)
        self.rate_hz, self.channels = self._decoder.rate_hz, self._decoder.channels
        self.codec, self.tracks = self._decoder.codec, self._decoder.tracks
        self.declared_s = _declared_s(first, self._decoder)
        self.available_s = _available_s(first, self._decoder)
        self._remarks: list[str] = []
        self._read_frames = self._part_from = 0
        self._silence_frames = 0
        self._gaps_s = 0.0
        self._filled_s = self._missing_s = 0.0
        self._is_mixed = False
        self._damaged = list(first.damaged)
        self.missing_bytes = 0
        self._note_missing(first)
        before = [span for span in layout.unread if span[0] < first.start]
        for start, end in before:
            self._remarks.append(f"{end - start:,} bytes before the recording are not read")
        self._unread = [span for span in layout.unread if span not in before]
        self._unread_why: list[str] = []
        self._keep_readable()

    @property
    def remarks(self) -> list[str]:
        """What could not be read; complete once all was read."""
        remarks = [*self._remarks, *(self._decoder.remarks if self._decoder else ())]
        if len(remarks) > _MAX_REMARKS:
            remarks[_MAX_REMARKS:] = [
                f"and {len(remarks) - _MAX_REMARKS:,} more remarks like these"
            ]
        if self._gaps_s:
            remarks.append(f"gaps: {self._gaps_s:.1f} s between parts were filled with silence")
        if self._damaged:
            size = sum(end - start for start, end in self._damaged)
            places = "1 place" if len(self._damaged) == 1 else f"{len(self._damaged)} places"
            remarks.append(f"damaged: {size:,} bytes in {places} are left out")
        if self._unread:
            size = sum(end - start for start, end in self._unread)
            why = f": {'; '.join(dict.fromkeys(self._unread_why))}" if self._unread_why else ""
            remarks.append(
                f"{size:,} bytes from byte {min(self._unread)[0]:,} on are not read{why}"
            )
        return remarks

    @property
    def filled_s(self) -> float:
        parts_s = self._filled_s + (self._decoder.filled_s if self._decoder else 0.0)
        return self._gaps_s + parts_s

    @property
    def missing_s(self) -> float:
        parts_s = self._missing_s + (self._decoder.missing_s if self._decoder else 0.0)
        return self._gaps_s + parts_s

    @property
    def is_mixed(self) -> bool:
        return self._is_mixed or (self._decoder is not None and self._decoder.is_mixed)

    @property
    def unread_bytes(self) -> int:
        return sum(end - start for start, end in (*self._unread, *self._damaged))

    def read(self, frames: int) -> np.ndarray:
        """The next samples: float32 [m, channels], m <= frames; m == 0 at the end."""
        blocks: list[np.ndarray] = []
        missing = frames
        while missing and self._decoder is not None:
            block = self._next_block(missing)
            if not len(block):
                self._find_unread()
                self._open_next()
                continue
            blocks.append(block)
            missing -= len(block)
            self._read_frames += len(block)
        if len(blocks) == 1:
            return blocks[0]
        return np.concatenate([np.empty((0, self.channels), np.float32), *blocks])

    def _next_block(self, frames: int) -> np.ndarray:
        """Silence before the part, or the part's next samples; empty at its end."""
        assert self._decoder is not None
        if self._silence_frames:
            block = np.zeros((min(frames, self._silence_frames), self.channels), dtype=np.float32)
            self._silence_frames -= len(block)
            return block
        try:
            return self._decoder.read(frames)
        except MemoryError:
            raise
        except Exception as error:
            if not self._read_frames:
                raise
            seconds = self._read_frames / self.rate_hz
            why = error.detail if isinstance(error, AudioError) else error
            self._remarks.append(f"damaged: decoding failed after {seconds:.1f} s: {why}")
            return np.empty((0, self.channels), dtype=np.float32)

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()

    def _find_unread(self) -> None:
        """Notice the end of a part that its decoder did not come to, as it does behind FLAC."""
        part, view = self._part, self._part.file
        furthest = view.furthest
        ends_with_audio = part.container is not None and part.container.ends_with_audio
        if ends_with_audio and not is_negligible(view, furthest, view.size):
            self._unread.append((part.end - (view.size - furthest), part.end))

    def _open_next(self) -> None:
        end_s = None
        if self._decoder is not None:
            if self._decoder.start_s is not None:
                part_s = (self._read_frames - self._part_from) / self.rate_hz
                end_s = self._decoder.start_s + part_s
            self._remarks += self._decoder.remarks
            self._filled_s += self._decoder.filled_s
            self._missing_s += self._decoder.missing_s
            self._is_mixed = self.is_mixed
            self._decoder.close()
        self._decoder = None
        if self._parts:
            self._part = self._parts.pop(0)
            self._decoder = self._open_part(self._part)
            self._fill_gap(end_s, self._decoder.start_s)
            self._part_from = self._read_frames + self._silence_frames

    def _fill_gap(self, end_s: float | None, start_s: float | None) -> None:
        """Note the silence between two parts of a stream whose timestamps go on."""
        if end_s is None or start_s is None:
            return
        gap_s = start_s - end_s
        if MAX_DELAY_S < gap_s <= MAX_GAP_S and self._gaps_s + gap_s <= MAX_FILLED_S:
            self._gaps_s += gap_s
            self._silence_frames = round(gap_s * self.rate_hz)

    def _note_missing(self, part: Part) -> None:
        """Remark that a part is cut, where its duration does not tell."""
        missing = part.declared.missing_bytes
        if missing and part.declared.seconds is None:
            self.missing_bytes += missing
            self._remarks.append(f"cut: {missing:,} bytes are missing at the end")

    def _keep_readable(self) -> None:
        """Leave out later parts that do not go on with the first; sum up the declared seconds."""
        kept = []
        for part in self._parts:
            try:
                decoder = self._open_part(part)
            except AudioError as error:
                self._unread_why.append(f"{error.reason}: {error.detail}")
                self._unread.append((part.start, part.end))
                continue
            decoder.close()
            found, expected = _describe(decoder), _describe(self)
            if found != expected:
                self._unread_why.append(f"{found} found, {expected} expected")
                self._unread.append((part.start, part.end))
                continue
            kept.append(part)
            self._damaged += part.damaged
            self._note_missing(part)
            self.available_s += _available_s(part, decoder)
            seconds = _declared_s(part, decoder)
            if self.declared_s is None or seconds is None:
                self.declared_s = None
            else:
                self.declared_s += seconds
        self._parts = kept


def _describe(audio: Decoder | Chain) -> str:
    channels = "1 channel" if audio.channels == 1 else f"{audio.channels} channels"
    tracks = f" in {audio.tracks} tracks" if audio.tracks > 1 else ""
    return f"{audio.rate_hz:,} Hz and {channels}{tracks}"


def _declared_s(part: Part, decoder: Decoder) -> float | None:
    """Exact duration of a part by its header."""
    if part.declared.seconds is not None:
        return part.declared.seconds
    if decoder.frames is None or not _is_plausible(part, decoder):
        return None
    return decoder.frames / decoder.rate_hz


def _available_s(part: Part, decoder: Decoder) -> float:
    """Seconds of a part that are there, as far as they are known."""
    if part.available_s is not None:
        return part.available_s
    seconds = (decoder.frames or 0) / decoder.rate_hz
    return seconds if _is_plausible(part, decoder) else 0.0


def _is_plausible(part: Part, decoder: Decoder) -> bool:
    """Whether so many samples may be in so few bytes: those of damaged headers may not."""
    return (decoder.frames or 0) <= MAX_SAMPLES_PER_BYTE * part.file.size
