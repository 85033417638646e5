"""The samples of a recording, decoded by a child behind the fence, block by block.

It is for pages and clips: what they show is decoded like a night's recordings, and the process that
makes them meets samples only.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np

from ser_core import audio
from ser_core.errors import AudioError
from ser_core.examine import Source, unreadable
from ser_core.guarded import NO_RESULT, DiedError, Guard, Guarded
from ser_core.header import Header, Opening
from ser_core.messages import Block, Listening, Message, Opened


@dataclass
class Sound:
    """An open recording.

    Parameters
    ----------
    rate : int
        Sample rate in Hz.
    channels : int
    declared_s : float or None
        Its length by its header.
    ended : bool
        Whether all blocks were read.
    """

    rate: int
    channels: int
    declared_s: float | None
    _reader: SoundReader
    _uri: str
    ended: bool = False

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode the samples, block by block and in order. It can be called once.

        Yields
        ------
        np.ndarray [shape=(channels, m)], float32

        Raises
        ------
        AudioError
            As for `audio.AudioStream.blocks`; and `crashed` or `timed_out`.
        """
        while not self.ended:
            self.ended = True
            message = self._reader.next_of(self._uri, more=True)
            if isinstance(message, Block):
                self.ended = False
                yield self._checked(message.samples)

    def _checked(self, samples: np.ndarray | None) -> np.ndarray:
        if samples is None or len(samples) != self.channels:
            raise AudioError("crashed", NO_RESULT, self._uri)
        return samples


class SoundReader(Guarded):
    """Decodes recordings one after another in a child.

    Use as a context manager, or call `close`.

    Parameters
    ----------
    guard : Guard, optional
    """

    def __init__(self, guard: Guard | None = None) -> None:
        super().__init__(Listening(), guard)

    @contextmanager
    def open(
        self,
        path: str,
        uri: str,
        *,
        limits: audio.Limits | None = None,
        raw: tuple[audio.RawFormat, ...] = (),
    ) -> Iterator[Sound]:
        """Open a recording; the arguments are those of `audio.open`.

        Raises
        ------
        AudioError
            It is rejected, or the child did not survive it.
        SerError
            No child could be started.
        """
        try:
            file = audio.open_regular(path)
        except OSError as error:
            raise unreadable(error, uri) from error
        with file:
            opening = Opening(limits or audio.Limits(), raw)
            self._ask(Source(uri, None, None), opening, file)
            opened = self.next_of(uri)
            if not (isinstance(opened, Opened) and opened.rate > 0 and opened.channels > 0):
                self.close()
                raise AudioError("crashed", NO_RESULT, uri)
            sound = Sound(opened.rate, opened.channels, opened.declared_s, self, uri)
            try:
                yield sound
            finally:
                self._stop(sound)

    def _stop(self, sound: Sound) -> None:
        """Tell the child, which waits for a word, that no more is wanted."""
        if not sound.ended and self._child is not None:
            try:
                self._child.pipe.send(False)
            except OSError:
                self.close()

    def next_of(self, uri: str, *, more: bool = False) -> Message:
        """The child's next message about a recording; with `more` it is asked for first."""
        try:
            if self._child is None:
                raise DiedError("crashed", NO_RESULT)
            pipe = self._child.pipe
            if more:
                pipe.send(True)
            message = self._receive(pipe)
        except (DiedError, ConnectionError) as error:
            self.close()
            reason, detail = (
                (error.reason, error.detail) if isinstance(error, DiedError)
                else ("crashed", NO_RESULT)
            )  # fmt: skip
            raise AudioError(reason, detail, uri) from error
        if isinstance(message, Header) and message.reason is not None:
            raise AudioError(message.reason, message.detail or "", uri)
        return message


def reader() -> SoundReader:
    """The reader of this process, whose child is started once."""
    return _reader_of(os.getpid())


@cache
def _reader_of(_: int) -> SoundReader:
    made = SoundReader()
    atexit.register(made.close)
    return made
